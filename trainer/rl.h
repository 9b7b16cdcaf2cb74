// The RL loop: sample, reward, compare bits, update, record.
#ifndef ZK_TRAINER_RL_H
#define ZK_TRAINER_RL_H

#include "rollout/collect_step.h"
#include "trainer/advantage.h"
#include "trainer/recorded_step.h"
#include "trainer/reference.h"
#include "trainer/run.h"

// Sets a step's identity fields (run name, step, seed, hashes, config ...). weights_hash: before the step's update.
zk_status zk_rl_describe(const zk_session *session, const char *identity, int64_t step, uint64_t weights_hash, zk_trajectory *t);
// Samples step `step` of a run (rollout/collect_step.h; what a program said in it before: recorded_step.h, from `dir`, rank 0's): completions, rewards, identity fields; reference_logprob, trainer_logprob and advantages stay zero. Collective.
zk_status zk_rl_sample(zk_session *session, zk_engine *engine, const zk_run_dir *dir, const char *identity, int64_t step, uint64_t weights_hash, zk_trajectory *t,
                       zk_collect_stats *collect, int64_t *num_tried);
// Then what follows from the completions alone: reference_logprob, where there is a reference model (NULL: none), and advantages. Collective.
zk_status zk_rl_advance(const zk_session *session, zk_reference *reference, const zk_sequences *seqs, zk_trajectory *t, zk_advantage_stats *advantage);
// Runs config->run.steps steps from where the run stands. Collective.
zk_status zk_rl_train(zk_run *run);

#endif
