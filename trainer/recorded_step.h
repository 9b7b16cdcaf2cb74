// A step of a run whose program (command.run) was asked already: its rewards and replies are inputs that are on disk, and a resume takes them from there.
//
// A run that was killed has trajectories of steps behind its newest checkpoint. They are made again, to the same bits; but nobody promises that a program says the same
// twice, or that who was late is late again.
#ifndef ZK_TRAINER_RECORDED_STEP_H
#define ZK_TRAINER_RECORDED_STEP_H

#include "rollout/collect_step.h"
#include "shared/run_dir.h"

// Samples step `step` behind the replies, and with the rewards, that RUN's trajectory of it holds. *found is false, and nothing done, when there is none, or the
// task has no program. dir: rank 0's; NULL elsewhere. ZK_BAD_ARCHIVE when it cannot be read, is no step of this config, or
// holds other completions than those that are sampled now. Collective.
zk_status zk_recorded_step_sample(zk_session *session, zk_engine *engine, const zk_run_dir *dir, int64_t step, zk_trajectory *out, zk_collect_stats *stats,
                                  int64_t *num_tried, bool *found);

#endif
