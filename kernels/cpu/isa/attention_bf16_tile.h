// The two products of bf16 attention, as calls of the tensor-core multiplication, and how a task lays out its scratch memory.
#ifndef ZK_KERNELS_CPU_ISA_ATTENTION_BF16_TILE_H
#define ZK_KERNELS_CPU_ISA_ATTENTION_BF16_TILE_H

#include "kernels/cpu/attention_bf16.h"
#include "kernels/cpu/tc_gemm.h"

// score[rows][128] = the chain over d of a[r][d] * keys[j][d], for columns j in [0, num_cols). a[rows][D], keys[num_cols][D].
static inline void zk_attn_bf16_dots(int32_t rows, int32_t num_cols, int32_t dim, const zk_bf16 *a, const zk_bf16 *keys,
                                     float *score) {
  const zk_tc_gemm g = {.m = rows,
                        .n = num_cols,
                        .k = dim,
                        .a = {a, dim, ZK_GEMM_K_INNER},
                        .b = {keys, dim, ZK_GEMM_K_INNER},
                        .c = score,
                        .ldc = ZK_ATTN_TILE_BF16,
                        .threads = 1};
  ZK_ISA_FN(zk_tc_gemm_run)(&g);
}

// c[rows][D] = the chain over j in [0, num) of a's (r, j) * values[j][d], from +0, or from c with `resume`. a[rows][128], or with K_OUTER its
// transpose [num][128]; values[num][D].
static inline void zk_attn_bf16_sums(int32_t rows, int32_t dim, int32_t num, const zk_bf16 *a, zk_gemm_layout a_layout,
                                     const zk_bf16 *values, int resume, float *c) {
  const zk_tc_gemm g = {.m = rows,
                        .n = dim,
                        .k = num,
                        .a = {a, ZK_ATTN_TILE_BF16, a_layout},
                        .b = {values, dim, ZK_GEMM_K_OUTER},
                        .initial = resume ? c : NULL,
                        .ld_initial = dim,
                        .c = c,
                        .ldc = dim,
                        .threads = 1};
  ZK_ISA_FN(zk_tc_gemm_run)(&g);
}

// The next `bytes` bytes, 64-byte aligned, of the memory at base, of which *used are taken. With base NULL it only counts.
static inline void *zk_attn_bf16_carve(void *base, size_t *used, size_t bytes) {
  void *p = base == NULL ? NULL : (char *)base + *used;
  *used += (bytes + 63) & ~(size_t)63;
  return p;
}

#endif
