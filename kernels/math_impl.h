// Bodies of kernels/math.h: every line is one or a few correctly rounded operations, in an order that never depends on
// the target.
//
// The f32 functions are branch-free (selects only), so a compiler turns a loop of calls into vector code that gives the same
// bits (gcc needs -fno-trapping-math for that: else it sinks arithmetic into branches). The constants of the f32 functions
// are near-minimax coefficients rounded to f32; those of the double functions are plain Taylor coefficients, written as
// the quotients they are.
#ifndef ZK_KERNELS_MATH_IMPL_H
#define ZK_KERNELS_MATH_IMPL_H

#include "kernels/math.h"

#define ZK_MATH_ROUND_F                                                                                                \
  12582912.0f // 1.5 * 2^23: adding it rounds to the nearest integer, which then sits in the low bits
#define ZK_MATH_ROUND_D 6755399441055744.0 // 1.5 * 2^52
#define ZK_MATH_NAN_D zk_bits_double(0x7ff8000000000000ull)
#define ZK_MATH_INF_D zk_bits_double(0x7ff0000000000000ull)

// 2^n for -126 <= n <= 127 (f32) and -1022 <= n <= 1023 (double).
ZK_INLINE float zk_math_pow2f(int32_t n) { return zk_bits_float(((uint32_t)n + 127u) << 23); }
ZK_INLINE double zk_math_pow2(int64_t n) { return zk_bits_double(((uint64_t)n + 1023u) << 52); }

// e^r for |r| <= ln2 / 2.
ZK_INLINE float zk_math_exp_near(float r) {
  float p = 0x1.6a2430p-10f;
  p = fmaf(p, r, 0x1.1239e4p-7f);
  p = fmaf(p, r, 0x1.5558f2p-5f);
  p = fmaf(p, r, 0x1.555492p-3f);
  p = fmaf(p, r, 0x1.fffffcp-2f);
  p = fmaf(p, r, 1.0f);
  return fmaf(p, r, 1.0f);
}

ZK_INLINE float zk_expf(float x) {
  x = x < -104.0f ? -104.0f : x;                      // e^-104 < 2^-150 rounds to +0
  x = x > 89.0f ? 89.0f : x;                          // e^89 overflows; a NaN passes both selects
  float t = fmaf(x, 0x1.715476p+0f, ZK_MATH_ROUND_F); // n = round(x / ln 2)
  int32_t n = (int32_t)(zk_float_bits(t) - zk_float_bits(ZK_MATH_ROUND_F));
  t = t - ZK_MATH_ROUND_F;
  float r = fmaf(t, -0x1.62e43p-1f, x); // exact: ln 2 to 24 bits
  r = fmaf(t, 0x1.05c61p-29f, r);       // and the rest of it
  float p = zk_math_exp_near(r);
  int32_t half = n >> 1; // two factors, as 2^n itself may lie outside the normal range; the first product is exact
  return (p * zk_math_pow2f(half)) * zk_math_pow2f(n - half);
}

ZK_INLINE float zk_expf_below_one(float x) { // zk_expf with the factors 2^(n + 64), added to p's exponent, and 2^-64
  const float round = ZK_MATH_ROUND_F + 64.0f;
  x = fmaxf(x, -104.0f);
  float t = fmaf(x, 0x1.715476p+0f, round);
  uint32_t scale = zk_float_bits(t) << 23; // the rounding constant's own bits are shifted out
  t = t - round;
  float r = fmaf(t, -0x1.62e43p-1f, x);
  r = fmaf(t, 0x1.05c61p-29f, r);
  return zk_bits_float(zk_float_bits(zk_math_exp_near(r)) + scale) * 0x1p-64f;
}

// To [0, 1]; a NaN to 0. One operation with the one it follows, on a GPU.
ZK_INLINE float zk_math_saturate(float x) {
#ifdef __CUDA_ARCH__
  return __saturatef(x);
#else
  return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
#endif
}

// zk_expf with t in units of 2^-24, where n + 96 is its last bits, and p in units of 2^-96: both are exact. As 0 <= t <= 3/4 + 96 2^-24, t's bits have
// those of 3/4 exactly if t is not below it, that is, if n >= -96; and as long as t < 1, a bit above the last seven only if n >= 32.
ZK_INLINE float zk_expf_usual(float x, uint32_t *seen) {
  const float round = 0.75f + 96 * 0x1p-24f;
  float t = zk_math_saturate(fmaf(x, 0x1.715476p-24f, round));
  const uint32_t bits = zk_float_bits(t);
  *seen &= bits;
  t = t - round;
  float r = fmaf(t, -0x1.62e43p+23f, x);
  r = fmaf(t, 0x1.05c61p-5f, r);
  float p = 0x1.6a2430p-106f;
  p = fmaf(p, r, 0x1.1239e4p-103f);
  p = fmaf(p, r, 0x1.5558f2p-101f);
  p = fmaf(p, r, 0x1.555492p-99f);
  p = fmaf(p, r, 0x1.fffffcp-98f);
  p = fmaf(p, r, 0x1p-96f);
  p = fmaf(p, r, 0x1p-96f);
  return zk_bits_float(zk_float_bits(p) + (bits << 23));
}

// ln(2^e m) with m in [sqrt(1/2), sqrt(2)): `bits` are those of a positive normal float, `shift` is subtracted from its exponent.
ZK_INLINE float zk_math_logf(uint32_t bits, int32_t shift) {
  int32_t i = (int32_t)(bits - 0x3f3504f3u);
  float e = (float)((i >> 23) - shift);
  float f = zk_bits_float(((uint32_t)i & 0x007fffffu) + 0x3f3504f3u) - 1.0f; // exact
  float p = -0x1.38b4ccp-4f;                                                 // ln(1 + f) = f - f^2/2 + f^3 P(f)
  p = fmaf(p, f, 0x1.055b46p-3f);
  p = fmaf(p, f, -0x1.0d8552p-3f);
  p = fmaf(p, f, 0x1.22da22p-3f);
  p = fmaf(p, f, -0x1.547244p-3f);
  p = fmaf(p, f, 0x1.99a008p-3f);
  p = fmaf(p, f, -0x1.000228p-2f);
  p = fmaf(p, f, 0x1.555554p-2f);
  p = fmaf(p, f, -0.5f);
  float high = fmaf(e, 0x1.62e43p-1f, f); // e ln 2 + f, and what that rounding lost
  float low = fmaf(e, 0x1.62e43p-1f, -high) + f;
  low = fmaf(e, -0x1.05c61p-29f, low);
  return high + fmaf(f * f, p, low);
}

ZK_INLINE float zk_logf(float x) {
  uint32_t u = zk_float_bits(x);
  int tiny = u < 0x00800000u; // subnormals become normal, exactly
  uint32_t r = zk_float_bits(zk_math_logf(tiny ? zk_float_bits(x * 0x1p+25f) : u, tiny ? 25 : 0));
  r = u == 0x7f800000u ? 0x7f800000u : r;        // +inf
  r = u > 0x7f800000u ? 0x7fc00000u : r;         // negative or NaN
  r = (u & 0x7fffffffu) == 0u ? 0xff800000u : r; // +0 and -0
  return zk_bits_float(r);
}

ZK_INLINE float zk_logf_normal(float x) { return zk_math_logf(zk_float_bits(x), 0); }

// 2^r for |r| <= 1/2, as 1 + slope * r + ..: ZK_MATH_EXP2_SLOPE of zk_exp2f is what makes its largest error small; the other, of
// zk_exp2_bf16, 5 ulp above it, what puts all of 2^17 fractions on the table's side of a rounding.
#define ZK_MATH_EXP2_SLOPE 0x1.62e42ap-1f
#define ZK_MATH_EXP2_BF16_SLOPE 0x1.62e434p-1f
ZK_INLINE float zk_math_exp2_near(float r, float slope) {
  float p = 0x1.5bab36p-10f;
  p = fmaf(p, r, 0x1.3ce1b8p-7f);
  p = fmaf(p, r, 0x1.c6b73ep-5f);
  p = fmaf(p, r, 0x1.ebf9dap-3f);
  p = fmaf(p, r, slope);
  return fmaf(p, r, 1.0f);
}

ZK_INLINE float zk_exp2f(float x) {
  x = x < -126.0f ? -126.0f : x;  // a NaN passes
  float t = x + ZK_MATH_ROUND_F;  // n = round(x)
  float p = zk_math_exp2_near(x - (t - ZK_MATH_ROUND_F), ZK_MATH_EXP2_SLOPE);
  uint32_t n = zk_float_bits(t) - zk_float_bits(ZK_MATH_ROUND_F);
  return p * zk_bits_float((n + 127u) << 23); // exact: where n is -126, r >= 0 and so p >= 1
}

ZK_INLINE float zk_exp2_bf16(float t) {
  float x = t < -126.0f ? -126.0f : t;
  x = x > -64.0f ? -64.0f : x; // a NaN passes both
  float n = x + ZK_MATH_ROUND_F;
  float p = zk_math_exp2_near(x - (n - ZK_MATH_ROUND_F), ZK_MATH_EXP2_BF16_SLOPE);
  uint32_t u = zk_float_bits(p) + (zk_float_bits(n) << 23); // p * 2^n: the rounding constant's own bits are shifted out
  u = (u + 0x7fffu) & 0xffff0000u;                          // to nearest
  u = t >= -126.0f ? u : t != t ? 0x7fff0000u : 0u;
  return zk_bits_float(u);
}

ZK_INLINE float zk_log2f(float x) { return zk_logf(x) * 0x1.715476p+0f; }

ZK_INLINE double zk_exp(double x) {
  if (x != x) return x;
  if (x < -746.0) return 0.0;
  if (x > 710.0) return ZK_MATH_INF_D;
  double t = fma(x, 0x1.71547652b82fep+0, ZK_MATH_ROUND_D);
  int64_t n = (int64_t)(zk_double_bits(t) - zk_double_bits(ZK_MATH_ROUND_D));
  t = t - ZK_MATH_ROUND_D;
  double r = fma(t, -0x1.62e42fefa39efp-1, x);
  r = fma(t, -0x1.abc9e3b39803fp-56, r);
  double p = 1.0 / 6227020800.0; // Horner over r^k / k!, k = 13..0
  p = fma(p, r, 1.0 / 479001600.0);
  p = fma(p, r, 1.0 / 39916800.0);
  p = fma(p, r, 1.0 / 3628800.0);
  p = fma(p, r, 1.0 / 362880.0);
  p = fma(p, r, 1.0 / 40320.0);
  p = fma(p, r, 1.0 / 5040.0);
  p = fma(p, r, 1.0 / 720.0);
  p = fma(p, r, 1.0 / 120.0);
  p = fma(p, r, 1.0 / 24.0);
  p = fma(p, r, 1.0 / 6.0);
  p = fma(p, r, 0.5);
  p = fma(p, r, 1.0);
  p = fma(p, r, 1.0);
  int64_t half = n >> 1;
  return (p * zk_math_pow2(half)) * zk_math_pow2(n - half);
}

ZK_INLINE double zk_log(double x) {
  if (x == 0.0) return -ZK_MATH_INF_D;
  if (!(x > 0.0)) return ZK_MATH_NAN_D;
  if (!(x < ZK_MATH_INF_D)) return x;
  double shift = 0.0;
  if (x < 0x1p-1022) x = x * 0x1p+54, shift = -54.0;
  int64_t i = (int64_t)(zk_double_bits(x) - 0x3fe6a09e667f3bcdull); // x = 2^e m with m in [sqrt(1/2), sqrt(2))
  double e = (double)(i >> 52) + shift;
  double f = zk_bits_double(((uint64_t)i & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull) - 1.0;
  double s = f / (2.0 + f), z = s * s; // ln(1 + f) = 2 artanh(s) = f - s (f - 2 z (1/3 + z/5 + z^2/7 + ...))
  double p = 1.0 / 23.0;
  p = fma(p, z, 1.0 / 21.0);
  p = fma(p, z, 1.0 / 19.0);
  p = fma(p, z, 1.0 / 17.0);
  p = fma(p, z, 1.0 / 15.0);
  p = fma(p, z, 1.0 / 13.0);
  p = fma(p, z, 1.0 / 11.0);
  p = fma(p, z, 1.0 / 9.0);
  p = fma(p, z, 1.0 / 7.0);
  p = fma(p, z, 1.0 / 5.0);
  p = fma(p, z, 1.0 / 3.0);
  double tail = s * fma(2.0 * z, p, -f);
  double high = fma(e, 0x1.62e42fefa39efp-1, f);
  double low = fma(e, 0x1.62e42fefa39efp-1, -high) + f;
  low = fma(e, 0x1.abc9e3b39803fp-56, low);
  return high + (tail + low);
}

// sin (quadrant_shift 0) and cos (1) of x = n pi/2 + r, |r| <= pi/4.
ZK_INLINE double zk_math_sincos(double x, uint64_t quadrant_shift) {
  double t = fma(x, 0x1.45f306dc9c883p-1, ZK_MATH_ROUND_D);
  uint64_t n = zk_double_bits(t) - zk_double_bits(ZK_MATH_ROUND_D) + quadrant_shift;
  t = t - ZK_MATH_ROUND_D;
  double r = fma(t, -0x1.921fb54442d18p+0, x);
  r = fma(t, -0x1.1a62633145c07p-54, r);
  double z = r * r, p;
  if (n & 1) { // cos r, Horner over (-z)^k / (2k)!
    p = 1.0 / 6402373705728000.0;
    p = fma(-p, z, 1.0 / 20922789888000.0);
    p = fma(-p, z, 1.0 / 87178291200.0);
    p = fma(-p, z, 1.0 / 479001600.0);
    p = fma(-p, z, 1.0 / 3628800.0);
    p = fma(-p, z, 1.0 / 40320.0);
    p = fma(-p, z, 1.0 / 720.0);
    p = fma(-p, z, 1.0 / 24.0);
    p = fma(-p, z, 0.5);
    p = fma(-p, z, 1.0);
  } else { // sin r, Horner over (-z)^k / (2k + 1)!
    p = 1.0 / 355687428096000.0;
    p = fma(-p, z, 1.0 / 1307674368000.0);
    p = fma(-p, z, 1.0 / 6227020800.0);
    p = fma(-p, z, 1.0 / 39916800.0);
    p = fma(-p, z, 1.0 / 362880.0);
    p = fma(-p, z, 1.0 / 5040.0);
    p = fma(-p, z, 1.0 / 120.0);
    p = fma(-p, z, 1.0 / 6.0);
    p = fma(-(p * z), r, r);
  }
  return n & 2 ? -p : p;
}

ZK_INLINE double zk_sin(double x) { return zk_math_sincos(x, 0); }
ZK_INLINE double zk_cos(double x) { return zk_math_sincos(x, 1); }

ZK_INLINE double zk_pow(double base, double exponent) { return zk_exp(exponent * zk_log(base)); }

ZK_INLINE double zk_powi(double base, int64_t exponent) {
  uint64_t n = exponent < 0 ? 0u - (uint64_t)exponent : (uint64_t)exponent;
  double result = 1.0;
  for (; n != 0; n >>= 1) { // binary powering, lowest bit first
    if (n & 1) result = result * base;
    base = base * base;
  }
  return exponent < 0 ? 1.0 / result : result;
}

#endif
