// One update of the weights from one batch of sequences, across all workers: leaves, gradient tree, optimiser.
#ifndef ZK_TRAINER_UPDATE_H
#define ZK_TRAINER_UPDATE_H

#include "rollout/session.h"
#include "trainer/gradient.h"
#include "trainer/leaf_tree.h"
#include "trainer/optimizer.h"

typedef struct zk_updater {
  zk_session *session;
  zk_gradient *gradient;
  zk_leaf_tree *tree;
  zk_stretch *stretches; // of the tree: as the backward pass finishes them
  int32_t *leaf_starts;  // [num_ranks + 1], of the batch in hand: whose leaves are whose
  zk_optimizer optimizer;
  double balance; // of the ranks' leaves in the last gradient (zk_comm_balance)
} zk_updater;

// ZK_BAD_INPUT with more ranks than leaves; asked before a run directory is touched. Collective.
zk_status zk_updater_check_workers(const zk_config *config, zk_comm *comm);
// The sampling distribution (temperature, top_k, top_p) is what logprobs are of; sft passes 1, 0, 1. Checks the workers
// first. Collective.
zk_status zk_updater_open(zk_session *session, double temperature, int32_t top_k, double top_p, zk_updater *out);
// Only what zk_gradient_forward needs: no gradients, no optimiser. Collective.
zk_status zk_updater_open_forward(zk_session *session, double temperature, int32_t top_k, double top_p, zk_updater *out);
void zk_updater_close(zk_updater *updater);

// Gradients of all leaves. This rank computes its own; logprob and entropy (host, [targets of all sequences]) come back complete on
// every rank, as do known targets' found_lse. Leaves are shared out by their tokens; gradients leave for their shards' owners as they become final. Collective.
zk_status zk_updater_gradient(zk_updater *updater, const zk_sequences *seqs, zk_loss_fn loss, void *context, float *logprob, float *entropy);
// Log-probabilities, log-sum-exps (lse may be NULL) and entropies alone, likewise. Collective.
zk_status zk_updater_forward(zk_updater *updater, const zk_sequences *seqs, float *logprob, float *lse, float *entropy);
// Waits for the gradient's sum and applies the optimiser with learning rate lr; hashes are of the state after it. Collective.
zk_status zk_updater_apply(zk_updater *updater, double lr, zk_update_result *out);

#endif
