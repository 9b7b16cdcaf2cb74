// What the blocked and the small multiplication share: choosing a micro-kernel, packing a panel, moving finished tiles
// to C.
#ifndef ZK_KERNELS_CPU_ISA_GEMM_BLOCK_H
#define ZK_KERNELS_CPU_ISA_GEMM_BLOCK_H

#include "kernels/cpu/isa/gemm_micro.h"

// Vectors of a strip of which `columns` are left: a strip of AVX-512 spans two panels, and B may end after the first.
static inline int zk_strip_vectors(int64_t columns) {
  return ZK_NR > ZK_PANEL && columns <= ZK_PANEL ? ZK_PANEL / ZK_VLEN : ZK_NV;
}

// zk_micro for run-time `rows` and `vecs`.
#define zk_micro_run ZK_ISA_FN(zk_micro_run)
void zk_micro_run(int rows, int vecs, int64_t kc, const float *a, const float *b, int64_t panel_stride, bool resume,
                  zk_prefetch next, float *tile);

// Packs panels [first, end) of `width` (1 to 16) rows each into dst, which is where panel 0 goes; zeros past `count`.
#define zk_pack_panels ZK_ISA_FN(zk_pack_panels)
void zk_pack_panels(const zk_gemm_operand *src, int64_t count, int64_t k, int width, int64_t first, int64_t end,
                    float *dst);

// tile = resume, for a continued chain; and c = tile (+ bias) (+ addend). Rows and columns past the matrix are left
// alone (zeros when loading).
#define zk_tile_load ZK_ISA_FN(zk_tile_load)
#define zk_tile_finish ZK_ISA_FN(zk_tile_finish)
void zk_tile_load(const zk_gemm *call, int64_t row, int rows, int64_t col, int vecs, float *tile);
void zk_tile_finish(const zk_gemm *call, int64_t row, int rows, int64_t col, int vecs, const float *tile);

// Few rows: nothing is packed but the weights, and those are read once at the speed of memory.
#if defined(ZK_ISA_scalar)
#define ZK_SMALL_M 0
#else
#define ZK_SMALL_M 16
#endif
static inline bool zk_gemm_is_small(const zk_gemm *call) {
  return call->m <= ZK_SMALL_M && call->a.layout == ZK_GEMM_K_INNER && call->b.layout == ZK_GEMM_PANELS &&
         !call->resume;
}
void ZK_ISA_FN(zk_gemm_small)(const zk_gemm *call);

#endif
