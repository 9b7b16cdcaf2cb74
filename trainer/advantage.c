// Group baselines and scales.
#include "trainer/advantage.h"

#include <math.h>

// Samples of one prompt are adjacent: [first, end).
static int64_t group_end(const zk_trajectory *t, int64_t first) {
  int64_t end = first;
  while (end < t->num_samples && t->prompt_index[end] == t->prompt_index[first]) end++;
  return end;
}

static void mean_and_squares(const float *x, int64_t n, double *mean, double *squares) {
  double sum = 0, sq = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)x[i];
  *mean = n ? sum / (double)n : 0;
  for (int64_t i = 0; i < n; i++) sq += ((double)x[i] - *mean) * ((double)x[i] - *mean);
  *squares = sq;
}

zk_status zk_advantage_compute(const zk_config *config, zk_trajectory *t, zk_advantage_stats *stats) {
  double squares;
  mean_and_squares(t->reward, t->num_samples, &stats->reward_mean, &squares);
  stats->reward_std = t->num_samples ? sqrt(squares / (double)t->num_samples) : 0;
  stats->zero_std_groups = 0;
  for (int64_t first = 0, end; first < t->num_samples; first = end) {
    end = group_end(t, first);
    int64_t n = end - first;
    double mean, scale = 1;
    mean_and_squares(t->reward + first, n, &mean, &squares);
    if (squares == 0) stats->zero_std_groups++;
    if (config->algorithm.advantage.baseline == ZK_CONFIG_BASELINE_NONE) mean = 0;
    if (config->algorithm.advantage.scale == ZK_CONFIG_SCALE_STD) scale = sqrt(n > 1 ? squares / (double)(n - 1) : 0) + 1e-6;
    for (int64_t i = first; i < end; i++) {
      t->advantage[i] = (float)(((double)t->reward[i] - mean) / scale);
      if (!isfinite(t->advantage[i]))
        return ZK_FAIL(ZK_NOT_FINITE, "step %lld, prompt %lld, sample %d: the advantage is not finite (reward %g)", (long long)t->step,
                       (long long)t->prompt_id[t->prompt_index[i]], t->sample_index[i], (double)t->reward[i]);
    }
  }
  return ZK_OK;
}
