// zk_expf, zk_exp2f and zk_exp2_bf16 of a vector: the operations of kernels/math_impl.h in each lane, written out where the compiler's own vector
// code for the selects and the exact scaling by 2^n is slow. Same bits for every input (tests/unit/test_exp_exhaustive.c).
#ifndef ZK_KERNELS_CPU_SIMD_EXP_H
#define ZK_KERNELS_CPU_SIMD_EXP_H

#include "kernels/cpu/simd.h"

#if ZK_VLEN == 1

ZK_INLINE zk_vf zk_vf_exp(zk_vf x) { return zk_expf(x); }
ZK_INLINE zk_vf zk_vf_exp2(zk_vf x) { return zk_exp2f(x); }
ZK_INLINE zk_vf zk_vf_exp2_bf16(zk_vf t) { return zk_exp2_bf16(t); }

#else

// max and min return their second operand when one is NaN.
#if ZK_VLEN == 16
ZK_INLINE zk_vf zk_vf_clamp(zk_vf x, float low, float high) {
  return _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), x));
}
// p * 2^n for integral n, rounded once: subnormal results included.
ZK_INLINE zk_vf zk_vf_scale2(zk_vf p, zk_vf n) { return _mm512_scalef_ps(p, n); }
ZK_INLINE zk_vf zk_vf_floor_at(zk_vf x, float low) { return _mm512_max_ps(_mm512_set1_ps(low), x); }
// 2^n from t = 1.5 * 2^23 + n.
ZK_INLINE zk_vf zk_vf_pow2(zk_vf t) {
  const __m512i bias = _mm512_set1_epi32(127 - 0x4b400000);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(t), bias), 23));
}
// p * 2^n rounded to bf16, n as above; +0 where x < -126, 0x7fff0000 where it is NaN.
ZK_INLINE zk_vf zk_vf_scale2_bf16(zk_vf p, zk_vf n, zk_vf x) {
  const __mmask16 in_range = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_GE_OQ), nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  __m512i u = _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(n), 23));
  u = _mm512_maskz_and_epi32(in_range, _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), _mm512_set1_epi32((int)0xffff0000u));
  return _mm512_castsi512_ps(_mm512_mask_mov_epi32(u, nan, _mm512_set1_epi32(0x7fff0000)));
}
#else
ZK_INLINE zk_vf zk_vf_clamp(zk_vf x, float low, float high) {
  return _mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), x));
}
ZK_INLINE zk_vf zk_vf_scale2(zk_vf p, zk_vf n) {
  const __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
  const __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}
ZK_INLINE zk_vf zk_vf_floor_at(zk_vf x, float low) { return _mm256_max_ps(_mm256_set1_ps(low), x); }
ZK_INLINE zk_vf zk_vf_pow2(zk_vf t) {
  const __m256i bias = _mm256_set1_epi32(127 - 0x4b400000);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(t), bias), 23));
}
ZK_INLINE zk_vf zk_vf_scale2_bf16(zk_vf p, zk_vf n, zk_vf x) {
  const __m256 in_range = _mm256_cmp_ps(x, _mm256_set1_ps(-126.0f), _CMP_GE_OQ), nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  __m256i u = _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(n), 23));
  u = _mm256_and_si256(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), _mm256_set1_epi32((int)0xffff0000u));
  u = _mm256_and_si256(u, _mm256_castps_si256(in_range));
  return _mm256_castsi256_ps(_mm256_or_si256(u, _mm256_and_si256(_mm256_castps_si256(nan), _mm256_set1_epi32(0x7fff0000))));
}
#endif

ZK_INLINE zk_vf zk_vf_exp(zk_vf x) {
  x = zk_vf_clamp(x, -104.0f, 89.0f);
  zk_vf t = zk_vf_fma(x, zk_vf_set1(0x1.715476p+0f), zk_vf_set1(ZK_MATH_ROUND_F));
  t = zk_vf_sub(t, zk_vf_set1(ZK_MATH_ROUND_F));
  zk_vf r = zk_vf_fma(t, zk_vf_set1(-0x1.62e43p-1f), x);
  r = zk_vf_fma(t, zk_vf_set1(0x1.05c61p-29f), r);
  zk_vf p = zk_vf_fma(zk_vf_set1(0x1.6a2430p-10f), r, zk_vf_set1(0x1.1239e4p-7f));
  p = zk_vf_fma(p, r, zk_vf_set1(0x1.5558f2p-5f));
  p = zk_vf_fma(p, r, zk_vf_set1(0x1.555492p-3f));
  p = zk_vf_fma(p, r, zk_vf_set1(0x1.fffffcp-2f));
  p = zk_vf_fma(p, r, zk_vf_set1(1.0f));
  p = zk_vf_fma(p, r, zk_vf_set1(1.0f));
  return zk_vf_scale2(p, t);
}

// 2^r for |r| <= 1/2 (zk_math_exp2_near).
ZK_INLINE zk_vf zk_vf_exp2_near(zk_vf r, float slope) {
  zk_vf p = zk_vf_fma(zk_vf_set1(0x1.5bab36p-10f), r, zk_vf_set1(0x1.3ce1b8p-7f));
  p = zk_vf_fma(p, r, zk_vf_set1(0x1.c6b73ep-5f));
  p = zk_vf_fma(p, r, zk_vf_set1(0x1.ebf9dap-3f));
  p = zk_vf_fma(p, r, zk_vf_set1(slope));
  return zk_vf_fma(p, r, zk_vf_set1(1.0f));
}

ZK_INLINE zk_vf zk_vf_exp2(zk_vf x) {
  const zk_vf round = zk_vf_set1(ZK_MATH_ROUND_F);
  x = zk_vf_floor_at(x, -126.0f);
  const zk_vf t = zk_vf_add(x, round);
  return zk_vf_mul(zk_vf_exp2_near(zk_vf_sub(x, zk_vf_sub(t, round)), ZK_MATH_EXP2_SLOPE), zk_vf_pow2(t));
}

ZK_INLINE zk_vf zk_vf_exp2_bf16(zk_vf t) {
  const zk_vf round = zk_vf_set1(ZK_MATH_ROUND_F), x = zk_vf_clamp(t, -126.0f, -64.0f), n = zk_vf_add(x, round);
  return zk_vf_scale2_bf16(zk_vf_exp2_near(zk_vf_sub(x, zk_vf_sub(n, round)), ZK_MATH_EXP2_BF16_SLOPE), n, t);
}

#endif
#endif
