// All requests at once, as offline generation has them; the engine's scheduler does the rest.
#include "trainer/rollout_bench.h"

#include <stdio.h>
#include <stdlib.h>

#include "rollout/session.h"
#include "rollout/workload.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/metrics.h"
#include "trainer/plan.h"

// Every size-th sequence of the workload is this rank's.
static zk_status submit_own(const zk_session *s, zk_engine *engine, const zk_workload *w) {
  for (int32_t i = zk_comm_rank(s->comm); i < w->num_sequences; i += zk_comm_size(s->comm)) {
    const int64_t *at = w->prompt_offsets + i;
    zk_request r = {.tag = (uint64_t)i, .step = 1, .prompt_id = (uint32_t)i, .prompt = w->prompt_tokens + at[0], .num_prompt = (int32_t)(at[1] - at[0]),
                    .num_samples = 1, .max_new_tokens = w->num_new[i]};
    ZK_TRY(zk_engine_submit(engine, &r));
  }
  return ZK_OK;
}

static zk_status generate(const zk_session *s, zk_engine *engine, const zk_workload *w, uint64_t *generated) {
  ZK_TRY(submit_own(s, engine, w));
  const long total = zk_engine_num_open(engine);
  while (zk_engine_num_open(engine)) {
    ZK_TRY(zk_engine_step(engine));
    for (zk_completion done; zk_engine_take(engine, &done);) {
      *generated += (uint64_t)done.num_tokens;
      zk_completion_free(&done);
    }
    zk_progress_update("generate", total - zk_engine_num_open(engine), total, "sequences on this rank");
  }
  zk_progress_end();
  return ZK_OK;
}

typedef struct {
  zk_engine *engine;
  const int32_t *prompt;
  int32_t max_tokens;
} warm_up;

// num sequences, num_long of them with the longest prompts, the rest with num_prompt tokens; `at_a_time` end together, `steps` after those before them.
static zk_status run_batch(const warm_up *w, int32_t num, int32_t num_long, int32_t num_prompt, int32_t at_a_time, int32_t steps) {
  for (int32_t i = 0; i < num; i++) {
    const int32_t num_new = steps * (1 + i / at_a_time);
    const zk_request r = {.prompt_id = (uint32_t)i, .prompt = w->prompt, .num_prompt = i < num_long ? w->max_tokens : num_prompt, .num_samples = 1,
                          .max_new_tokens = num_new < w->max_tokens ? num_new : w->max_tokens};
    ZK_TRY(zk_engine_submit(w->engine, &r));
  }
  while (zk_engine_num_open(w->engine)) {
    ZK_TRY(zk_engine_step(w->engine));
    for (zk_completion done; zk_engine_take(w->engine, &done);) zk_completion_free(&done);
  }
  return ZK_OK;
}

// On a GPU, all kinds of steps run before the clock starts. First those that are full of prompts, few long ones or many short ones: no later step wants more
// scratch memory, which would move it, and every graph would have to be recorded anew. Then every size of a decode step, a few times, so that graphs are
// recorded; those of few rows at every context that has graphs of its own (step_graph.c).
static zk_status warm_up_all(const zk_session *s, zk_engine *engine, int32_t max_tokens) {
  enum { AT_A_TIME = 8, STEPS = 3 };
  const int32_t batch = s->config.rollout.max_batch, few = batch < AT_A_TIME ? batch : AT_A_TIME;
  const int32_t chunk = s->config.rollout.prefill_chunk, most = chunk < max_tokens ? chunk : max_tokens;
  int32_t *prompt = calloc((size_t)max_tokens, sizeof *prompt);
  if (!prompt) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a prompt of %d tokens", max_tokens);
  const warm_up w = {engine, prompt, max_tokens};
  zk_status st = run_batch(&w, batch, 1 + chunk / max_tokens, 1, batch, 1);
  for (int32_t num_prompt = 2; st == ZK_OK && num_prompt <= most && (num_prompt - 1) * batch < chunk; num_prompt *= 2)
    st = run_batch(&w, batch, 0, num_prompt, batch, 1);
  if (st == ZK_OK) st = run_batch(&w, batch, 0, 1, AT_A_TIME, STEPS);
  for (int32_t num_prompt = 1; st == ZK_OK && num_prompt <= max_tokens; num_prompt = num_prompt == 1 ? 512 : 4 * num_prompt)
    st = run_batch(&w, few, 0, num_prompt, 1, STEPS);
  free(prompt);
  return st;
}

// What was counted between two looks.
static zk_engine_stats since(const zk_engine_stats *before, const zk_engine_stats *now) {
  zk_engine_stats d = *now;
  d.steps -= before->steps, d.preemptions -= before->preemptions, d.drafted -= before->drafted, d.accepted -= before->accepted;
  d.graph_steps -= before->graph_steps, d.late_steps -= before->late_steps, d.thrown_rows -= before->thrown_rows, d.device_s -= before->device_s;
  d.reused_rows -= before->reused_rows;
  return d;
}

// stats: summed over ranks.
static zk_status print(const zk_session *s, const zk_workload *w, const zk_engine_stats *stats, uint64_t generated, double seconds) {
  const double prompt = (double)w->prompt_offsets[w->num_sequences];
  ZK_LOG(INFO, "bench", "%d sequences, %.0f prompt tokens, %llu generated in %.2f s: %.1f tokens/s generated, %.1f with prompts", w->num_sequences, prompt,
         (unsigned long long)generated, seconds, (double)generated / seconds, ((double)generated + prompt) / seconds);
  zk_metrics_line line;
  zk_metrics_line_init(&line, 1);
  zk_metrics_put_string(&line, "device", zk_device_describe(s->device));
  zk_metrics_put_string(&line, "numerics", zk_numerics_name(zk_config_sampler_numerics(&s->config)));
  zk_metrics_put_int(&line, "parameters", s->policy.params.num_elements);
  zk_metrics_put_int(&line, "ranks", zk_comm_size(s->comm));
  zk_metrics_put_int(&line, "sequences", w->num_sequences);
  zk_metrics_put_int(&line, "tokens/prompt", w->prompt_offsets[w->num_sequences]);
  zk_metrics_put_int(&line, "tokens/generated", (int64_t)generated);
  zk_metrics_put_int(&line, "engine/steps", (int64_t)stats->steps);
  zk_metrics_put_int(&line, "engine/graph_steps", (int64_t)stats->graph_steps);
  zk_metrics_put_int(&line, "engine/late_steps", (int64_t)stats->late_steps);
  zk_metrics_put_int(&line, "engine/preemptions", (int64_t)stats->preemptions);
  zk_metrics_put_int(&line, "engine/thrown_rows", (int64_t)stats->thrown_rows);
  // Of the time, what no rank's device spent on a step: it waited for the host.
  zk_metrics_put_double(&line, "engine/host_fraction", 1.0 - stats->device_s / (seconds * zk_comm_size(s->comm)));
  zk_metrics_put_int(&line, "engine/reused_rows", (int64_t)stats->reused_rows);
  zk_metrics_put_int(&line, "speculation/drafted", (int64_t)stats->drafted);
  zk_metrics_put_int(&line, "speculation/accepted", (int64_t)stats->accepted);
  zk_metrics_put_double(&line, "time/rollout", seconds);
  zk_metrics_put_double(&line, "perf/rollout_tokens_per_s", (double)generated / seconds);
  zk_status st = zk_metrics_line_print(&line, stdout);
  zk_metrics_line_free(&line);
  return st;
}

static zk_status measure(zk_session *s, zk_engine *engine, const zk_workload *w, int32_t max_tokens) {
  uint64_t generated = 0;
  zk_engine_stats before, now;
  ZK_TRY(zk_comm_agree(s->comm, zk_device_has_graphs(s->device) ? warm_up_all(s, engine, max_tokens) : ZK_OK));
  zk_engine_get_stats(engine, &before);
  const double start = zk_clock_s();
  ZK_TRY(zk_comm_agree(s->comm, generate(s, engine, w, &generated))); // all are done when the last one is
  const double seconds = zk_clock_s() - start;
  zk_engine_get_stats(engine, &now);
  zk_engine_stats stats = since(&before, &now);
  uint64_t sums[] = {generated, stats.steps, stats.preemptions, stats.drafted, stats.accepted, stats.graph_steps, stats.thrown_rows,
                     (uint64_t)(stats.device_s * 1e9), stats.late_steps, stats.reused_rows};
  ZK_TRY(zk_comm_sum_u64(s->comm, sums, sizeof sums / sizeof *sums));
  stats.steps = sums[1], stats.preemptions = sums[2], stats.drafted = sums[3], stats.accepted = sums[4];
  stats.graph_steps = sums[5], stats.thrown_rows = sums[6], stats.device_s = (double)sums[7] * 1e-9, stats.late_steps = sums[8], stats.reused_rows = sums[9];
  if (sums[0] != (uint64_t)w->total_new)
    return ZK_FAIL(ZK_INTERNAL, "%llu tokens were generated, not %lld", (unsigned long long)sums[0], (long long)w->total_new);
  return zk_comm_agree(s->comm, zk_comm_rank(s->comm) == 0 ? print(s, w, &stats, sums[0], seconds) : ZK_OK);
}

zk_status zk_rollout_bench_engine_options(const zk_session *s, const zk_rollout_bench_options *options, zk_engine_options *o) {
  ZK_TRY(zk_plan_engine_options(s, ZK_PLAN_EVALUATE, false, o));
  o->max_new_tokens = options->max_tokens, o->max_sequence = 2 * options->max_tokens;
  o->ignore_eos = true, o->num_stop = 0;
  if (o->max_sequence > s->policy.num_positions)
    return ZK_FAIL(ZK_BAD_INPUT, "sequences of up to %d tokens do not fit the model's %d positions; lower --max", o->max_sequence, s->policy.num_positions);
  return ZK_OK;
}

zk_status zk_rollout_bench(const zk_config *config, zk_comm *comm, const zk_rollout_bench_options *options) {
  zk_session session;
  zk_engine *engine = NULL;
  zk_workload workload = {0};
  ZK_TRY(zk_session_open_model(config, comm, NULL, &session));
  zk_engine_options o;
  zk_status st = zk_rollout_bench_engine_options(&session, options, &o);
  if (st == ZK_OK) st = zk_engine_open(zk_session_sampler(&session), &o, &engine);
  if (st == ZK_OK)
    st = zk_workload_make(options->num_sequences, options->min_tokens, options->max_tokens, session.policy.config.vocab, &workload);
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = measure(&session, engine, &workload, options->max_tokens);
  zk_workload_free(&workload);
  zk_engine_close(engine);
  zk_session_close(&session);
  return st;
}
