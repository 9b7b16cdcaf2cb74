// The divergence from the reference as a penalty.
#include "trainer/reward_shaping.h"

#include "trainer/kl.h"

static bool has_kl(const zk_config *c) { return c->algorithm.kl.coef > 0 && c->algorithm.kl.place == ZK_CONFIG_KL_IN_REWARD; }

bool zk_reward_is_shaped(const zk_config *c) { return has_kl(c); }

double zk_reward_penalty(const zk_config *c, const zk_trajectory *t, int64_t i) {
  double kl = 0;
  for (int64_t k = t->sample_offsets[i]; has_kl(c) && k < t->sample_offsets[i + 1]; k++)
    if (t->loss_mask[k]) kl += zk_kl_estimate(c->algorithm.kl.estimator, (double)t->sampler_logprob[k], (double)t->reference_logprob[k]).value;
  return c->algorithm.kl.coef * kl;
}
