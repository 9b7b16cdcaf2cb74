// The layers of one input as a decode step has them, bf16, against memory bandwidth: a norm with q, k and v behind it, a norm with gate, up and
// SwiGLU behind it, each in one call (kernels/linear_parts.h); the rival is the same by separate operations.
#include "kernels/bench/gpu.h"
#include "kernels/linear.h"
#include "kernels/linear_parts.h"
#include "kernels/rmsnorm.h"
#include "kernels/swiglu.h"

typedef struct {
  int32_t hidden, out[ZK_LINEAR_MOST_PARTS]; // two parts: gate and up
} shape;

typedef struct {
  zk_stream *stream;
  zk_linear_parts parts;
  const uint16_t *weight;
  int64_t elements; // of all weights
  int32_t copies, turn;
  void *x;
} parts_arg;

static void next(parts_arg *a) {
  a->turn = (a->turn + 1) % a->copies;
  const uint16_t *at = a->weight + a->turn * a->elements;
  for (int i = 0; i < a->parts.num_parts; i++) {
    a->parts.parts[i].weight = at;
    at += (int64_t)a->parts.in_features * a->parts.parts[i].out_features;
  }
}

static zk_status run_one_call(void *arg) {
  parts_arg *a = arg;
  next(a);
  return a->parts.num_parts == 2 ? zk_linear_parts_swiglu(a->stream, &a->parts, a->x, a->parts.parts[0].y)
                                 : zk_linear_parts_forward(a->stream, &a->parts, a->x);
}

static zk_status run_one_by_one(void *arg) {
  parts_arg *a = arg;
  const zk_linear_parts *p = &a->parts;
  const zk_rmsnorm_desc norm = {ZK_BF16, p->num_rows, 1, p->in_features, p->norm.eps};
  next(a);
  ZK_TRY(zk_rmsnorm_forward(a->stream, &norm, a->x, p->norm.weight, p->norm.y, NULL));
  for (int i = 0; i < p->num_parts; i++) {
    const zk_linear_desc desc = {ZK_BF16, p->num_rows, p->in_features, p->parts[i].out_features};
    ZK_TRY(zk_linear_forward(a->stream, &desc, p->norm.y, p->parts[i].weight, NULL, NULL, NULL, p->parts[i].y));
  }
  if (p->num_parts != 2) return ZK_OK;
  return zk_swiglu_forward(a->stream, ZK_BF16, p->num_rows * p->parts[0].out_features, p->parts[0].y, p->parts[1].y,
                           p->parts[0].y);
}

static zk_status measure(zk_bench *bench, int32_t rows, const shape *s) {
  const int num_parts = s->out[2] > 0 ? 3 : 2;
  const int32_t hidden = zk_bench_size(bench, s->hidden, 64);
  parts_arg a = {.stream = zk_bench_stream(bench),
                 .parts = {.numerics = ZK_BF16,
                           .num_rows = rows,
                           .in_features = hidden,
                           .num_parts = num_parts,
                           .norm = {.eps = 1e-6f}}};
  int64_t outputs = 0;
  for (int i = 0; i < num_parts; i++) {
    a.parts.parts[i].out_features = zk_bench_size(bench, s->out[i], 64);
    outputs += a.parts.parts[i].out_features;
    ZK_TRY(zk_bench_alloc(bench, (size_t)rows * (size_t)a.parts.parts[i].out_features * 2, "outputs",
                          &a.parts.parts[i].y));
  }
  a.elements = outputs * hidden, a.copies = zk_bench_copies(a.elements * 2);
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)rows * hidden, 1.0f, "activations", &a.x));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, hidden, 1.0f, "weights", &a.parts.norm.weight));
  ZK_TRY(zk_bench_alloc(bench, (size_t)rows * (size_t)hidden * 2, "activations", &a.parts.norm.y));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, a.elements * a.copies, 0.03f, "weights", &a.weight));
  const int64_t stored = num_parts == 2 ? outputs / 2 : outputs;
  zk_bench_row row = {.bytes = 2.0 * (double)(a.elements + rows * (hidden + stored)), .rival = "one by one"};
  char text[48];
  snprintf(text, sizeof text, "M %d K %d %s N %d", rows, hidden, num_parts == 2 ? "gate up" : "q k v", (int)outputs);
  ZK_TRY(zk_bench_time_gpu(bench, run_one_by_one, &a, 0.0, &row.rival_us));
  ZK_TRY(zk_bench_time_gpu(bench, run_one_call, &a, 0.0, &row.us));
  return zk_bench_add_gpu(bench, "norm and linear", text, row);
}

static zk_status run(zk_bench *bench) {
  static const shape shapes[] = {{1024, {2048, 1024, 1024}}, {1024, {3072, 3072}},       {2048, {2048, 1024, 1024}},
                                 {2048, {6144, 6144}},       {4096, {4096, 1024, 1024}}, {4096, {12288, 12288}}};
  static const int32_t rows[] = {1, 8, 64};
  if (!zk_bench_wants(bench, "norm and linear")) return ZK_OK;
  zk_status status = ZK_OK;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    for (int j = 0; j < 3 && status == ZK_OK; j++) {
      status = measure(bench, rows[j], &shapes[i]);
      zk_bench_release(bench);
    }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_linear_norm = {"linear_norm",
                                                       "norms with the layers behind them, against bandwidth", run};
