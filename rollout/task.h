// Tasks: where prompts come from and what a completion is worth, behind one table (reverse, arithmetic, multistep, countdown, jsonl).
//
// An item is a function of (identity config, split, index) alone. For training, index = (step - 1) * prompts_per_step +
// slot, with steps from 1 and slots from 0, so any rank can make any prompt at any time. The held-out split is disjoint
// from the training split by construction: a hash of an item's content decides its side.
#ifndef ZK_ROLLOUT_TASK_H
#define ZK_ROLLOUT_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "rollout/grader.h"
#include "shared/chat.h"
#include "shared/config.h"
#include "shared/tokenizer.h"

typedef struct zk_task zk_task;

typedef enum { ZK_SPLIT_TRAIN, ZK_SPLIT_HELDOUT } zk_split;

// One prompt. Every pointer belongs to the item and dies with zk_task_item_free.
typedef struct {
  uint32_t prompt_id; // unique within a run: the index, plus 2^31 for the held-out split; what the RNG is keyed with
  uint64_t source;    // jsonl: line number from 1; generated: hash of the content
  const char *text;   // the prompt without a chat template; NULL when the prompt exists as messages only
  zk_chat_message *messages; // the prompt for a chat template, num_messages >= 1
  size_t num_messages;
  const char *label;         // what graders compare with; NULL when a jsonl line has none, and no grader needs one
  const char *extra;         // JSON object of a jsonl line's data_source, extra_info and metadata; NULL when it has none
  const char *demonstration; // the completion to imitate (sft); NULL when a jsonl line has none
  void *memory;              // one block that holds all of the above
} zk_task_item;

// Opens the task that cfg->task names. A jsonl file is read and checked line by line here, so that a bad line N is an
// error before a run starts ("data.jsonl:17: ..."). Not collective; each rank opens its own. The task keeps a copy of
// what it needs.
zk_status zk_task_open(const zk_config *cfg, zk_task **out);
void zk_task_close(zk_task *task); // NULL is fine

const char *zk_task_name(const zk_task *task);
// Items in the held-out split: at most task.heldout; fewer when the task does not have that many distinct ones.
uint32_t zk_task_num_heldout(const zk_task *task);
// Identity of what items are made from besides the config: 0 for generated tasks, a hash of all lines for jsonl.
uint64_t zk_task_hash(const zk_task *task);

// Item `index` of `split` (see above). Thread-safe: takes no lock and changes nothing. Errors: an index of 2^31 or
// more, a held-out index out of range, a jsonl file that changed since zk_task_open.
zk_status zk_task_get(const zk_task *task, zk_split split, uint64_t index, zk_task_item *out);
// The same by the id that a trajectory records.
zk_status zk_task_get_by_id(const zk_task *task, uint32_t prompt_id, zk_task_item *out);
void zk_task_item_free(zk_task_item *item); // leaves *item zeroed; a zeroed item is fine

// The ids of the prompt, appended to `out`. With a template: the item's messages rendered up to where the answer
// begins; with ZK_CHAT_NONE: `text`, with whatever the tokenizer puts around one text (bos). ZK_BAD_INPUT when a jsonl
// line gives messages and there is no template.
zk_status zk_task_encode_prompt(const zk_task *task, const zk_tokenizer *tok, zk_chat_template template_,
                                const zk_task_item *item, zk_tokens *out);
// The ids of the demonstration and of what ends it: the template's end of turn, or eos without one. ZK_BAD_INPUT when
// the item has no demonstration or the tokenizer no such token.
zk_status zk_task_encode_demonstration(const zk_task *task, const zk_tokenizer *tok, zk_chat_template template_,
                                       const zk_task_item *item, zk_tokens *out);

// What `num_bytes` of completion text (any bytes) earn. Pure: the same bytes give the same bits on every machine.
void zk_task_reward(const zk_task *task, const zk_task_item *item, const char *completion, size_t num_bytes,
                    zk_reward *out);
// The components that a program gave (command.run), at their places in component[num components]: they are added to what zk_task_reward made of the
// others, which took them as 0.
void zk_task_put_recorded(const zk_task *task, const float *component, zk_reward *reward);
bool zk_task_component_is_recorded(const zk_task *task, int component_idx); // it comes from the program
bool zk_task_asks_for_rewards(const zk_task *task);                         // some do
bool zk_task_asks(const zk_task *task);                                     // there is a program: for rewards, answers or both
// Whether the reward always is the first component, which says what counts as right in evaluations.
bool zk_task_reward_is_first(const zk_task *task);
int zk_task_num_components(const zk_task *task);                       // at most ZK_REWARD_MAX_COMPONENTS
const char *zk_task_component(const zk_task *task, int component_idx); // "exact": metrics name reward/exact

#endif
