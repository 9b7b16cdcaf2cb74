// Multiplication for the few rows of a decode step: each panel of weights is read from memory once, by one thread, in order.
#include "kernels/cpu/isa/gemm_block.h"

#if ZK_SMALL_M > 0

#define ROWS_MAX (ZK_VLEN == 16 ? 8 : 6)  // rows in registers at once
#define VECS_MAX 8
#define PANEL_VECS (ZK_PANEL / ZK_VLEN)

// tile[rows][panels * ZK_PANEL] over all k; x rows are `ldx` apart.
ZK_KERNEL void small_kernel(const int rows, const int panels, int64_t num_k, const float *x, int64_t ldx, const float *b, float *tile) {
  const int vecs = panels * PANEL_VECS;
  const int64_t panel_stride = num_k * ZK_PANEL;
  zk_vf acc[ROWS_MAX][VECS_MAX];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j++) acc[r][j] = zk_vf_zero();
  for (int64_t k = 0; k < num_k; k++) {
    zk_vf bv[VECS_MAX];
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j++) bv[j] = zk_vf_load(b + j / PANEL_VECS * panel_stride + j % PANEL_VECS * ZK_VLEN);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const zk_vf xv = zk_vf_set1(x[r * ldx + k]);
#pragma GCC unroll 8
      for (int j = 0; j < vecs; j++) acc[r][j] = zk_vf_fma(xv, bv[j], acc[r][j]);
    }
    b += ZK_PANEL;
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j++) zk_vf_store(tile + (r * vecs + j) * ZK_VLEN, acc[r][j]);
}

typedef void small_fn(int64_t num_k, const float *x, int64_t ldx, const float *b, float *tile);

// Panels side by side for a number of rows: enough chains to hide the latency of an fma, few enough for the registers.
#if ZK_VLEN == 16
#define SMALL_ROWS(X) X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 2) X(6, 2) X(7, 2) X(8, 2)
#else
#define SMALL_ROWS(X) X(1, 4) X(2, 2) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
#endif
#define DEFINE(rows, panels)                                                                                           \
  static void small_##rows(int64_t num_k, const float *x, int64_t ldx, const float *b, float *tile) {                  \
    small_kernel(rows, panels, num_k, x, ldx, b, tile);                                                                \
  }                                                                                                                    \
  static void small_one_##rows(int64_t num_k, const float *x, int64_t ldx, const float *b, float *tile) {              \
    small_kernel(rows, 1, num_k, x, ldx, b, tile);                                                                     \
  }
SMALL_ROWS(DEFINE)
#define ENTRY(rows, panels) {panels, small_##rows, small_one_##rows},
static const struct {
  int panels;
  small_fn *run, *run_one;
} kernels[] = {{0, 0, 0}, SMALL_ROWS(ENTRY)};

// All rows by `width` panels from p0.
static void run_group(const zk_gemm *call, int rows_each, int64_t num_panels, int64_t p0) {
  const int width = kernels[rows_each].panels;
  float tile[ROWS_MAX * VECS_MAX * ZK_VLEN];
  for (int64_t row = 0; row < call->m; row += rows_each) {
    const int rows = (int)(call->m - row < rows_each ? call->m - row : rows_each);
    const float *x = call->a.data + row * call->a.ld;
    const float *b = call->b.data + p0 * call->k * ZK_PANEL;
    if (num_panels - p0 >= width && rows == rows_each) {
      kernels[rows].run(call->k, x, call->a.ld, b, tile);
      zk_tile_finish(call, row, rows, p0 * ZK_PANEL, width * PANEL_VECS, tile);
      continue;
    }
    for (int64_t p = p0; p < p0 + width && p < num_panels; p++, b += call->k * ZK_PANEL) {
      kernels[rows].run_one(call->k, x, call->a.ld, b, tile);
      zk_tile_finish(call, row, rows, p * ZK_PANEL, PANEL_VECS, tile);
    }
  }
}

void ZK_ISA_FN(zk_gemm_small)(const zk_gemm *call) {
  const int64_t num_panels = (call->n + ZK_PANEL - 1) / ZK_PANEL;
  const int num_groups = (int)((call->m + ROWS_MAX - 1) / ROWS_MAX);
  const int rows_each = (int)((call->m + num_groups - 1) / num_groups);
  const int width = kernels[rows_each].panels;
  if (call->threads == 1) {
    for (int64_t p0 = 0; p0 < num_panels; p0 += width) run_group(call, rows_each, num_panels, p0);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(call->threads)
  for (int64_t p0 = 0; p0 < num_panels; p0 += width) run_group(call, rows_each, num_panels, p0);
}

#else

void ZK_ISA_FN(zk_gemm_small)(const zk_gemm *call) { (void)call; }

#endif
