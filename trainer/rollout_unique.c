// The same request again and again, in changing company; what comes back is compared token by token and bit by bit.
#include "trainer/rollout_unique.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "rollout/session.h"
#include "rollout/workload.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/metrics.h"
#include "trainer/plan.h"

enum { NUM_OTHERS = 64, EVERY = 8 }; // other sequences, one of them with every eighth request
static const int32_t usual_batches[] = {1, 7, 64, 256, 1000};

typedef struct {
  const zk_session *session;
  const zk_workload *workload;
  int32_t wanted, batch;
  double temperature;
  zk_completion *unique; // [num_unique]
  int32_t num_unique;
} experiment;

// Those that are cut short end anywhere, so that they come and go.
static int32_t num_new(const experiment *x, int32_t i) {
  const int32_t wanted = x->workload->num_new[i], most = x->session->config.rollout.max_new_tokens;
  if (wanted <= most) return wanted;
  return i == 0 ? most : 1 + wanted % most;
}

static zk_status submit(zk_engine *e, const experiment *x, int32_t i) {
  const zk_workload *w = x->workload;
  const int64_t *at = w->prompt_offsets + i;
  zk_request r = {.tag = (uint64_t)i, .step = 1, .prompt_id = (uint32_t)i, .prompt = w->prompt_tokens + at[0], .num_prompt = (int32_t)(at[1] - at[0]),
                  .num_samples = 1, .max_new_tokens = num_new(x, i)};
  return zk_engine_submit(e, &r);
}

static bool same(const zk_completion *a, const zk_completion *b) {
  const size_t n = (size_t)a->num_tokens;
  return a->num_tokens == b->num_tokens && a->finish == b->finish && !memcmp(a->tokens, b->tokens, n * sizeof *a->tokens) &&
         !memcmp(a->logprob, b->logprob, n * sizeof *a->logprob);
}

// Keeps it if there was none like it.
static zk_status note(experiment *x, zk_completion *c) {
  for (int32_t i = 0; i < x->num_unique; i++)
    if (same(&x->unique[i], c)) {
      zk_completion_free(c);
      return ZK_OK;
    }
  zk_completion *grown = realloc(x->unique, (size_t)(x->num_unique + 1) * sizeof *grown);
  if (!grown) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %d completions", x->num_unique + 1);
  x->unique = grown;
  x->unique[x->num_unique++] = *c;
  return ZK_OK;
}

static zk_status generate(experiment *x, zk_engine *e) {
  int32_t submitted = 0, finished = 0;
  while (finished < x->wanted || zk_engine_num_open(e)) {
    for (; submitted < x->wanted && zk_engine_num_waiting(e) < x->batch; submitted++) {
      ZK_TRY(submit(e, x, 0));
      if (submitted % EVERY == 0) ZK_TRY(submit(e, x, 1 + submitted / EVERY % NUM_OTHERS));
    }
    ZK_TRY(zk_engine_step(e));
    for (zk_completion c; zk_engine_take(e, &c);) {
      finished += c.tag == 0;
      if (c.tag == 0) ZK_TRY(note(x, &c));
      else zk_completion_free(&c);
    }
    zk_progress_update("unique", finished, x->wanted, "completions");
  }
  zk_progress_end();
  return ZK_OK;
}

// Of its tokens and the bits of their log-probabilities; 0 for none.
static uint64_t completion_hash(const zk_completion *c) {
  if (!c) return 0;
  const size_t bytes = (size_t)c->num_tokens * sizeof *c->tokens;
  return XXH64(c->logprob, bytes, XXH64(c->tokens, bytes, 0));
}

static zk_status tell(const experiment *x, const zk_engine *e, double seconds) {
  zk_engine_stats stats;
  zk_engine_get_stats(e, &stats);
  zk_metrics_line line;
  zk_metrics_line_init(&line, 1);
  zk_metrics_put_string(&line, "device", zk_device_describe(x->session->device));
  zk_metrics_put_string(&line, "numerics", zk_numerics_name(zk_config_sampler_numerics(&x->session->config)));
  zk_metrics_put_int(&line, "batch", x->batch);
  zk_metrics_put_double(&line, "temperature", x->temperature);
  zk_metrics_put_int(&line, "tokens/prompt", x->workload->prompt_offsets[1]);
  zk_metrics_put_int(&line, "tokens/completion", x->num_unique ? x->unique[0].num_tokens : 0);
  zk_metrics_put_int(&line, "completions", x->wanted);
  zk_metrics_put_int(&line, "unique", x->num_unique);
  zk_metrics_put_hash(&line, "completion/hash", completion_hash(x->num_unique ? x->unique : NULL));
  zk_metrics_put_int(&line, "engine/steps", (int64_t)stats.steps);
  zk_metrics_put_int(&line, "engine/preemptions", (int64_t)stats.preemptions);
  zk_metrics_put_double(&line, "time/rollout", seconds);
  zk_status st = zk_metrics_line_print(&line, stdout);
  zk_metrics_line_free(&line);
  return st;
}

static zk_status run(experiment *x, const zk_engine_options *options) {
  zk_engine_options o = *options;
  zk_engine *e = NULL;
  o.max_batch = x->batch, o.temperature = x->temperature, o.top_k = 0, o.top_p = 1;
  zk_status st = zk_engine_open(zk_session_sampler(x->session), &o, &e);
  const double start = zk_clock_s();
  if (st == ZK_OK) st = generate(x, e);
  if (st == ZK_OK) st = tell(x, e, zk_clock_s() - start);
  zk_engine_close(e);
  return st;
}

// The batches of one temperature share their completions: a batch's own would be compared with its own only.
static zk_status run_all(const zk_session *s, const zk_workload *w, const zk_engine_options *o, const zk_rollout_bench_options *options, double temperature) {
  experiment x = {.session = s, .workload = w, .wanted = options->num_sequences, .temperature = temperature};
  zk_status st = ZK_OK;
  const int32_t num_usual = sizeof usual_batches / sizeof *usual_batches;
  for (int32_t b = 0; st == ZK_OK && b < (options->num_batches ? options->num_batches : num_usual); b++) {
    x.batch = options->num_batches ? options->batches[b] : usual_batches[b];
    st = run(&x, o);
  }
  if (st == ZK_OK && x.num_unique > 1 && zk_config_sampler_numerics(&s->config) != ZK_VENDOR)
    st = ZK_FAIL(ZK_MISMATCH, "one prompt under one name has %d different completions at temperature %g; run `zerokl check` on this machine", x.num_unique,
                 temperature);
  for (int32_t i = 0; i < x.num_unique; i++) zk_completion_free(&x.unique[i]);
  free(x.unique);
  return st;
}

zk_status zk_rollout_unique(const zk_config *config, zk_comm *comm, const zk_rollout_bench_options *options) {
  if (zk_comm_size(comm) > 1) return ZK_FAIL(ZK_BAD_INPUT, "--unique is for one worker, not %d", zk_comm_size(comm));
  zk_session session;
  zk_workload workload = {0};
  zk_engine_options o;
  ZK_TRY(zk_session_open_model(config, comm, NULL, &session));
  zk_status st = zk_rollout_bench_engine_options(&session, options, &o);
  if (st == ZK_OK) st = zk_workload_make(1 + NUM_OTHERS, options->min_tokens, options->max_tokens, session.policy.config.vocab, &workload);
  for (int greedy = 0; st == ZK_OK && greedy < 2; greedy++) st = run_all(&session, &workload, &o, options, greedy ? 0 : 1);
  zk_workload_free(&workload);
  zk_session_close(&session);
  return st;
}
