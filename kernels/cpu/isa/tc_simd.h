// The vectors that a tensor-core block is made with: ZK_TC_COLUMNS bf16 side by side (their exponents 16-bit integers), two halves of them
// in f32, four quarters in f64. AVX-512 and AVX2 only.
#ifndef ZK_KERNELS_CPU_ISA_TC_SIMD_H
#define ZK_KERNELS_CPU_ISA_TC_SIMD_H

#include <immintrin.h>
#include <stdint.h>

#define ZK_TC_ZERO (-600)    // of a zero factor: its products stay below ZK_TC_LEAST_EXPONENT
#define ZK_TC_ABOVE (25 + 2) // a term's sum is formed on 2^(E + 27), whose last bit in f64 is 2^(E - 25)

#if defined(ZK_ISA_avx512)
#define ZK_TC_COLUMNS 32
#define ZK_TC_QUARTER 8
typedef __m512i zk_tc_words; // 32 16-bit integers
typedef __m512d zk_tc_vd;
typedef __m512 zk_tc_vf; // 16 outputs
typedef __m512i zk_tc_vi;
#define ZK_TC_OP(name) _mm512_##name // an intrinsic of this width
static inline zk_tc_words zk_tc_words_load(const void *p) { return _mm512_loadu_si512(p); }
static inline void zk_tc_words_store(void *p, zk_tc_words x) { _mm512_storeu_si512(p, x); }
static inline zk_tc_words zk_tc_words_and(zk_tc_words a, zk_tc_words b) { return _mm512_and_si512(a, b); }
// x, or `other` where magnitude is 0.
static inline zk_tc_words zk_tc_words_unless_zero(zk_tc_words magnitude, zk_tc_words x, zk_tc_words other) {
  return _mm512_mask_mov_epi16(other, _mm512_test_epi16_mask(magnitude, magnitude), x);
}
static inline zk_tc_vi zk_tc_unless_zero(zk_tc_vi magnitude, zk_tc_vi x, zk_tc_vi other) {
  return _mm512_mask_mov_epi32(other, _mm512_test_epi32_mask(magnitude, magnitude), x);
}
static inline zk_tc_vi zk_tc_bits(zk_tc_vf x) { return _mm512_castps_si512(x); }
static inline zk_tc_vi zk_tc_and(zk_tc_vi a, zk_tc_vi b) { return _mm512_and_si512(a, b); }
// Half h of the words, widened to 32 bits.
static inline zk_tc_vi zk_tc_half(zk_tc_words x, int h) {
  return _mm512_cvtepi16_epi32(h == 0 ? _mm512_castsi512_si256(x) : _mm512_extracti64x4_epi64(x, 1));
}
static inline __m256i zk_tc_half_of_ints(zk_tc_vi x, int h) {
  return h == 0 ? _mm512_castsi512_si256(x) : _mm512_extracti64x4_epi64(x, 1);
}
// 2^(biased - 1023), half h of them.
static inline zk_tc_vd zk_tc_power(zk_tc_vi biased, int h) {
  return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_cvtepi32_epi64(zk_tc_half_of_ints(biased, h)), 52));
}
static inline zk_tc_vd zk_tc_widen(zk_tc_vf x, int h) {
  return _mm512_cvtps_pd(h == 0 ? _mm512_castps512_ps256(x) : _mm512_extractf32x8_ps(x, 1));
}
static inline zk_tc_vf zk_tc_narrow(zk_tc_vd low, zk_tc_vd high) { // in the current rounding; -0 (a sum that vanished) becomes +0
  return _mm512_add_ps(_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1), _mm512_setzero_ps());
}
static inline zk_tc_vd zk_tc_widen_bf16(const uint16_t *p) { // 8 of them
  const __m256i x = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16);
  return _mm512_cvtps_pd(_mm256_castsi256_ps(x));
}
#else
#define ZK_TC_COLUMNS 16
#define ZK_TC_QUARTER 4
typedef __m256i zk_tc_words; // 16 16-bit integers
typedef __m256d zk_tc_vd;
typedef __m256 zk_tc_vf; // 8 outputs
typedef __m256i zk_tc_vi;
#define ZK_TC_OP(name) _mm256_##name // an intrinsic of this width
static inline zk_tc_words zk_tc_words_load(const void *p) { return _mm256_loadu_si256(p); }
static inline void zk_tc_words_store(void *p, zk_tc_words x) { _mm256_storeu_si256(p, x); }
static inline zk_tc_words zk_tc_words_and(zk_tc_words a, zk_tc_words b) { return _mm256_and_si256(a, b); }
static inline zk_tc_words zk_tc_words_unless_zero(zk_tc_words magnitude, zk_tc_words x, zk_tc_words other) {
  return _mm256_blendv_epi8(x, other, _mm256_cmpeq_epi16(magnitude, _mm256_setzero_si256()));
}
static inline zk_tc_vi zk_tc_unless_zero(zk_tc_vi magnitude, zk_tc_vi x, zk_tc_vi other) {
  return _mm256_blendv_epi8(x, other, _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256()));
}
static inline zk_tc_vi zk_tc_bits(zk_tc_vf x) { return _mm256_castps_si256(x); }
static inline zk_tc_vi zk_tc_and(zk_tc_vi a, zk_tc_vi b) { return _mm256_and_si256(a, b); }
static inline zk_tc_vi zk_tc_half(zk_tc_words x, int h) {
  return _mm256_cvtepi16_epi32(h == 0 ? _mm256_castsi256_si128(x) : _mm256_extracti128_si256(x, 1));
}
static inline zk_tc_vd zk_tc_power(zk_tc_vi biased, int h) {
  const __m128i half = h == 0 ? _mm256_castsi256_si128(biased) : _mm256_extracti128_si256(biased, 1);
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_cvtepi32_epi64(half), 52));
}
static inline zk_tc_vd zk_tc_widen(zk_tc_vf x, int h) {
  return _mm256_cvtps_pd(h == 0 ? _mm256_castps256_ps128(x) : _mm256_extractf128_ps(x, 1));
}
static inline zk_tc_vf zk_tc_narrow(zk_tc_vd low, zk_tc_vd high) {
  return _mm256_add_ps(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1), _mm256_setzero_ps());
}
static inline zk_tc_vd zk_tc_widen_bf16(const uint16_t *p) { // 4 of them
  const __m128i x = _mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)p)), 16);
  return _mm256_cvtps_pd(_mm_castsi128_ps(x));
}
#endif

#endif
