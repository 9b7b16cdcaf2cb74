// A step as in a run, timed by the host's clock from end to end, and by the device's in phases.
#include "trainer/bench_train.h"

#include <stdlib.h>
#include <string.h>
#include <string.h>

#include "kernels/bench/gpu.h"
#include "kernels/math.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "trainer/bench_shapes.h"
#include "trainer/flops.h"
#include "trainer/update.h"

enum { MAX_SEQUENCES = 64, MAX_TIMED = 5 };

typedef struct {
  char name[24]; // "0.6B"
  zk_model_config config;
  int32_t sequences, length, microbatch_tokens; // sequences of all ranks
  int32_t least_ranks;                          // that it fits on
} train_case;

typedef struct {
  zk_bench *bench;
  const train_case *c;
  zk_policy policy;
  zk_session session;
  zk_updater updater;
  zk_sequences seqs;
  int32_t *tokens;
  float *memory, *logprob, *entropy, *sampler_logprob, *sampler_lse;
  zk_known_targets known;
  int32_t first[MAX_SEQUENCES];
  int64_t offsets[MAX_SEQUENCES + 1], targets[MAX_SEQUENCES + 1];
} train_bench;

// What one kind of numerics took.
typedef struct {
  double step_s, phases_s[ZK_NUM_PHASES]; // of a step; medians
  double flops, memory_bytes; // of a rank
} train_times;

static bool is_gpu(zk_bench *bench) { return zk_device_get_kind(zk_bench_device(bench)) == ZK_DEVICE_CUDA; }

static zk_status make_batch(train_bench *b) {
  const train_case *c = b->c;
  const size_t n = (size_t)c->sequences * (size_t)c->length;
  b->tokens = malloc(n * sizeof *b->tokens);
  b->memory = malloc(5 * n * sizeof *b->memory);
  if (!b->tokens || !b->memory) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu tokens", n);
  b->logprob = b->memory, b->entropy = b->memory + n, b->sampler_logprob = b->memory + 2 * n, b->sampler_lse = b->memory + 3 * n;
  b->known = (zk_known_targets){b->sampler_logprob, b->sampler_lse, b->memory + 4 * n};
  for (size_t i = 0; i < n; i++) b->tokens[i] = (int32_t)((int64_t)i * 7919 % c->config.vocab);
  for (int i = 0; i < c->sequences; i++)
    b->first[i] = 1, b->offsets[i + 1] = (i + 1) * (int64_t)c->length, b->targets[i + 1] = (i + 1) * (int64_t)(c->length - 1);
  b->seqs = (zk_sequences){c->sequences, b->offsets, b->tokens, b->first, b->targets, NULL, NULL};
  return ZK_OK;
}

// One of each rank's sequences, as the rival has one gradient a GPU; a power of two.
static int32_t leaves_for(int ranks) {
  int32_t leaves = 1;
  while (leaves < ranks) leaves *= 2;
  return leaves;
}

static zk_status open_bench(train_bench *b, zk_numerics numerics) {
  ZK_TRY(zk_device_require(zk_bench_device(b->bench), numerics));
  ZK_TRY(zk_bench_policy_open(b->bench, numerics, &b->c->config, &b->policy));
  b->session = (zk_session){.device = zk_bench_device(b->bench), .stream = zk_bench_stream(b->bench), .policy = b->policy};
  zk_config_defaults(&b->session.config);
  b->session.config.numerics = numerics;
  ZK_TRY(zk_comm_world(&b->session.comm));
  b->session.config.trainer.grad_leaves = leaves_for(zk_comm_size(b->session.comm));
  b->session.config.trainer.microbatch_tokens = b->c->microbatch_tokens;
  zk_progress_set_enabled(0);
  ZK_TRY(zk_updater_open(&b->session, 1, 0, 1, &b->updater));
  if (numerics != ZK_F32)
    ZK_TRY(zk_bench_fill(b->bench, ZK_F32, b->updater.optimizer.count, ZK_BENCH_WEIGHT_SCALE, b->updater.optimizer.master));
  return make_batch(b);
}

static void close_bench(train_bench *b) {
  if (b->updater.session) zk_updater_close(&b->updater);
  zk_policy_close(&b->policy);
  free(b->tokens);
  free(b->memory);
}

// What a run has from its sampler: log-probabilities, and the log-sum-exps by which the trainer knows the loss before its forward pass; not so in vendor.
static zk_status sample(train_bench *b) {
  if (b->session.config.numerics != ZK_VENDOR) b->seqs.known = &b->known;
  return zk_updater_forward(&b->updater, &b->seqs, b->sampler_logprob, b->sampler_lse, b->entropy);
}

// As a run compares them.
static zk_status compare(const train_bench *b) {
  const size_t bytes = (size_t)b->targets[b->seqs.num_seqs] * sizeof(float);
  if (!b->seqs.known || (!memcmp(b->logprob, b->sampler_logprob, bytes) && !memcmp(b->known.found_lse, b->sampler_lse, bytes))) return ZK_OK;
  return ZK_FAIL(ZK_MISMATCH, "bench train: a step found other log-probabilities than the forward pass alone");
}

// A policy's, advantage 1.
static zk_status policy_loss(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob) {
  (void)entropy;
  const train_bench *b = context;
  const float *sampler = b->sampler_logprob + b->targets[seq];
  const double weight = 1.0 / (double)b->targets[b->seqs.num_seqs];
  for (int64_t i = 0; i < num_targets; i++) dlogprob[i] = (float)((logprob[i] == sampler[i] ? -1 : -zk_exp((double)logprob[i] - (double)sampler[i])) * weight);
  return ZK_OK;
}

// Forward, backward, gradient norm and clipping, AdamW, working weights rounded anew, both hashes.
static zk_status take_step(train_bench *b, double *seconds, double phases[ZK_NUM_PHASES]) {
  zk_update_result result;
  const double start = zk_clock_s();
  ZK_TRY(zk_updater_gradient(&b->updater, &b->seqs, policy_loss, b, b->logprob, b->entropy));
  ZK_TRY(zk_updater_apply(&b->updater, 0, &result)); // the weights stay those that were sampled from
  *seconds = zk_clock_s() - start;
  return zk_phases_take(zk_gradient_phases(b->updater.gradient), phases);
}

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static double median(double *values, int num) {
  qsort(values, (size_t)num, sizeof *values, ascending);
  return values[num / 2];
}

static zk_status take_steps(train_bench *b, train_times *out) {
  const bool many = is_gpu(b->bench) && !zk_bench_is_quick(b->bench);
  const int warm = many ? 2 : 1, timed = many ? MAX_TIMED : 3;
  double steps[MAX_TIMED], phases[ZK_NUM_PHASES][MAX_TIMED], one[ZK_NUM_PHASES];
  for (int i = -warm; i < timed; i++) {
    ZK_TRY(take_step(b, &steps[i < 0 ? 0 : i], one));
    for (int p = 0; p < ZK_NUM_PHASES; p++) phases[p][i < 0 ? 0 : i] = one[p];
  }
  ZK_TRY(compare(b));
  out->step_s = median(steps, timed);
  for (int p = 0; p < ZK_NUM_PHASES; p++) out->phases_s[p] = median(phases[p], timed);
  out->flops = zk_train_flops(&b->policy, &b->seqs) / zk_comm_size(b->session.comm);
  out->memory_bytes = (double)zk_device_memory_peak(b->session.device);
  return ZK_OK;
}

static zk_status measure(zk_bench *bench, const train_case *c, zk_numerics numerics, train_times *out) {
  train_bench b = {.bench = bench, .c = c};
  zk_device_memory_reset_peak(zk_bench_device(bench));
  zk_status st = open_bench(&b, numerics);
  if (st == ZK_OK) st = sample(&b);
  if (st == ZK_OK) st = take_steps(&b, out);
  close_bench(&b);
  return st;
}

// ---- rows

static void group_name(const train_case *c, zk_numerics numerics, char out[32]) { snprintf(out, 32, "train %s %s", c->name, zk_numerics_name(numerics)); }

static bool wants(zk_bench *bench, const train_case *c, zk_numerics numerics) {
  char group[32];
  group_name(c, numerics, group);
  return zk_bench_wants(bench, group);
}

// The step and, beneath it, its phases; `other` are another numerics' times, if they were measured.
static zk_status add_rows(zk_bench *bench, const train_case *c, zk_numerics numerics, const train_times *t, const train_times *other, const char *rival) {
  zk_bench_row row = {.us = t->step_s * 1e6, .items = c->sequences * (double)c->length, .item = "tok/s", .flops = t->flops, .memory_bytes = t->memory_bytes, .rival = rival};
  if (is_gpu(bench)) row.floor_us = t->flops / ZK_PEAK_FLOPS * 1e6;
  group_name(c, numerics, row.group);
  snprintf(row.shape, sizeof row.shape, "step %d x %d", c->sequences, c->length);
  row.rival_us = other->step_s * 1e6;
  ZK_TRY(zk_bench_add(bench, row));
  row.memory_bytes = row.flops = row.floor_us = 0;
  for (int p = 0; p < ZK_NUM_PHASES; p++) {
    row.us = t->phases_s[p] * 1e6, row.rival_us = other->phases_s[p] * 1e6;
    snprintf(row.shape, sizeof row.shape, "%s %d x %d", zk_phase_name((zk_phase)p), c->sequences, c->length);
    ZK_TRY(zk_bench_add(bench, row));
  }
  return ZK_OK;
}

// Times in `numerics`, and beside them in `vendor`.
static zk_status run_case(zk_bench *bench, const train_case *c, zk_numerics numerics) {
  train_times ours = {0}, vendor = {0};
  const bool has_vendor = is_gpu(bench) && zk_bench_has_rival(bench) && wants(bench, c, ZK_VENDOR);
  if (has_vendor) ZK_TRY(measure(bench, c, ZK_VENDOR, &vendor));
  if (wants(bench, c, numerics)) {
    ZK_TRY(measure(bench, c, numerics, &ours));
    ZK_TRY(add_rows(bench, c, numerics, &ours, &vendor, "vendor"));
  }
  return has_vendor ? add_rows(bench, c, ZK_VENDOR, &vendor, &(train_times){0}, NULL) : ZK_OK;
}

static train_case qwen3(const zk_bench *bench, int shape, int num_ranks, int32_t microbatch, int32_t least_ranks) {
  train_case c = {.config = zk_bench_qwen3(bench, shape), .sequences = 4 * num_ranks, .length = zk_bench_size(bench, 4096, 16), .least_ranks = least_ranks};
  snprintf(c.name, sizeof c.name, "%s", zk_bench_qwen3_name(shape));
  c.microbatch_tokens = microbatch * c.length;
  return c;
}

static zk_status run(zk_bench *bench) {
  zk_comm *comm;
  ZK_TRY(zk_comm_world(&comm));
  const int ranks = zk_comm_size(comm);
  if (ranks > MAX_SEQUENCES / 4) return ZK_FAIL(ZK_BAD_INPUT, "bench train: at most %d workers", MAX_SEQUENCES / 4);
  if (!is_gpu(bench)) {
    const train_case c = {.name = "135M", .config = zk_bench_llama_135m(), .sequences = 4 * ranks, .length = 256, .microbatch_tokens = 4096};
    return run_case(bench, &c, ZK_F32);
  }
  const train_case cases[] = {qwen3(bench, ZK_BENCH_QWEN3_06B, ranks, 4, 1), qwen3(bench, ZK_BENCH_QWEN3_17B, ranks, 4, 1),
                              qwen3(bench, ZK_BENCH_QWEN3_4B, ranks, 4, 1), qwen3(bench, ZK_BENCH_QWEN3_8B, ranks, 1, 4)};
  for (int i = 0; i < (zk_bench_is_quick(bench) ? 1 : 4); i++)
    if (ranks >= cases[i].least_ranks) ZK_TRY(run_case(bench, &cases[i], ZK_BF16));
  return ZK_OK;
}

const zk_bench_suite zk_bench_suite_train = {"train", "training steps, whole and by phase", run};
