// A training batch: whole sequences, cut into leaves, chunks and microbatches. Every cut but the last is part of the law (points 4
// and 10): a function of the sequences and grad_leaves alone. Microbatches are whole chunks, so their size changes no bit.
#ifndef ZK_TRAINER_SEQUENCES_H
#define ZK_TRAINER_SEQUENCES_H

#include <stdint.h>

#include "kernels/chunks.h"
#include "kernels/status.h"
#include "shared/comm.h"
#include "shared/trajectory.h"

// What the trainer's forward pass will find of targets that were sampled from the weights they are trained at (known_targets.h); arrays as per-token
// outputs.
typedef struct {
  const float *logprob, *lse; // the sampler's: log-probabilities, and the log-sum-exps they were made with
  float *found_lse;           // the trainer's own log-sum-exps; it has other places for its log-probabilities
} zk_known_targets;

// Sequence i is tokens[offsets[i] .. offsets[i + 1]); its tokens from index first_target[i] (at least 1) on are predicted and
// trained. Host memory. Target k of sequence i has index target_offsets[i] + k in per-token outputs.
typedef struct {
  int64_t num_seqs;
  const int64_t *offsets;        // [num_seqs + 1]; of a part of a batch, not from 0
  const int32_t *tokens;
  const int32_t *first_target;   // [num_seqs], 1 <= first_target <= length
  const int64_t *target_offsets; // [num_seqs + 1]
  const zk_known_targets *known; // NULL: nothing is known. Borrowed
  const float *dentropy;         // dLoss/d entropy, indexed as per-token outputs; NULL: the loss does not depend on entropies. Borrowed
} zk_sequences;

// Prompt and completion of every sample of a step as one sequence each; completions are the targets. Owned: zk_sequences_free.
zk_status zk_sequences_from_trajectory(const zk_trajectory *t, zk_sequences *out);
void zk_sequences_free(zk_sequences *seqs);
// Sequences [first, last) as a batch of their own, targets numbered as in the whole. Shares memory: not to be freed.
zk_sequences zk_sequences_part(const zk_sequences *seqs, int64_t first, int64_t last);
// Fills values[targets] (from target_offsets[0] on), of which every rank has those of its own sequences [first, last), on all ranks. Own sequences ascend with the
// ranks, so that concatenation is the whole. Collective.
zk_status zk_sequences_share(zk_comm *comm, const zk_sequences *seqs, int64_t first, int64_t last, float *values);

// Sequences [first, last) of leaf `leaf`: sequence i belongs to leaf floor(i * num_leaves / num_seqs).
void zk_leaf_range(int64_t num_seqs, int32_t num_leaves, int32_t leaf, int64_t *first, int64_t *last);
// Leaves [first, last) of a rank: contiguous and as even as can be.
void zk_rank_leaves(int32_t num_leaves, int rank, int num_ranks, int32_t *first, int32_t *last);

// One microbatch: sequences [first_seq, last_seq), num_rows tokens, in chunks.
typedef struct {
  int64_t first_seq, last_seq;
  int64_t num_rows, num_targets;
  int32_t num_chunks;
  int32_t *row_start;    // [num_chunks + 1] chunk boundaries in rows
  int32_t *target_start; // [num_chunks + 1] the same in trained targets
} zk_microbatch;

typedef struct {
  int32_t num;
  zk_microbatch *microbatches;
  int64_t max_rows, max_targets, max_seqs; // over the microbatches
} zk_microbatch_plan;

// Cuts sequences [first, last) of one leaf. A microbatch takes whole chunks up to `microbatch_tokens`, at least one.
zk_status zk_microbatch_plan_create(const zk_sequences *seqs, int64_t first, int64_t last, int64_t microbatch_tokens, zk_microbatch_plan *out);
void zk_microbatch_plan_destroy(zk_microbatch_plan *plan);

#endif
