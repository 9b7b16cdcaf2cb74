// One step after another.
#include "trainer/rl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "shared/file.h"
#include "shared/log.h"
#include "shared/version.h"
#include "shared/watch.h"
#include "trainer/evaluation_archive.h"
#include "trainer/policy_update.h"
#include "trainer/reward_shaping.h"
#include "trainer/step_times.h"

static char *hex(uint64_t value) {
  char text[17];
  snprintf(text, sizeof text, "%016" PRIx64, value);
  return strdup(text);
}

zk_status zk_rl_describe(const zk_session *s, const char *identity, int64_t step, uint64_t weights_hash, zk_trajectory *t) {
  t->run_name = strdup(s->config.run.name);
  t->step = step, t->seed = s->config.seed, t->weights_hash = weights_hash;
  t->numerics = strdup(zk_config_describe_numerics(&s->config).s);
  t->contract_version = ZK_CONTRACT_VERSION;
  t->tokenizer_hash = hex(zk_tokenizer_hash(s->tokenizer)), t->template_hash = hex(zk_chat_hash(s->chat));
  t->config = strdup(identity), t->zerokl_version = strdup(zk_version());
  bool ok = t->run_name && t->numerics && t->tokenizer_hash && t->template_hash && t->config && t->zerokl_version;
  return ok ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a step's attributes");
}

// Everything one step leaves behind for its line of metrics.
typedef struct {
  zk_trajectory t;
  zk_sequences seqs;
  zk_collect_stats collect;
  int64_t num_tried;
  zk_advantage_stats advantage;
  zk_policy_update updated;
  double lr, start_s, rollout_s, train_s;
} step_state;

static void free_step(step_state *x) {
  zk_trajectory_free(&x->t);
  zk_sequences_free(&x->seqs);
}

zk_status zk_rl_sample(zk_session *s, zk_engine *engine, const zk_run_dir *dir, const char *identity, int64_t step, uint64_t weights_hash, zk_trajectory *t,
                       zk_collect_stats *collect, int64_t *num_tried) {
  const zk_config *c = &s->config;
  bool found;
  ZK_TRY(zk_recorded_step_sample(s, engine, dir, step, t, collect, num_tried, &found));
  if (!found) ZK_TRY(zk_collect_step(s, engine, (uint32_t)step, "sample", true, t, collect, num_tried));
  ZK_TRY(zk_rl_describe(s, identity, step, weights_hash, t));
  return zk_rewards_shuffle(c, t);
}

zk_status zk_rl_advance(const zk_session *s, zk_reference *reference, const zk_sequences *seqs, zk_trajectory *t, zk_advantage_stats *advantage) {
  if (reference) ZK_TRY(zk_reference_logprobs(reference, seqs, t->reference_logprob));
  return zk_comm_agree(s->comm, zk_advantage_compute(&s->config, t, advantage));
}

// A model that gives what is not a number cannot be trained on, whatever the other samples say; nor can a step without a token.
static zk_status refuse(const zk_run *run, const zk_trajectory *t) {
  for (int64_t i = 0; i < t->num_samples; i++)
    if (t->finish_reason[i] == ZK_FINISH_NOT_FINITE)
      return ZK_FAIL(ZK_NOT_FINITE, "step %lld, prompt %llu, sample %d, position %lld: the logits are not finite, first in %s; nothing was updated",
                     (long long)t->step, (unsigned long long)t->prompt_id[t->prompt_index[i]], t->sample_index[i],
                     (long long)(t->sample_offsets[i + 1] - t->sample_offsets[i]),
                     zk_finish_detail_text(t->finish_detail[i], run->session.policy.config.num_layers).s);
  if (!t->num_sample_tokens)
    return ZK_FAIL(ZK_BAD_INPUT, "step %lld: no prompt leaves room for a token in the model's context of %d; prompt %llu has %lld: shorten the task's prompts",
                   (long long)t->step, run->session.policy.num_positions, (unsigned long long)t->prompt_id[0], (long long)t->prompt_offsets[1]);
  return ZK_OK;
}

static void put_components(zk_metrics_line *line, const zk_trajectory *t) {
  for (int32_t k = 0; k < t->num_components; k++) {
    char key[96];
    double sum = 0;
    for (int64_t i = 0; i < t->num_samples; i++) sum += (double)t->reward_component[i * t->num_components + k];
    snprintf(key, sizeof key, "reward/%s", t->component_names[k]);
    zk_metrics_put_double(line, key, sum / (double)t->num_samples);
  }
}

static void put_metrics(zk_run *run, zk_metrics_line *line, const step_state *x) {
  const zk_trajectory *t = &x->t;
  const int64_t sampled = zk_trajectory_num_sampled(t, 0, t->num_samples); // without an environment's replies
  int64_t clipped = 0, errors = 0, missing = 0;
  for (int64_t i = 0; i < t->num_samples; i++) {
    clipped += t->finish_reason[i] == ZK_FINISH_LENGTH;
    errors += zk_finish_is_error(t->finish_reason[i]);
    missing += t->reward_detail[i] != 0;
  }
  zk_metrics_put_double(line, "reward/mean", x->advantage.reward_mean);
  zk_metrics_put_double(line, "reward/std", x->advantage.reward_std);
  zk_metrics_put_int(line, "reward/zero_std_groups", x->advantage.zero_std_groups);
  if (zk_reward_is_shaped(&run->session.config)) zk_metrics_put_double(line, "reward/penalty", x->advantage.penalty_mean);
  put_components(line, t);
  if (zk_task_asks(run->session.task)) zk_metrics_put_int(line, "command/errors", missing);
  zk_metrics_put_double(line, "response/length_mean", (double)sampled / (double)t->num_samples);
  zk_metrics_put_double(line, "response/clip_ratio", (double)clipped / (double)t->num_samples);
  zk_metrics_put_int(line, "response/errors", errors);
  zk_metrics_put_double(line, "policy/loss", x->updated.policy.loss);
  zk_metrics_put_double(line, "policy/entropy", x->updated.policy.entropy);
  zk_metrics_put_double(line, "policy/clip_frac", x->updated.policy.clip_frac);
  if (run->session.config.algorithm.importance.mode) zk_metrics_put_double(line, "policy/importance_cap_frac", x->updated.policy.cap_frac);
  if (run->reference) zk_metrics_put_double(line, "policy/kl_reference", x->updated.policy.kl);
  zk_metrics_put_double(line, "policy/ratio_max", x->updated.policy.ratio_max);
  zk_metrics_put_double(line, "policy/grad_norm", (double)x->updated.update.grad_norm);
  zk_metrics_put_double(line, "policy/lr", x->lr);
  zk_metrics_put_int(line, "mismatch/tokens", x->updated.mismatch.tokens);
  zk_metrics_put_double(line, "mismatch/max_abs", x->updated.mismatch.max_abs);
  zk_metrics_put_double(line, "mismatch/kl_k1", x->updated.mismatch.k1);
  zk_metrics_put_double(line, "mismatch/kl_k3", x->updated.mismatch.k3);
  zk_metrics_put_int(line, "tokens/generated", sampled);
  zk_metrics_put_int(line, "tokens/prompt", t->num_prompt_tokens);
  if (run->session.config.algorithm.dynamic_sampling) zk_metrics_put_int(line, "sampling/prompts_tried", x->num_tried);
  zk_metrics_put_int(line, "tokens/trained", x->seqs.offsets[x->seqs.num_seqs]);
  zk_metrics_put_double(line, "perf/rollout_tokens_per_s", (double)sampled / (x->rollout_s + 1e-9));
  if (zk_comm_size(run->session.comm) > 1) zk_metrics_put_double(line, "perf/rollout_balance", x->collect.balance);
  zk_collect_put_speculation(&run->session.config, &x->collect, line);
  zk_metrics_put_double(line, "time/rollout", x->collect.rollout_s);
  zk_metrics_put_double(line, "time/reward", x->collect.reward_s);
  zk_metrics_put_double(line, "time/verify", x->updated.compare_s);
  zk_metrics_put_double(line, "time/checkpoint", run->checkpoint_s);
  zk_metrics_put_double(line, "time/trajectory", run->writer.trajectory_s);
  zk_metrics_put_double(line, "time/step", zk_clock_s() - x->start_s);
}

static bool wants_evaluation(const zk_config *c, int64_t step) {
  return c->eval.every > 0 && (step % c->eval.every == 0 || step == c->run.steps);
}

static zk_status put_evaluation(zk_run *run, int64_t step, uint64_t weights_hash, zk_metrics_line *line) {
  const zk_config *c = &run->session.config;
  if (!wants_evaluation(c, step)) return ZK_OK;
  zk_evaluation e;
  double start = zk_clock_s();
  zk_watch_doing("evaluating after step %lld", (long long)step);
  ZK_TRY(zk_run_turn_to(run, ZK_SIDE_SAMPLER));
  ZK_TRY(zk_evaluation_archive(&run->session, run->engine, run->dir, run->identity, step, weights_hash, zk_evaluation_sizes_of(c), &e));
  zk_evaluation_put(&e, line);
  zk_metrics_put_double(line, "time/eval", zk_clock_s() - start);
  ZK_LOG(INFO, "train", "step %lld  held-out accuracy %.3f (%d items)", (long long)step, e.accuracy, e.sizes.num_prompts);
  return ZK_OK;
}

// What a program said in this step before is read from disk: not while the step before is written, since HDF5 serves one thread at a time.
static zk_status settle_if_recorded(zk_run *run, int64_t step) {
  uint64_t is_there = zk_task_asks(run->session.task) && run->dir && zk_file_exists(zk_run_dir_trajectory_path(run->dir, step).s);
  ZK_TRY(zk_comm_max_u64(run->session.comm, &is_there, 1));
  return is_there ? zk_run_settle(run) : ZK_OK;
}

static zk_status run_step(zk_run *run, int64_t step, step_state *x, zk_metrics_line *line) {
  const zk_config *c = &run->session.config;
  x->start_s = zk_clock_s();
  zk_watch_doing("sampling step %lld", (long long)step);
  ZK_TRY(zk_run_turn_to(run, ZK_SIDE_SAMPLER));
  const double awake = zk_clock_s();
  ZK_TRY(settle_if_recorded(run, step));
  ZK_TRY(zk_rl_sample(&run->session, run->engine, run->dir, run->identity, step, run->weights_hash, &x->t, &x->collect, &x->num_tried));
  ZK_TRY(zk_comm_agree(run->session.comm, refuse(run, &x->t)));
  x->rollout_s = zk_clock_s() - awake;
  zk_watch_doing("training in step %lld", (long long)step);
  ZK_TRY(zk_run_turn_to(run, ZK_SIDE_TRAINER));
  const double sampled = zk_clock_s();
  x->lr = zk_learning_rate(c, step);
  ZK_TRY(zk_comm_agree(run->session.comm, zk_sequences_from_trajectory(&x->t, &x->seqs)));
  ZK_TRY(zk_rl_advance(&run->session, run->reference, &x->seqs, &x->t, &x->advantage));
  ZK_TRY(zk_policy_update_step(&run->updater, &x->t, &x->seqs, x->lr, zk_config_may_differ(c), &x->updated));
  x->train_s = zk_clock_s() - sampled - x->updated.compare_s;
  ZK_TRY(zk_run_settle(run));
  put_metrics(run, line, x);
  ZK_TRY(zk_comm_agree(run->session.comm, zk_step_times_put(&run->updater, &x->seqs, c->algorithm.epochs, x->train_s, line)));
  if (c->log.every && step % c->log.every == 0)
    ZK_LOG(INFO, "train", "step %lld/%d  reward %.3f  length %.1f  entropy %.3f  grad %.3g  mismatch %lld of %lld  %.2f s", (long long)step, c->run.steps,
           x->advantage.reward_mean, (double)zk_trajectory_num_sampled(&x->t, 0, x->t.num_samples) / (double)x->t.num_samples,
           x->updated.policy.entropy, (double)x->updated.update.grad_norm, (long long)x->updated.mismatch.tokens, (long long)x->t.num_sample_tokens, zk_clock_s() - x->start_s);
  ZK_TRY(put_evaluation(run, step, x->updated.update.weights_hash, line));
  return zk_run_finish_step(run, step, &x->updated.update, &x->t, line);
}

static zk_status begin(zk_run *run) {
  zk_metrics_line line;
  zk_metrics_line_init(&line, 0);
  if (run->reference) zk_metrics_put_hash(&line, "reference/hash", zk_reference_weights_hash(run->reference));
  zk_status st = put_evaluation(run, 0, run->weights_hash, &line);
  if (st == ZK_OK) st = zk_run_begin(run, &line);
  zk_metrics_line_free(&line);
  return st;
}

zk_status zk_rl_train(zk_run *run) {
  if (zk_run_is_new(run)) ZK_TRY(begin(run));
  for (int64_t step = run->step + 1; step <= run->session.config.run.steps; step++) {
    ZK_TRY(zk_run_check_stop(run));
    step_state x = {0};
    zk_metrics_line line;
    zk_metrics_line_init(&line, step);
    zk_status st = run_step(run, step, &x, &line);
    zk_metrics_line_free(&line);
    free_step(&x);
    if (st == ZK_INTERRUPTED) return zk_run_stop(run);
    if (st != ZK_OK) return st;
  }
  return ZK_OK;
}
