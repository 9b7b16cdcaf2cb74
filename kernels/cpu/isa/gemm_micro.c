// The micro-kernel for each number of rows, chosen at run time.
#include "kernels/cpu/isa/gemm_block.h"

#define ROWS_1_TO_3(X) X(1) X(2) X(3)
#if ZK_MR == 14
#define FOR_EACH_ROWS(X) ROWS_1_TO_3(X) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif ZK_MR == 6
#define FOR_EACH_ROWS(X) ROWS_1_TO_3(X) X(4) X(5) X(6)
#else
#define FOR_EACH_ROWS(X) ROWS_1_TO_3(X)
#endif
#define PARAMS                                                                                                         \
  int64_t kc, const float *a, const float *b, int64_t panel_stride, bool resume, zk_prefetch next, float *tile
#define HALF_NV ((ZK_NV + 1) / 2)

typedef void micro_fn(PARAMS);

#define DEFINE(rows)                                                                                                   \
  static void micro_##rows(PARAMS) { zk_micro(rows, ZK_NV, kc, a, b, panel_stride, resume, next, tile); }              \
  static void micro_half_##rows(PARAMS) { zk_micro(rows, HALF_NV, kc, a, b, panel_stride, resume, next, tile); }
FOR_EACH_ROWS(DEFINE)

void zk_micro_run(int rows, int vecs, PARAMS) {
#define ENTRY(rows) {micro_half_##rows, micro_##rows},
  static micro_fn *const table[ZK_MR + 1][2] = {{0, 0}, FOR_EACH_ROWS(ENTRY)};
  table[rows][vecs == ZK_NV](kc, a, b, panel_stride, resume, next, tile);
}
