// The rollout engine: continuous batching over a paged KV cache. Requests go in, completions come out in any order; their bits
// depend on policy, prompt, sample number and seed alone, never on what else is in the batch, on pages, chunks or preemption.
//
// An engine belongs to one rank; none of its functions is collective.
#ifndef ZK_ROLLOUT_ENGINE_H
#define ZK_ROLLOUT_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/policy.h"
#include "shared/tokenizer.h"
#include "shared/trajectory.h"

typedef struct zk_engine zk_engine;

typedef struct {
  // What is sampled: part of a run's identity.
  uint64_t seed;
  double temperature; // 0 = greedy
  int32_t top_k;      // 0 = off
  double top_p;       // 1 = off
  int32_t max_new_tokens;
  bool ignore_eos;
  int32_t num_eos, eos_ids[ZK_MODEL_MAX_EOS + 1]; // any of these ends a completion
  int num_stop;
  const char *const *stop;        // texts that end a completion when its bytes contain one; borrowed
  const zk_tokenizer *tokenizer;  // needed when num_stop > 0; borrowed
  bool want_logits_hash;
  // How: changes no bit.
  int32_t max_batch;     // sequences in one step
  int32_t page_tokens;   // tokens of a KV page
  uint64_t kv_bytes;     // KV cache; 0 = room for max_batch sequences of usual length, within kv_room
  uint64_t kv_room;      // the most that a cache sized by itself may take; 0 = half of what is free
  bool takes_rest;       // it takes all of kv_room that max_batch sequences of the longest length could use
  int32_t prefill_chunk; // prompt tokens in one step
  int32_t speculate;     // tokens drafted ahead of a sample's last one in one step, at most; 0 = none
  bool prefix_cache;     // full pages that are no longer used are found again by sequences that begin alike, until the weights change
  int32_t steps_ahead;   // 1: a step is queued before the host knows what the one before it drew; 0: it is not. With `speculate` always 0
  bool one_by_one;       // the layers of a step of one row, too, are run operation by operation
  int32_t max_sequence;  // longest prompt + completion that will be submitted
} zk_engine_options;

// A group: num_samples completions of one prompt. Everything is copied.
typedef struct {
  uint64_t tag;       // the caller's; comes back with each completion
  uint32_t step, prompt_id;
  const int32_t *prompt;
  int32_t num_prompt; // at least 1
  int32_t first_sample, num_samples;
  int32_t max_new_tokens; // 0 = the engine's; never more than that
  // Teacher forcing, for audits: sample i continues with forced[i][0..num_forced[i]), whatever is drawn; NULL otherwise.
  const int32_t *const *forced;
  const int32_t *num_forced;
} zk_request;

// One finished sample; owned by the caller after zk_engine_take, freed with zk_completion_free.
typedef struct {
  uint64_t tag;
  int32_t sample;
  int32_t num_tokens;
  int32_t *tokens;       // [num_tokens], the ending token included
  int32_t *drawn;        // [num_tokens] what the random numbers chose; differs from tokens only when forced
  float *logprob;        // [num_tokens] of drawn[]
  float *lse;            // [num_tokens] log-sum-exp of what it was drawn from
  uint64_t *logits_hash; // [num_tokens], NULL unless wanted
  zk_finish_reason finish;
  int32_t finish_detail; // as in trajectory.h
} zk_completion;
void zk_completion_free(zk_completion *completion);

typedef struct {
  uint64_t steps, rows, decode_rows, prefill_rows, preemptions, forks, page_copies;
  uint64_t drafted, accepted; // tokens guessed ahead; of those, the ones that saved a step
  uint64_t thrown_rows; // computed before it was known that their samples had ended; in no other count
  uint64_t graph_steps; // replayed from recorded graphs
  uint64_t late_steps;  // were queued when the one before them was done already: the device may have waited for the host
  double device_s;      // the device spent on steps, by its own clock
  uint64_t reused_rows;       // found in the prefix cache instead of being computed
  int32_t num_pages, num_free_pages, num_idle_pages; // idle: free but for what the prefix cache may find there
  size_t kv_bytes;
} zk_engine_stats;

// Bytes of KV cache that `options` (with kv_room) come to, at least one sequence's; for the memory plan. Less than kv_bytes by part of a page.
size_t zk_engine_kv_bytes(const zk_policy *policy, const zk_engine_options *options);
// Allocates the KV cache and buffers. ZK_OUT_OF_MEMORY says how much is needed for what, ZK_BAD_INPUT when kv_bytes cannot hold one
// sequence. `policy` (and what options borrows) must outlive the engine.
zk_status zk_engine_open(const zk_policy *policy, const zk_engine_options *options, zk_engine **out);
void zk_engine_close(zk_engine *engine);

// Changes what is sampled, between batches of requests (nothing may be open): evaluation and training share one engine.
void zk_engine_set_sampling(zk_engine *engine, double temperature, int32_t top_k, double top_p);

// Gives the KV cache's memory back, between batches of requests (nothing may be open), so that training can have it. Until zk_side_wake takes it again for
// sampling, at the same addresses, nothing may be submitted. Resting twice is fine; a new engine is awake.
zk_status zk_engine_rest(zk_engine *engine);

// Queues a group. A prompt that is empty or leaves no room for one new token ends its samples at once, as ZK_FINISH_PROMPT. ZK_BAD_INPUT for
// forced tokens that do not fit.
zk_status zk_engine_submit(zk_engine *engine, const zk_request *request);
int32_t zk_engine_num_open(const zk_engine *engine);    // samples queued or running
int32_t zk_engine_num_waiting(const zk_engine *engine); // of those, queued
bool zk_engine_has_room(const zk_engine *engine);       // a group that is submitted now would be begun in the next steps, beside those that are queued
// Queues one batch and takes in what is drawn, steps_ahead later; with nothing to queue, whatever is still to come. Nothing to do is ZK_OK.
zk_status zk_engine_step(zk_engine *engine);
// The next finished sample; false when there is none yet.
bool zk_engine_take(zk_engine *engine, zk_completion *out);
void zk_engine_get_stats(const zk_engine *engine, zk_engine_stats *out);
zk_stream *zk_engine_stream(zk_engine *engine);         // its call counters show that it decoded with its cache

#endif
