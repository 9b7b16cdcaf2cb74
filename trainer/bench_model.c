// Rows of a model that samples: decode against memory bandwidth and against itself at batch 1, prefill. On a CPU a 135M Llama in f32, its prefill against a
// square matrix product; on a GPU Qwen3 shapes in bf16.
#include "trainer/bench_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/bench/gpu.h"
#include "kernels/linear.h"
#include "rollout/engine.h"
#include "shared/clock.h"
#include "trainer/bench_shapes.h"

enum {
  NEW_TOKENS = 1000, // a decode row begins anew after so many
  SQUARE = 1024,     // the matrix product that prefill is compared with
  MAX_PROMPT = 4096,
  MAX_BATCHES = 4,
};

// What is measured on a kind of device.
typedef struct {
  char name[32]; // "135M f32"
  zk_numerics numerics;
  zk_model_config config;
  int32_t prompt;  // tokens of the prefill row, at most MAX_PROMPT
  int32_t context; // tokens that a decode row's rows attend to, on average
  int32_t batches[MAX_BATCHES]; // of the decode rows, ascending from 1; 0 ends them
  uint64_t kv_bytes;
} model_case;
static const char decode_group[] = "model decode", prefill_group[] = "model prefill";

typedef struct {
  zk_bench *bench;
  model_case c;
  zk_policy policy;
  zk_engine *engine;
  int32_t batch, num_prompt; // of the row in hand
  double decode_alone_us;    // a step at batch 1; 0: not measured
  bool one_by_one;           // the next engine's
} model_bench;

static model_case smollm2_135m(void) {
  return (model_case){.name = "135M f32", .numerics = ZK_F32, .config = zk_bench_llama_135m(), .prompt = 512, .context = 16, .batches = {1, 16}, .kv_bytes = (uint64_t)1 << 30};
}

// Qwen3's sizes that are sampled.
static const struct {
  int shape;
  int32_t largest_batch;
} sampled[] = {{ZK_BENCH_QWEN3_06B, 256}, {ZK_BENCH_QWEN3_17B, 64}, {ZK_BENCH_QWEN3_8B, 256}};
#define NUM_SAMPLED ((int)(sizeof sampled / sizeof sampled[0]))

static int32_t largest_batch(const model_case *c) {
  int32_t most = 0;
  for (int i = 0; i < MAX_BATCHES; i++)
    if (c->batches[i] > most) most = c->batches[i];
  return most;
}

static model_case qwen3(const zk_bench *bench, int i) {
  model_case c = {.numerics = ZK_BF16, .config = zk_bench_qwen3(bench, sampled[i].shape)};
  snprintf(c.name, sizeof c.name, "%s bf16", zk_bench_qwen3_name(sampled[i].shape));
  c.prompt = zk_bench_size(bench, 4096, 16), c.context = zk_bench_size(bench, 1024, 16);
  c.batches[0] = 1, c.batches[1] = zk_bench_size(bench, 8, 2), c.batches[2] = zk_bench_size(bench, 64, 2);
  if (sampled[i].largest_batch > 64) c.batches[3] = zk_bench_size(bench, sampled[i].largest_batch, 4);
  const zk_model_config *m = &c.config;
  const uint64_t sequence = (uint64_t)(c.context + NEW_TOKENS + 64), token = (uint64_t)m->num_layers * (uint64_t)m->num_kv_heads * 128 * 2 * 2;
  const uint64_t longest = (uint64_t)(c.prompt + NEW_TOKENS + 64), batched = sequence * (uint64_t)largest_batch(&c);
  c.kv_bytes = token * (batched > longest ? batched : longest);
  return c;
}

static bool is_gpu(const model_bench *m) { return zk_device_get_kind(zk_bench_device(m->bench)) == ZK_DEVICE_CUDA; }

// ---- sampling

static zk_status open_engine(model_bench *m) {
  const zk_engine_options o = {.seed = 1, .temperature = 1, .top_p = 1, .max_new_tokens = NEW_TOKENS, .ignore_eos = true, .max_batch = largest_batch(&m->c), .steps_ahead = is_gpu(m),
                               .page_tokens = 64, .kv_bytes = m->c.kv_bytes, .prefill_chunk = m->c.prompt, .one_by_one = m->one_by_one, .max_sequence = m->c.prompt + NEW_TOKENS};
  return zk_engine_open(&m->policy, &o, &m->engine);
}

static zk_status submit(model_bench *m, int32_t num_new) {
  int32_t prompt[MAX_PROMPT];
  for (int32_t b = 0; b < m->batch; b++) {
    for (int32_t i = 0; i < m->num_prompt; i++) prompt[i] = (i * 7919 + b * 104729) % m->policy.config.vocab;
    zk_request r = {.step = 1, .prompt_id = (uint32_t)b, .prompt = prompt, .num_prompt = m->num_prompt, .num_samples = 1, .max_new_tokens = num_new};
    ZK_TRY(zk_engine_submit(m->engine, &r));
  }
  return ZK_OK;
}

static void take_all(model_bench *m) {
  for (zk_completion done; zk_engine_take(m->engine, &done);) zk_completion_free(&done);
}

// Submits a batch and takes steps until one has no prompt in it.
static zk_status begin_batch(model_bench *m) {
  zk_engine_stats before, after = {0};
  ZK_TRY(submit(m, NEW_TOKENS));
  do {
    before = after;
    ZK_TRY(zk_engine_step(m->engine));
    zk_engine_get_stats(m->engine, &after);
  } while (after.prefill_rows != before.prefill_rows);
  return ZK_OK;
}

// Steps that are timed together on a GPU, where the host runs ahead of the device, and those before them at the least.
enum { WARM = 5 };
static int num_timed(const model_bench *m) { return zk_bench_size(m->bench, zk_bench_is_quick(m->bench) ? 40 : 200, 2); }

// The prompt to begin with so that sequences have the row's context in the middle of the timed steps: a token shorter for each step until then.
// While a large batch's prompts are prefilled its first sequences decode already, its last do not.
static int32_t prompt_before_context(const model_bench *m) {
  const int32_t prefill_steps = (m->batch * m->c.context + m->c.prompt - 1) / m->c.prompt;
  const int32_t prompt = m->c.context - WARM - num_timed(m) / 2 - prefill_steps / 2 - 1;
  return prompt > 1 ? prompt : 1;
}

// Keys that a row of the last step saw, on average: the n-th row behind a prompt sees n more than the prompt has.
static double mean_context(const model_bench *m) {
  zk_engine_stats stats;
  zk_engine_get_stats(m->engine, &stats);
  return m->num_prompt + (double)stats.decode_rows / m->batch;
}

// Gives a step's time and the average of the contexts that were timed.
static zk_status time_steps(model_bench *m, double *us, double *context) {
  const int steps = num_timed(m);
  ZK_TRY(begin_batch(m));
  for (int i = 0; i < WARM || mean_context(m) + (steps + 1) / 2.0 < m->c.context - 0.5; i++) ZK_TRY(zk_engine_step(m->engine));
  *context = mean_context(m) + (steps + 1) / 2.0;
  const double start = zk_clock_s();
  for (int i = 0; i < steps; i++) ZK_TRY(zk_engine_step(m->engine));
  *us = (zk_clock_s() - start) * 1e6 / steps;
  return ZK_OK;
}

// One step of a full batch; the call that begins the batch anew is a longer one.
static zk_status decode(void *arg) {
  model_bench *m = arg;
  take_all(m);
  if (!zk_engine_num_open(m->engine)) ZK_TRY(begin_batch(m));
  return zk_engine_step(m->engine);
}

// A whole prompt and its first token.
static zk_status prefill(void *arg) {
  model_bench *m = arg;
  ZK_TRY(submit(m, 1));
  while (zk_engine_num_open(m->engine)) {
    ZK_TRY(zk_engine_step(m->engine));
    take_all(m);
  }
  return ZK_OK;
}

static zk_status drain(model_bench *m) {
  zk_engine_close(m->engine);
  m->engine = NULL;
  return open_engine(m);
}

// The same steps without the one kernel that a GPU may have for all layers of a single row.
static zk_status time_one_by_one(model_bench *m, double *us) {
  double none;
  m->one_by_one = true;
  ZK_TRY(drain(m));
  ZK_TRY(time_steps(m, us, &none));
  m->one_by_one = false;
  return ZK_OK;
}

static zk_status add_decode(model_bench *m, int32_t batch) {
  if (!zk_bench_wants(m->bench, decode_group)) return ZK_OK;
  zk_bench_row row = {.items = batch, .item = "tok/s", .rival = "batch 1, tokens"};
  double context = m->c.context, none;
  m->batch = batch, m->num_prompt = is_gpu(m) ? prompt_before_context(m) : m->c.context; // a CPU's least time is an early step's
  if (is_gpu(m)) ZK_TRY(time_steps(m, &row.us, &context));
  else ZK_TRY(zk_bench_time(m->bench, decode, NULL, m, &row.us, &none));
  // Every weight of a product is read once a step (a tied embedding as the head), and the keys and values of every sequence.
  const zk_model_config *config = &m->c.config;
  const double cached = 2.0 * batch * context * (double)config->num_layers * config->num_kv_heads * config->head_dim;
  row.flops = batch * (zk_bench_layer_flops(&m->policy) + zk_bench_head_flops(&m->policy));
  row.bytes = (double)zk_numerics_bytes(m->c.numerics) * (row.flops / 2 / batch + cached);
  snprintf(row.group, sizeof row.group, "%s", decode_group);
  snprintf(row.shape, sizeof row.shape, "%s batch %d ctx %.0f", m->c.name, batch, context);
  if (batch == 1) {
    m->decode_alone_us = row.us, row.rival = "one by one";
    if (is_gpu(m)) ZK_TRY(time_one_by_one(m, &row.rival_us));
  } else row.rival_us = batch * m->decode_alone_us;
  ZK_TRY(zk_bench_add(m->bench, row));
  return drain(m);
}

// The time that our own square matrix product, in this run, would need for as many multiply-adds.
typedef struct {
  zk_stream *stream;
  float *x, *weight, *y;
  void *packed;
} square_arg;

static const zk_linear_desc square_desc = {ZK_F32, SQUARE, SQUARE, SQUARE};
static zk_status square(void *arg) {
  const square_arg *a = arg;
  return zk_linear_forward(a->stream, &square_desc, a->x, a->weight, a->packed, NULL, NULL, a->y);
}

static zk_status measure_square(zk_bench *bench, double *flops_per_us) {
  const size_t n = (size_t)SQUARE * SQUARE;
  zk_device *device = zk_bench_device(bench);
  square_arg a = {.stream = zk_bench_stream(bench)};
  double us = 0, none;
  zk_status st = zk_bench_floats(bench, n, "activations", &a.x);
  if (st == ZK_OK) st = zk_bench_floats(bench, n, "weights", &a.weight);
  if (st == ZK_OK) st = zk_bench_floats(bench, n, "outputs", &a.y);
  if (st == ZK_OK) st = zk_device_alloc(device, zk_linear_packed_bytes(device, ZK_F32, SQUARE, SQUARE), "packed weights", &a.packed);
  if (st == ZK_OK) st = zk_linear_pack(a.stream, &square_desc, a.weight, a.packed);
  if (st == ZK_OK) st = zk_bench_time(bench, square, NULL, &a, &us, &none);
  *flops_per_us = 2.0 * (double)n * SQUARE / us;
  void *const memory[] = {a.x, a.weight, a.y, a.packed};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
    if (memory[i]) zk_device_free(device, memory[i]);
  return st;
}

static zk_status add_prefill(model_bench *m) {
  if (!zk_bench_wants(m->bench, prefill_group)) return ZK_OK;
  m->batch = 1, m->num_prompt = m->c.prompt;
  zk_bench_row row = {.items = m->num_prompt, .item = "tok/s", .rival = "GEMM 1024^3"};
  row.flops = m->num_prompt * zk_bench_layer_flops(&m->policy) + zk_bench_head_flops(&m->policy); // attention's are not counted: they are no excuse
  row.bytes = (double)zk_numerics_bytes(m->c.numerics) * (double)m->policy.params.num_elements;
  snprintf(row.group, sizeof row.group, "%s", prefill_group);
  snprintf(row.shape, sizeof row.shape, "%s %d tokens", m->c.name, m->num_prompt);
  double none, gemm_flops_per_us;
  if (!is_gpu(m)) { // there the floor already is such a product's rate
    ZK_TRY(measure_square(m->bench, &gemm_flops_per_us));
    row.rival_us = row.flops / gemm_flops_per_us;
  }
  ZK_TRY(zk_bench_time(m->bench, prefill, NULL, m, &row.us, &none));
  return zk_bench_add(m->bench, row);
}

static zk_status run_rows(model_bench *m) {
  ZK_TRY(zk_bench_policy_open(m->bench, m->c.numerics, &m->c.config, &m->policy));
  ZK_TRY(open_engine(m));
  for (int i = 0; i < (zk_bench_is_quick(m->bench) ? 1 : MAX_BATCHES); i++)
    if (m->c.batches[i]) ZK_TRY(add_decode(m, m->c.batches[i]));
  return add_prefill(m);
}

static zk_status run_case(zk_bench *bench, const model_case *c) {
  model_bench m = {.bench = bench, .c = *c};
  zk_status st = run_rows(&m);
  zk_engine_close(m.engine);
  zk_policy_close(&m.policy);
  return st;
}

static zk_status run(zk_bench *bench) {
  if (!zk_bench_wants(bench, decode_group) && !zk_bench_wants(bench, prefill_group)) return ZK_OK;
  if (zk_device_get_kind(zk_bench_device(bench)) == ZK_DEVICE_CPU) {
    const model_case c = smollm2_135m();
    return run_case(bench, &c);
  }
  for (int shape = 0; shape < (zk_bench_is_quick(bench) ? 1 : NUM_SAMPLED); shape++) {
    const model_case c = qwen3(bench, shape);
    ZK_TRY(run_case(bench, &c));
  }
  return ZK_OK;
}

const zk_bench_suite zk_bench_suite_model = {"model", "a whole model that samples: decode, prefill", run};
