// The policy-gradient losses: value and dLoss/dlogprob of every token of an update, from what shared/algorithms.h's table is made of: ratio, clip and
// aggregation. Double arithmetic on the host, a token's slope rounded to f32 once.
#ifndef ZK_TRAINER_POLICY_LOSS_H
#define ZK_TRAINER_POLICY_LOSS_H

#include "shared/config.h"
#include "shared/trajectory.h"
#include "trainer/gradient.h"

// Beyond this a log-ratio's exponential is not taken: e^20 is no weight that trains, and nothing overflows.
#define ZK_MAX_LOG_RATIO 20.0

// What one update trains on: the tokens that the policy sampled (loss_mask 1) of samples [first, last) of a step.
typedef struct {
  const zk_config *config;
  const zk_trajectory *trajectory;
  int64_t first, last;
  const float *before; // [tokens of the step] log-probabilities before the step's first update; NULL in a pass before it, whose own they are
  double num_tokens, num_seqs; // trained: tokens, and samples that have any; what aggregation divides by
} zk_policy_batch;
zk_policy_batch zk_policy_batch_of(const zk_config *config, const zk_trajectory *t, int64_t first, int64_t last, const float *before);

// What the tokens of one sample share.
typedef struct {
  int64_t sample;
  double weight;     // of each token in the update's loss, by aggregation
  double log_ratio;  // of the sample (ratio: sequence)
  double importance; // log of the sample's importance weight (level: sequence)
} zk_policy_sequence;
// `logprob`: of the sample's tokens under the weights at hand, [num_tokens]. With the sampler's own the result is that of an on-policy pass, which is
// thereby known before any forward pass.
zk_policy_sequence zk_policy_sequence_of(const zk_policy_batch *batch, int64_t sample, const float *logprob);

typedef struct {
  double loss, ratio; // of one token
  double slope;       // dloss/dlogprob
  bool clipped;       // the clip took the token's gradient (ppo) or bounded its weight (cispo)
  bool capped;        // its importance weight was above the cap
  double kl;          // divergence from the reference (algorithm.kl), as estimated; 0 without one
} zk_token_loss;
// Token k of the sample, before its weight. The ratio is e^(difference of log-probabilities) in double: exactly 1 when the bits agree.
//
// Importance correction multiplies by a constant weight w for what the ratio leaves out between policy and sampler: min(w, cap) (TIS, Yao et al. 2025,
// "Your efficient RL framework secretly brings you off-policy RL training") or w, and 0 above the cap (MIS, Liu et al. 2025, "When speed kills
// stability"). With a ratio, that is r = policy / policy before the step's updates, and w = the latter / sampler; with ratio: none, w = policy /
// sampler. Of a divergence in the loss, kl.coef x its estimate (kl.h) is added.
zk_token_loss zk_policy_token_loss(const zk_policy_batch *batch, const zk_policy_sequence *sequence, int64_t k, float logprob);

// dLoss/d entropy of every token of the batch (algorithm.entropy_coef: the mean entropy, aggregated as the losses are, is subtracted from the loss), to
// dentropy [tokens of the step]; 0 of tokens that are not trained.
void zk_policy_entropy_slopes(const zk_policy_batch *batch, float *dentropy);
// A zk_loss_fn whose context is a zk_policy_batch: sequence i is sample first + i.
zk_status zk_policy_loss(void *batch, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob);

// What the step's metrics say of its updates: sums over their tokens, in order, then means.
typedef struct {
  double loss;               // mean over updates
  double entropy, clip_frac, cap_frac, kl; // means over the tokens of all updates
  double ratio_max;
  int64_t num_updates, num_tokens;
} zk_policy_stats;
// Adds one update. logprob and entropy: [tokens of the step], indexed as the trajectory's columns.
void zk_policy_stats_add(zk_policy_stats *stats, const zk_policy_batch *batch, const float *logprob, const float *entropy);
void zk_policy_stats_finish(zk_policy_stats *stats);

#endif
