// The two products of attention on register blocks of up to 6 rows: scores (vectors over keys) and sums of rows (vectors over d).
// Every output is one ascending chain of fma in its own lane; blocking decides only which chains run side by side.
//
// Both read blocks of 16 * Dp floats, each line once. `ahead` are the blocks that will be read next: the lines at the same places in
// them are fetched meanwhile, so that a decode step, which uses a line only a few times, does not wait for memory tile by tile.
#ifndef ZK_KERNELS_CPU_ISA_ATTENTION_TILE_H
#define ZK_KERNELS_CPU_ISA_ATTENTION_TILE_H

#include <stddef.h>
#include "kernels/cpu/attention.h"

// score[rows][64] = scale * the chain over d ascending of fma(a[r][d], block[col / 16][d][col % 16]), for columns [0, num_cols), a
// multiple of 16. a[rows][a_ld], blocks [dim][16], rows <= 6.
#define zk_attn_dots ZK_ISA_FN(zk_attn_dots)
void zk_attn_dots(int rows, int32_t num_cols, int32_t dim, const float *a, ptrdiff_t a_ld, const float *const *block,
                  const float *const *ahead, float scale, float *score);

// c[rows][num_cols] continues its chains over k in [k_begin, k_end[r]), within a tile, of fma(a[r * a_rs + k * a_ks],
// block[k / 16][k % 16][col], c). Blocks [16][b_ld], rows <= 6. k_end never falls: rows leave one by one, which is all that causality needs.
#define zk_attn_sums ZK_ISA_FN(zk_attn_sums)
void zk_attn_sums(int rows, int32_t num_cols, int32_t k_begin, const int32_t *k_end, const float *a, ptrdiff_t a_rs, ptrdiff_t a_ks,
                  const float *const *block, const float *const *ahead, ptrdiff_t b_ld, float *c, ptrdiff_t c_ld);

// How many of `left` rows the next register block takes, so that blocks are about equal.
static inline int zk_attn_next_rows(int left) {
  const int blocks = (left + ZK_ATTN_MICRO_ROWS - 1) / ZK_ATTN_MICRO_ROWS;
  return (left + blocks - 1) / blocks;
}

#endif
