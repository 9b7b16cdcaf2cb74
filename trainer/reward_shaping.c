// Length, and the divergence from the reference, as penalties.
#include "trainer/reward_shaping.h"

#include "trainer/kl.h"

static bool has_kl(const zk_config *c) { return c->algorithm.kl.coef > 0 && c->algorithm.kl.place == ZK_CONFIG_KL_IN_REWARD; }

bool zk_reward_is_shaped(const zk_config *c) { return has_kl(c) || c->algorithm.overlong.penalty > 0; }

static double kl_penalty(const zk_config *c, const zk_trajectory *t, int64_t i) {
  double kl = 0;
  for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++)
    if (t->loss_mask[k]) kl += zk_kl_estimate(c->algorithm.kl.estimator, (double)t->sampler_logprob[k], (double)t->reference_logprob[k]).value;
  return c->algorithm.kl.coef * kl;
}

static double length_penalty(const zk_config *c, const zk_trajectory *t, int64_t i) {
  const double buffer = (double)c->algorithm.overlong.buffer, free_tokens = (double)c->rollout.max_new_tokens - buffer;
  const double over = ((double)zk_trajectory_num_sampled(t, i, i + 1) - free_tokens) / buffer;
  return c->algorithm.overlong.penalty * (over < 0 ? 0 : over > 1 ? 1 : over);
}

double zk_reward_penalty(const zk_config *c, const zk_trajectory *t, int64_t i) {
  return (has_kl(c) ? kl_penalty(c, t, i) : 0) + (c->algorithm.overlong.penalty > 0 ? length_penalty(c, t, i) : 0);
}
