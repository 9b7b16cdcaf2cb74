// Advantages of a step's samples from their rewards, group by group.
#ifndef ZK_TRAINER_ADVANTAGE_H
#define ZK_TRAINER_ADVANTAGE_H

#include "shared/config.h"
#include "shared/trajectory.h"

typedef struct {
  double reward_mean, reward_std;    // over all samples; population standard deviation
  int64_t zero_std_groups;           // groups whose rewards are all equal: they teach nothing
} zk_advantage_stats;

// Fills t->advantage from t->reward. Baseline: the group's mean (Shao et al. 2024, GRPO) or none. Scale: divided by the group's sample
// standard deviation + 1e-6, or not. Double sums in sample order, rounded once to f32: a function of the rewards alone.
zk_status zk_advantage_compute(const zk_config *config, zk_trajectory *t, zk_advantage_stats *stats);

#endif
