// Supervised warm-up on a task's demonstrations, through the same leaves, tree and optimiser as RL.
#ifndef ZK_TRAINER_SFT_H
#define ZK_TRAINER_SFT_H

#include "trainer/run.h"

// The batch of step `step`: sft.batch demonstrations in task order. Owned by the caller: zk_sequences_free. Errors name the item.
zk_status zk_sft_batch(const zk_session *session, int64_t step, zk_sequences *out);
// -log p, token mean: a zk_loss_fn whose context is the int64_t number of targets of the batch.
zk_status zk_sft_loss(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob);
zk_status zk_sft_train(zk_run *run); // collective

#endif
