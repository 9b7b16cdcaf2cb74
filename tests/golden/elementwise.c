// Golden cases of the operations that work element by element, and of sums over flat vectors.
#include "golden.h"
#include "kernels/adamw.h"
#include "kernels/hash.h"
#include "kernels/init.h"
#include "kernels/reduce.h"
#include "kernels/swiglu.h"

#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))

static zk_status swiglu(golden *g, golden_kind kind, int64_t n) {
  void *gate, *up, *out;
  if (!golden_case(g, ZK_OP_SWIGLU, "%lld elements, %s", (long long)n, golden_kind_name(kind))) return ZK_OK;
  ZK_TRY(golden_elements(g, kind, n, &gate));
  ZK_TRY(golden_elements(g, kind, n, &up));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &out));
  ZK_TRY(zk_swiglu_forward(g->stream, g->numerics, n, gate, up, out));
  return golden_elements_line(g, "out", out, n);
}

static zk_status swiglu_backward(golden *g, golden_kind kind, int64_t n) {
  void *gate, *up, *dout, *dgate, *dup;
  if (!golden_case(g, ZK_OP_SWIGLU_BACKWARD, "%lld elements, %s", (long long)n, golden_kind_name(kind))) return ZK_OK;
  ZK_TRY(golden_elements(g, kind, n, &gate));
  ZK_TRY(golden_elements(g, kind, n, &up));
  ZK_TRY(golden_elements(g, kind, n, &dout));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &dgate));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &dup));
  ZK_TRY(zk_swiglu_backward(g->stream, g->numerics, n, gate, up, dout, dgate, dup));
  ZK_TRY(golden_elements_line(g, "dgate", dgate, n));
  return golden_elements_line(g, "dup", dup, n);
}

static zk_status add(golden *g, golden_kind kind, int64_t n) {
  void *a, *b, *dst;
  if (!golden_case(g, ZK_OP_ADD, "%lld elements, %s", (long long)n, golden_kind_name(kind))) return ZK_OK;
  ZK_TRY(golden_elements(g, kind, n, &a));
  ZK_TRY(golden_elements(g, kind, n, &b));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &dst));
  ZK_TRY(zk_add(g->stream, g->numerics, n, a, b, dst));
  return golden_elements_line(g, "sum", dst, n);
}

static zk_status scale(golden *g, golden_kind kind, int64_t n) {
  void *a, *dst;
  if (!golden_case(g, ZK_OP_SCALE, "%lld elements, %s", (long long)n, golden_kind_name(kind))) return ZK_OK;
  ZK_TRY(golden_elements(g, kind, n, &a));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &dst));
  ZK_TRY(zk_scale(g->stream, g->numerics, n, a, 1.0f / 3.0f, dst));
  return golden_elements_line(g, "product", dst, n);
}

static zk_status sum_squares(golden *g, golden_kind kind, int64_t n) {
  const int64_t num_blocks = (n + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS;
  float *x, *sums;
  if (!golden_case(g, ZK_OP_SUM_SQUARES, "%lld elements, %s", (long long)n, golden_kind_name(kind))) return ZK_OK;
  ZK_TRY(golden_floats(g, kind, n, &x));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(num_blocks), (void **)&sums));
  ZK_TRY(zk_sum_squares(g->stream, n, x, sums));
  return golden_floats_line(g, "sums", sums, num_blocks);
}

// Two steps, so that the second starts from moments that the first left.
static zk_status adamw(golden *g, golden_kind kind, int64_t n) {
  float *master, *m, *v, *grad;
  void *working;
  if (!golden_case(g, ZK_OP_ADAMW, "%lld elements, %s", (long long)n, golden_kind_name(kind))) return ZK_OK;
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, n, &master));
  ZK_TRY(golden_floats(g, kind, n, &grad));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(n), (void **)&m));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(n), (void **)&v));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &working));
  if (g->numerics == ZK_F32) working = master;
  for (int step = 1; step <= 2; step++) {
    zk_adamw_params params;
    zk_adamw_scalars(3e-3, 0.9, 0.95, 1e-8, 0.1, step, 7.3f, 1.0, &params);
    ZK_TRY(zk_adamw(g->stream, g->numerics, &params, step == 1, n, master, m, v, grad, working));
  }
  ZK_TRY(golden_floats_line(g, "master", master, n));
  ZK_TRY(golden_floats_line(g, "m", m, n));
  ZK_TRY(golden_floats_line(g, "v", v, n));
  return golden_elements_line(g, "working", working, n);
}

static zk_status weights_hash(golden *g, golden_kind kind, int64_t n) {
  void *x;
  uint64_t sum;
  if (!golden_case(g, ZK_OP_WEIGHTS_HASH, "%lld elements, %s", (long long)n, golden_kind_name(kind))) return ZK_OK;
  ZK_TRY(golden_elements(g, kind, n, &x));
  ZK_TRY(zk_hash_elements(g->stream, (int32_t)zk_numerics_bytes(g->numerics), n, 12345678901ull, x, &sum));
  golden_host_line(g, "hash", sizeof sum, &sum, 1);
  return ZK_OK;
}

static zk_status init_normal(golden *g, int64_t first, int64_t n) {
  void *weights;
  if (!golden_case(g, ZK_OP_INIT_NORMAL, "%lld elements from %lld", (long long)n, (long long)first)) return ZK_OK;
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &weights));
  ZK_TRY(zk_init_normal(g->stream, g->numerics, 0x123456789abcdefull, first, n, 0.02, weights));
  return golden_elements_line(g, "weights", weights, n);
}

zk_status golden_elementwise(golden *g) {
  static const int64_t sizes[] = {1, 131, 9001};
  for (int i = 0; i < GOLDEN_NUM(sizes); i++)
    ZK_TRY(init_normal(g, ((int64_t)1 << 32) - 100, sizes[i])); // the index's upper word changes in the longer ones
  for (golden_kind kind = 0; kind < GOLDEN_NUM_KINDS; kind++)
    for (int i = 0; i < GOLDEN_NUM(sizes); i++) {
      ZK_TRY(swiglu(g, kind, sizes[i]));
      ZK_TRY(swiglu_backward(g, kind, sizes[i]));
      ZK_TRY(add(g, kind, sizes[i]));
      ZK_TRY(scale(g, kind, sizes[i]));
      if (g->numerics == ZK_F32) ZK_TRY(sum_squares(g, kind, sizes[i]));
      ZK_TRY(adamw(g, kind, sizes[i]));
      ZK_TRY(weights_hash(g, kind, sizes[i]));
    }
  return ZK_OK;
}
