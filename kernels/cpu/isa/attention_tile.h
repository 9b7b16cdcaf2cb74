// The two products of attention on register blocks of up to 6 rows: scores (vectors over keys) and sums of rows (vectors over d).
// Every output is one ascending chain of fma in its own lane; blocking decides only which chains run side by side.
//
// Both read blocks of 16 * Dp floats, each line once. `ahead`, if any, are the blocks that will be read next: the lines at the same
// places in them are fetched meanwhile, so that a decode step, which uses a line only a few times, waits for memory once.
#ifndef ZK_KERNELS_CPU_ISA_ATTENTION_TILE_H
#define ZK_KERNELS_CPU_ISA_ATTENTION_TILE_H

#include <stddef.h>
#include "kernels/cpu/attention.h"
#include "kernels/cpu/simd.h"

#define ZK_ALWAYS_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define ZK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ZK_UNROLL _Pragma("GCC unroll 8")
#endif

// Vectors side by side for a number of rows: 24 accumulators of 32 registers, or 12 of 16.
#if ZK_VLEN == 16
#define ZK_ATTN_VECS(rows) 4
#else
#define ZK_ATTN_VECS(rows) ((rows) <= 3 ? 4 : 2)
#endif

// score[r][col] = scale * chain over d ascending of fma(a[r][d], block[col / 16][d][col % 16]), for vecs vectors from column `col` on.
ZK_ALWAYS_INLINE void zk_attn_dots_block(const int rows, const int vecs, int32_t dim, const float *a, ptrdiff_t a_ld,
                                         const float *const *block, const float *const *ahead, int32_t col,
                                         float scale, float *score) {
  zk_vf acc[ZK_ATTN_MICRO_ROWS][4];
  const float *b[4], *next[4];
  ZK_UNROLL for (int v = 0; v < vecs; ++v) {
    const int32_t c = col + v * ZK_VLEN;
    b[v] = block[c / ZK_KV_BLOCK] + c % ZK_KV_BLOCK;
    if (ahead) next[v] = ahead[c / ZK_KV_BLOCK] + c % ZK_KV_BLOCK;
  }
  ZK_UNROLL for (int r = 0; r < rows; ++r) {
    ZK_UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_zero();
  }
  for (ptrdiff_t d = 0; d < dim; ++d) {
    zk_vf bv[4];
    ZK_UNROLL for (int v = 0; v < vecs; ++v) bv[v] = zk_vf_load(b[v] + d * ZK_KV_BLOCK);
    if (ahead) {
      ZK_UNROLL for (int v = 0; v < vecs; ++v) __builtin_prefetch(next[v] + d * ZK_KV_BLOCK);
    }
    ZK_UNROLL for (int r = 0; r < rows; ++r) {
      const zk_vf x = zk_vf_set1(a[r * a_ld + d]);
      ZK_UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_fma(x, bv[v], acc[r][v]);
    }
  }
  ZK_UNROLL for (int r = 0; r < rows; ++r) {
    ZK_UNROLL for (int v = 0; v < vecs; ++v) {
      zk_vf_store(score + r * ZK_ATTN_TILE + col + v * ZK_VLEN, zk_vf_mul(acc[r][v], zk_vf_set1(scale)));
    }
  }
}

// c[r][col ..] continues its chain over k in [k_begin, k_end[r]) ascending of fma(a[r * a_rs + k * a_ks], block[k / 16][k % 16][col], c).
// k_end never falls: rows leave one by one, which is all that causality needs.
ZK_ALWAYS_INLINE void zk_attn_sums_block(const int rows, const int vecs, int32_t k_begin, const int32_t *k_end, const float *a,
                                         ptrdiff_t a_rs, ptrdiff_t a_ks, const float *const *block, const float *const *ahead,
                                         ptrdiff_t b_ld, int32_t col, float *c, ptrdiff_t c_ld) {
  zk_vf acc[ZK_ATTN_MICRO_ROWS][4];
  ZK_UNROLL for (int r = 0; r < rows; ++r) {
    ZK_UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_load(c + r * c_ld + col + v * ZK_VLEN);
  }
  int32_t k = k_begin;
  ZK_UNROLL for (int first = 0; first < rows; ++first) {
    while (k < k_end[first]) {
      const ptrdiff_t at = (k % ZK_KV_BLOCK) * b_ld + col;
      const float *b = block[k / ZK_KV_BLOCK] + at;
      const ptrdiff_t to_ahead = ahead ? ahead[k / ZK_KV_BLOCK] + at - b : 0;
      const int32_t next = (k / ZK_KV_BLOCK + 1) * ZK_KV_BLOCK, stop = next < k_end[first] ? next : k_end[first];
      for (; k < stop; ++k, b += b_ld) {
        zk_vf bv[4];
        ZK_UNROLL for (int v = 0; v < vecs; ++v) bv[v] = zk_vf_load(b + v * ZK_VLEN);
        if (ahead) {
          ZK_UNROLL for (int v = 0; v < vecs; ++v) __builtin_prefetch(b + to_ahead + v * ZK_VLEN);
        }
        ZK_UNROLL for (int r = first; r < rows; ++r) {
          const zk_vf x = zk_vf_set1(a[r * a_rs + k * a_ks]);
          ZK_UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_fma(x, bv[v], acc[r][v]);
        }
      }
    }
  }
  ZK_UNROLL for (int r = 0; r < rows; ++r) {
    ZK_UNROLL for (int v = 0; v < vecs; ++v) zk_vf_store(c + r * c_ld + col + v * ZK_VLEN, acc[r][v]);
  }
}

// One call of `block_fn` for each (rows, vecs) that a register file holds; `rows` and `vecs` become constants.
#define ZK_ATTN_CASE(r, v, call)                                                                                       \
  case (r) * 8 + (v):                                                                                                  \
    if ((v) <= ZK_ATTN_VECS(r)) {                                                                                      \
      enum { rows_ = (r), vecs_ = (v) };                                                                               \
      call;                                                                                                            \
    }                                                                                                                  \
    break
#define ZK_ATTN_CASES(r, call)                                                                                         \
  ZK_ATTN_CASE(r, 1, call);                                                                                            \
  ZK_ATTN_CASE(r, 2, call);                                                                                            \
  ZK_ATTN_CASE(r, 3, call);                                                                                            \
  ZK_ATTN_CASE(r, 4, call)
#define ZK_ATTN_SWITCH(rows, vecs, call)                                                                               \
  switch ((rows) * 8 + (vecs)) {                                                                                       \
    ZK_ATTN_CASES(1, call);                                                                                            \
    ZK_ATTN_CASES(2, call);                                                                                            \
    ZK_ATTN_CASES(3, call);                                                                                            \
    ZK_ATTN_CASES(4, call);                                                                                            \
    ZK_ATTN_CASES(5, call);                                                                                            \
    ZK_ATTN_CASES(6, call);                                                                                            \
  }

// Columns [0, num_cols) in strips as wide as the registers allow, all strips about equal.
#define ZK_ATTN_STRIPS(rows, num_cols, call)                                                                           \
  do {                                                                                                                 \
    const int total_ = (num_cols) / ZK_VLEN, most_ = ZK_ATTN_VECS(rows), strips_ = (total_ + most_ - 1) / most_;       \
    for (int s_ = 0, col_ = 0; s_ < strips_; ++s_) {                                                                   \
      const int width_ = (total_ - col_ / ZK_VLEN + strips_ - s_ - 1) / (strips_ - s_);                                \
      ZK_ATTN_SWITCH(rows, width_, call)                                                                               \
      col_ += width_ * ZK_VLEN;                                                                                        \
    }                                                                                                                  \
  } while (0)

// The switches stay out of line: one copy a file.
#define ZK_OUT_OF_LINE static __attribute__((noinline, unused))

// score[rows][64] = scale * dots: columns [0, num_cols), a multiple of 16, from a[rows][a_ld] and blocks [dim][16]. rows <= 6.
ZK_OUT_OF_LINE void zk_attn_dots(int rows, int32_t num_cols, int32_t dim, const float *a, ptrdiff_t a_ld, const float *const *block,
                                 const float *const *ahead, float scale, float *score) {
  if (ahead)
    ZK_ATTN_STRIPS(rows, num_cols, zk_attn_dots_block(rows_, vecs_, dim, a, a_ld, block, ahead, col_, scale, score));
  else
    ZK_ATTN_STRIPS(rows, num_cols, zk_attn_dots_block(rows_, vecs_, dim, a, a_ld, block, NULL, col_, scale, score));
}

// c[rows][num_cols] continues its chains over k in [k_begin, k_end[r]), within a tile; blocks [16][b_ld]. rows <= 6.
ZK_OUT_OF_LINE void zk_attn_sums(int rows, int32_t num_cols, int32_t k_begin, const int32_t *k_end, const float *a, ptrdiff_t a_rs,
                                 ptrdiff_t a_ks, const float *const *block, const float *const *ahead, ptrdiff_t b_ld, float *c,
                                 ptrdiff_t c_ld) {
  if (ahead)
    ZK_ATTN_STRIPS(rows, num_cols,
                   zk_attn_sums_block(rows_, vecs_, k_begin, k_end, a, a_rs, a_ks, block, ahead, b_ld, col_, c, c_ld));
  else
    ZK_ATTN_STRIPS(rows, num_cols,
                   zk_attn_sums_block(rows_, vecs_, k_begin, k_end, a, a_rs, a_ks, block, NULL, b_ld, col_, c, c_ld));
}

// How many of `left` rows the next register block takes, so that blocks are about equal.
ZK_ALWAYS_INLINE int zk_attn_next_rows(int left) {
  const int blocks = (left + ZK_ATTN_MICRO_ROWS - 1) / ZK_ATTN_MICRO_ROWS;
  return (left + blocks - 1) / blocks;
}

#endif
