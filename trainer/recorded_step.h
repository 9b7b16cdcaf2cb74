// A step of a run whose program (command.run) was asked already: its rewards and replies are inputs that are on disk, and a resume takes them from there.
//
// A run that was killed has trajectories of steps behind its newest checkpoint. They are made again, to the same bits; but nobody promises that a program says the same
// twice, or that who was late is late again.
// All of this reads HDF5 files, which one thread of a process may do at a time: what a step leaves on disk (step_writer.h) has been waited for.
#ifndef ZK_TRAINER_RECORDED_STEP_H
#define ZK_TRAINER_RECORDED_STEP_H

#include "rollout/collect_step.h"
#include "shared/run_dir.h"

// The trajectory in `path` (rank 0's; NULL elsewhere) on every rank; `name` is for errors. *found is false when there is no such file. Collective.
zk_status zk_recorded_read(zk_comm *comm, const char *path, const char *name, zk_trajectory *out, bool *found);
// Whether it is `step` of this session's task and model, of `num_prompts` groups of `group` samples each.
bool zk_recorded_fits(const zk_session *session, const zk_trajectory *t, int64_t step, int64_t num_prompts, int64_t group);
// Recorded rewards are of the recorded completions: ZK_BAD_ARCHIVE, saying `path`, where those are not what was sampled `now`, of as many samples.
zk_status zk_recorded_compare(const zk_trajectory *recorded, const zk_trajectory *now, const char *path);
// Samples step `step` behind the replies, and with the rewards, that RUN's trajectory of it holds. *found is false, and nothing done, when there is none, or the
// task has no program. dir: rank 0's; NULL elsewhere. ZK_BAD_ARCHIVE when it cannot be read, is no step of this config, or
// holds other completions than those that are sampled now. Collective.
zk_status zk_recorded_step_sample(zk_session *session, zk_engine *engine, const zk_run_dir *dir, int64_t step, zk_trajectory *out, zk_collect_stats *stats,
                                  int64_t *num_tried, bool *found);

#endif
