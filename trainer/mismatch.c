// Counting and naming tokens whose bits differ.
#include "trainer/mismatch.h"

#include <math.h>

#include "kernels/math.h"

void zk_mismatch_compute(const zk_trajectory *t, zk_mismatch *out) {
  *out = (zk_mismatch){.first = -1};
  for (int64_t i = 0; i < t->num_samples; i++) {
    if (t->finish_reason[i] == ZK_FINISH_NOT_FINITE) continue; // what rows beside infinite values give is nobody's promise
    for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++) {
      if (!t->loss_mask[k]) continue;
      float ours = t->trainer_logprob[k], theirs = t->sampler_logprob[k];
      if (zk_float_bits(ours) == zk_float_bits(theirs) && isfinite(ours)) continue; // which adds nothing to any sum
      double d = (double)ours - (double)theirs;
      out->k1 -= d, out->k3 += zk_exp(d) - 1 - d;
      if (fabs(d) > out->max_abs) out->max_abs = fabs(d);
      if (zk_float_bits(ours) == zk_float_bits(theirs) && ours == ours) continue;
      if (out->tokens++ == 0) out->first = k;
    }
  }
  const int64_t sampled = zk_trajectory_num_sampled(t, 0, t->num_samples);
  double n = sampled ? (double)sampled : 1;
  out->k1 /= n, out->k3 /= n;
}

zk_status zk_mismatch_fail(const zk_trajectory *t, const zk_mismatch *mismatch) {
  const int64_t k = mismatch->first;
  int64_t i = 0;
  while (t->sample_offsets[i + 1] <= k) i++;
  return ZK_FAIL(ZK_MISMATCH,
                 "sampler and trainer disagree on %lld of %lld tokens; first: step %lld, prompt %llu, sample %d, position %lld: sampler %.9g (0x%08x), "
                 "trainer %.9g (0x%08x). Nothing was updated; run `zerokl check` on this machine",
                 (long long)mismatch->tokens, (long long)zk_trajectory_num_sampled(t, 0, t->num_samples), (long long)t->step, (unsigned long long)t->prompt_id[t->prompt_index[i]],
                 t->sample_index[i], (long long)(k - t->sample_offsets[i]), (double)t->sampler_logprob[k], zk_float_bits(t->sampler_logprob[k]),
                 (double)t->trainer_logprob[k], zk_float_bits(t->trainer_logprob[k]));
}
