// Register blocks of attention_tile.h: one loop for each (rows, vectors) that the register file holds, chosen at run time.
#include "kernels/cpu/isa/attention_tile.h"
#include "kernels/cpu/simd.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

// Vectors side by side for a number of rows: 24 accumulators of 32 registers, or 12 of 16.
#if ZK_VLEN == 16
#define VECS(rows) 4
#else
#define VECS(rows) ((rows) <= 3 ? 4 : 2)
#endif

// zk_attn_dots for vecs vectors from column `col` on.
ALWAYS_INLINE void dots_block(const int rows, const int vecs, int32_t dim, const float *a, ptrdiff_t a_ld, const float *const *block,
                              const float *const *ahead, int32_t col, float scale, float *score) {
  zk_vf acc[ZK_ATTN_MICRO_ROWS][4];
  const float *b[4], *next[4];
  UNROLL for (int v = 0; v < vecs; ++v) {
    const int32_t c = col + v * ZK_VLEN;
    b[v] = block[c / ZK_KV_BLOCK] + c % ZK_KV_BLOCK;
    next[v] = ahead[c / ZK_KV_BLOCK] + c % ZK_KV_BLOCK;
  }
  UNROLL for (int r = 0; r < rows; ++r) {
    UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_zero();
  }
  for (ptrdiff_t d = 0; d < dim; ++d) {
    zk_vf bv[4];
    UNROLL for (int v = 0; v < vecs; ++v) bv[v] = zk_vf_load(b[v] + d * ZK_KV_BLOCK);
    UNROLL for (int v = 0; v < vecs; ++v) __builtin_prefetch(next[v] + d * ZK_KV_BLOCK);
    UNROLL for (int r = 0; r < rows; ++r) {
      const zk_vf x = zk_vf_set1(a[r * a_ld + d]);
      UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_fma(x, bv[v], acc[r][v]);
    }
  }
  UNROLL for (int r = 0; r < rows; ++r) {
    UNROLL for (int v = 0; v < vecs; ++v) {
      zk_vf_store(score + r * ZK_ATTN_TILE + col + v * ZK_VLEN, zk_vf_mul(acc[r][v], zk_vf_set1(scale)));
    }
  }
}

// zk_attn_sums for vecs vectors from column `col` on. Rows leave the loop as their chains end.
ALWAYS_INLINE void sums_block(const int rows, const int vecs, int32_t k_begin, const int32_t *k_end, const float *a, ptrdiff_t a_rs,
                              ptrdiff_t a_ks, const float *const *block, const float *const *ahead, ptrdiff_t b_ld, int32_t col, float *c,
                              ptrdiff_t c_ld) {
  zk_vf acc[ZK_ATTN_MICRO_ROWS][4];
  UNROLL for (int r = 0; r < rows; ++r) {
    UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_load(c + r * c_ld + col + v * ZK_VLEN);
  }
  int32_t k = k_begin;
  UNROLL for (int first = 0; first < rows; ++first) {
    while (k < k_end[first]) {
      const ptrdiff_t at = (k % ZK_KV_BLOCK) * b_ld + col;
      const float *b = block[k / ZK_KV_BLOCK] + at;
      const ptrdiff_t to_ahead = ahead[k / ZK_KV_BLOCK] + at - b;
      const int32_t next = (k / ZK_KV_BLOCK + 1) * ZK_KV_BLOCK, stop = next < k_end[first] ? next : k_end[first];
      for (; k < stop; ++k, b += b_ld) {
        zk_vf bv[4];
        UNROLL for (int v = 0; v < vecs; ++v) bv[v] = zk_vf_load(b + v * ZK_VLEN);
        UNROLL for (int v = 0; v < vecs; ++v) __builtin_prefetch(b + to_ahead + v * ZK_VLEN);
        UNROLL for (int r = first; r < rows; ++r) {
          const zk_vf x = zk_vf_set1(a[r * a_rs + k * a_ks]);
          UNROLL for (int v = 0; v < vecs; ++v) acc[r][v] = zk_vf_fma(x, bv[v], acc[r][v]);
        }
      }
    }
  }
  UNROLL for (int r = 0; r < rows; ++r) {
    UNROLL for (int v = 0; v < vecs; ++v) zk_vf_store(c + r * c_ld + col + v * ZK_VLEN, acc[r][v]);
  }
}

// `call` for each (rows, vecs) that a register file holds; in it rows_ and vecs_ are constants.
#define CASE(r, v, call)                                                                                               \
  case (r) * 8 + (v):                                                                                                  \
    if ((r) <= ZK_ATTN_MICRO_ROWS && (v) <= VECS(r)) {                                                                 \
      enum { rows_ = (r), vecs_ = (v) };                                                                               \
      call;                                                                                                            \
    }                                                                                                                  \
    break
#define CASES(r, call)                                                                                                 \
  CASE(r, 1, call);                                                                                                    \
  CASE(r, 2, call);                                                                                                    \
  CASE(r, 4, call)

// Columns [0, num_cols) in strips of 4, 2 or 1 vectors, as wide as the registers allow; col_ is the strip's first column.
#define STRIPS(rows, num_cols, call)                                                                                   \
  for (int32_t col_ = 0, width_; col_ < (num_cols); col_ += width_ * ZK_VLEN) {                                        \
    const int32_t left_ = ((num_cols) - col_) / ZK_VLEN;                                                               \
    width_ = left_ >= 4 && VECS(rows) == 4 ? 4 : left_ >= 2 ? 2 : 1;                                                   \
    switch ((rows) * 8 + width_) {                                                                                     \
      CASES(1, call);                                                                                                  \
      CASES(2, call);                                                                                                  \
      CASES(3, call);                                                                                                  \
      CASES(4, call);                                                                                                  \
      CASES(5, call);                                                                                                  \
      CASES(6, call);                                                                                                  \
    }                                                                                                                  \
  }

void zk_attn_dots(int rows, int32_t num_cols, int32_t dim, const float *a, ptrdiff_t a_ld, const float *const *block,
                  const float *const *ahead, float scale, float *score) {
  STRIPS(rows, num_cols, dots_block(rows_, vecs_, dim, a, a_ld, block, ahead, col_, scale, score))
}

void zk_attn_sums(int rows, int32_t num_cols, int32_t k_begin, const int32_t *k_end, const float *a, ptrdiff_t a_rs, ptrdiff_t a_ks,
                  const float *const *block, const float *const *ahead, ptrdiff_t b_ld, float *c, ptrdiff_t c_ld) {
  STRIPS(rows, num_cols, sums_block(rows_, vecs_, k_begin, k_end, a, a_rs, a_ks, block, ahead, b_ld, col_, c, c_ld))
}
