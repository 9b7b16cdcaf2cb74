// The prompts and samples of one training step: the next prompts of the task, or (algorithm.dynamic_sampling) as many further ones as it takes to have a full
// step of groups that teach something.
#ifndef ZK_ROLLOUT_COLLECT_STEP_H
#define ZK_ROLLOUT_COLLECT_STEP_H

#include "rollout/collect.h"

// Step s takes task indices (s - 1) P .. s P - 1, P being rollout.prompts_per_step. With dynamic sampling (Yu et al. 2025, DAPO, section 3.2) these are followed
// by 2^30 + (s - 1) P (ZK_CONFIG_MOST_TRIED - 1) and so on, and the step is the first P groups, in that order, whose rewards are not all equal. Which
// those are depends on rewards and on nothing else: not on who finished first, not on how many are sampled at a time, not on algorithm.dynamic_limit,
// beyond which times P prompts the run stops. A group with logits that are not finite is kept, for the trainer to stop at.

// Samples step `step` as zk_collect does. *num_tried: prompts up to the last one kept, dropped ones included. ZK_BAD_INPUT when the limit is reached. Collective.
zk_status zk_collect_step(zk_session *session, zk_engine *engine, uint32_t step, const char *what, bool may_stop, zk_trajectory *out, zk_collect_stats *stats,
                          int64_t *num_tried);
// Whether prompt row `row` of a step may have this task index. Without dynamic sampling there is one that it must have.
bool zk_step_may_have(const zk_config *config, int64_t step, int64_t row, uint64_t index);
// The task index that row has without dynamic sampling.
uint64_t zk_step_index(const zk_config *config, int64_t step, int64_t row);
// *num_tried of a step whose last kept prompt has this task index.
int64_t zk_step_num_tried(const zk_config *config, int64_t step, uint64_t last_index);
// Whether samples [first, last), one group, have rewards that are all equal.
bool zk_group_is_flat(const zk_trajectory *t, int64_t first, int64_t last);

#endif
