// Greedy accuracy, avg@n, pass@k.
#include "trainer/evaluate.h"

#include <stdio.h>
#include <string.h>

static zk_status sample_heldout(zk_session *s, zk_engine *engine, int32_t prompts, int32_t samples, uint32_t step, const zk_trajectory *recorded, zk_trajectory *t) {
  zk_collect_request q = {.split = ZK_SPLIT_HELDOUT, .num_prompts = prompts, .samples_per_prompt = samples, .step = step, .what = "evaluate", .recorded = recorded};
  zk_collect_stats stats;
  return zk_collect(s, engine, &q, t, &stats);
}

static double mean_reward(const zk_trajectory *t) {
  double sum = 0;
  for (int64_t i = 0; i < t->num_samples; i++) sum += (double)t->reward[i];
  return t->num_samples ? sum / (double)t->num_samples : 0;
}

static double mean_right(const zk_trajectory *t) {
  double sum = 0;
  for (int64_t i = 0; i < t->num_samples; i++) sum += (double)t->reward_component[i * t->num_components];
  return t->num_samples ? sum / (double)t->num_samples : 0;
}

double zk_pass_at_k(int32_t n, int32_t num_right, int32_t k) {
  double none = 1;
  for (int32_t i = n - num_right + 1; i <= n; i++) none *= i > k ? 1 - (double)k / (double)i : 0;
  return 1 - none;
}

// A sample is right when its first component is 1 or more.
static double pass_rate(const zk_trajectory *t, int32_t n, int32_t k) {
  double sum = 0;
  for (int64_t p = 0; p < t->num_prompts; p++) {
    int32_t right = 0;
    for (int32_t i = 0; i < n; i++) right += t->reward_component[(p * n + i) * t->num_components] >= 1.0f;
    sum += zk_pass_at_k(n, right, k);
  }
  return t->num_prompts ? sum / (double)t->num_prompts : 0;
}

zk_evaluation_sizes zk_evaluation_sizes_of(const zk_config *c) { return (zk_evaluation_sizes){c->eval.prompts, c->eval.samples, c->eval.k}; }

// The samples to who wants them.
static void keep(zk_trajectory *t, zk_evaluation_part *part) {
  if (part) part->sampled = *t;
  else zk_trajectory_free(t);
}

static zk_status evaluate_greedy(zk_session *s, zk_engine *engine, uint32_t step, zk_evaluation_part *part, zk_evaluation *out) {
  const zk_config *c = &s->config;
  zk_trajectory t = {0};
  zk_engine_set_sampling(engine, 0, 0, 1);
  zk_status st = sample_heldout(s, engine, out->sizes.num_prompts, 1, step, part ? part->recorded : NULL, &t);
  zk_engine_set_sampling(engine, c->rollout.temperature, c->rollout.top_k, c->rollout.top_p);
  if (st == ZK_OK) {
    out->accuracy = mean_right(&t), out->reward = mean_reward(&t);
    out->length_mean = (double)zk_trajectory_num_sampled(&t, 0, t.num_samples) / (double)t.num_samples;
  }
  keep(&t, part);
  return st;
}

static zk_status evaluate_sampled(zk_session *s, zk_engine *engine, uint32_t step, zk_evaluation_part *part, zk_evaluation *out) {
  const zk_evaluation_sizes *n = &out->sizes;
  zk_trajectory t = {0};
  zk_status st = sample_heldout(s, engine, n->num_prompts, n->num_samples, step, part ? part->recorded : NULL, &t);
  if (st == ZK_OK) out->avg_at_n = mean_right(&t), out->pass_at_k = pass_rate(&t, n->num_samples, n->k);
  keep(&t, part);
  return st;
}

zk_status zk_evaluation_resolve(const zk_session *s, zk_evaluation_sizes *sizes) {
  const int32_t available = (int32_t)zk_task_num_heldout(s->task);
  if (sizes->num_prompts <= 0 || sizes->num_prompts > available) sizes->num_prompts = available;
  if (sizes->k == 0) sizes->k = sizes->num_samples;
  return sizes->num_prompts ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "task %s has no held-out items to evaluate on", zk_task_name(s->task));
}

zk_status zk_evaluate(zk_session *s, zk_engine *engine, zk_evaluation_sizes sizes, uint32_t step, zk_evaluation_part *parts, zk_evaluation *out) {
  ZK_TRY(zk_evaluation_resolve(s, &sizes));
  *out = (zk_evaluation){.sizes = sizes, .has_reward = !zk_task_reward_is_first(s->task)};
  ZK_TRY(evaluate_greedy(s, engine, step, parts ? &parts[ZK_EVALUATION_GREEDY] : NULL, out));
  return sizes.num_samples > 0 ? evaluate_sampled(s, engine, step, parts ? &parts[ZK_EVALUATION_SAMPLED] : NULL, out) : ZK_OK;
}

void zk_evaluation_put(const zk_evaluation *e, zk_metrics_line *line) {
  char key[48];
  zk_metrics_put_double(line, "eval/accuracy", e->accuracy);
  if (e->has_reward) zk_metrics_put_double(line, "eval/reward", e->reward);
  zk_metrics_put_int(line, "eval/prompts", e->sizes.num_prompts);
  zk_metrics_put_double(line, "eval/length_mean", e->length_mean);
  if (!e->sizes.num_samples) return;
  snprintf(key, sizeof key, "eval/avg@%d", e->sizes.num_samples);
  zk_metrics_put_double(line, key, e->avg_at_n);
  snprintf(key, sizeof key, "eval/pass@%d", e->sizes.k);
  zk_metrics_put_double(line, key, e->pass_at_k);
}
