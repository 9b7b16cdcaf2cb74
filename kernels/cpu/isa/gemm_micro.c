// The micro-kernel for each number of rows, chosen at run time.
#include "kernels/cpu/isa/gemm_block.h"

#define ZK_MICRO_ROWS_1_TO_3(X) X(1) X(2) X(3)
#if ZK_MR == 14
#define ZK_MICRO_ROWS(X) ZK_MICRO_ROWS_1_TO_3(X) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#elif ZK_MR == 6
#define ZK_MICRO_ROWS(X) ZK_MICRO_ROWS_1_TO_3(X) X(4) X(5) X(6)
#else
#define ZK_MICRO_ROWS(X) ZK_MICRO_ROWS_1_TO_3(X)
#endif

typedef void micro_fn(int64_t kc, const float *a, const float *b, int64_t panel_stride, bool resume, float *tile);

#define DEFINE(rows)                                                                                                   \
  static void micro_##rows(int64_t kc, const float *a, const float *b, int64_t panel_stride, bool resume, float *tile) {  \
    zk_micro(rows, ZK_NV, kc, a, b, panel_stride, resume, tile);                                                       \
  }                                                                                                                    \
  static void micro_half_##rows(int64_t kc, const float *a, const float *b, int64_t panel_stride, bool resume, float *tile) { \
    zk_micro(rows, (ZK_NV + 1) / 2, kc, a, b, panel_stride, resume, tile);                                             \
  }
ZK_MICRO_ROWS(DEFINE)

void zk_micro_run(int rows, int vecs, int64_t kc, const float *a, const float *b, int64_t panel_stride, bool resume, float *tile) {
#define ENTRY(rows) {micro_half_##rows, micro_##rows},
  static micro_fn *const table[ZK_MR + 1][2] = {{0, 0}, ZK_MICRO_ROWS(ENTRY)};
  table[rows][vecs == ZK_NV](kc, a, b, panel_stride, resume, tile);
}
