// The micro-kernel: a tile of up to ZK_MR rows by ZK_NR columns of C lives in registers while k ascends; each step is
// one fma per output. A tile waits between blocks of k as plain floats in memory, which rounds nothing.
#ifndef ZK_KERNELS_CPU_ISA_GEMM_MICRO_H
#define ZK_KERNELS_CPU_ISA_GEMM_MICRO_H

#include <stdbool.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"

// Register tiles: rows, and vectors across. 14 x 2 + 3 of AVX-512's 32 registers, 6 x 2 + 3 of AVX2's 16.
#if defined(ZK_ISA_avx512)
#define ZK_MR 14
#define ZK_NV 2
#elif defined(ZK_ISA_avx2)
#define ZK_MR 6
#define ZK_NV 2
#else
#define ZK_MR 3
#define ZK_NV 4
#endif
#define ZK_NR (ZK_NV * ZK_VLEN)
#define ZK_TILE_FLOATS (ZK_MR * ZK_NR)
#define ZK_KERNEL static inline __attribute__((always_inline))

// Where column `col` of packed B begins.
ZK_KERNEL const float *zk_panel_column(const float *panels, int64_t k, int64_t col) {
  return panels + (col / ZK_PANEL) * k * ZK_PANEL + col % ZK_PANEL;
}

// What the micro-kernel asks the cache for while it computes: one address a step, `stride` bytes apart (0: nothing
// new).
typedef struct {
  const char *at;
  int64_t stride;
} zk_prefetch;

// tile[rows][vecs * ZK_VLEN] over k0..k0+kc of one panel of A (`rows` values a step) and `vecs` vectors of columns of
// B.
ZK_KERNEL void zk_micro(const int rows, const int vecs, int64_t kc, const float *a, const float *b,
                        int64_t panel_stride, bool resume, zk_prefetch next, float *tile) {
  zk_vf acc[ZK_MR][ZK_NV];
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int j = 0; j < vecs; j++) acc[r][j] = resume ? zk_vf_load(tile + (r * vecs + j) * ZK_VLEN) : zk_vf_zero();
  for (int64_t k = 0; k < kc; k++) {
    zk_vf bv[ZK_NV];
#pragma GCC unroll 4
    for (int j = 0; j < vecs; j++)
      bv[j] = zk_vf_load(b + (j * ZK_VLEN / ZK_PANEL) * panel_stride + j * ZK_VLEN % ZK_PANEL);
    __builtin_prefetch(next.at, 0, 2);
    next.at += next.stride;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
      const zk_vf av = zk_vf_set1(a[r]);
#pragma GCC unroll 4
      for (int j = 0; j < vecs; j++) acc[r][j] = zk_vf_fma(av, bv[j], acc[r][j]);
    }
    a += rows;
    b += ZK_PANEL;
  }
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int j = 0; j < vecs; j++) zk_vf_store(tile + (r * vecs + j) * ZK_VLEN, acc[r][j]);
}

#endif
