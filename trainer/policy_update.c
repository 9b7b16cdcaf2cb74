// A forward pass where it takes one, the comparison, then minibatch after minibatch.
#include "trainer/policy_update.h"

#include <stdlib.h>

#include "shared/clock.h"
#include "trainer/known_targets.h"

int32_t zk_policy_updates_per_step(const zk_config *c) { return c->algorithm.epochs * c->algorithm.minibatches; }

typedef struct {
  zk_updater *updater;
  zk_trajectory *t;
  const zk_sequences *seqs;
  const zk_known_targets *known; // NULL: the loss waits for the forward pass
  double lr;
  bool may_differ;
  float *logprob, *entropy, *dentropy; // [tokens], of the pass in hand; dentropy: NULL without an entropy bonus
  zk_policy_update *out;
} policy_step;

// known: NULL, or what the pass was given beforehand.
static zk_status compare(const policy_step *x, const zk_known_targets *known) {
  const double start = zk_clock_s();
  zk_trajectory_clear_replies(x->t);
  zk_mismatch_compute(x->t, &x->out->mismatch);
  zk_status st = ZK_OK;
  if (x->out->mismatch.tokens && !x->may_differ) st = zk_mismatch_fail(x->t, &x->out->mismatch);
  else if (known) st = zk_known_targets_compare(x->t, known);
  x->out->compare_s = zk_clock_s() - start;
  return st == ZK_OK ? st : zk_comm_agree(x->updater->session->comm, st); // all workers have compared the same
}

// One update from samples [first, last); `compares` when its own forward pass is the step's first.
static zk_status update(const policy_step *x, int64_t first, int64_t last, bool compares) {
  zk_policy_batch batch = zk_policy_batch_of(&x->updater->session->config, x->t, first, last, compares ? NULL : x->t->trainer_logprob);
  zk_sequences part = zk_sequences_part(x->seqs, first, last);
  if (compares && x->known) part.known = x->known;
  if (x->dentropy) zk_policy_entropy_slopes(&batch, x->dentropy);
  part.dentropy = x->dentropy;
  float *logprob = compares ? x->t->trainer_logprob : x->logprob;
  ZK_TRY(zk_updater_gradient(x->updater, &part, zk_policy_loss, &batch, logprob, x->entropy));
  if (compares) ZK_TRY(compare(x, part.known));
  zk_policy_stats_add(&x->out->policy, &batch, logprob, x->entropy);
  return zk_updater_apply(x->updater, x->lr, &x->out->update);
}

static zk_status update_all(const policy_step *x) {
  const zk_config *c = &x->updater->session->config;
  const int64_t num = x->t->num_samples;
  const bool single = zk_policy_updates_per_step(c) == 1;
  if (!single) {
    ZK_TRY(zk_updater_forward(x->updater, x->seqs, x->t->trainer_logprob, NULL, x->entropy));
    ZK_TRY(compare(x, NULL));
  }
  for (int32_t epoch = 0; epoch < c->algorithm.epochs; epoch++)
    for (int32_t m = 0; m < c->algorithm.minibatches; m++) {
      int64_t first, last;
      zk_leaf_range(num, c->algorithm.minibatches, m, &first, &last);
      ZK_TRY(update(x, first, last, single));
    }
  zk_policy_stats_finish(&x->out->policy);
  return ZK_OK;
}

zk_status zk_policy_update_step(zk_updater *updater, zk_trajectory *t, const zk_sequences *seqs, double lr, bool may_differ, zk_policy_update *out) {
  *out = (zk_policy_update){.mismatch.first = -1};
  const size_t n = (size_t)t->num_sample_tokens + 1;
  float *memory = malloc(3 * n * sizeof *memory);
  zk_known_targets known = {0};
  const bool has_bonus = updater->session->config.algorithm.entropy_coef > 0;
  const bool is_known = !may_differ && !has_bonus && zk_targets_are_known(t); // entropies are found by the forward pass
  zk_status st = memory ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu tokens", n);
  if (st == ZK_OK && is_known) st = zk_known_targets_make(t, &known);
  st = zk_comm_agree(updater->session->comm, st);
  const policy_step x = {updater, t, seqs, is_known ? &known : NULL, lr, may_differ, memory, memory + n,
                         has_bonus ? memory + 2 * n : NULL, out};
  if (st == ZK_OK) st = update_all(&x);
  zk_known_targets_free(&known);
  free(memory);
  return st;
}
