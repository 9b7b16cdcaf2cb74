// Losses of one token, and sums over updates.
#include "trainer/policy_loss.h"

#include "kernels/math.h"
#include "trainer/kl.h"

static int64_t length_of(const zk_trajectory *t, int64_t i) { return t->sample_offsets[i + 1] - t->sample_offsets[i]; }
// A sample that was cut off may be left out.
static bool is_masked(const zk_config *c, const zk_trajectory *t, int64_t i) {
  return c->algorithm.overlong.mask && t->finish_reason[i] == ZK_FINISH_LENGTH;
}
// Tokens of a sample that are trained: an environment's replies between them are in no sum.
static int64_t trained_of(const zk_config *c, const zk_trajectory *t, int64_t i) {
  return is_masked(c, t, i) ? 0 : zk_trajectory_num_sampled(t, i, i + 1);
}

zk_policy_batch zk_policy_batch_of(const zk_config *config, const zk_trajectory *t, int64_t first, int64_t last, const float *before) {
  zk_policy_batch b = {.config = config, .trajectory = t, .first = first, .last = last, .before = before};
  for (int64_t i = first; i < last; i++) {
    b.num_tokens += (double)trained_of(config, t, i);
    if (trained_of(config, t, i)) b.num_seqs++;
  }
  return b;
}

// What each of a sample's tokens weighs.
static double weight_of(const zk_policy_batch *b, int64_t sample) {
  switch (b->config->algorithm.loss_aggregation) {
  case ZK_CONFIG_LOSS_SEQUENCE_MEAN:
    return 1.0 / (b->num_seqs * (double)trained_of(b->config, b->trajectory, sample));
  case ZK_CONFIG_LOSS_CONSTANT:
    return 1.0 / (b->num_seqs * (double)b->config->algorithm.loss_constant);
  default:
    return 1.0 / b->num_tokens;
  }
}

static double bounded(double log_ratio) {
  return log_ratio > ZK_MAX_LOG_RATIO ? ZK_MAX_LOG_RATIO : log_ratio < -ZK_MAX_LOG_RATIO ? -ZK_MAX_LOG_RATIO : log_ratio;
}

// Nearly always of 0: that of weights that have not changed.
static double exp_bounded(double log_ratio) { return log_ratio == 0 ? 1 : zk_exp(bounded(log_ratio)); }

// Log of a token's ratio, and of its importance weight.
typedef struct {
  double ratio, importance;
} token_logs;

static token_logs logs_of(const zk_policy_batch *b, int64_t at, float logprob) {
  const double policy = (double)logprob, sampler = (double)b->trajectory->sampler_logprob[at];
  const double before = b->before ? (double)b->before[at] : policy;
  if (b->config->algorithm.importance.mode == ZK_CONFIG_IMPORTANCE_NONE) return (token_logs){policy - sampler, 0};
  if (b->config->algorithm.ratio == ZK_CONFIG_RATIO_NONE) return (token_logs){policy - sampler, policy - sampler};
  return (token_logs){policy - before, before - sampler};
}

zk_policy_sequence zk_policy_sequence_of(const zk_policy_batch *b, int64_t sample, const float *logprob) {
  const zk_trajectory *t = b->trajectory;
  const int64_t n = trained_of(b->config, t, sample), at = t->sample_offsets[sample];
  double ratio = 0, importance = 0;
  for (int64_t k = 0; k < length_of(t, sample); k++) {
    if (!t->loss_mask[at + k]) continue;
    const token_logs token = logs_of(b, at + k, logprob[k]);
    ratio += token.ratio, importance += token.importance;
  }
  return (zk_policy_sequence){.sample = sample, .weight = n ? weight_of(b, sample) : 0, .log_ratio = n ? ratio / (double)n : 0, .importance = importance};
}

static zk_token_loss clipped_loss(const zk_config *c, double ratio, double advantage, double logprob) {
  const double low = 1 - c->algorithm.clip_low, high = 1 + c->algorithm.clip_high, plain = ratio * advantage;
  const double clipped_ratio = ratio < low ? low : ratio > high ? high : ratio, clipped = clipped_ratio * advantage;
  if (c->algorithm.ratio == ZK_CONFIG_RATIO_NONE) return (zk_token_loss){.loss = -advantage * logprob, .slope = -advantage};
  switch (c->algorithm.clip) {
  case ZK_CONFIG_CLIP_PPO:
    if (clipped < plain) return (zk_token_loss){.loss = -clipped, .clipped = true};
    break;
  case ZK_CONFIG_CLIP_CISPO:
    return (zk_token_loss){.loss = -clipped * logprob, .slope = -clipped, .clipped = clipped_ratio != ratio};
  case ZK_CONFIG_CLIP_NONE:
    break;
  }
  return (zk_token_loss){.loss = -plain, .slope = -plain}; // d(ratio)/dlogprob = ratio
}

static void weigh(const zk_config *c, double weight, zk_token_loss *token) {
  token->capped = weight > c->algorithm.importance.cap;
  if (token->capped) weight = c->algorithm.importance.mode == ZK_CONFIG_IMPORTANCE_MASK ? 0 : c->algorithm.importance.cap;
  token->loss *= weight, token->slope *= weight;
}

static void add_kl(const zk_config *c, double logprob, double reference, zk_token_loss *token) {
  const zk_kl kl = zk_kl_estimate(c->algorithm.kl.estimator, logprob, reference);
  token->kl = kl.value;
  if (c->algorithm.kl.place != ZK_CONFIG_KL_IN_LOSS) return;
  token->loss += c->algorithm.kl.coef * kl.value, token->slope += c->algorithm.kl.coef * kl.slope;
}

zk_token_loss zk_policy_token_loss(const zk_policy_batch *b, const zk_policy_sequence *s, int64_t k, float logprob) {
  const zk_config *c = b->config;
  const int64_t at = b->trajectory->sample_offsets[s->sample] + k;
  const token_logs own = logs_of(b, at, logprob);
  const double ratio = exp_bounded(c->algorithm.ratio == ZK_CONFIG_RATIO_SEQUENCE ? s->log_ratio : own.ratio);
  zk_token_loss token = clipped_loss(c, ratio, (double)b->trajectory->advantage[s->sample], (double)logprob);
  token.ratio = ratio;
  const double importance = c->algorithm.importance.level == ZK_CONFIG_IMPORTANCE_SEQUENCE ? s->importance : own.importance;
  if (c->algorithm.importance.mode != ZK_CONFIG_IMPORTANCE_NONE) weigh(c, exp_bounded(importance), &token);
  if (c->algorithm.kl.coef > 0) add_kl(c, (double)logprob, (double)b->trajectory->reference_logprob[at], &token);
  return token;
}

zk_status zk_policy_loss(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob) {
  (void)entropy; // a bonus's slopes do not depend on it: zk_policy_entropy_slopes
  const zk_policy_batch *b = context;
  const zk_policy_sequence s = zk_policy_sequence_of(b, b->first + seq, logprob);
  const uint8_t *mask = b->trajectory->loss_mask + b->trajectory->sample_offsets[s.sample];
  for (int64_t k = 0; k < num_targets; k++) dlogprob[k] = mask[k] ? (float)(zk_policy_token_loss(b, &s, k, logprob[k]).slope * s.weight) : 0;
  return ZK_OK;
}

void zk_policy_entropy_slopes(const zk_policy_batch *b, float *dentropy) {
  const zk_trajectory *t = b->trajectory;
  for (int64_t i = b->first; i < b->last; i++) {
    const double weight = trained_of(b->config, t, i) ? weight_of(b, i) : 0;
    for (int64_t k = t->sample_offsets[i]; k < t->sample_offsets[i + 1]; k++)
      dentropy[k] = t->loss_mask[k] ? (float)(-b->config->algorithm.entropy_coef * weight) : 0;
  }
}

void zk_policy_stats_add(zk_policy_stats *stats, const zk_policy_batch *b, const float *logprob, const float *entropy) {
  const zk_trajectory *t = b->trajectory;
  for (int64_t i = b->first; i < b->last; i++) {
    if (t->finish_reason[i] == ZK_FINISH_NOT_FINITE || is_masked(b->config, t, i)) continue; // not finite: as in the comparison
    const int64_t at = t->sample_offsets[i];
    const zk_policy_sequence s = zk_policy_sequence_of(b, i, logprob + at);
    for (int64_t k = 0; k < length_of(t, i); k++) {
      if (!t->loss_mask[at + k]) continue;
      const zk_token_loss token = zk_policy_token_loss(b, &s, k, logprob[at + k]);
      const double h = (double)entropy[at + k];
      stats->loss += (token.loss - b->config->algorithm.entropy_coef * h) * s.weight, stats->entropy += h;
      stats->clip_frac += token.clipped, stats->cap_frac += token.capped, stats->kl += token.kl;
      if (token.ratio > stats->ratio_max) stats->ratio_max = token.ratio;
    }
    stats->num_tokens += trained_of(b->config, t, i);
  }
  stats->num_updates++;
}

void zk_policy_stats_finish(zk_policy_stats *stats) {
  const double tokens = stats->num_tokens ? (double)stats->num_tokens : 1;
  stats->loss /= stats->num_updates ? (double)stats->num_updates : 1;
  stats->entropy /= tokens, stats->clip_frac /= tokens, stats->cap_frac /= tokens, stats->kl /= tokens;
}
