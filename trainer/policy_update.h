// All updates of one step: epochs x minibatches of them, each with its own gradient and optimiser step.
#ifndef ZK_TRAINER_POLICY_UPDATE_H
#define ZK_TRAINER_POLICY_UPDATE_H

#include "trainer/mismatch.h"
#include "trainer/policy_loss.h"
#include "trainer/update.h"

typedef struct {
  zk_mismatch mismatch;
  zk_policy_stats policy;
  zk_update_result update; // of the last one: hashes of the state after the step, and its gradient's norm
  double compare_s;        // what comparing bits took
} zk_policy_update;

// Updates in a step of RL; a run of sft has one.
int32_t zk_policy_updates_per_step(const zk_config *config);

// Updates the weights from a step whose advantages are known; fills t->trainer_logprob. Minibatch m of M is samples [ceil(m S / M), ceil((m + 1) S / M)) of
// S, in (prompt, sample) order in every epoch: a function of the step alone. With more than one update a forward pass over all samples comes first. Every
// sampled token's two log-probabilities are compared before the first update; when bits differ, nothing is updated and ZK_MISMATCH is returned, unless
// may_differ. seqs: zk_sequences_from_trajectory's. ZK_NOT_FINITE: a gradient is not. Collective.
zk_status zk_policy_update_step(zk_updater *updater, zk_trajectory *t, const zk_sequences *seqs, double lr, bool may_differ, zk_policy_update *out);

#endif
