// Leaves of this rank, outputs of all, one optimiser step.
#include "trainer/update.h"

#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "trainer/leaf_split.h"

zk_status zk_updater_check_workers(const zk_config *c, zk_comm *comm) {
  zk_status st = ZK_OK;
  if (zk_comm_size(comm) > c->trainer.grad_leaves)
    st = ZK_FAIL(ZK_BAD_INPUT, "%d workers for trainer.grad_leaves %d: start at most %d, or raise it (which changes the run's bits)",
                 zk_comm_size(comm), c->trainer.grad_leaves, c->trainer.grad_leaves);
  return zk_comm_agree(comm, st);
}

static zk_status fill_master(zk_updater *u) {
  zk_weight_source source;
  ZK_TRY(zk_session_weights(u->session, &source));
  zk_status st = zk_optimizer_fill_master(&u->optimizer, u->session->stream, &source);
  zk_weight_source_close(&source);
  return st;
}

zk_status zk_updater_open_forward(zk_session *s, double temperature, int32_t top_k, double top_p, zk_updater *out) {
  *out = (zk_updater){.session = s};
  zk_gradient_options o = {temperature, top_k, top_p, s->config.trainer.microbatch_tokens, .recompute = s->config.trainer.recompute};
  return zk_comm_agree(s->comm, zk_gradient_open(&s->policy, &o, &out->gradient));
}

static zk_status open_tree(zk_updater *u) {
  const zk_session *s = u->session;
  const zk_params *params = zk_policy_trained(&s->policy).params;
  const int num = zk_stretches_num(params);
  u->stretches = calloc((size_t)num, sizeof *u->stretches);
  u->leaf_starts = calloc((size_t)zk_comm_size(s->comm) + 1, sizeof *u->leaf_starts);
  if (!u->stretches || !u->leaf_starts) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the gradient tree");
  zk_stretches_fill(params, u->stretches);
  return zk_leaf_tree_open(s->device, u->optimizer.link, u->stretches, num, s->config.trainer.grad_leaves, u->optimizer.starts, &u->tree);
}

zk_status zk_updater_open(zk_session *s, double temperature, int32_t top_k, double top_p, zk_updater *out) {
  ZK_TRY(zk_updater_check_workers(&s->config, s->comm));
  zk_status st = zk_updater_open_forward(s, temperature, top_k, top_p, out);
  if (st == ZK_OK) st = zk_optimizer_open(&s->policy, s->comm, &out->optimizer);
  if (st == ZK_OK) st = open_tree(out);
  if (st == ZK_OK) st = fill_master(out);
  st = zk_comm_agree(s->comm, st);
  if (st == ZK_OK) st = zk_comm_device_connect(out->optimizer.link);
  if (st != ZK_OK) zk_updater_close(out);
  return st;
}

void zk_updater_close(zk_updater *u) {
  zk_leaf_tree_close(u->tree);
  zk_optimizer_close(&u->optimizer);
  zk_gradient_close(u->gradient);
  free(u->stretches);
  free(u->leaf_starts);
  memset(u, 0, sizeof *u);
}

static zk_status tell_tree(void *tree, int num_stretches) { return zk_leaf_tree_ready(tree, num_stretches); }

// A leaf that is done, to the sums that wait for it.
static zk_status add_leaf(zk_updater *u) {
  ZK_TRY(zk_phases_begin(zk_gradient_phases(u->gradient), ZK_PHASE_REDUCE));
  ZK_TRY(zk_leaf_tree_ready(u->tree, zk_stretches_num(zk_policy_trained(&u->session->policy).params)));
  return zk_phases_end(zk_gradient_phases(u->gradient));
}

static zk_status own_leaves(zk_updater *u, const zk_sequences *seqs, zk_loss_fn loss, void *context, const zk_gradient_outputs *out) {
  const int rank = zk_comm_rank(u->session->comm);
  const int32_t leaves = u->session->config.trainer.grad_leaves, first = u->leaf_starts[rank], last = u->leaf_starts[rank + 1];
  const zk_gradient_listener listener = {tell_tree, u->tree};
  for (int32_t leaf = first; leaf < last; leaf++) {
    int64_t from, to;
    float *grad;
    zk_leaf_range(seqs->num_seqs, leaves, leaf, &from, &to);
    ZK_TRY(zk_leaf_tree_leaf(u->tree, zk_gradient_stream(u->gradient), &grad));
    const bool between = zk_leaf_tree_exchanges(u->tree); // else all at the end: between its layers a pass is not recorded
    ZK_TRY(zk_gradient_leaf(u->gradient, seqs, from, to, loss, context, grad, out, between ? &listener : NULL));
    if (!between) ZK_TRY(add_leaf(u));
    zk_progress_update("train", leaf + 1 - first, last - first, "leaves");
  }
  return ZK_OK;
}

// The sequences of this rank's leaves.
static void own_sequences(const zk_updater *u, const zk_sequences *seqs, int64_t *first, int64_t *last) {
  const int rank = zk_comm_rank(u->session->comm);
  const int32_t leaves = u->session->config.trainer.grad_leaves;
  int64_t unused;
  zk_leaf_range(seqs->num_seqs, leaves, u->leaf_starts[rank], first, &unused);
  zk_leaf_range(seqs->num_seqs, leaves, u->leaf_starts[rank + 1] - 1, &unused, last);
}

// Every rank gets what all have of their own leaves' targets.
static zk_status share(const zk_updater *u, const zk_sequences *seqs, float *values) {
  int64_t from, to;
  own_sequences(u, seqs, &from, &to);
  return zk_sequences_share(u->session->comm, seqs, from, to, values);
}

zk_status zk_updater_forward(zk_updater *u, const zk_sequences *seqs, float *logprob, float *lse, float *entropy) {
  zk_comm *comm = u->session->comm;
  const zk_gradient_outputs out = {.logprob = logprob, .lse = lse, .entropy = entropy};
  int64_t from, to;
  zk_leaf_split(seqs, u->session->config.trainer.grad_leaves, zk_comm_size(comm), u->leaf_starts);
  own_sequences(u, seqs, &from, &to);
  ZK_TRY(zk_comm_agree(comm, zk_gradient_forward(u->gradient, seqs, from, to, &out)));
  ZK_TRY(share(u, seqs, logprob));
  if (lse) ZK_TRY(share(u, seqs, lse));
  return share(u, seqs, entropy);
}

zk_status zk_updater_gradient(zk_updater *u, const zk_sequences *seqs, zk_loss_fn loss, void *context, float *logprob, float *entropy) {
  zk_comm *comm = u->session->comm;
  const zk_gradient_outputs out = {.logprob = logprob, .entropy = entropy};
  zk_leaf_split(seqs, u->session->config.trainer.grad_leaves, zk_comm_size(comm), u->leaf_starts);
  zk_leaf_tree_begin(u->tree, u->leaf_starts, u->optimizer.grad);
  const double start = zk_clock_s() - zk_comm_device_waited_s(u->optimizer.link);
  const zk_status st = own_leaves(u, seqs, loss, context, &out);
  const double busy_s = zk_clock_s() - zk_comm_device_waited_s(u->optimizer.link) - start;
  zk_progress_end();
  if (st != ZK_OK) ZK_TRY(zk_leaf_tree_give_up(u->tree, zk_gradient_stream(u->gradient)));
  ZK_TRY(zk_comm_agree(comm, st));
  ZK_TRY(zk_comm_balance(comm, busy_s, &u->balance));
  ZK_TRY(share(u, seqs, logprob));
  if (seqs->known) ZK_TRY(share(u, seqs, seqs->known->found_lse));
  return share(u, seqs, entropy);
}

zk_status zk_updater_apply(zk_updater *u, double lr, zk_update_result *out) {
  zk_stream *stream = zk_gradient_stream(u->gradient);
  zk_phases *phases = zk_gradient_phases(u->gradient);
  ZK_TRY(zk_phases_begin(phases, ZK_PHASE_REDUCE)); // what is left of it: the rest went on beside the backward pass
  ZK_TRY(zk_leaf_tree_finish(u->tree, stream));
  ZK_TRY(zk_phases_begin(phases, ZK_PHASE_OPTIMIZER));
  ZK_TRY(zk_comm_agree(u->session->comm, zk_optimizer_update(&u->optimizer, stream, &u->session->config, lr, out)));
  ZK_TRY(zk_optimizer_finish(&u->optimizer, stream));
  return zk_phases_end(phases);
}
