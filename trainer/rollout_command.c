// `zerokl rollout`: the sampling half of a run. Each step is sampled, rewarded, compared bit by bit with the trainer's forward pass and
// archived, exactly as `train` would with these weights; then the weights stay as they are.
#include "trainer/rollout_command.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/clock.h"
#include "shared/command_line.h"
#include "shared/log.h"
#include "trainer/config_command.h"
#include "trainer/mismatch.h"
#include "trainer/rl.h"
#include "trainer/rollout_unique.h"
#include "trainer/run_folder.h"

typedef struct {
  zk_session session;
  zk_engine *engine;
  zk_reference *reference; // NULL without a KL term
  zk_gradient *gradient;
  zk_run_dir *dir; // rank 0; NULL elsewhere
  zk_run_dir dir_memory;
  char *identity;
  uint64_t weights_hash;
} rollout;

// One step and what is told of it.
typedef struct {
  zk_trajectory t;
  zk_sequences seqs;
  float *entropy;
  zk_collect_stats collect;
  int64_t num_tried;
  zk_advantage_stats advantage;
  zk_mismatch mismatch;
  double entropy_mean;
  double seconds;
} rollout_step;

// The trainer's log-probabilities, each rank those of its share of the sequences; then bit against bit.
static zk_status compare(rollout *r, rollout_step *x) {
  zk_comm *comm = r->session.comm;
  zk_trajectory *t = &x->t;
  x->entropy = malloc(((size_t)t->num_sample_tokens + 1) * sizeof *x->entropy);
  if (!x->entropy) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %lld tokens", (long long)t->num_sample_tokens);
  const int64_t n = x->seqs.num_seqs, first = n * zk_comm_rank(comm) / zk_comm_size(comm), last = n * (zk_comm_rank(comm) + 1) / zk_comm_size(comm);
  zk_gradient_outputs out = {.logprob = t->trainer_logprob, .entropy = x->entropy};
  ZK_TRY(zk_comm_agree(comm, zk_gradient_forward(r->gradient, &x->seqs, first, last, &out)));
  ZK_TRY(zk_sequences_share(comm, &x->seqs, first, last, t->trainer_logprob));
  ZK_TRY(zk_sequences_share(comm, &x->seqs, first, last, x->entropy));
  const int64_t sampled = zk_trajectory_num_sampled(t, 0, t->num_samples);
  for (int64_t k = 0; k < t->num_sample_tokens; k++)
    if (t->loss_mask[k]) x->entropy_mean += (double)x->entropy[k] / (double)sampled;
  zk_trajectory_clear_replies(t);
  zk_mismatch_compute(t, &x->mismatch);
  if (x->mismatch.tokens && !zk_config_may_differ(&r->session.config)) return zk_comm_agree(comm, zk_mismatch_fail(t, &x->mismatch));
  return ZK_OK;
}

static zk_status print(const rollout *r, const rollout_step *x, const char *path) {
  const zk_trajectory *t = &x->t;
  const int64_t sampled = zk_trajectory_num_sampled(t, 0, t->num_samples);
  int64_t clipped = 0, errors = 0;
  for (int64_t i = 0; i < t->num_samples; i++) {
    clipped += t->finish_reason[i] == ZK_FINISH_LENGTH;
    errors += zk_finish_is_error(t->finish_reason[i]);
  }
  zk_metrics_line line;
  zk_metrics_line_init(&line, t->step);
  zk_metrics_put_double(&line, "reward/mean", x->advantage.reward_mean);
  zk_metrics_put_double(&line, "reward/std", x->advantage.reward_std);
  zk_metrics_put_double(&line, "response/length_mean", (double)sampled / (double)t->num_samples);
  zk_metrics_put_double(&line, "response/clip_ratio", (double)clipped / (double)t->num_samples);
  zk_metrics_put_int(&line, "response/errors", errors);
  zk_metrics_put_double(&line, "policy/entropy", x->entropy_mean);
  zk_metrics_put_int(&line, "mismatch/tokens", x->mismatch.tokens);
  zk_metrics_put_double(&line, "mismatch/max_abs", x->mismatch.max_abs);
  zk_metrics_put_double(&line, "mismatch/kl_k1", x->mismatch.k1);
  zk_metrics_put_double(&line, "mismatch/kl_k3", x->mismatch.k3);
  zk_metrics_put_int(&line, "tokens/generated", sampled);
  zk_metrics_put_double(&line, "perf/rollout_tokens_per_s", (double)sampled / (x->collect.rollout_s + 1e-9));
  zk_collect_put_speculation(&r->session.config, &x->collect, &line);
  zk_metrics_put_double(&line, "time/step", x->seconds);
  zk_metrics_put_hash(&line, "weights/hash", t->weights_hash);
  zk_metrics_put_string(&line, "trajectory", path);
  zk_status st = zk_metrics_line_print(&line, stdout);
  zk_metrics_line_free(&line);
  return st;
}

// Rank 0: archives the step and tells of it.
static zk_status record(rollout *r, rollout_step *x) {
  const int64_t step = x->t.step;
  const zk_path path = zk_run_dir_trajectory_path(r->dir, step);
  bool existed;
  ZK_TRY(zk_trajectory_write(path.s, &x->t, &existed));
  ZK_TRY(zk_run_dir_seal_trajectory(r->dir, step));
  ZK_LOG(INFO, "rollout", "step %lld/%d  reward %.3f  length %.1f  mismatch %lld of %lld  %.2f s%s", (long long)step, r->session.config.run.steps,
         x->advantage.reward_mean, (double)x->t.num_sample_tokens / (double)x->t.num_samples, (long long)x->mismatch.tokens,
         (long long)x->t.num_sample_tokens, x->seconds, existed ? "  (the same as in the file that was there)" : "");
  return print(r, x, path.s);
}

static zk_status run_step(rollout *r, int64_t step) {
  rollout_step x = {0};
  const double start = zk_clock_s();
  zk_status st = zk_rl_sample(&r->session, r->engine, r->dir, r->identity, step, r->weights_hash, &x.t, &x.collect, &x.num_tried);
  if (st == ZK_OK) st = zk_comm_agree(r->session.comm, zk_sequences_from_trajectory(&x.t, &x.seqs));
  if (st == ZK_OK) st = zk_rl_advance(&r->session, r->reference, &x.seqs, &x.t, &x.advantage);
  if (st == ZK_OK) st = compare(r, &x);
  x.seconds = zk_clock_s() - start;
  if (st == ZK_OK) st = zk_comm_agree(r->session.comm, r->dir ? record(r, &x) : ZK_OK);
  zk_trajectory_free(&x.t);
  zk_sequences_free(&x.seqs);
  free(x.entropy);
  return st;
}

// Rank 0: RUN must be ours alone. A training run's trajectories belong to weights that change.
static zk_status open_directory(rollout *r, const zk_config *config) {
  ZK_TRY(zk_run_folder_open(config, r->identity, &r->dir_memory));
  r->dir = &r->dir_memory;
  int64_t checkpoint;
  ZK_TRY(zk_run_dir_latest_checkpoint(r->dir, INT64_MAX, &checkpoint));
  if (checkpoint >= 0) return ZK_FAIL(ZK_BAD_INPUT, "%s is a training run; choose another run.dir to sample into", config->run.dir);
  return ZK_OK;
}

static zk_status open_parts(rollout *r, const zk_config *c, zk_comm *comm) {
  ZK_TRY(zk_session_open(c, comm, NULL, &r->session));
  zk_session *s = &r->session;
  zk_engine_options o;
  ZK_TRY(zk_reference_open(s, zk_session_origin(s), &r->reference));
  ZK_TRY(zk_plan_engine_options(s, ZK_PLAN_SAMPLE, false, &o));
  zk_gradient_options g = {c->rollout.temperature, c->rollout.top_k, c->rollout.top_p, c->trainer.microbatch_tokens, .recompute = true};
  zk_status st = zk_engine_open(zk_session_sampler(s), &o, &r->engine);
  if (st == ZK_OK) st = zk_gradient_open(&s->policy, &g, &r->gradient);
  if (st == ZK_OK) st = zk_policy_weights_hash(&s->policy, s->stream, &r->weights_hash);
  if (st == ZK_OK && r->dir) st = zk_run_folder_write_config(r->dir, &s->config);
  return zk_comm_agree(comm, st);
}

static zk_status sample_steps(const zk_config *config, zk_comm *comm) {
  rollout r = {0};
  zk_status st = zk_config_identity_text(config, &r.identity);
  if (st == ZK_OK && zk_comm_rank(comm) == 0) st = open_directory(&r, config);
  st = zk_comm_agree(comm, st);
  if (st == ZK_OK) st = open_parts(&r, config, comm);
  for (int64_t step = 1; st == ZK_OK && step <= config->run.steps; step++) st = run_step(&r, step);
  zk_gradient_close(r.gradient);
  zk_engine_close(r.engine);
  zk_reference_close(r.reference);
  if (r.session.comm) zk_session_close(&r.session);
  if (r.dir) zk_run_dir_close(r.dir);
  free(r.identity);
  return st;
}

// ---- the command line

typedef struct {
  bool bench, unique;
  zk_rollout_bench_options options;
} rollout_args;

enum { KEY_BENCH = 512, KEY_UNIQUE, KEY_SEQUENCES, KEY_MIN, KEY_MAX, KEY_BATCH, KEY_PROMPT, KEY_GREEDY };

static const struct argp_option options[] = {
    {"bench", KEY_BENCH, 0, 0, "Measure: a fixed workload of random tokens, throughput as one JSON object; the task plays no part", 0},
    {"unique", KEY_UNIQUE, 0, 0, "Prove: one prompt under one name, sampled in batches of 1 to 1000 with other traffic, has one completion", 0},
    {"sequences", KEY_SEQUENCES, "N", 0, "--bench: number of sequences (default 256); --unique: of completions in each batch (1000)", 0},
    {"min", KEY_MIN, "A", 0, "--bench, --unique: fewest tokens of a prompt and of a completion (default 100)", 0},
    {"max", KEY_MAX, "B", 0, "--bench, --unique: most tokens of a prompt and of a completion (default 1024)", 0},
    {"batch", KEY_BATCH, "N", 0, "--unique: in batches of N, again for another N, instead of 1, 7, 64, 256 and 1000", 0},
    {"prompt", KEY_PROMPT, "TEXT", 0, "--unique: this text, as a user's turn of the model's chat template, with rollout.max_new_tokens", 0},
    {"greedy", KEY_GREEDY, 0, 0, "--unique: at temperature 0 alone", 0},
    {0}};

static int32_t parse_count(const char *arg, const char *name, struct argp_state *state) {
  int64_t value;
  if (!zk_command_line_integer(arg, 1, 1 << 20, &value)) argp_error(state, "--%s: \"%s\" is not a number from 1 to %d", name, arg, 1 << 20);
  return (int32_t)value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
  rollout_args *args = state->input;
  switch (key) {
  case KEY_BENCH: args->bench = true; return 0;
  case KEY_UNIQUE: args->unique = true; return 0;
  case KEY_SEQUENCES: args->options.num_sequences = parse_count(arg, "sequences", state); return 0;
  case KEY_MIN: args->options.min_tokens = parse_count(arg, "min", state); return 0;
  case KEY_MAX: args->options.max_tokens = parse_count(arg, "max", state); return 0;
  case KEY_BATCH:
    if (args->options.num_batches == ZK_UNIQUE_MAX_BATCHES) argp_error(state, "--batch more than %d times", ZK_UNIQUE_MAX_BATCHES);
    args->options.batches[args->options.num_batches++] = parse_count(arg, "batch", state);
    return 0;
  case KEY_PROMPT: args->options.prompt = arg; return 0;
  case KEY_GREEDY: args->options.greedy = true; return 0;
  case ARGP_KEY_END:
    if ((args->options.prompt || args->options.greedy) && !args->unique) argp_error(state, "--prompt and --greedy are for --unique");
    if (args->options.min_tokens > args->options.max_tokens) argp_error(state, "--min is more than --max");
    if (args->bench && args->unique) argp_error(state, "--bench or --unique, not both");
    if (args->options.num_batches && !args->unique) argp_error(state, "--batch is for --unique; --bench takes rollout.max_batch");
    if (!args->options.num_sequences) args->options.num_sequences = args->unique ? 1000 : 256;
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp own_options = {.options = options, .parser = parse_option};

static zk_status work(const zk_config *config, zk_comm *comm, void *arg) {
  const rollout_args *args = arg;
  if (args->unique) return zk_rollout_unique(config, comm, &args->options);
  return args->bench ? zk_rollout_bench(config, comm, &args->options) : sample_steps(config, comm);
}

static zk_status run_rollout(int argc, char **argv) {
  rollout_args args = {false, false, {.min_tokens = 100, .max_tokens = 1024}};
  return zk_config_command(argc, argv,
                           "Samples run.steps steps without training, into run.dir/trajectories; one JSON object a step on standard output."
                           "\vEvery column is what `train` would write with these weights: trainer_logprob comes from the trainer's forward pass, and a "
                           "token whose two log-probabilities differ in a bit stops the run. Steps that are there already are sampled again and compared. "
                           "--bench: prompts and completions of A to B tokens, uniform, seed 0; sampling as the config says, but never ending early. "
                           "--unique: the first of these prompts, greedily and at temperature 1, of at most rollout.max_new_tokens; exit code 1 if its completions are not "
                           "all one.",
                           &own_options, ZK_PLAN_SAMPLE, work, &args);
}

const zk_command zk_command_rollout = {"rollout", "sample only, write trajectories; --bench measures throughput", run_rollout};
