// What the engine's files share: sequences, groups and the batch under construction.
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
  int32_t pending;       // 1 + i: its last token is draw i of the step queued last, and only the device knows it; 0: it is known
  // samples only
  int32_t *drawn;
  float *logprob, *lse;
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

// The int32 arrays of one step, in one block so that one copy carries them: addresses in the host's block or in the device's.
typedef struct {
  int32_t *tokens, *positions, *seq_row_start, *seq_first_pos, *seq_shared_pages, *page_table;
  int32_t *rows, *step, *prompt_id, *sample_idx, *position; // of each draw
  size_t num_words;
} zk_step_arrays;

// What is drawn for one sample in one step.
typedef struct {
  zk_sequence *seq; // NULL: nobody wants it any more
  int32_t at;       // of the first draw, in its completion
  bool last;        // it leaves the batch with this one: the step owns it now
} zk_sample_draw;

// One step, from when it is queued until its draws are taken in.
typedef struct {
  int32_t num_rows, num_seqs, num_draws; // with those that pad the step
  int32_t max_pages;                     // width of its page table: at least what its longest sequence has keys on
  bool is_decode;                        // one row of each sequence, all of them drawn from
  int32_t num_samples;
  zk_sample_draw *samples; // [max_batch]
  int32_t *host;           // its arrays
  char *results;           // host: tokens, log-probabilities, hashes of the draws
  zk_mark *begun, *done;
} zk_step;

// A recorded step of so many rows and so wide a page table.
typedef struct {
  int32_t num_rows, max_pages; // num_rows 0: the place is free
  zk_graph *graph;
  int32_t runs; // without a graph
  bool refused; // it cannot be recorded
} zk_step_graph;
#define ZK_MAX_STEP_GRAPHS 96

struct zk_engine {
  const zk_policy *policy;
  zk_engine_options options;
  zk_stream *stream;
  zk_page_pool pool;
  zk_prefix_cache prefixes;
  uint64_t weights_version;         // of the policy, that the cache was made with
  int32_t max_pages, max_rows;      // pages of one sequence; rows of one step
  int32_t max_draws;                // tokens drawn in one step
  void *cache_memory;               // the sampler's, as zk_side_alloc has it
  void **k_cache, **v_cache;        // [num_layers] in it
  zk_resident *resident;            // for steps of one row; NULL: they are like others
  void *activations_memory;
  zk_layer_activations activations;
  void *gathered, *normed;          // [max_batch, hidden]
  int32_t *arrays_memory;           // device: a step's arrays
  char *results_memory;             // device: what it drew
  zk_step steps[2];                 // [steps_ahead + 1] those in flight, and the one being filled
  int32_t oldest, num_in_flight;
  int32_t padding_page;             // where rows that pad a step keep their keys; -1: no step is padded
  zk_step_graph graphs[ZK_MAX_STEP_GRAPHS];
  zk_group *groups;
  zk_queue waiting, done;           // samples in order of arrival; finished ones
  zk_sequence **running;            // [max_batch] in order of admission
  int32_t num_running, num_open, num_waiting;
  zk_draft_memory drafts;           // finished completions, to guess from
  zk_engine_stats stats;
};

// schedule.c: fills running[]->batch_rows for the next step, admitting, forking and preempting as pages allow. *must_take: nothing may be
// preempted while steps are in flight, so their draws must be taken in before there can be a plan.
zk_status zk_schedule_plan(zk_engine *engine, bool *must_take);
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
// step_arrays.c
size_t zk_step_words(const zk_engine *engine);        // of the largest step
size_t zk_step_result_bytes(const zk_engine *engine); // likewise
zk_step_arrays zk_step_layout(const zk_engine *engine, const zk_step *step, int32_t *base);
void zk_step_fill(zk_engine *engine, zk_step *step); // from running[]->batch_rows
// Where the results of a step's draws lie in such memory.
int32_t *zk_step_tokens(const zk_step *step, char *results);
float *zk_step_logprobs(const zk_step *step, char *results);
float *zk_step_lses(const zk_step *step, char *results);
uint64_t *zk_step_hashes(const zk_step *step, char *results);
// step_graph.c: rows that a decode step of `rows` sequences is padded to.
int32_t zk_step_padded(const zk_engine *engine, int32_t rows);
// And how wide its page table is when its longest sequence has keys on `pages` pages.
int32_t zk_step_width(const zk_engine *engine, int32_t rows, int32_t pages);
// Queues the step's operations on the device, from a graph where there is one.
zk_status zk_step_run(zk_engine *engine, const zk_step *step);
void zk_step_graphs_close(zk_engine *engine);
// engine_step.c
zk_status zk_engine_queue_rows(zk_engine *engine, const zk_step *step); // operation by operation
zk_status zk_engine_queue_step(zk_engine *engine);                      // the planned one, if it has rows
zk_status zk_engine_take_step(zk_engine *engine);                       // what the oldest one in flight drew

#endif
