// The same request again and again, in changing company; what comes back is compared token by token and bit by bit.
#include "trainer/rollout_unique.h"

#include <stdio.h>
#include <stdlib.h>

#include "rollout/session.h"
#include "rollout/workload.h"
#include "shared/chat.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/metrics.h"
#include "trainer/completion_set.h"
#include "trainer/plan.h"

enum { NUM_OTHERS = 64, EVERY = 8 }; // other sequences, one of them with every eighth request
static const int32_t usual_batches[] = {1, 7, 64, 256, 1000};

typedef struct {
  const zk_session *session;
  const zk_workload *workload;
  const zk_tokens *prompt; // what is asked again and again
  bool is_text;            // given by a person, and not the workload's first
  int32_t wanted, batch;
  double temperature;
  zk_completion_set set;
} experiment;

static zk_status ask(zk_engine *e, const experiment *x) {
  const zk_config *c = &x->session->config;
  const int32_t most = c->rollout.max_new_tokens, drawn = x->workload->num_new[0];
  zk_request r = {.step = 1, .prompt = x->prompt->ids, .num_prompt = (int32_t)x->prompt->num_tokens, .num_samples = 1,
                  .max_new_tokens = x->is_text || drawn > most ? most : drawn};
  return zk_engine_submit(e, &r);
}

// Those of the others that are cut short end anywhere, so that they come and go.
static zk_status submit_other(zk_engine *e, const experiment *x, int32_t i) {
  const zk_workload *w = x->workload;
  const int64_t *at = w->prompt_offsets + i;
  const int32_t most = x->session->config.rollout.max_new_tokens, num_new = w->num_new[i];
  zk_request r = {.tag = (uint64_t)i, .step = 1, .prompt_id = (uint32_t)i, .prompt = w->prompt_tokens + at[0], .num_prompt = (int32_t)(at[1] - at[0]),
                  .num_samples = 1, .max_new_tokens = num_new <= most ? num_new : 1 + num_new % most};
  return zk_engine_submit(e, &r);
}

static zk_status generate(experiment *x, zk_engine *e) {
  int32_t submitted = 0, finished = 0;
  while (finished < x->wanted || zk_engine_num_open(e)) {
    for (; submitted < x->wanted && zk_engine_num_waiting(e) < x->batch; submitted++) {
      ZK_TRY(ask(e, x));
      if (submitted % EVERY == 0) ZK_TRY(submit_other(e, x, 1 + submitted / EVERY % NUM_OTHERS));
    }
    ZK_TRY(zk_engine_step(e));
    for (zk_completion c; zk_engine_take(e, &c);) {
      finished += c.tag == 0;
      if (c.tag == 0) ZK_TRY(zk_completion_set_add(&x->set, &c));
      else zk_completion_free(&c);
    }
    zk_progress_update("unique", finished, x->wanted, "completions");
  }
  zk_progress_end();
  return ZK_OK;
}

// Where they part, if they do, and into what.
static zk_status put_parting(const experiment *x, zk_metrics_line *line) {
  const int32_t position = zk_completion_set_parting(&x->set);
  if (position < 0) return ZK_OK;
  char *split;
  ZK_TRY(zk_completion_set_split(&x->set, position, x->session->tokenizer, &split));
  zk_metrics_put_int(line, "parting/position", position);
  zk_metrics_put_string(line, "parting/split", split);
  free(split);
  return ZK_OK;
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
  zk_metrics_put_int(&line, "tokens/prompt", (int64_t)x->prompt->num_tokens);
  zk_metrics_put_int(&line, "tokens/completion", x->set.num_unique ? x->set.unique[0].num_tokens : 0);
  zk_metrics_put_int(&line, "completions", x->wanted);
  zk_metrics_put_int(&line, "unique", x->set.num_unique);
  zk_metrics_put_int(&line, "unique/texts", zk_completion_set_num_texts(&x->set));
  zk_status st = put_parting(x, &line);
  zk_metrics_put_hash(&line, "completion/hash", zk_completion_set_hash(&x->set));
  zk_metrics_put_int(&line, "engine/steps", (int64_t)stats.steps);
  zk_metrics_put_int(&line, "engine/preemptions", (int64_t)stats.preemptions);
  zk_metrics_put_double(&line, "time/rollout", seconds);
  if (st == ZK_OK) st = zk_metrics_line_print(&line, stdout);
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
static zk_status run_all(experiment *x, const zk_engine_options *o, const zk_rollout_bench_options *options) {
  zk_status st = ZK_OK;
  const int32_t num_usual = sizeof usual_batches / sizeof *usual_batches;
  for (int32_t b = 0; st == ZK_OK && b < (options->num_batches ? options->num_batches : num_usual); b++) {
    x->batch = options->num_batches ? options->batches[b] : usual_batches[b];
    st = run(x, o);
  }
  if (st == ZK_OK && x->set.num_unique > 1 && zk_config_sampler_numerics(&x->session->config) != ZK_VENDOR)
    st = ZK_FAIL(ZK_MISMATCH, "one prompt under one name has %d different completions at temperature %g; run `zerokl check` on this machine",
                 x->set.num_unique, x->temperature);
  zk_completion_set_free(&x->set);
  return st;
}

// The workload's first prompt, or a person's text as a user's turn of the model's chat template; then the engine has room for it.
static zk_status make_prompt(zk_session *s, const zk_rollout_bench_options *options, const zk_workload *w, zk_engine_options *o, zk_tokens *out) {
  if (!options->prompt) {
    for (int64_t i = 0; i < w->prompt_offsets[1]; i++) ZK_TRY(zk_tokens_push(out, w->prompt_tokens[i]));
    return ZK_OK;
  }
  zk_tokenizer *tokenizer;
  zk_chat_template chat = (zk_chat_template)s->config.task.template;
  ZK_TRY(zk_tokenizer_load(s->model_dir, &tokenizer));
  s->tokenizer = tokenizer;
  ZK_TRY(zk_model_check_tokenizer(&s->policy.config, s->model_dir, tokenizer));
  if (s->config.task.template == ZK_CONFIG_TEMPLATE_AUTO) ZK_TRY(zk_chat_detect(tokenizer, &chat));
  ZK_TRY(zk_chat_encode(tokenizer, chat, &(zk_chat_message){"user", options->prompt}, 1, 1, out));
  const int32_t num_new = s->config.rollout.max_new_tokens, longest = (int32_t)out->num_tokens + num_new;
  if (o->max_new_tokens < num_new) o->max_new_tokens = num_new;
  if (o->max_sequence < longest) o->max_sequence = longest;
  if (longest > s->policy.num_positions)
    return ZK_FAIL(ZK_BAD_INPUT, "--prompt of %zu tokens and %d new ones do not fit the model's %d positions; lower rollout.max_new_tokens", out->num_tokens,
                   num_new, s->policy.num_positions);
  return ZK_OK;
}

zk_status zk_rollout_unique(const zk_config *config, zk_comm *comm, const zk_rollout_bench_options *options) {
  if (zk_comm_size(comm) > 1) return ZK_FAIL(ZK_BAD_INPUT, "--unique is for one worker, not %d", zk_comm_size(comm));
  zk_session session;
  zk_workload workload = {0};
  zk_tokens prompt = {0};
  zk_engine_options o;
  ZK_TRY(zk_session_open_model(config, comm, NULL, &session));
  zk_status st = zk_rollout_bench_engine_options(&session, options, &o);
  if (st == ZK_OK) st = zk_workload_make(1 + NUM_OTHERS, options->min_tokens, options->max_tokens, session.policy.config.vocab, &workload);
  if (st == ZK_OK) st = make_prompt(&session, options, &workload, &o, &prompt);
  for (int greedy = options->greedy; st == ZK_OK && greedy < 2; greedy++) {
    experiment x = {.session = &session, .workload = &workload, .prompt = &prompt, .is_text = options->prompt != NULL, .wanted = options->num_sequences,
                    .temperature = greedy ? 0 : 1};
    st = run_all(&x, &o, options);
  }
  zk_tokens_free(&prompt);
  zk_workload_free(&workload);
  zk_session_close(&session);
  return st;
}
