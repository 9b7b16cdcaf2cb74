// Leaves of this rank, outputs of all, one optimiser step.
#include "trainer/update.h"

#include <string.h>

#include "shared/log.h"

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
  zk_gradient_options o = {temperature, top_k, top_p, s->config.trainer.microbatch_tokens, s->config.trainer.recompute};
  return zk_comm_agree(s->comm, zk_gradient_open(&s->policy, &o, &out->gradient));
}

zk_status zk_updater_open(zk_session *s, double temperature, int32_t top_k, double top_p, zk_updater *out) {
  const zk_config *c = &s->config;
  ZK_TRY(zk_updater_check_workers(c, s->comm));
  zk_status st = zk_updater_open_forward(s, temperature, top_k, top_p, out);
  if (st == ZK_OK) st = zk_optimizer_open(&s->policy, s->comm, &out->optimizer);
  if (st == ZK_OK)
    st = zk_leaf_tree_open(s->device, out->optimizer.link, s->policy.params.num_elements, c->trainer.grad_leaves, out->optimizer.starts, &out->tree);
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
  memset(u, 0, sizeof *u);
}

static zk_status own_leaves(zk_updater *u, const zk_sequences *seqs, zk_loss_fn loss, void *context, const zk_gradient_outputs *out) {
  int32_t leaves = u->session->config.trainer.grad_leaves, first, last;
  zk_rank_leaves(leaves, zk_comm_rank(u->session->comm), zk_comm_size(u->session->comm), &first, &last);
  for (int32_t leaf = first; leaf < last; leaf++) {
    int64_t from, to;
    float *grad;
    zk_leaf_range(seqs->num_seqs, leaves, leaf, &from, &to);
    ZK_TRY(zk_leaf_tree_buffer(u->tree, &grad));
    ZK_TRY(zk_gradient_leaf(u->gradient, seqs, from, to, loss, context, grad, out));
    ZK_TRY(zk_phases_begin(zk_gradient_phases(u->gradient), ZK_PHASE_REDUCE));
    ZK_TRY(zk_leaf_tree_push(u->tree, zk_gradient_stream(u->gradient), leaf, grad));
    ZK_TRY(zk_phases_end(zk_gradient_phases(u->gradient)));
    zk_progress_update("train", leaf + 1 - first, last - first, "leaves");
  }
  return ZK_OK;
}

// Every rank gets what all have of their own leaves' targets.
static zk_status share(const zk_updater *u, const zk_sequences *seqs, float *values) {
  zk_comm *comm = u->session->comm;
  int32_t leaves = u->session->config.trainer.grad_leaves, first, last;
  int64_t from, to, unused;
  zk_rank_leaves(leaves, zk_comm_rank(comm), zk_comm_size(comm), &first, &last);
  zk_leaf_range(seqs->num_seqs, leaves, first, &from, &unused);
  zk_leaf_range(seqs->num_seqs, leaves, last - 1, &unused, &to);
  return zk_sequences_share(comm, seqs, from, to, values);
}

zk_status zk_updater_gradient(zk_updater *u, const zk_sequences *seqs, zk_loss_fn loss, void *context, float *logprob, float *entropy) {
  zk_gradient_outputs out = {.logprob = logprob, .entropy = entropy};
  zk_status st = own_leaves(u, seqs, loss, context, &out);
  zk_progress_end();
  ZK_TRY(zk_comm_agree(u->session->comm, st));
  ZK_TRY(share(u, seqs, logprob));
  return share(u, seqs, entropy);
}

zk_status zk_updater_apply(zk_updater *u, double lr, zk_update_result *out) {
  zk_stream *stream = zk_gradient_stream(u->gradient);
  zk_phases *phases = zk_gradient_phases(u->gradient);
  ZK_TRY(zk_phases_begin(phases, ZK_PHASE_REDUCE));
  ZK_TRY(zk_leaf_tree_reduce(u->tree, stream, u->optimizer.grad));
  ZK_TRY(zk_phases_begin(phases, ZK_PHASE_OPTIMIZER));
  ZK_TRY(zk_comm_agree(u->session->comm, zk_optimizer_update(&u->optimizer, stream, &u->session->config, lr, &out->grad_norm)));
  ZK_TRY(zk_phases_begin(phases, ZK_PHASE_HASH));
  ZK_TRY(zk_optimizer_hashes(&u->optimizer, stream, &out->weights_hash, &out->state_hash));
  return zk_phases_end(phases);
}
