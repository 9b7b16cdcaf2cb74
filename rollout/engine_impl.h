// What the engine's three files share: sequences, groups and the batch under construction.
#ifndef ZK_ROLLOUT_ENGINE_IMPL_H
#define ZK_ROLLOUT_ENGINE_IMPL_H

#include "rollout/draft.h"
#include "rollout/engine.h"
#include "rollout/prefix_cache.h"
#include "shared/decoder.h"

typedef struct zk_group zk_group;

// One row of the page table: a sample, or a group's shared prompt.
typedef struct zk_sequence {
  zk_group *group;
  bool is_prefix;        // the prompt less its last token, never sampled from
  int32_t sample;
  int32_t num_tokens;    // prompt and completion so far
  int32_t num_cached;    // of those, in the KV cache
  int32_t *tokens;       // [capacity] prompt, then completion
  int32_t num_pages, *pages;
  int32_t num_entries;   // of those, from the first, in the prefix cache
  uint64_t entry;        // the last of these
  int32_t batch_rows;    // rows in the step under construction
  int32_t num_draft;     // of those, guesses: tokens[num_tokens .. num_tokens + num_draft)
  // samples only
  int32_t *drawn;
  float *logprob;
  uint64_t *logits_hash;
  const int32_t *forced; // in the group's memory; NULL when free
  int32_t max_new;
  int32_t draft_most;    // how far ahead it pays to guess: grows with success
  zk_gram_index grams;   // of its own tokens
  zk_finish_reason finish; // once it is done
  int32_t finish_detail;
  char *text;            // bytes of the completion, kept only when there are stop texts
  size_t text_bytes, text_capacity;
  struct zk_sequence *next;
} zk_sequence;

typedef enum { ZK_PREFIX_NONE, ZK_PREFIX_RUNNING, ZK_PREFIX_READY } zk_prefix_state;

struct zk_group {
  uint64_t tag;
  uint32_t step, prompt_id;
  int32_t num_prompt, *prompt;
  uint64_t name;                 // of the prompt, to draft by
  int32_t num_open, num_waiting; // samples not finished; of those, not running
  int32_t *forced_tokens;        // all forced completions, one after another
  zk_prefix_state prefix_state;
  zk_sequence *prefix;
  struct zk_group *next;
};

typedef struct { zk_sequence *head, *tail; } zk_queue;

// Host and device images of one step's int32 arrays, in one block each so that one copy carries them.
typedef struct {
  int32_t *host, *device;
  size_t num_words;
  int32_t *tokens, *positions, *seq_row_start, *seq_first_pos, *page_table, *rows; // device addresses
  int32_t *step, *prompt_id, *sample_idx, *position;
} zk_step_arrays;

struct zk_engine {
  const zk_policy *policy;
  zk_engine_options options;
  zk_stream *stream;
  zk_page_pool pool;
  zk_prefix_cache prefixes;
  uint64_t weights_version;         // of the policy, that the cache was made with
  int32_t max_pages, max_rows;      // pages of one sequence; rows of one step
  int32_t max_draws;                // tokens drawn in one step
  void **k_cache, **v_cache;        // [num_layers]
  void *activations_memory;
  zk_layer_activations activations;
  void *gathered, *normed;          // [max_batch, hidden]
  int32_t *token_out;               // device [max_batch]
  float *logprob_out;
  uint64_t *hash_out;
  zk_step_arrays arrays;
  zk_group *groups;
  zk_queue waiting, done;           // samples in order of arrival; finished ones
  zk_sequence **running;            // [max_batch] in order of admission
  int32_t num_running, num_open, num_waiting;
  zk_draft_memory drafts;           // finished completions, to guess from
  zk_engine_stats stats;
};

// schedule.c: fills running[]->batch_rows for the next step, admitting, forking and preempting as pages allow.
zk_status zk_schedule_plan(zk_engine *engine);
void zk_schedule_release(zk_engine *engine, zk_sequence *seq);       // gives its pages back
void zk_schedule_drop_prefix(zk_engine *engine, zk_group *group);
// The sample's first num_tokens tokens have their keys and values in its pages, and what was drawn behind them was finite: pages full of them
// may be found by others. (An infinity in one row can make NaN of rows before it in its tile; no page of such a sequence may get to another.)
void zk_schedule_publish(zk_engine *engine, zk_sequence *seq, int32_t num_tokens);
void zk_schedule_remove_running(zk_engine *engine, int32_t idx);
void zk_queue_push(zk_queue *queue, zk_sequence *seq);
void zk_queue_push_front(zk_queue *queue, zk_sequence *seq);
zk_sequence *zk_queue_pop(zk_queue *queue);
void zk_sequence_free(zk_sequence *seq);
// diagnose.c: which part of the model first gives a value that is not finite in the last row of these tokens, as a completion's finish_detail.
// It uses the engine's stream, waits for it, and touches neither its cache nor its steps.
zk_status zk_engine_find_not_finite(zk_engine *engine, const int32_t *tokens, int32_t num_tokens, int32_t *detail);
// engine_step.c: runs the planned batch.
zk_status zk_engine_run_batch(zk_engine *engine);

#endif
