// Sampler against trainer: every sampled token's two log-probabilities, bit against bit, at the weights that sampled it.
#ifndef ZK_TRAINER_MISMATCH_H
#define ZK_TRAINER_MISMATCH_H

#include "shared/trajectory.h"

typedef struct {
  int64_t tokens;         // whose sampler and trainer bits differ; NaN never counts as equal
  double max_abs, k1, k3; // k1 = mean(sampler - trainer), k3 = mean(e^d - 1 - d), d = trainer - sampler (Schulman 2020)
  int64_t first;          // index of the first such token, -1 when none
} zk_mismatch;

// From t->sampler_logprob and t->trainer_logprob; double sums in token order. Samples that ended at logits that are not finite are left out.
void zk_mismatch_compute(const zk_trajectory *t, zk_mismatch *out);
// ZK_MISMATCH naming step, prompt, sample, position and both bit patterns of the first one.
zk_status zk_mismatch_fail(const zk_trajectory *t, const zk_mismatch *mismatch);

#endif
