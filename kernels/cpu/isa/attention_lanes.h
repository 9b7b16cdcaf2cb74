// Largest score and sum of weights of one row of a tile: 16 lanes, then halving 8, 4, 2, 1. num_cols is 16, 32, 48 or 64; columns of
// absent keys hold -inf (weight +0).
#ifndef ZK_KERNELS_CPU_ISA_ATTENTION_LANES_H
#define ZK_KERNELS_CPU_ISA_ATTENTION_LANES_H

#include "kernels/cpu/attention.h"
#include "kernels/cpu/simd.h"

#if ZK_VLEN == 1

ZK_INLINE float zk_attn_lanes_max(const float *score, int32_t num_cols) {
  float max = score[0];
  for (int32_t j = 1; j < num_cols; ++j) max = score[j] > max ? score[j] : max;
  return max;
}

ZK_INLINE float zk_attn_lanes_sum(const float *w, int32_t num_cols) {
  float lane[16];
  for (int32_t i = 0; i < 16; ++i) lane[i] = w[i];
  for (int32_t j = 16; j < num_cols; ++j) lane[j % 16] = lane[j % 16] + w[j];
  for (int32_t half = 8; half >= 1; half /= 2)
    for (int32_t i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  return lane[0];
}

#else

#if ZK_VLEN == 16
// Lanes i and i + 8 of the 16 lanes of a row, joined by op.
#define ZK_ATTN_FOLD(op, x, num_cols)                                                                                  \
  __m512 all = _mm512_loadu_ps(x);                                                                                     \
  for (int32_t j = 16; j < (num_cols); j += 16) all = _mm512_##op##_ps(all, _mm512_loadu_ps((x) + j));                 \
  const __m256 half = _mm256_##op##_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1))
#else
#define ZK_ATTN_FOLD(op, x, num_cols)                                                                                  \
  __m256 low = _mm256_loadu_ps(x), high = _mm256_loadu_ps((x) + 8);                                                    \
  for (int32_t j = 16; j < (num_cols); j += 16) {                                                                      \
    low = _mm256_##op##_ps(low, _mm256_loadu_ps((x) + j));                                                             \
    high = _mm256_##op##_ps(high, _mm256_loadu_ps((x) + j + 8));                                                       \
  }                                                                                                                    \
  const __m256 half = _mm256_##op##_ps(low, high)
#endif
// 8 lanes to one.
#define ZK_ATTN_HALVE(op)                                                                                              \
  __m128 y = _mm_##op##_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));                              \
  y = _mm_##op##_ps(y, _mm_movehl_ps(y, y));                                                                           \
  return _mm_cvtss_f32(_mm_##op##_ss(y, _mm_movehdup_ps(y)))

ZK_INLINE float zk_attn_lanes_max(const float *score, int32_t num_cols) {
  ZK_ATTN_FOLD(max, score, num_cols);
  ZK_ATTN_HALVE(max);
}
ZK_INLINE float zk_attn_lanes_sum(const float *w, int32_t num_cols) {
  ZK_ATTN_FOLD(add, w, num_cols);
  ZK_ATTN_HALVE(add);
}

#endif
#endif
