// Golden cases of the linear layer: sizes on both sides of the tiles of every kernel, sums that end inside a step of 16, long chains.
#include "golden.h"
#include "kernels/linear.h"

typedef struct {
  int64_t rows;
  int32_t in, out;
} shape;
static const shape shapes[] = {{17, 130, 67}, {1, 16, 8},     {5, 33, 17}, {3, 129, 130},
                               {65, 576, 24}, {130, 40, 129}, {2, 5000, 9}};

static zk_status pack(golden *g, const zk_linear_desc *desc, const void *weight, void **packed) {
  const size_t bytes = zk_linear_packed_bytes(g->device, g->numerics, desc->in_features, desc->out_features);
  *packed = NULL;
  if (bytes == 0) return ZK_OK;
  ZK_TRY(golden_zeros(g, bytes, packed));
  return zk_linear_pack(g->stream, desc, weight, *packed);
}

static zk_status forward(golden *g, golden_kind kind, shape s, int with_bias, int with_addend) {
  const zk_linear_desc desc = {g->numerics, s.rows, s.in, s.out};
  void *x, *weight, *bias, *addend, *packed, *y;
  if (!golden_case(g, ZK_OP_LINEAR, "rows %lld, in %d, out %d%s%s, %s", (long long)s.rows, s.in, s.out,
                   with_bias ? ", bias" : "", with_addend ? ", addend" : "", golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(golden_elements(g, kind, s.rows * s.in, &x));
  ZK_TRY(golden_elements(g, kind, (int64_t)s.in * s.out, &weight));
  ZK_TRY(golden_elements(g, GOLDEN_NORMAL, s.out, &bias));
  ZK_TRY(golden_elements(g, GOLDEN_NORMAL, s.rows * s.out, &addend));
  ZK_TRY(golden_zeros(g, golden_bytes(g, s.rows * s.out), &y));
  ZK_TRY(pack(g, &desc, weight, &packed));
  ZK_TRY(
      zk_linear_forward(g->stream, &desc, x, weight, packed, with_bias ? bias : NULL, with_addend ? addend : NULL, y));
  return golden_elements_line(g, "y", y, s.rows * s.out);
}

static zk_status backward_input(golden *g, golden_kind kind, shape s, int with_addend) {
  const zk_linear_desc desc = {g->numerics, s.rows, s.in, s.out};
  void *dy, *weight, *addend, *dx;
  if (!golden_case(g, ZK_OP_LINEAR_BACKWARD_INPUT, "rows %lld, in %d, out %d%s, %s", (long long)s.rows, s.in, s.out,
                   with_addend ? ", addend" : "", golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(golden_elements(g, kind, s.rows * s.out, &dy));
  ZK_TRY(golden_elements(g, kind, (int64_t)s.in * s.out, &weight));
  ZK_TRY(golden_elements(g, GOLDEN_NORMAL, s.rows * s.in, &addend));
  ZK_TRY(golden_zeros(g, golden_bytes(g, s.rows * s.in), &dx));
  ZK_TRY(zk_linear_backward_input(g->stream, &desc, dy, weight, with_addend ? addend : NULL, dx));
  return golden_elements_line(g, "dx", dx, s.rows * s.in);
}

static zk_status backward_weight(golden *g, golden_kind kind, int32_t in, int32_t out, const zk_chunks *chunks) {
  const int64_t rows = chunks->row_start[chunks->num_chunks];
  const zk_linear_desc desc = {g->numerics, rows, in, out};
  void *dy, *x;
  float *dweight, *dbias;
  if (!golden_case(g, ZK_OP_LINEAR_BACKWARD_WEIGHT, "rows %lld in %d chunks, in %d, out %d, %s", (long long)rows,
                   chunks->num_chunks, in, out, golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(golden_elements(g, kind, rows * out, &dy));
  ZK_TRY(golden_elements(g, kind, rows * in, &x));
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, (int64_t)in * out, &dweight));
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, out, &dbias));
  ZK_TRY(zk_linear_backward_weight(g->stream, &desc, chunks, dy, x, dweight, dbias));
  ZK_TRY(golden_floats_line(g, "dweight", dweight, (int64_t)in * out));
  return golden_floats_line(g, "dbias", dbias, out);
}

zk_status golden_linear(golden *g) {
  static const int32_t one[] = {0, 5}, starts[] = {0, 64, 64, 193}, long_starts[] = {0, 4096, 4200};
  const zk_chunks single = {1, one}, small = {3, starts}, large = {2, long_starts};
  for (golden_kind kind = 0; kind < GOLDEN_NUM_KINDS; kind++) {
    ZK_TRY(forward(g, kind, shapes[0], 1, 1));
    ZK_TRY(backward_input(g, kind, shapes[0], 1));
    ZK_TRY(backward_weight(g, kind, 70, 33, &small));
  }
  for (int i = 1; i < GOLDEN_NUM(shapes); i++) {
    const shape s = shapes[i], turned = {s.rows, s.out, s.in}; // so that a long sum is long in both directions
    ZK_TRY(forward(g, GOLDEN_WIDE, s, i % 2, i % 3 == 0));
    ZK_TRY(backward_input(g, GOLDEN_WIDE, turned, i % 2));
    ZK_TRY(backward_weight(g, GOLDEN_WIDE, s.in % 600, s.out, &single));
  }
  return backward_weight(g, GOLDEN_NORMAL, 24, 20, &large);
}
