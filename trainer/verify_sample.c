// --sample N: a quick look at a run, by a slow device perhaps. Everything that needs no model is checked of every step; tokens are checked of
// N sequences only, and only in steps whose weights are stored, so that no update has to be computed.
#include <inttypes.h>
#include <stdlib.h>

#include "trainer/verify_impl.h"

bool zk_verify_can_sample(const zk_auditor *a, int64_t step) {
  return zk_auditor_has_checkpoint(a, step - 1) && zk_file_exists(zk_run_dir_trajectory_path(&a->dir, step).s);
}

// Which sequences: of the `total` in steps that can be sampled, laid end to end, number j of `num` is the one in the middle of its share.
typedef struct {
  int64_t group, per_step; // samples of a prompt, and of a step
  int64_t total, num;
  int64_t before; // sequences of steps already walked
} draw;

static draw plan(const zk_auditor *a) {
  const zk_config *c = &a->session.config;
  draw d = {.group = c->rollout.samples_per_prompt, .per_step = (int64_t)c->rollout.prompts_per_step * c->rollout.samples_per_prompt};
  for (int64_t step = a->first_step; step <= a->last_step; step++)
    if (zk_verify_can_sample(a, step)) d.total += d.per_step;
  d.num = a->options->num_sample < d.total ? a->options->num_sample : d.total;
  return d;
}

// Marks the step's share in picked [per_step] (unless NULL), and counts it.
static int64_t pick(const draw *d, bool *picked) {
  int64_t num = 0;
  for (int64_t j = 0; j < d->num; j++) {
    int64_t i = (int64_t)((2.0 * (double)j + 1.0) * (double)d->total / (2.0 * (double)d->num)) - d->before;
    if (i < 0 || i >= d->per_step) continue;
    if (picked) picked[i] = true;
    num++;
  }
  return num;
}

static void differ(zk_auditor *a, int64_t step, const char *where, uint64_t stored) {
  if (stored != a->weights_hash)
    zk_verify_differ(a->once, ZK_VERIFY_CHECKPOINTS, -1, 0,
                     "checkpoint step %" PRId64 ": %s says weights/hash %016" PRIx64 ", the values in it hash to %016" PRIx64, step, where, stored,
                     a->weights_hash);
}

// Goes to the weights of checkpoint `step`, which must be what its state.json and the metrics say. Without them the chain is nowhere.
static zk_status load(zk_auditor *a, int64_t step) {
  zk_path dir = zk_run_dir_checkpoint_path(&a->dir, step);
  const zk_policy *p = &a->session.policy;
  const int64_t num_elements = zk_policy_trained(p).params->num_elements;
  zk_checkpoint_state state;
  uint64_t stored;
  a->step = ZK_VERIFY_UNKNOWN;
  zk_verify_count(a->once, ZK_VERIFY_CHECKPOINTS, num_elements);
  zk_verify_skip(a->once, ZK_VERIFY_CHECKPOINTS, 2 * num_elements, "checkpoint step %" PRId64 ": optimiser state is not part of a sample", step);
  zk_status st = zk_session_load_weights(&a->session, dir.s);
  if (st == ZK_OK) st = zk_comm_agree(a->comm, zk_checkpoint_read_state(dir.s, &state));
  if (st == ZK_OUT_OF_MEMORY || st == ZK_COMM) return st;
  if (st != ZK_OK) {
    zk_verify_differ(a->once, ZK_VERIFY_CHECKPOINTS, -1, 0, "checkpoint step %" PRId64 ": %s", step, zk_status_message());
    return ZK_OK;
  }
  ZK_TRY(zk_policy_weights_hash(p, a->session.stream, &a->weights_hash));
  differ(a, step, "state.json", state.weights_hash);
  if (a->metrics && zk_metrics_get_hash(a->metrics, step, "weights/hash", &stored) == ZK_OK) differ(a, step, "metrics.jsonl", stored);
  a->step = step;
  return ZK_OK;
}

static void skip_tokens(zk_auditor *a, int64_t step, int64_t num, const char *why) {
  for (size_t c = 0; c < zk_verify_num_token_checks(a) && num; c++)
    zk_verify_skip(a->once, zk_verify_token_checks[c], num, "step %" PRId64 ": %s", step, why);
}

// The tokens of the sequences that fall into this step; the rest are skipped.
static zk_status audit_tokens(zk_auditor *a, const draw *d, const zk_verify_step *s) {
  const zk_trajectory *t = &s->t;
  bool *picked = calloc((size_t)t->num_samples + 1, sizeof *picked);
  ZK_TRY(zk_comm_agree(a->comm, picked ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to audit step %" PRId64, s->step)));
  int64_t wanted = 0;
  zk_status st = ZK_OK;
  if (pick(d, picked)) {
    for (int64_t i = 0; i < t->num_samples; i++)
      if (picked[i]) wanted += t->sample_offsets[i + 1] - t->sample_offsets[i];
    st = zk_verify_tokens(a, s, picked);
    a->once->num_steps++, a->once->num_tokens += wanted;
  }
  skip_tokens(a, s->step, t->num_sample_tokens - wanted, "not in the sample");
  free(picked);
  return st;
}

static zk_status audit_step(zk_auditor *a, draw *d, int64_t step) {
  zk_verify_step s;
  bool found, stored = zk_verify_can_sample(a, step);
  zk_status st = ZK_OK;
  a->step = ZK_VERIFY_UNKNOWN;
  if (stored && pick(d, NULL)) ZK_TRY(load(a, step - 1));
  st = zk_verify_step_open(a, step, &s, &found);
  if (st == ZK_OK && found && s.is_sound) st = zk_comm_agree(a->comm, zk_verify_prompts(a, &s));
  if (st == ZK_OK && found) zk_verify_record(a, &s);
  if (st == ZK_OK && found && s.is_sound) st = zk_comm_agree(a->comm, zk_verify_finish(a, &s));
  if (st == ZK_OK && found && s.is_sound) st = zk_comm_agree(a->comm, zk_verify_rewards(a, &s));
  if (st == ZK_OK && found && s.is_sound && a->step == step - 1) st = audit_tokens(a, d, &s);
  else if (found) skip_tokens(a, step, s.t.num_sample_tokens, stored ? "not in the sample" : "the weights before it are not stored");
  zk_verify_skip(a->once, ZK_VERIFY_UPDATES, 2, "step %" PRId64 ": updates are not part of a sample", step);
  if (found && a->session.config.algorithm.kl.coef > 0)
    zk_verify_skip(a->once, ZK_VERIFY_REFERENCE, s.t.num_sample_tokens, "step %" PRId64 ": the reference model is not part of a sample", step);
  zk_verify_skip(a->once, ZK_VERIFY_STEPS, 1, "step %" PRId64 ": not all of it is part of a sample", step);
  if (stored) d->before += d->per_step;
  zk_verify_step_close(&s);
  return st;
}

zk_status zk_verify_sample(zk_auditor *a) {
  draw d = plan(a);
  for (int64_t step = a->first_step; step <= a->last_step; step++) {
    ZK_TRY(audit_step(a, &d, step));
    ZK_TRY(zk_verify_merge(a->comm, &a->here, &a->total));
  }
  return ZK_OK;
}
