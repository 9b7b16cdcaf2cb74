// Greedy accuracy, avg@k, pass@k.
#include "trainer/evaluate.h"

#include <stdio.h>
#include <string.h>

static zk_status sample_heldout(zk_session *s, zk_engine *engine, int32_t prompts, int32_t samples, uint32_t step, const char *what, zk_trajectory *t) {
  zk_collect_request q = {.split = ZK_SPLIT_HELDOUT, .num_prompts = prompts, .samples_per_prompt = samples, .step = step, .what = what};
  zk_collect_stats stats;
  return zk_collect(s, engine, &q, t, &stats);
}

static double mean_reward(const zk_trajectory *t) {
  double sum = 0;
  for (int64_t i = 0; i < t->num_samples; i++) sum += (double)t->reward[i];
  return t->num_samples ? sum / (double)t->num_samples : 0;
}

// Prompts with at least one sample of reward 1 or more, over all prompts.
static double pass_rate(const zk_trajectory *t, int32_t k) {
  int64_t passed = 0;
  for (int64_t p = 0; p < t->num_prompts; p++) {
    int any = 0;
    for (int32_t i = 0; i < k; i++) any |= t->reward[p * k + i] >= 1.0f;
    passed += any;
  }
  return t->num_prompts ? (double)passed / (double)t->num_prompts : 0;
}

zk_status zk_evaluate(zk_session *s, zk_engine *engine, int32_t num_prompts, int32_t samples, uint32_t step, zk_evaluation *out) {
  const zk_config *c = &s->config;
  int32_t available = (int32_t)zk_task_num_heldout(s->task);
  if (num_prompts <= 0 || num_prompts > available) num_prompts = available;
  *out = (zk_evaluation){.num_prompts = num_prompts, .num_samples = samples};
  if (!num_prompts) return ZK_FAIL(ZK_BAD_INPUT, "task %s has no held-out items to evaluate on", zk_task_name(s->task));
  zk_trajectory t = {0};
  zk_engine_set_sampling(engine, 0, 0, 1);
  zk_status st = sample_heldout(s, engine, num_prompts, 1, step, "evaluate", &t);
  zk_engine_set_sampling(engine, c->rollout.temperature, c->rollout.top_k, c->rollout.top_p);
  if (st == ZK_OK) {
    out->accuracy = mean_reward(&t);
    out->length_mean = (double)t.num_sample_tokens / (double)t.num_samples;
  }
  zk_trajectory_free(&t);
  if (st == ZK_OK && samples > 0) {
    st = sample_heldout(s, engine, num_prompts, samples, step, "evaluate", &t);
    if (st == ZK_OK) out->avg_at_k = mean_reward(&t), out->pass_at_k = pass_rate(&t, samples);
    zk_trajectory_free(&t);
  }
  return st;
}

void zk_evaluation_put(const zk_evaluation *e, zk_metrics_line *line) {
  char key[48];
  zk_metrics_put_double(line, "eval/accuracy", e->accuracy);
  zk_metrics_put_int(line, "eval/prompts", e->num_prompts);
  zk_metrics_put_double(line, "eval/length_mean", e->length_mean);
  if (!e->num_samples) return;
  snprintf(key, sizeof key, "eval/avg@%d", e->num_samples);
  zk_metrics_put_double(line, key, e->avg_at_k);
  snprintf(key, sizeof key, "eval/pass@%d", e->num_samples);
  zk_metrics_put_double(line, key, e->pass_at_k);
}
