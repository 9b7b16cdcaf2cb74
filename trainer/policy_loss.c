// Losses of one token, and sums over a step.
#include "trainer/policy_loss.h"

#include <math.h>

#include "kernels/math.h"

zk_token_loss zk_policy_token_loss(const zk_config *c, double advantage, float sampler_logprob, float logprob) {
  double ratio = zk_exp((double)logprob - (double)sampler_logprob); // exactly 1 when the bits agree
  if (c->algorithm.name == ZK_CONFIG_ALGORITHM_REINFORCE)
    return (zk_token_loss){-advantage * (double)logprob, ratio, -advantage, 0};
  double low = 1 - c->algorithm.clip_low, high = 1 + c->algorithm.clip_high;
  double clipped_ratio = ratio < low ? low : ratio > high ? high : ratio;
  double plain = ratio * advantage, clipped = clipped_ratio * advantage;
  if (clipped < plain) return (zk_token_loss){-clipped, ratio, 0, 1};
  return (zk_token_loss){-plain, ratio, -plain, 0}; // d(ratio)/dlogprob = ratio
}

zk_status zk_policy_loss(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob) {
  (void)entropy; // no entropy bonus in these losses
  const zk_policy_loss_context *x = context;
  const zk_trajectory *t = x->trajectory;
  double weight = 1.0 / (double)t->num_sample_tokens;
  for (int64_t k = 0; k < num_targets; k++) {
    zk_token_loss token = zk_policy_token_loss(x->config, (double)t->advantage[seq], t->sampler_logprob[t->sample_offsets[seq] + k], logprob[k]);
    dlogprob[k] = (float)(token.slope * weight);
  }
  return ZK_OK;
}

void zk_policy_stats_compute(const zk_config *c, const zk_trajectory *t, const float *entropy, zk_policy_stats *out) {
  *out = (zk_policy_stats){.first_mismatch = -1};
  int64_t clipped = 0;
  for (int64_t i = 0; i < t->num_samples; i++) {
    if (t->finish_reason[i] == ZK_FINISH_NOT_FINITE) continue; // what rows beside infinite values give is nobody's promise
    for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++) {
      float ours = t->trainer_logprob[k], theirs = t->sampler_logprob[k];
      zk_token_loss token = zk_policy_token_loss(c, (double)t->advantage[i], theirs, ours);
      double d = (double)ours - (double)theirs;
      out->loss += token.loss, out->entropy += (double)entropy[k], clipped += token.clipped;
      if (token.ratio > out->ratio_max) out->ratio_max = token.ratio;
      out->kl_k1 -= d, out->kl_k3 += token.ratio - 1 - d;
      if (fabs(d) > out->mismatch_max_abs) out->mismatch_max_abs = fabs(d);
      // NaN never counts as equal, whatever its bits.
      if (zk_float_bits(ours) == zk_float_bits(theirs) && ours == ours) continue;
      if (out->mismatch_tokens++ == 0) out->first_mismatch = k;
    }
  }
  double n = t->num_sample_tokens ? (double)t->num_sample_tokens : 1;
  out->loss /= n, out->entropy /= n, out->kl_k1 /= n, out->kl_k3 /= n;
  out->clip_frac = (double)clipped / n;
}

zk_status zk_policy_mismatch(const zk_trajectory *t, int64_t index, int64_t num_mismatches) {
  int64_t i = 0;
  while (t->sample_offsets[i + 1] <= index) i++;
  return ZK_FAIL(ZK_MISMATCH,
                 "sampler and trainer disagree on %lld of %lld tokens; first: step %lld, prompt %llu, sample %d, position %lld: sampler %.9g (0x%08x), "
                 "trainer %.9g (0x%08x). Nothing was updated; run `zerokl check` on this machine",
                 (long long)num_mismatches, (long long)t->num_sample_tokens, (long long)t->step, (unsigned long long)t->prompt_id[t->prompt_index[i]],
                 t->sample_index[i], (long long)(index - t->sample_offsets[i]), (double)t->sampler_logprob[index],
                 zk_float_bits(t->sampler_logprob[index]), (double)t->trainer_logprob[index], zk_float_bits(t->trainer_logprob[index]));
}
