// Demonstrations in, cross-entropy down.
#include "trainer/sft.h"

#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/watch.h"
#include "trainer/evaluation_archive.h"
#include "trainer/step_times.h"

// One demonstration appended to tokens; *num_prompt: its prompt's length.
static zk_status append_demonstration(const zk_session *s, uint64_t index, zk_tokens *tokens, int32_t *num_prompt) {
  zk_task_item item;
  size_t before = tokens->num_tokens;
  ZK_TRY(zk_task_get(s->task, ZK_SPLIT_TRAIN, index, &item));
  zk_status st = zk_task_encode_prompt(s->task, s->tokenizer, s->chat, &item, tokens);
  *num_prompt = (int32_t)(tokens->num_tokens - before);
  if (st == ZK_OK) st = zk_task_encode_demonstration(s->task, s->tokenizer, s->chat, &item, tokens);
  size_t length = tokens->num_tokens - before;
  if (st == ZK_OK && (length > (size_t)s->policy.num_positions || *num_prompt < 1))
    st = ZK_FAIL(ZK_BAD_INPUT, "item %llu: %zu tokens (%d of prompt) do not fit the model's %d positions", (unsigned long long)index, length, *num_prompt,
                 s->policy.num_positions);
  zk_task_item_free(&item);
  return st;
}

zk_status zk_sft_batch(const zk_session *s, int64_t step, zk_sequences *out) {
  size_t n = (size_t)s->config.sft.batch;
  zk_tokens tokens = {0};
  int64_t *offsets = calloc(n + 1, sizeof *offsets), *targets = calloc(n + 1, sizeof *targets);
  int32_t *first = calloc(n + 1, sizeof *first);
  zk_status st = offsets && targets && first ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu demonstrations", n);
  for (size_t i = 0; i < n && st == ZK_OK; i++) {
    st = append_demonstration(s, (uint64_t)(step - 1) * n + i, &tokens, &first[i]);
    if (st != ZK_OK) break;
    offsets[i + 1] = (int64_t)tokens.num_tokens;
    targets[i + 1] = targets[i] + offsets[i + 1] - offsets[i] - first[i];
  }
  *out = (zk_sequences){(int64_t)n, offsets, tokens.ids, first, targets, NULL, NULL};
  if (st != ZK_OK) zk_sequences_free(out);
  return st;
}

zk_status zk_sft_loss(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob) {
  (void)seq, (void)logprob, (void)entropy;
  float slope = (float)(-1.0 / (double)*(const int64_t *)context);
  for (int64_t k = 0; k < num_targets; k++) dlogprob[k] = slope;
  return ZK_OK;
}

static zk_status put_evaluation(zk_run *run, int64_t step, uint64_t weights_hash, zk_metrics_line *line) {
  const zk_config *c = &run->session.config;
  if (c->eval.every <= 0 || (step % c->eval.every && step != c->run.steps)) return ZK_OK;
  zk_evaluation e;
  ZK_TRY(zk_run_turn_to(run, ZK_SIDE_SAMPLER));
  ZK_TRY(zk_run_settle(run));
  ZK_TRY(zk_evaluation_archive(&run->session, run->engine, run->dir, run->identity, step, weights_hash, zk_evaluation_sizes_of(c), &e));
  zk_evaluation_put(&e, line);
  ZK_LOG(INFO, "sft", "step %lld  held-out accuracy %.3f (%d items)", (long long)step, e.accuracy, e.sizes.num_prompts);
  return ZK_OK;
}

static zk_status run_step(zk_run *run, int64_t step, const zk_sequences *seqs, zk_metrics_line *line) {
  const zk_config *c = &run->session.config;
  int64_t n = seqs->target_offsets[seqs->num_seqs];
  ZK_TRY(zk_run_turn_to(run, ZK_SIDE_TRAINER));
  double start = zk_clock_s(), loss = 0, entropy_sum = 0, lr = zk_learning_rate(c, step);
  float *logprob = malloc(2 * (size_t)n * sizeof *logprob);
  if (!logprob) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld tokens", (long long)n);
  zk_update_result result;
  zk_status st = zk_updater_gradient(&run->updater, seqs, zk_sft_loss, &n, logprob, logprob + n);
  if (st == ZK_OK) st = zk_updater_apply(&run->updater, lr, &result);
  for (int64_t k = 0; k < n && st == ZK_OK; k++) loss -= (double)logprob[k], entropy_sum += (double)logprob[n + k];
  free(logprob);
  ZK_TRY(st);
  double time = zk_clock_s() - start;
  zk_metrics_put_double(line, "policy/loss", loss / (double)n);
  zk_metrics_put_double(line, "policy/entropy", entropy_sum / (double)n);
  zk_metrics_put_double(line, "policy/grad_norm", (double)result.grad_norm);
  zk_metrics_put_double(line, "policy/lr", lr);
  zk_metrics_put_int(line, "tokens/trained", seqs->offsets[seqs->num_seqs]);
  ZK_TRY(zk_comm_agree(run->session.comm, zk_step_times_put(&run->updater, seqs, 1, time, line)));
  zk_metrics_put_double(line, "time/step", time);
  if (c->log.every && step % c->log.every == 0)
    ZK_LOG(INFO, "sft", "step %lld/%d  loss %.4f  grad %.3g  %.2f s", (long long)step, c->run.steps, loss / (double)n, (double)result.grad_norm, time);
  ZK_TRY(put_evaluation(run, step, result.weights_hash, line));
  return zk_run_finish_step(run, step, &result, NULL, line);
}

zk_status zk_sft_train(zk_run *run) {
  for (int64_t step = zk_run_is_new(run) ? 0 : run->step + 1; step <= run->session.config.run.steps; step++) {
    if (step) ZK_TRY(zk_run_check_stop(run));
    zk_watch_doing("training in step %lld", (long long)step);
    zk_sequences seqs = {0};
    zk_metrics_line line;
    zk_metrics_line_init(&line, step);
    zk_status st = step ? zk_comm_agree(run->session.comm, zk_sft_batch(&run->session, step, &seqs)) : put_evaluation(run, 0, run->weights_hash, &line);
    if (st == ZK_OK) st = step ? run_step(run, step, &seqs, &line) : zk_run_begin(run, &line);
    zk_metrics_line_free(&line);
    zk_sequences_free(&seqs);
    if (st != ZK_OK) return st;
  }
  return ZK_OK;
}
