// Rows of a 135M Llama: decode against memory bandwidth and against itself at batch 1, prefill against a square matrix product, and
// a training step, whose rival is experiments/bench/pytorch_cpu.py.
#include "trainer/bench_model.h"

#include <stdlib.h>

#include "kernels/linear.h"
#include "rollout/engine.h"
#include "shared/log.h"
#include "trainer/update.h"

enum {
  PROMPT = 512,      // tokens of the prefill row
  CONTEXT = 16,      // tokens of a prompt that is decoded from
  NEW_TOKENS = 1000, // a decode row begins anew after so many
  MAX_BATCH = 16,
  TRAIN_SEQUENCES = 4,
  TRAIN_LENGTH = 256,
  SQUARE = 1024, // the matrix product that prefill is compared with
};
static const char decode_group[] = "model decode", prefill_group[] = "model prefill", train_group[] = "model train step";

typedef struct {
  zk_bench *bench;
  zk_policy policy;
  zk_engine *engine;
  int32_t batch, num_prompt; // of the row in hand
  double decode_alone_us;    // a step at batch 1; 0: not measured
} model_bench;

static zk_model_config smollm2_135m(void) {
  zk_model_config m = zk_model_config_default(ZK_MODEL_LLAMA);
  m.num_layers = 30, m.hidden = 576, m.num_heads = 9, m.num_kv_heads = 3, m.head_dim = 64, m.intermediate = 1536, m.vocab = 49152;
  m.tie_embeddings = 1, m.rms_eps = 1e-5f, m.rope.theta = 100000, m.max_position = 2048;
  return m;
}

static zk_status open_policy(model_bench *m) {
  const zk_model_config config = smollm2_135m();
  ZK_TRY(zk_policy_open(zk_bench_device(m->bench), ZK_F32, &config, config.max_position, &m->policy));
  float *random;
  const size_t n = (size_t)m->policy.params.num_elements;
  ZK_TRY(zk_bench_floats(m->bench, n, "weights", &random));
  float *host = malloc(n * sizeof *host);
  zk_status st = host ? zk_copy_to_host(zk_bench_stream(m->bench), host, random, n * sizeof *host) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a model");
  if (st == ZK_OK) st = zk_stream_wait(zk_bench_stream(m->bench));
  zk_device_free(zk_bench_device(m->bench), random);
  for (size_t i = 0; st == ZK_OK && i < n; i++) host[i] *= 0.03f; // of a trained model's size
  if (st == ZK_OK) st = zk_policy_set_weights(&m->policy, zk_bench_stream(m->bench), host);
  free(host);
  return st;
}

// Multiply-adds x 2 of the linear layers for one row; the head's for one row.
static double layer_flops(const zk_policy *p) {
  return 2.0 * ((double)p->params.num_elements - (double)p->config.vocab * (double)p->config.hidden);
}
static double head_flops(const zk_policy *p) { return 2.0 * (double)p->config.vocab * (double)p->config.hidden; }

// ---- sampling

static zk_status open_engine(model_bench *m) {
  const zk_engine_options o = {.seed = 1, .temperature = 1, .top_p = 1, .max_new_tokens = NEW_TOKENS, .ignore_eos = true, .max_batch = MAX_BATCH,
                               .page_tokens = 64, .kv_bytes = (uint64_t)1 << 30, .prefill_chunk = PROMPT, .max_sequence = PROMPT + NEW_TOKENS};
  return zk_engine_open(&m->policy, &o, &m->engine);
}

static zk_status submit(model_bench *m, int32_t num_new) {
  int32_t prompt[PROMPT];
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

// One step of a full batch; the step that begins the batch anew is a longer one.
static zk_status decode(void *arg) {
  model_bench *m = arg;
  take_all(m);
  if (!zk_engine_num_open(m->engine)) ZK_TRY(submit(m, NEW_TOKENS));
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

static zk_status add_decode(model_bench *m, int32_t batch) {
  if (!zk_bench_wants(m->bench, decode_group)) return ZK_OK;
  m->batch = batch, m->num_prompt = CONTEXT;
  // Every weight is read once a step (the embedding as the head), and the cache next to nothing.
  zk_bench_row row = {.bytes = 4.0 * (double)m->policy.params.num_elements, .items = batch, .item = "tok/s", .rival = "batch 1, tokens"};
  row.flops = batch * (layer_flops(&m->policy) + head_flops(&m->policy));
  snprintf(row.group, sizeof row.group, "%s", decode_group);
  snprintf(row.shape, sizeof row.shape, "135M f32 batch %d", batch);
  double none;
  ZK_TRY(zk_bench_time(m->bench, decode, NULL, m, &row.us, &none));
  if (batch == 1) m->decode_alone_us = row.us;
  else row.rival_us = batch * m->decode_alone_us;
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
  m->batch = 1, m->num_prompt = PROMPT;
  zk_bench_row row = {.items = PROMPT, .item = "tok/s", .rival = "GEMM 1024^3"};
  row.flops = PROMPT * layer_flops(&m->policy) + head_flops(&m->policy); // attention's are not counted: they are no excuse
  row.bytes = 4.0 * (double)m->policy.params.num_elements;
  snprintf(row.group, sizeof row.group, "%s", prefill_group);
  snprintf(row.shape, sizeof row.shape, "135M f32 %d tokens", PROMPT);
  double none, gemm_flops_per_us;
  ZK_TRY(measure_square(m->bench, &gemm_flops_per_us));
  ZK_TRY(zk_bench_time(m->bench, prefill, NULL, m, &row.us, &none));
  row.rival_us = row.flops / gemm_flops_per_us;
  return zk_bench_add(m->bench, row);
}

// ---- training

typedef struct {
  zk_updater updater;
  zk_sequences seqs;
  float *logprob, *entropy;
} train_arg;

static zk_status mean_loss(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob) {
  (void)seq, (void)logprob, (void)entropy;
  for (int64_t i = 0; i < num_targets; i++) dlogprob[i] = *(const float *)context;
  return ZK_OK;
}

// Forward, backward, gradient norm and clipping, AdamW, the weights packed anew, both hashes: all that a step of a run does.
static zk_status train_step(void *arg) {
  train_arg *a = arg;
  float slope = -1.0f / (float)a->seqs.target_offsets[a->seqs.num_seqs];
  zk_update_result result;
  ZK_TRY(zk_updater_gradient(&a->updater, &a->seqs, mean_loss, &slope, a->logprob, a->entropy));
  return zk_updater_apply(&a->updater, 1e-6, &result);
}

static zk_status measure_training(zk_bench *bench, train_arg *a, zk_bench_row *row) {
  enum { TOKENS = TRAIN_SEQUENCES * TRAIN_LENGTH };
  static int32_t tokens[TOKENS], first[TRAIN_SEQUENCES];
  static int64_t offsets[TRAIN_SEQUENCES + 1], targets[TRAIN_SEQUENCES + 1];
  static float logprob[TOKENS], entropy[TOKENS];
  for (int i = 0; i < TOKENS; i++) tokens[i] = (int32_t)((int64_t)i * 7919 % 49152);
  for (int i = 0; i < TRAIN_SEQUENCES; i++)
    first[i] = 1, offsets[i + 1] = (i + 1) * TRAIN_LENGTH, targets[i + 1] = (i + 1) * (TRAIN_LENGTH - 1);
  a->seqs = (zk_sequences){TRAIN_SEQUENCES, offsets, tokens, first, targets};
  a->logprob = logprob, a->entropy = entropy;
  double none;
  return zk_bench_time(bench, train_step, NULL, a, &row->us, &none);
}

static zk_status add_training(model_bench *m) {
  if (!zk_bench_wants(m->bench, train_group)) return ZK_OK;
  zk_session session = {.device = zk_bench_device(m->bench), .stream = zk_bench_stream(m->bench), .policy = m->policy};
  zk_config_defaults(&session.config);
  session.config.trainer.grad_leaves = 1; // one batch, one sum: what the rival does
  ZK_TRY(zk_comm_world(&session.comm));
  zk_progress_set_enabled(0);
  const double tokens = TRAIN_SEQUENCES * TRAIN_LENGTH;
  zk_bench_row row = {.items = tokens, .item = "tok/s", .flops = 3 * tokens * (layer_flops(&m->policy) + head_flops(&m->policy))};
  snprintf(row.group, sizeof row.group, "%s", train_group);
  snprintf(row.shape, sizeof row.shape, "135M f32 %d x %d", TRAIN_SEQUENCES, TRAIN_LENGTH);
  train_arg a = {0};
  zk_status st = zk_updater_open(&session, 1, 0, 1, &a.updater);
  if (st == ZK_OK) st = measure_training(m->bench, &a, &row);
  if (a.updater.session) zk_updater_close(&a.updater);
  return st == ZK_OK ? zk_bench_add(m->bench, row) : st;
}

static zk_status run_rows(model_bench *m) {
  ZK_TRY(open_policy(m));
  ZK_TRY(open_engine(m));
  ZK_TRY(add_decode(m, 1));
  ZK_TRY(add_decode(m, 16));
  ZK_TRY(add_prefill(m));
  zk_engine_close(m->engine);
  m->engine = NULL;
  return add_training(m);
}

static zk_status run(zk_bench *bench) {
  if (!zk_bench_wants(bench, decode_group) && !zk_bench_wants(bench, prefill_group) && !zk_bench_wants(bench, train_group)) return ZK_OK;
  model_bench m = {.bench = bench};
  zk_status st = run_rows(&m);
  zk_engine_close(m.engine);
  zk_policy_close(&m.policy);
  return st;
}

const zk_bench_suite zk_bench_suite_model = {"model", "a 135M Llama: decode, prefill, training step", run};
