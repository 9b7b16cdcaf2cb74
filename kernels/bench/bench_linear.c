// Linear layers: square products, the three products of a 135M Llama's layers in training, and the few rows of decode.
#include "kernels/bench.h"
#include "kernels/linear.h"

typedef enum { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT } product;
static const char *const groups[] = {"linear forward", "linear dX", "linear dW"};

typedef struct {
  int64_t rows;
  int32_t in, out;
} shape;

typedef struct {
  zk_stream *stream;
  zk_sgemm *sgemm;
  product product;
  zk_linear_desc desc;
  int32_t chunk_starts[2];
  float *x, *weight, *packed, *y, *gradient; // gradient: dx or dweight
} linear_arg;

static zk_status run_ours(void *arg) {
  linear_arg *a = arg;
  const zk_chunks chunks = {1, a->chunk_starts};
  if (a->product == FORWARD)
    return zk_linear_forward(a->stream, &a->desc, a->x, a->weight, a->packed, NULL, NULL, a->y);
  if (a->product == BACKWARD_INPUT)
    return zk_linear_backward_input(a->stream, &a->desc, a->y, a->weight, NULL, a->gradient);
  return zk_linear_backward_weight(a->stream, &a->desc, &chunks, a->y, a->x, a->gradient, NULL);
}

static zk_status run_rival(void *arg) {
  linear_arg *a = arg;
  const int rows = (int)a->desc.num_rows, in = a->desc.in_features, out = a->desc.out_features;
  if (a->product == FORWARD) a->sgemm(false, true, rows, out, in, a->x, in, a->weight, in, a->y, out);
  if (a->product == BACKWARD_INPUT) a->sgemm(false, false, rows, in, out, a->y, out, a->weight, in, a->gradient, in);
  if (a->product == BACKWARD_WEIGHT) a->sgemm(true, false, out, in, rows, a->y, out, a->x, in, a->gradient, in);
  return ZK_OK;
}

static zk_status add_row(zk_bench *bench, linear_arg *a) {
  const double rows = (double)a->desc.num_rows, in = a->desc.in_features, out = a->desc.out_features;
  zk_bench_row row = {
      .flops = 2.0 * rows * in * out, .bytes = 4.0 * (rows * in + rows * out + in * out), .rival = zk_rival_name()};
  if (rows <= 16.0) row.flops = 0.0; // decode is about bytes
  if (rows <= 16.0 && row.bytes / zk_bench_bytes_per_us(bench) < 2.0 * rows * in * out / zk_bench_flops_per_us(bench))
    row.floor_us = 2.0 * rows * in * out / zk_bench_flops_per_us(bench);
  snprintf(row.group, sizeof row.group, "%s", groups[a->product]);
  snprintf(row.shape, sizeof row.shape, "M %d N %d K %d", (int)rows, (int)out, (int)in);
  ZK_TRY(zk_bench_time(bench, run_ours, a->sgemm != NULL ? run_rival : NULL, a, &row.us, &row.rival_us));
  return zk_bench_add(bench, row);
}

// The products of one shape that are wanted.
static zk_status measure(zk_bench *bench, shape s, int num_products) {
  linear_arg a = {.stream = zk_bench_stream(bench),
                  .sgemm = zk_rival_sgemm(bench),
                  .desc = {ZK_F32, s.rows, s.in, s.out},
                  .chunk_starts = {0, (int32_t)s.rows}};
  const size_t rows = (size_t)s.rows, in = (size_t)s.in, out = (size_t)s.out;
  const size_t num_gradient = rows * in > in * out ? rows * in : in * out;
  zk_device *device = zk_bench_device(bench);
  void *packed = NULL;
  zk_status status = zk_bench_floats(bench, rows * in, "activations", &a.x);
  if (status == ZK_OK) status = zk_bench_floats(bench, in * out, "weights", &a.weight);
  if (status == ZK_OK) status = zk_bench_floats(bench, rows * out, "outputs", &a.y);
  if (status == ZK_OK && num_products > 1) status = zk_bench_floats(bench, num_gradient, "gradients", &a.gradient);
  if (status == ZK_OK)
    status = zk_device_alloc(device, zk_linear_packed_bytes(device, ZK_F32, s.in, s.out), "packed weights", &packed);
  a.packed = packed;
  if (status == ZK_OK) status = zk_linear_pack(a.stream, &a.desc, a.weight, a.packed);
  for (int p = 0; p < num_products && status == ZK_OK; p++) {
    a.product = (product)p;
    if (zk_bench_wants(bench, groups[p])) status = add_row(bench, &a);
  }
  float *const buffers[] = {a.x, a.weight, a.y, a.gradient, packed};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
    if (buffers[i] != NULL) zk_device_free(device, buffers[i]);
  return status;
}

static zk_status run(zk_bench *bench) {
  static const shape training[] = {
      {1024, 1024, 1024}, {2048, 2048, 2048}, {2048, 576, 576}, {2048, 576, 1536}, {2048, 1536, 576}};
  // Decode weights come from memory, not from a cache: one matrix larger than every cache stands for a model's many.
  static const shape decode[] = {{1, 576, 49152},  {2, 576, 49152},  {4, 576, 49152},   {8, 576, 49152},
                                 {16, 576, 49152}, {1, 1536, 24576}, {16, 1536, 24576}, {64, 576, 1536}};
  for (size_t i = 0; i < sizeof training / sizeof training[0]; i++) ZK_TRY(measure(bench, training[i], 3));
  for (size_t i = 0; i < sizeof decode / sizeof decode[0]; i++) ZK_TRY(measure(bench, decode[i], 1));
  return ZK_OK;
}

const zk_bench_suite zk_bench_suite_linear = {"linear", "linear layers, forward and backward, against OpenBLAS", run};
