// Linear layers of one input in one call (kernels/linear_parts.h) on a GPU, bf16, at the shapes of an 8B model: q, k and v, against cuBLAS's
// product with one weight as large as the three; gate, up and SwiGLU, against the same with our SwiGLU behind it.
#include "kernels/bench/gpu.h"
#include "kernels/linear_parts.h"
#include "kernels/swiglu.h"

enum { IN = 4096, Q = 4096, KV = 1024, INTERMEDIATE = 12288 };

typedef struct {
  zk_stream *stream;
  zk_vendor *vendor;
  bool swiglu;
  zk_linear_parts parts; // their weights follow each other, and so do their y
  int32_t out;           // features of all parts
  int32_t copies, turn;  // of the weights, each call the next one
  uint16_t *x, *y;
  const uint16_t *weights;
} parts_arg;

static const uint16_t *next_weights(parts_arg *a) {
  a->turn = (a->turn + 1) % a->copies;
  return a->weights + (size_t)a->turn * (size_t)a->parts.in_features * (size_t)a->out;
}

static zk_status run_ours(void *arg) {
  parts_arg *a = arg;
  const uint16_t *weight = next_weights(a);
  for (int32_t i = 0; i < a->parts.num_parts; i++) {
    a->parts.parts[i].weight = weight;
    weight += (size_t)a->parts.in_features * (size_t)a->parts.parts[i].out_features;
  }
  return a->swiglu ? zk_linear_parts_swiglu(a->stream, &a->parts, a->x, a->y)
                   : zk_linear_parts_forward(a->stream, &a->parts, a->x);
}

static zk_status run_rival(void *arg) {
  parts_arg *a = arg;
  const int rows = (int)a->parts.num_rows, in = a->parts.in_features;
  const zk_cublas_gemm gemm = {true, false, a->out, rows, in, in, in, a->out, next_weights(a), a->x, a->y, false, 0.0f};
  ZK_TRY(zk_vendor_default(a->vendor, &gemm));
  if (!a->swiglu) return ZK_OK;
  const int64_t n = (int64_t)rows * a->out / 2;
  return zk_swiglu_forward(a->stream, ZK_BF16, n, a->y, a->y + n, a->y);
}

static zk_status measure(zk_bench *bench, int32_t rows, bool swiglu) {
  const int32_t part_sizes[2][ZK_LINEAR_MOST_PARTS] = {{Q, KV, KV}, {INTERMEDIATE, INTERMEDIATE, 0}};
  const char *group = swiglu ? "linear swiglu" : "linear parts";
  if (!zk_bench_wants(bench, group)) return ZK_OK;
  parts_arg a = {.stream = zk_bench_stream(bench), .vendor = zk_bench_vendor(bench), .swiglu = swiglu};
  a.parts = (zk_linear_parts){ZK_BF16, zk_bench_size(bench, rows, 1), zk_bench_size(bench, IN, 16), swiglu ? 2 : 3, {{0}}, {0}, false};
  for (int32_t i = 0; i < a.parts.num_parts; i++)
    a.out += a.parts.parts[i].out_features = zk_bench_size(bench, part_sizes[swiglu][i], 16);
  const double m = (double)a.parts.num_rows, in = a.parts.in_features, out = a.out;
  const int64_t num_weights = (int64_t)a.parts.in_features * a.out;
  a.copies = zk_bench_copies(num_weights * 2);
  ZK_TRY(zk_bench_random(bench, ZK_BF16, a.parts.num_rows * a.parts.in_features, 1.0f, "activations", &a.x));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, num_weights * a.copies, 0.03f, "weights", &a.weights));
  ZK_TRY(zk_bench_alloc(bench, (size_t)a.parts.num_rows * (size_t)a.out * 2, "outputs", &a.y));
  uint16_t *y = a.y;
  for (int32_t i = 0; i < a.parts.num_parts; i++) {
    a.parts.parts[i].y = y;
    y += a.parts.num_rows * a.parts.parts[i].out_features;
  }
  zk_bench_row row = {.flops = 2.0 * m * in * out, .bytes = 2.0 * (m * in + in * out + m * out / (swiglu ? 2.0 : 1.0))};
  char shape[48];
  snprintf(shape, sizeof shape, "M %d N %d K %d", (int)a.parts.num_rows, a.out, a.parts.in_features);
  ZK_TRY(zk_bench_time_gpu(bench, run_ours, &a, 0.0, &row.us));
  if (a.vendor != NULL) {
    row.rival = swiglu ? "cuBLAS, then SwiGLU" : "cuBLAS, one weight";
    ZK_TRY(zk_bench_time_gpu(bench, run_rival, &a, 0.0, &row.rival_us));
  }
  return zk_bench_add_gpu(bench, group, shape, row);
}

static zk_status run(zk_bench *bench) {
  static const int32_t rows[] = {1, 64, 256, 512, 4096};
  zk_status status = ZK_OK;
  for (int swiglu = 0; swiglu < 2; swiglu++)
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == ZK_OK; i++) {
      if (zk_bench_is_quick(bench) && rows[i] != 1 && rows[i] != 256) continue;
      status = measure(bench, rows[i], swiglu);
      zk_bench_release(bench);
    }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_linear_parts = {"linear_parts", "linear layers of one input in one call, against cuBLAS", run};
