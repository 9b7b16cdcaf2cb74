// What the sampler knows of a step before the trainer's forward pass: log-probabilities and log-sum-exps, which the trainer must find too, bit for bit, or
// nothing is updated. So it need not wait for its own before it forms the loss, and its LM head forms the logits once for both passes (kernels/lmhead.h).
#ifndef ZK_TRAINER_KNOWN_TARGETS_H
#define ZK_TRAINER_KNOWN_TARGETS_H

#include "trainer/sequences.h"

// Whether that is so of all tokens of a step, in an update at the weights that sampled it: this process has the log-sum-exps (t->sampler_lse), and an
// environment appended none of the tokens. The zk_loss_fn then gives the slopes from t->sampler_logprob.
bool zk_targets_are_known(const zk_trajectory *t);

// found_lse is owned, the rest is the step's.
zk_status zk_known_targets_make(const zk_trajectory *t, zk_known_targets *out);
void zk_known_targets_free(zk_known_targets *known); // a zeroed one is fine
// After zk_updater_gradient: ZK_MISMATCH names the first token of which the trainer found another log-sum-exp, where all log-probabilities are equal
// (mismatch.h).
zk_status zk_known_targets_compare(const zk_trajectory *t, const zk_known_targets *known);

#endif
