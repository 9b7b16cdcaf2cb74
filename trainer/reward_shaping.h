// What is subtracted from a sample's reward before advantages are made of it.
#ifndef ZK_TRAINER_REWARD_SHAPING_H
#define ZK_TRAINER_REWARD_SHAPING_H

#include "shared/config.h"
#include "shared/trajectory.h"

// The penalty of sample i (0 or more, but for k1, whose estimates may be negative), the sum of
//   overlong.penalty x min(1, max(0, (T - (max_new_tokens - buffer)) / buffer)), T the tokens that it sampled (Yu et al. 2025, DAPO, equation 13), and
//   algorithm.kl.coef x the sum of the estimator over its tokens, at the
// sampler's log-probabilities, where algorithm.kl.place is reward (Ouyang et al. 2022; Ahmadian et al. 2024). A function of the trajectory alone; double
// sums in token order.
double zk_reward_penalty(const zk_config *config, const zk_trajectory *t, int64_t i);
// Whether there can be any.
bool zk_reward_is_shaped(const zk_config *config);

#endif
