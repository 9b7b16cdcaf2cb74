// The update again, from the stored trajectory (or, for sft, from the demonstrations): what it does to the weights, and
// what metrics.jsonl says of it.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/advantage.h"
#include "trainer/policy_update.h"
#include "trainer/sft.h"
#include "trainer/verify_impl.h"

// ---- the line of a step ---------------------------------------------------------------------------------------------

// The line; NULL, entered as unchecked where one should be. A run that was killed between a step's trajectory and its
// line has none for its last step, and nothing that rests on one.
static const json_t *find_line(zk_auditor *a, int64_t step, zk_verify_check check, int64_t num) {
  json_t *line = a->metrics ? zk_metrics_find(a->metrics, step) : NULL;
  bool is_unfinished =
      a->metrics && step == zk_metrics_last_step(a->metrics) + 1 && !zk_auditor_has_checkpoint(a, step);
  if (!line && !is_unfinished) zk_verify_skip(a->once, check, num, "metrics.jsonl has no line for step %" PRId64, step);
  return line;
}

static void check_hash(zk_auditor *a, int64_t step, const char *key, uint64_t mine) {
  uint64_t stored = 0;
  zk_verify_count(a->once, ZK_VERIFY_UPDATES, 1);
  if (zk_metrics_get_hash(a->metrics, step, key, &stored) != ZK_OK)
    zk_verify_differ(a->once, ZK_VERIFY_UPDATES, -1, 0, "%s", zk_status_message());
  else if (stored != mine)
    zk_verify_differ(a->once, ZK_VERIFY_UPDATES, -1, 0,
                     "step %" PRId64 ": %s is %016" PRIx64 " in metrics.jsonl, %016" PRIx64 " comes out", step, key,
                     stored, mine);
}

void zk_verify_hashes(zk_auditor *a, int64_t step) {
  if (!find_line(a, step, ZK_VERIFY_UPDATES, 2)) return;
  check_hash(a, step, "weights/hash", a->weights_hash);
  check_hash(a, step, "state/hash", a->state_hash);
  if (step == 0 && a->reference) check_hash(a, step, "reference/hash", zk_reference_weights_hash(a->reference));
}

static void check_value(zk_auditor *a, const json_t *line, int64_t step, const char *key, double mine) {
  const json_t *stored = json_object_get(line, key);
  zk_verify_count(a->once, ZK_VERIFY_METRICS, 1);
  if (!json_is_number(stored))
    zk_verify_differ(a->once, ZK_VERIFY_METRICS, -1, 0, "step %" PRId64 ": metrics.jsonl has no number %s", step, key);
  else if (json_number_value(stored) != mine) // a NaN equals nothing
    zk_verify_differ(a->once, ZK_VERIFY_METRICS, -1, 0,
                     "step %" PRId64 ": %s is %.17g in metrics.jsonl, %.17g comes out", step, key,
                     json_number_value(stored), mine);
}

void zk_verify_metrics(zk_auditor *a, int64_t step, const zk_verify_metric *values, size_t num) {
  const json_t *line = find_line(a, step, ZK_VERIFY_METRICS, (int64_t)num);
  for (size_t i = 0; line && i < num; i++) check_value(a, line, step, values[i].key, values[i].value);
}

// ---- the update -----------------------------------------------------------------------------------------------------

// After the updates of a step, whose status is `st`: the chain moves on. A gradient that is not finite leaves it nowhere.
static zk_status settle(zk_auditor *a, int64_t step, zk_status st, const zk_update_result *result, bool *applied) {
  *applied = st == ZK_OK;
  if (st == ZK_NOT_FINITE) {
    zk_verify_count(a->once, ZK_VERIFY_UPDATES, 1);
    zk_verify_differ(a->once, ZK_VERIFY_UPDATES, -1, 0,
                     "step %" PRId64 ": the gradient of what is stored is not finite", step);
    a->step = ZK_VERIFY_UNKNOWN;
    return ZK_OK;
  }
  ZK_TRY(st);
  a->step = step, a->weights_hash = result->weights_hash, a->state_hash = result->state_hash;
  zk_verify_hashes(a, step);
  return ZK_OK;
}

// What rl.c writes of a step and the step determines: all but times and rates (and evaluations, which --replay samples
// again).
static void check_metrics(zk_auditor *a, const zk_verify_step *s, const zk_trajectory *t, int64_t num_trained,
                          const zk_policy_update *u) {
  const zk_config *c = &a->session.config;
  const int64_t sampled = zk_trajectory_num_sampled(t, 0, t->num_samples);
  int64_t cut = 0, errors = 0, missing = 0;
  for (int64_t i = 0; i < t->num_samples; i++)
    cut += t->finish_reason[i] == ZK_FINISH_LENGTH, errors += zk_finish_is_error(t->finish_reason[i]), missing += t->reward_detail[i] != 0;
  const zk_verify_metric values[] = {
      {"response/length_mean", (double)sampled / (double)t->num_samples},
      {"response/clip_ratio", (double)cut / (double)t->num_samples},
      {"response/errors", (double)errors},
      {"policy/loss", u->policy.loss},
      {"policy/entropy", u->policy.entropy},
      {"policy/clip_frac", u->policy.clip_frac},
      {"policy/ratio_max", u->policy.ratio_max},
      {"policy/grad_norm", (double)u->update.grad_norm},
      {"policy/lr", zk_learning_rate(c, s->step)},
      {"mismatch/tokens", (double)u->mismatch.tokens},
      {"mismatch/max_abs", u->mismatch.max_abs},
      {"mismatch/kl_k1", u->mismatch.k1},
      {"mismatch/kl_k3", u->mismatch.k3},
      {"tokens/generated", (double)sampled},
      {"tokens/prompt", (double)t->num_prompt_tokens},
      {"tokens/trained", (double)num_trained},
  };
  ZK_VERIFY_METRICS_OF(a, s->step, values);
  const zk_verify_metric cap_frac = {"policy/importance_cap_frac", u->policy.cap_frac};
  if (c->algorithm.importance.mode) zk_verify_metrics(a, s->step, &cap_frac, 1);
  const zk_verify_metric asked = {"command/errors", (double)missing};
  if (zk_task_asks(a->session.task)) zk_verify_metrics(a, s->step, &asked, 1);
  const zk_verify_metric kl = {"policy/kl_reference", u->policy.kl};
  if (c->algorithm.kl.coef > 0) zk_verify_metrics(a, s->step, &kl, 1);
}

zk_status zk_verify_update(zk_auditor *a, const zk_verify_step *s) {
  zk_trajectory t = s->t; // with log-probabilities of our own
  zk_sequences seqs;
  ZK_TRY(zk_comm_agree(a->comm, zk_sequences_from_trajectory(&t, &seqs)));
  size_t n = (size_t)t.num_sample_tokens + 1;
  t.trainer_logprob = malloc(n * sizeof *t.trainer_logprob);
  zk_policy_update updated;
  bool applied = false;
  zk_status st = zk_comm_agree(a->comm, t.trainer_logprob ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu tokens", n));
  if (st == ZK_OK) st = zk_turns_to(&a->turns, ZK_SIDE_TRAINER, ZK_OK);
  if (st == ZK_OK) {
    st = zk_policy_update_step(&a->updater, &t, &seqs, zk_learning_rate(&a->session.config, s->step), true, &updated);
    st = settle(a, s->step, st, &updated.update, &applied);
  }
  if (applied) check_metrics(a, s, &t, seqs.offsets[seqs.num_seqs], &updated);
  free(t.trainer_logprob);
  zk_sequences_free(&seqs);
  return st;
}

static void check_sft_metrics(zk_auditor *a, int64_t step, const zk_sequences *seqs, const float *logprob,
                              const float *entropy, const zk_update_result *result) {
  int64_t n = seqs->target_offsets[seqs->num_seqs];
  double loss = 0, entropy_sum = 0;
  for (int64_t k = 0; k < n; k++) loss -= (double)logprob[k], entropy_sum += (double)entropy[k];
  const zk_verify_metric values[] = {{"policy/loss", loss / (double)n},
                                     {"policy/entropy", entropy_sum / (double)n},
                                     {"policy/grad_norm", (double)result->grad_norm},
                                     {"policy/lr", zk_learning_rate(&a->session.config, step)},
                                     {"tokens/trained", (double)seqs->offsets[seqs->num_seqs]}};
  ZK_VERIFY_METRICS_OF(a, step, values);
}

zk_status zk_verify_sft_update(zk_auditor *a, int64_t step) {
  zk_sequences seqs = {0};
  zk_update_result result;
  bool applied = false;
  ZK_TRY(zk_comm_agree(a->comm, zk_sft_batch(&a->session, step, &seqs)));
  int64_t n = seqs.target_offsets[seqs.num_seqs];
  float *logprob = malloc((2 * (size_t)n + 1) * sizeof *logprob);
  zk_status st =
      zk_comm_agree(a->comm, logprob ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %" PRId64 " tokens", n));
  if (st == ZK_OK) st = zk_turns_to(&a->turns, ZK_SIDE_TRAINER, ZK_OK);
  if (st == ZK_OK) st = zk_updater_gradient(&a->updater, &seqs, zk_sft_loss, &n, logprob, logprob + n);
  if (st == ZK_OK) {
    st = zk_updater_apply(&a->updater, zk_learning_rate(&a->session.config, step), &result);
    st = settle(a, step, st, &result, &applied);
  }
  if (applied) check_sft_metrics(a, step, &seqs, logprob, logprob + n, &result);
  a->once->num_tokens += seqs.offsets[seqs.num_seqs];
  free(logprob);
  zk_sequences_free(&seqs);
  return st;
}
