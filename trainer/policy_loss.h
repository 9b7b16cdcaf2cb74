// The policy-gradient losses, a token at a time: value and dLoss/dlogprob, before aggregation.
//
//   reinforce  -A log p                                          (Williams 1992)
//   grpo       -min(r A, clip(r, 1 - low, 1 + high) A), r = p / p_sampler   (Shao et al. 2024, equation 3, token-mean; PPO's clip)
// token_mean: each token weighs 1 / (trained tokens of the step).
#ifndef ZK_TRAINER_POLICY_LOSS_H
#define ZK_TRAINER_POLICY_LOSS_H

#include "shared/config.h"
#include "shared/trajectory.h"
#include "trainer/gradient.h"

typedef struct {
  double loss, ratio; // of one token
  double slope;       // dloss/dlogprob
  int clipped;
} zk_token_loss;

// The loss of one token. The ratio is e^(logprob - sampler_logprob) in double: exactly 1 when the bits agree.
zk_token_loss zk_policy_token_loss(const zk_config *config, double advantage, float sampler_logprob, float logprob);

// A zk_loss_fn whose context is this: sequence i is sample i of the trajectory.
typedef struct {
  const zk_config *config;
  const zk_trajectory *trajectory;
} zk_policy_loss_context;
zk_status zk_policy_loss(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob);

// What the step's metrics say of the loss, from t->trainer_logprob and entropy[tokens]; double sums in token order.
typedef struct {
  double loss, entropy, clip_frac, ratio_max;
  int64_t mismatch_tokens;             // tokens whose sampler and trainer bits differ
  double mismatch_max_abs, kl_k1, kl_k3; // k1 = mean(sampler - trainer), k3 = mean(e^d - 1 - d), d = trainer - sampler (Schulman 2020)
  int64_t first_mismatch;              // token index, -1 when none
} zk_policy_stats;
void zk_policy_stats_compute(const zk_config *config, const zk_trajectory *t, const float *entropy, zk_policy_stats *out);
// ZK_MISMATCH naming step, prompt, sample, position and both bit patterns of token `index`.
zk_status zk_policy_mismatch(const zk_trajectory *t, int64_t index, int64_t num_mismatches);

#endif
