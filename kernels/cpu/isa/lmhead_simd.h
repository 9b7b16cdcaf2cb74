// Vector forms of what a vocabulary tile needs besides arithmetic: comparisons, maxima, zk_logf, Philox. Each lane does
// what the scalar functions of kernels/math.h and kernels/rng.h do, so the bits are theirs.
#ifndef ZK_KERNELS_CPU_ISA_LMHEAD_SIMD_H
#define ZK_KERNELS_CPU_ISA_LMHEAD_SIMD_H

#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_exp.h"
#include "kernels/rng.h"

// Bit i of a mask: lane i. unless_equal: x in the lanes where a and b differ, +0 elsewhere. The maximum is for numbers,
// never NaN; which zero wins does not matter to its users.
#if ZK_VLEN == 16
typedef __m512i zk_vi;
ZK_INLINE zk_vf zk_vf_max(zk_vf a, zk_vf b) { return _mm512_max_ps(a, b); }
ZK_INLINE float zk_vf_largest(zk_vf a) { return _mm512_reduce_max_ps(a); }
ZK_INLINE uint32_t zk_vf_equal(zk_vf a, zk_vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
ZK_INLINE uint32_t zk_vf_not_at_most(zk_vf a, zk_vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }
ZK_INLINE zk_vf zk_vf_unless_equal(zk_vf a, zk_vf b, zk_vf x) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ), x);
}
ZK_INLINE zk_vi zk_vi_set1(uint32_t x) { return _mm512_set1_epi32((int)x); }
ZK_INLINE zk_vi zk_vi_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
ZK_INLINE zk_vi zk_vi_add(zk_vi a, zk_vi b) { return _mm512_add_epi32(a, b); }
ZK_INLINE zk_vi zk_vi_sub(zk_vi a, zk_vi b) { return _mm512_sub_epi32(a, b); }
ZK_INLINE zk_vi zk_vi_xor(zk_vi a, zk_vi b) { return _mm512_xor_si512(a, b); }
ZK_INLINE zk_vi zk_vi_and(zk_vi a, zk_vi b) { return _mm512_and_si512(a, b); }
#define zk_vi_shift_right(a, n) _mm512_srli_epi32(a, n)
#define zk_vi_shift_right_signed(a, n) _mm512_srai_epi32(a, n)
ZK_INLINE zk_vf zk_vi_to_float(zk_vi a) { return _mm512_cvtepi32_ps(a); } // signed
ZK_INLINE zk_vi zk_vf_bits(zk_vf a) { return _mm512_castps_si512(a); }
ZK_INLINE zk_vf zk_vi_float_bits(zk_vi a) { return _mm512_castsi512_ps(a); }
// High and low words of the 64-bit products a * m.
ZK_INLINE void zk_vi_multiply(zk_vi a, uint32_t m, zk_vi *high, zk_vi *low) {
  const zk_vi factor = zk_vi_set1(m);
  const zk_vi even = _mm512_mul_epu32(a, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
  *high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xaaaa, odd);
  *low = _mm512_mask_mov_epi32(even, 0xaaaa, _mm512_slli_epi64(odd, 32));
}
#define ZK_VI_UNPACK(part, bits, a, b) _mm512_unpack##part##_epi##bits(a, b)
#elif ZK_VLEN == 8
typedef __m256i zk_vi;
ZK_INLINE zk_vf zk_vf_max(zk_vf a, zk_vf b) { return _mm256_max_ps(a, b); }
ZK_INLINE float zk_vf_largest(zk_vf a) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
ZK_INLINE uint32_t zk_vf_equal(zk_vf a, zk_vf b) {
  return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}
ZK_INLINE uint32_t zk_vf_not_at_most(zk_vf a, zk_vf b) {
  return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ));
}
ZK_INLINE zk_vf zk_vf_unless_equal(zk_vf a, zk_vf b, zk_vf x) {
  return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_NEQ_UQ), x);
}
ZK_INLINE zk_vi zk_vi_set1(uint32_t x) { return _mm256_set1_epi32((int)x); }
ZK_INLINE zk_vi zk_vi_load(const uint32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
ZK_INLINE zk_vi zk_vi_add(zk_vi a, zk_vi b) { return _mm256_add_epi32(a, b); }
ZK_INLINE zk_vi zk_vi_sub(zk_vi a, zk_vi b) { return _mm256_sub_epi32(a, b); }
ZK_INLINE zk_vi zk_vi_xor(zk_vi a, zk_vi b) { return _mm256_xor_si256(a, b); }
ZK_INLINE zk_vi zk_vi_and(zk_vi a, zk_vi b) { return _mm256_and_si256(a, b); }
#define zk_vi_shift_right(a, n) _mm256_srli_epi32(a, n)
#define zk_vi_shift_right_signed(a, n) _mm256_srai_epi32(a, n)
ZK_INLINE zk_vf zk_vi_to_float(zk_vi a) { return _mm256_cvtepi32_ps(a); } // signed
ZK_INLINE zk_vi zk_vf_bits(zk_vf a) { return _mm256_castps_si256(a); }
ZK_INLINE zk_vf zk_vi_float_bits(zk_vi a) { return _mm256_castsi256_ps(a); }
ZK_INLINE void zk_vi_multiply(zk_vi a, uint32_t m, zk_vi *high, zk_vi *low) {
  const zk_vi factor = zk_vi_set1(m);
  const zk_vi even = _mm256_mul_epu32(a, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}
#define ZK_VI_UNPACK(part, bits, a, b) _mm256_unpack##part##_epi##bits(a, b)
#else
ZK_INLINE zk_vf zk_vf_max(zk_vf a, zk_vf b) { return a > b ? a : b; }
ZK_INLINE float zk_vf_largest(zk_vf a) { return a; }
ZK_INLINE uint32_t zk_vf_equal(zk_vf a, zk_vf b) { return a == b; }
ZK_INLINE uint32_t zk_vf_not_at_most(zk_vf a, zk_vf b) { return !(a <= b); }
ZK_INLINE zk_vf zk_vf_unless_equal(zk_vf a, zk_vf b, zk_vf x) { return a == b ? 0.0f : x; }
#endif

#if ZK_VLEN > 1

ZK_INLINE zk_vf zk_vf_negate(zk_vf x) { return zk_vi_float_bits(zk_vi_xor(zk_vf_bits(x), zk_vi_set1(0x80000000u))); }

// zk_logf of positive normal numbers.
ZK_INLINE zk_vf zk_vf_log_normal(zk_vf x) {
  const zk_vi i = zk_vi_sub(zk_vf_bits(x), zk_vi_set1(0x3f3504f3u));
  const zk_vf e = zk_vi_to_float(zk_vi_shift_right_signed(i, 23));
  const zk_vf f = zk_vf_sub(zk_vi_float_bits(zk_vi_add(zk_vi_and(i, zk_vi_set1(0x007fffffu)), zk_vi_set1(0x3f3504f3u))),
                            zk_vf_set1(1.0f));
  zk_vf p = zk_vf_fma(zk_vf_set1(-0x1.38b4ccp-4f), f, zk_vf_set1(0x1.055b46p-3f));
  p = zk_vf_fma(p, f, zk_vf_set1(-0x1.0d8552p-3f));
  p = zk_vf_fma(p, f, zk_vf_set1(0x1.22da22p-3f));
  p = zk_vf_fma(p, f, zk_vf_set1(-0x1.547244p-3f));
  p = zk_vf_fma(p, f, zk_vf_set1(0x1.99a008p-3f));
  p = zk_vf_fma(p, f, zk_vf_set1(-0x1.000228p-2f));
  p = zk_vf_fma(p, f, zk_vf_set1(0x1.555554p-2f));
  p = zk_vf_fma(p, f, zk_vf_set1(-0.5f));
  const zk_vf ln2 = zk_vf_set1(0x1.62e43p-1f);
  const zk_vf high = zk_vf_fma(e, ln2, f);
  zk_vf low = zk_vf_add(zk_vf_fma(e, ln2, zk_vf_negate(high)), f);
  low = zk_vf_fma(e, zk_vf_set1(-0x1.05c61p-29f), low);
  return zk_vf_add(high, zk_vf_fma(zk_vf_mul(f, f), p, low));
}

// zk_gumbel: the arguments of both logarithms are normal for every r.
ZK_INLINE zk_vf zk_vf_gumbel(zk_vi r) {
  const zk_vf u = zk_vf_mul(zk_vf_add(zk_vi_to_float(zk_vi_shift_right(r, 9)), zk_vf_set1(0.5f)),
                            zk_vf_set1(1.1920928955078125e-7f));
  return zk_vf_negate(zk_vf_log_normal(zk_vf_negate(zk_vf_log_normal(u))));
}

// g[4 * ZK_VLEN] = zk_gumbel of the words of Philox counters (first + i, ctr...), i < ZK_VLEN: words 0 to 3 of the
// first counter, then of the second...
ZK_INLINE void zk_vf_gumbel_block(uint32_t first, const uint32_t ctr[3], const uint32_t key[2], float *g) {
  // Lane 4 q + p holds counter p * (ZK_VLEN / 4) + q: then a transposition within quarters leaves neighbours side by
  // side.
  static const uint32_t order[] = {0, ZK_VLEN / 4,     ZK_VLEN / 2,     3 * ZK_VLEN / 4,
                                   1, ZK_VLEN / 4 + 1, ZK_VLEN / 2 + 1, 3 * ZK_VLEN / 4 + 1,
                                   2, ZK_VLEN / 4 + 2, ZK_VLEN / 2 + 2, 3 * ZK_VLEN / 4 + 2,
                                   3, ZK_VLEN / 4 + 3, ZK_VLEN / 2 + 3, 3 * ZK_VLEN / 4 + 3};
  zk_vi c0 = zk_vi_add(zk_vi_set1(first), zk_vi_load(order)), c1 = zk_vi_set1(ctr[0]), c2 = zk_vi_set1(ctr[1]),
        c3 = zk_vi_set1(ctr[2]);
  uint32_t k0 = key[0], k1 = key[1];
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
    zk_vi high0, low0, high1, low1;
    zk_vi_multiply(c0, 0xD2511F53u, &high0, &low0);
    zk_vi_multiply(c2, 0xCD9E8D57u, &high1, &low1);
    c0 = zk_vi_xor(zk_vi_xor(high1, c1), zk_vi_set1(k0));
    c2 = zk_vi_xor(zk_vi_xor(high0, c3), zk_vi_set1(k1));
    c1 = low1, c3 = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  const zk_vi a = ZK_VI_UNPACK(lo, 32, c0, c1), b = ZK_VI_UNPACK(lo, 32, c2, c3);
  const zk_vi c = ZK_VI_UNPACK(hi, 32, c0, c1), d = ZK_VI_UNPACK(hi, 32, c2, c3);
  zk_vf_store(g, zk_vf_gumbel(ZK_VI_UNPACK(lo, 64, a, b)));
  zk_vf_store(g + ZK_VLEN, zk_vf_gumbel(ZK_VI_UNPACK(hi, 64, a, b)));
  zk_vf_store(g + 2 * ZK_VLEN, zk_vf_gumbel(ZK_VI_UNPACK(lo, 64, c, d)));
  zk_vf_store(g + 3 * ZK_VLEN, zk_vf_gumbel(ZK_VI_UNPACK(hi, 64, c, d)));
}

#else

ZK_INLINE void zk_vf_gumbel_block(uint32_t first, const uint32_t ctr[3], const uint32_t key[2], float *g) {
  const uint32_t counter[4] = {first, ctr[0], ctr[1], ctr[2]};
  uint32_t r[4];
  zk_philox4x32(counter, key, r);
  for (int i = 0; i < 4; i++) g[i] = zk_gumbel(r[i]);
}

#endif
#endif
