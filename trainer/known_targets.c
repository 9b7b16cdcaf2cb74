// The sampler's view of a step on its way to the trainer, and the comparison afterwards.
#include "trainer/known_targets.h"

#include <stdlib.h>

#include "kernels/math.h"

bool zk_targets_are_known(const zk_trajectory *t) { return t->sampler_lse && zk_trajectory_num_sampled(t, 0, t->num_samples) == t->num_sample_tokens; }

zk_status zk_known_targets_make(const zk_trajectory *t, zk_known_targets *out) {
  *out = (zk_known_targets){t->sampler_logprob, t->sampler_lse, calloc((size_t)t->num_sample_tokens + 1, sizeof(float))};
  return out->found_lse ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld tokens", (long long)t->num_sample_tokens);
}

void zk_known_targets_free(zk_known_targets *known) {
  free(known->found_lse);
  *known = (zk_known_targets){0};
}

zk_status zk_known_targets_compare(const zk_trajectory *t, const zk_known_targets *known) {
  for (int64_t i = 0; i < t->num_samples; i++)
    for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++) {
      const float theirs = known->lse[k], ours = known->found_lse[k];
      if (zk_float_bits(theirs) == zk_float_bits(ours) && ours == ours) continue;
      return ZK_FAIL(ZK_MISMATCH,
                     "sampler and trainer disagree on a log-sum-exp and agree on the log-probability: step %lld, prompt %llu, sample %d, position %lld: "
                     "sampler %.9g (0x%08x), trainer %.9g (0x%08x). Nothing was updated; run `zerokl check` on this machine",
                     (long long)t->step, (unsigned long long)t->prompt_id[t->prompt_index[i]], t->sample_index[i], (long long)(k - t->sample_offsets[i]),
                     (double)theirs, zk_float_bits(theirs), (double)ours, zk_float_bits(ours));
    }
  return ZK_OK;
}
