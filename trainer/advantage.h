// Advantages of a step's samples from their rewards.
#ifndef ZK_TRAINER_ADVANTAGE_H
#define ZK_TRAINER_ADVANTAGE_H

#include "shared/config.h"
#include "shared/trajectory.h"

typedef struct {
  double reward_mean, reward_std;    // over all samples; population standard deviation
  int64_t zero_std_groups;           // groups whose rewards are all equal: less their mean they teach nothing
  double penalty_mean;               // over all samples, of what was subtracted from rewards
} zk_advantage_stats;

// Fills t->advantage from t->reward: (reward - penalty (reward_shaping.h) - baseline) / scale.
//   baseline  group_mean (Shao et al. 2024, GRPO); leave_one_out: the mean of the group's others (Ahmadian et al. 2024, RLOO); batch_mean: of all samples
//             (Hu 2025, REINFORCE++); none
//   scale     std: the sample standard deviation of the group's rewards, + 1e-6; batch_std: that of all samples' differences, + 1e-6; none
// Double sums in sample order, rounded once to f32: a function of the trajectory alone. ZK_NOT_FINITE names the sample.
zk_status zk_advantage_compute(const zk_config *config, zk_trajectory *t, zk_advantage_stats *stats);

#endif
