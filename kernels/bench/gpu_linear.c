// Linear layers on a GPU, bf16, at the shapes of an 8B model from one token to a training batch, against cuBLAS and cuBLASLt without split-K.
// Weights' gradients are sums of chunks of 4,096 tokens, cuBLAS's of all tokens at once.
#include "kernels/bench/gpu.h"
#include "kernels/linear.h"

typedef enum { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT } product;
static const char *const groups[] = {"linear forward", "linear dX", "linear dW"};

enum { MOST_CHUNKS = 4 };

typedef struct {
  zk_stream *stream;
  zk_vendor *vendor;
  product product;
  zk_linear_desc desc;
  int32_t copies, turn; // of the weights, each call the next one
  int32_t num_chunks, chunk_starts[MOST_CHUNKS + 1];
  uint16_t *x, *y, *dx;
  const uint16_t *weight;
  float *dweight;
} linear_arg;

static const uint16_t *next_weight(linear_arg *a) {
  a->turn = (a->turn + 1) % a->copies;
  return a->weight + (size_t)a->turn * (size_t)a->desc.in_features * (size_t)a->desc.out_features;
}

static zk_status run_ours(void *arg) {
  linear_arg *a = arg;
  const zk_chunks chunks = {a->num_chunks, a->chunk_starts};
  if (a->product == FORWARD)
    return zk_linear_forward(a->stream, &a->desc, a->x, next_weight(a), NULL, NULL, NULL, a->y);
  if (a->product == BACKWARD_INPUT)
    return zk_linear_backward_input(a->stream, &a->desc, a->y, next_weight(a), NULL, a->dx);
  return zk_linear_backward_weight(a->stream, &a->desc, &chunks, a->y, a->x, a->dweight, NULL);
}

// The same product as the vendor counts it: our rows are its columns.
static zk_cublas_gemm vendor_gemm(linear_arg *a) {
  const int rows = (int)a->desc.num_rows, in = a->desc.in_features, out = a->desc.out_features;
  switch (a->product) {
  case FORWARD:
    return (zk_cublas_gemm){true, false, out, rows, in, in, in, out, next_weight(a), a->x, a->y, false, 0.0f};
  case BACKWARD_INPUT:
    return (zk_cublas_gemm){false, false, in, rows, out, in, out, in, next_weight(a), a->y, a->dx, false, 0.0f};
  default:
    return (zk_cublas_gemm){false, true, in, out, rows, in, out, in, a->x, a->y, a->dweight, true, 1.0f};
  }
}

static zk_status run_default(void *arg) {
  linear_arg *a = arg;
  const zk_cublas_gemm gemm = vendor_gemm(a);
  return zk_vendor_default(a->vendor, &gemm);
}
static zk_status run_lt(void *arg) {
  linear_arg *a = arg;
  const zk_cublas_gemm gemm = vendor_gemm(a);
  return zk_vendor_lt_run(a->vendor, &gemm);
}

static zk_status time_rivals(zk_bench *bench, linear_arg *a, zk_bench_row *row) {
  bool found;
  if (a->vendor == NULL) return ZK_OK;
  row->rival = "cuBLAS", row->second = "Lt, no split-K";
  ZK_TRY(zk_bench_time_gpu(bench, run_default, a, 0.0, &row->rival_us));
  const zk_cublas_gemm gemm = vendor_gemm(a);
  ZK_TRY(zk_vendor_lt_prepare(a->vendor, &gemm, &found));
  return found ? zk_bench_time_gpu(bench, run_lt, a, 0.0, &row->second_us) : ZK_OK;
}

static zk_status add_row(zk_bench *bench, linear_arg *a) {
  const double rows = (double)a->desc.num_rows, in = a->desc.in_features, out = a->desc.out_features;
  zk_bench_row row = {.flops = 2.0 * rows * in * out, .bytes = 2.0 * (rows * in + rows * out + in * out)};
  if (a->product == BACKWARD_WEIGHT)
    row.bytes = 2.0 * (rows * in + rows * out) + 8.0 * in * out; // fp32 sums, read and written
  char shape[48];
  snprintf(shape, sizeof shape, "M %d N %d K %d", (int)rows, (int)out, (int)in);
  ZK_TRY(zk_bench_time_gpu(bench, run_ours, a, 0.0, &row.us));
  ZK_TRY(time_rivals(bench, a, &row));
  return zk_bench_add_gpu(bench, groups[a->product], shape, row);
}

static zk_status measure(zk_bench *bench, int32_t rows, int32_t in, int32_t out, product p) {
  if (!zk_bench_wants(bench, groups[p])) return ZK_OK;
  rows = zk_bench_size(bench, rows, 1), in = zk_bench_size(bench, in, 16), out = zk_bench_size(bench, out, 16);
  linear_arg a = {.stream = zk_bench_stream(bench),
                  .vendor = zk_bench_vendor(bench),
                  .product = p,
                  .desc = {ZK_BF16, rows, in, out},
                  .copies = zk_bench_copies((int64_t)in * out * 2)};
  for (int32_t end = 0; end < rows; a.chunk_starts[++a.num_chunks] = end) end = end + ZK_CHUNK_TOKENS < rows ? end + ZK_CHUNK_TOKENS : rows;
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)rows * in, 1.0f, "activations", &a.x));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)rows * out, 1.0f, "outputs", &a.y));
  if (p == BACKWARD_WEIGHT)
    ZK_TRY(zk_bench_alloc(bench, (size_t)in * (size_t)out * sizeof(float), "gradients", &a.dweight));
  else ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)in * out * a.copies, 0.03f, "weights", &a.weight));
  if (p == BACKWARD_INPUT) ZK_TRY(zk_bench_alloc(bench, (size_t)rows * (size_t)in * 2, "gradients", &a.dx));
  return add_row(bench, &a);
}

static zk_status run(zk_bench *bench) {
  static const int32_t shapes[][2] = {
      {4096, 6144}, {4096, 4096}, {4096, 24576}, {12288, 4096}, {3072, 1024}}; // in, out
  static const int32_t few[][2] = {{4096, 151936}, {1024, 6144}, {2048, 1024}, {576, 1536}}; // decoded tokens alone
  static const struct {
    int32_t rows;
    bool quick;
  } sizes[] = {{1, true}, {8, false}, {64, true}, {256, false}, {512, false}, {1024, false}, {4096, true}, {16384, false}};
  enum { FEW_SIZES = 3 };
  zk_status status = ZK_OK;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    for (size_t j = 0; j < sizeof sizes / sizeof sizes[0] && status == ZK_OK; j++) {
      if (zk_bench_is_quick(bench) && !sizes[j].quick) continue;
      status = measure(bench, sizes[j].rows, shapes[i][0], shapes[i][1], FORWARD);
      zk_bench_release(bench);
    }
    for (product p = BACKWARD_INPUT; p <= BACKWARD_WEIGHT && status == ZK_OK; p++) {
      if (zk_bench_is_quick(bench) && i != 1) continue;
      status = measure(bench, 4096, shapes[i][0], shapes[i][1], p);
      zk_bench_release(bench);
    }
    if (status == ZK_OK && !zk_bench_is_quick(bench)) status = measure(bench, MOST_CHUNKS * ZK_CHUNK_TOKENS, shapes[i][0], shapes[i][1], BACKWARD_WEIGHT);
    zk_bench_release(bench);
  }
  for (size_t i = 0; i < sizeof few / sizeof few[0] && !zk_bench_is_quick(bench); i++)
    for (size_t j = 0; j < FEW_SIZES && status == ZK_OK; j++) {
      status = measure(bench, sizes[j].rows, few[i][0], few[i][1], FORWARD);
      zk_bench_release(bench);
    }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_linear = {"linear", "linear layers, forward and backward, against cuBLAS", run};
