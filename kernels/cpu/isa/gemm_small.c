// Multiplication for the few rows of a decode step: each panel of weights is read from memory once, in order, and the
// next ones are asked for while the present ones are used.
#include "kernels/cpu/isa/gemm_block.h"

#if ZK_SMALL_M > 0

#define ROWS_MAX (ZK_VLEN == 16 ? 8 : 6) // rows in registers at once
#define GROUPS_MAX ((ZK_SMALL_M + ROWS_MAX - 1) / ROWS_MAX)
#define VECS_MAX 8
#define PANEL_VECS (ZK_PANEL / ZK_VLEN)
#define BLOCK_K                                                                                                        \
  1024 // steps of k after which the next rows have their turn: the panels are still in the second-level cache

// tile[rows][panels * ZK_PANEL] over num_k steps; x rows are `ldx` apart, panels `panel_stride`. `next` is what the
// same loop reads after this.
ZK_KERNEL void small_kernel(const int rows, const int panels, int64_t num_k, const float *x, int64_t ldx,
                            const float *b, int64_t panel_stride, const float *next, bool resume, float *tile) {
  const int vecs = panels * PANEL_VECS;
  zk_vf acc[ROWS_MAX][VECS_MAX];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j++) acc[r][j] = resume ? zk_vf_load(tile + (r * vecs + j) * ZK_VLEN) : zk_vf_zero();
  for (int64_t k = 0; k < num_k; k++) {
    zk_vf bv[VECS_MAX];
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j++) bv[j] = zk_vf_load(b + j / PANEL_VECS * panel_stride + j % PANEL_VECS * ZK_VLEN);
#pragma GCC unroll 4
    for (int p = 0; p < panels; p++) __builtin_prefetch(next + p * panel_stride, 0, 2);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const zk_vf xv = zk_vf_set1(x[r * ldx + k]);
#pragma GCC unroll 8
      for (int j = 0; j < vecs; j++) acc[r][j] = zk_vf_fma(xv, bv[j], acc[r][j]);
    }
    b += ZK_PANEL;
    next += ZK_PANEL;
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j++) zk_vf_store(tile + (r * vecs + j) * ZK_VLEN, acc[r][j]);
}

#define PARAMS                                                                                                         \
  int64_t num_k, const float *x, int64_t ldx, const float *b, int64_t panel_stride, const float *next, bool resume,    \
      float *tile
typedef void small_fn(PARAMS);

// Panels side by side for a number of rows: enough chains to hide the latency of an fma, few enough for the registers.
#if ZK_VLEN == 16
#define SMALL_ROWS(X) X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 2) X(6, 2) X(7, 2) X(8, 2)
#else
#define SMALL_ROWS(X) X(1, 4) X(2, 2) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
#endif
#define DEFINE(rows, panels)                                                                                           \
  static void small_##rows(PARAMS) { small_kernel(rows, panels, num_k, x, ldx, b, panel_stride, next, resume, tile); } \
  static void small_one_##rows(PARAMS) { small_kernel(rows, 1, num_k, x, ldx, b, panel_stride, next, resume, tile); }
SMALL_ROWS(DEFINE)
#define ENTRY(rows, panels) {panels, small_##rows, small_one_##rows},
static const struct {
  int panels;
  small_fn *run, *run_one;
} kernels[] = {{0, 0, 0}, SMALL_ROWS(ENTRY)};

// All rows by `width` panels from p0; `next_width` panels follow (0: none).
static void run_group(const zk_gemm *call, int rows, int64_t p0, int width, int next_width) {
  float tiles[GROUPS_MAX][ROWS_MAX * VECS_MAX * ZK_VLEN];
  const int64_t panel_stride = call->k * ZK_PANEL;
  const float *b = call->b.data + p0 * panel_stride;
  small_fn *run = width == 1 ? kernels[rows].run_one : kernels[rows].run;
  for (int64_t k0 = 0; k0 < call->k; k0 += BLOCK_K) {
    const int64_t num_k = call->k - k0 < BLOCK_K ? call->k - k0 : BLOCK_K;
    const bool last = k0 + num_k == call->k;
    const float *next = !last ? b + (k0 + num_k) * ZK_PANEL : next_width == width ? b + width * panel_stride : b;
    for (int64_t done = 0, group = 0; done < call->m; group++) {
      // The last rows are taken with some that are already done, so that there are always `rows`.
      const int64_t row = done + rows <= call->m ? done : call->m - rows, again = done - row;
      float *tile = tiles[group];
      run(num_k, call->a.data + row * call->a.ld + k0, call->a.ld, b + k0 * ZK_PANEL, panel_stride, next, k0 > 0, tile);
      if (last)
        zk_tile_finish(call, done, (int)(rows - again), p0 * ZK_PANEL, width * PANEL_VECS,
                       tile + again * width * ZK_PANEL);
      done = row + rows;
    }
  }
}

// Panels [first, end), side by side as far as they go.
static void run_panels(const zk_gemm *call, int rows, int64_t first, int64_t end) {
  const int width = kernels[rows].panels;
  for (int64_t p = first; p < end;) {
    const int now = end - p >= width ? width : 1, left = (int)(end - p - now);
    run_group(call, rows, p, now, left >= width ? width : left > 0 ? 1 : 0);
    p += now;
  }
}

void ZK_ISA_FN(zk_gemm_small)(const zk_gemm *call) {
  const int64_t num_panels = (call->n + ZK_PANEL - 1) / ZK_PANEL;
  const int num_groups = (int)((call->m + ROWS_MAX - 1) / ROWS_MAX);
  const int rows = (int)((call->m + num_groups - 1) / num_groups);
  if (call->threads == 1) {
    run_panels(call, rows, 0, num_panels);
    return;
  }
  // A few runs of neighbouring panels a thread, each a multiple of what goes side by side.
  const int width = kernels[rows].panels;
  const int64_t wanted = num_panels / (4 * call->threads), part = wanted < width ? width : wanted / width * width;
#pragma omp parallel for schedule(dynamic, 1) num_threads(call->threads)
  for (int64_t p = 0; p < num_panels; p += part)
    run_panels(call, rows, p, p + part < num_panels ? p + part : num_panels);
}

#else

void ZK_ISA_FN(zk_gemm_small)(const zk_gemm *call) { (void)call; }

#endif
