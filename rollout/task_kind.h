// Inside rollout/: what a kind of task provides to the table in task.c, and the pieces that kinds share.
#ifndef ZK_ROLLOUT_TASK_KIND_H
#define ZK_ROLLOUT_TASK_KIND_H

#include "rollout/reward_set.h"
#include "rollout/task.h"

typedef struct zk_task_kind {
  const char *name;
  // Fills task->state, num_pool and num_heldout.
  zk_status (*open)(zk_task *task);
  void (*close)(zk_task *task); // state may be NULL or half made
  // Makes item `number` of a split: a pool number for training (any 32-bit value when the pool is unlimited), an index
  // below num_heldout for held-out. Sets everything but prompt_id. Thread-safe.
  zk_status (*get)(const zk_task *task, zk_split split, uint32_t number, zk_task_item *out);
  // The grader that checks labels and gives the task's own reward.
  zk_config_grader (*grader)(const zk_task *task);
  // A second component beside the grader's first, or NULL.
  const char *extra_component;
  float (*extra)(const zk_task_item *item, const char *completion, size_t num_bytes);
} zk_task_kind;

struct zk_task {
  const zk_task_kind *kind;
  zk_config cfg;
  zk_reward_set rewards;
  uint32_t num_pool;    // training items; 0: unlimited
  uint32_t num_heldout; // held-out items
  uint64_t hash;
  void *state;
};

extern const zk_task_kind zk_task_reverse, zk_task_arithmetic, zk_task_jsonl, zk_task_countdown, zk_task_multistep;

// Tasks of numbers: task.num_digits and task.operations are what their generators can draw from.
#define ZK_TASK_MAX_DIGITS 9 // a product of two such numbers fits 64 bits
zk_status zk_task_check_numbers(const zk_config *cfg);

// A stream of random words for one purpose: Philox with c0 = TASK use and block number, (c1, c2) = (attempt, number),
// c3 = purpose.
typedef enum { ZK_DRAW_TRAIN = 1, ZK_DRAW_HELDOUT = 2, ZK_DRAW_PERMUTATION = 3 } zk_draw_purpose;
typedef struct {
  uint32_t counter[4], key[2], words[4];
  int num_left;
} zk_draw;
void zk_draw_begin(zk_draw *draw, uint64_t seed, zk_draw_purpose purpose, uint32_t attempt, uint32_t number);
uint64_t zk_draw_below(zk_draw *draw, uint64_t bound); // 0 .. bound - 1, bound >= 1 and small beside 2^64

// Where item `index` of epoch `epoch` stands in a pool of num_items: a permutation for every (seed, epoch).
uint32_t zk_task_permute(uint64_t seed, uint32_t epoch, uint32_t index, uint32_t num_items);

// Copies texts into one block that the item owns. All but messages may be NULL; messages are [system?] + given.
zk_status zk_task_item_make(uint64_t source, const char *system, const char *text, const zk_chat_message *messages,
                            size_t num_messages, const char *label, const char *demonstration, const char *extra,
                            zk_task_item *out);

// One made-up question: texts with room for the generator's max_bytes each, final NUL included.
typedef struct {
  char *question, *answer;
  char *identity;      // its hash decides the split: equal for questions that give each other away
  char *demonstration; // what sft imitates; left empty: the answer
} zk_question;

// A task whose questions are made up: how to draw one.
typedef struct {
  size_t (*max_bytes)(const zk_config *cfg);
  void (*draw)(const zk_config *cfg, zk_draw *draw, zk_question *out);
  const char *before, *behind; // the instruction for a chat model, around the question
} zk_generator;
zk_status zk_generated_open(zk_task *task, const zk_generator *generator);
void zk_generated_close(zk_task *task);
zk_status zk_generated_get(const zk_task *task, zk_split split, uint32_t number, zk_task_item *out);

#endif
