// Baselines and scales.
#include "trainer/advantage.h"

#include <math.h>
#include <stdlib.h>

#include "rollout/collect_step.h"
#include "trainer/reward_shaping.h"

// Samples of one prompt are adjacent: [first, end).
static int64_t group_end(const zk_trajectory *t, int64_t first) {
  int64_t end = first;
  while (end < t->num_samples && t->prompt_index[end] == t->prompt_index[first]) end++;
  return end;
}

typedef struct {
  double mean, squares; // of differences from it
} moments;

static moments moments_of(const double *x, int64_t n) {
  moments m = {0, 0};
  for (int64_t i = 0; i < n; i++) m.mean += x[i];
  m.mean = n ? m.mean / (double)n : 0;
  for (int64_t i = 0; i < n; i++) m.squares += (x[i] - m.mean) * (x[i] - m.mean);
  return m;
}

static double deviation(moments m, int64_t n) { return sqrt(n > 1 ? m.squares / (double)(n - 1) : 0) + 1e-6; }

// x [n], of one group: rewards in, advantages before a scale over the batch out.
static void advance_group(const zk_config *c, double batch_mean, double *x, int64_t n) {
  const moments group = moments_of(x, n);
  const double scale = c->algorithm.advantage.scale == ZK_CONFIG_SCALE_STD ? deviation(group, n) : 1;
  for (int64_t i = 0; i < n; i++) {
    double baseline = group.mean;
    switch (c->algorithm.advantage.baseline) {
    case ZK_CONFIG_BASELINE_GROUP_MEAN:
      break;
    case ZK_CONFIG_BASELINE_LEAVE_ONE_OUT: // (n mean - x) / (n - 1) = mean - (x - mean) / (n - 1)
      baseline = group.mean - (x[i] - group.mean) / (double)(n - 1);
      break;
    case ZK_CONFIG_BASELINE_BATCH_MEAN:
      baseline = batch_mean;
      break;
    case ZK_CONFIG_BASELINE_NONE:
      baseline = 0;
      break;
    }
    x[i] = (x[i] - baseline) / scale;
  }
}

static zk_status round_off(zk_trajectory *t, const double *x, double scale) {
  for (int64_t i = 0; i < t->num_samples; i++) {
    t->advantage[i] = (float)(x[i] / scale);
    if (!isfinite(t->advantage[i]))
      return ZK_FAIL(ZK_NOT_FINITE, "step %lld, prompt %lld, sample %d: the advantage is not finite (reward %g)", (long long)t->step,
                     (long long)t->prompt_id[t->prompt_index[i]], t->sample_index[i], (double)t->reward[i]);
  }
  return ZK_OK;
}

zk_status zk_advantage_compute(const zk_config *c, zk_trajectory *t, zk_advantage_stats *stats) {
  const int64_t n = t->num_samples;
  double *x = calloc((size_t)n + 1, sizeof *x);
  if (!x) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld advantages", (long long)n);
  for (int64_t i = 0; i < n; i++) x[i] = (double)t->reward[i];
  moments batch = moments_of(x, n);
  *stats = (zk_advantage_stats){.reward_mean = batch.mean, .reward_std = n ? sqrt(batch.squares / (double)n) : 0};
  for (int64_t i = 0; i < n && zk_reward_is_shaped(c); i++) {
    const double penalty = zk_reward_penalty(c, t, i);
    x[i] -= penalty, stats->penalty_mean += penalty / (double)n;
  }
  batch = moments_of(x, n);
  for (int64_t first = 0, end; first < n; first = end) {
    end = group_end(t, first);
    stats->zero_std_groups += zk_group_is_flat(t, first, end);
    advance_group(c, batch.mean, x + first, end - first);
  }
  const double scale = c->algorithm.advantage.scale == ZK_CONFIG_SCALE_BATCH_STD ? deviation(moments_of(x, n), n) : 1;
  const zk_status st = round_off(t, x, scale);
  free(x);
  return st;
}
