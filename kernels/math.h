// The only transcendental functions whose results may reach a bit: polynomials and IEEE operations, compiled alike for every CPU
// and for CUDA. Each is a fixed sequence of correctly rounded operations, so its value is the same everywhere; the stated error
// is against the exact function.
#ifndef ZK_KERNELS_MATH_H
#define ZK_KERNELS_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define ZK_INLINE static __host__ __device__ __forceinline__
#else
#define ZK_INLINE static inline __attribute__((always_inline, unused))
#endif

ZK_INLINE uint32_t zk_float_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return u;
}
ZK_INLINE float zk_bits_float(uint32_t u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}
ZK_INLINE uint64_t zk_double_bits(double x) {
  uint64_t u;
  memcpy(&u, &x, 8);
  return u;
}
ZK_INLINE double zk_bits_double(uint64_t u) {
  double x;
  memcpy(&x, &u, 8);
  return x;
}

// e^x in f32. x = n ln2 + r with |r| <= ln2/2 by two-constant Cody-Waite reduction, degree-6 polynomial in r by fma, exact scaling by 2^n.
// Error at most 0.90 ulp over all inputs; subnormal results are rounded once; +0 below -103.98 and for -inf, +inf above 88.723. A NaN gives a NaN.
ZK_INLINE float zk_expf(float x);
// The same bits for x <= 0, in fewer operations. A NaN gives no particular value.
ZK_INLINE float zk_expf_below_one(float x);
// The same for -66 <= x <= 0, in fewer still. Any other x (x < -66, NaN) may give any number, and takes a bit of ZK_EXPF_USUAL from *seen: of
// many x, `*seen & ZK_EXPF_USUAL` tells at once whether all were usual (ones at first). 0 < x leaves these bits until e^x is infinite: up to 21 it
// gives zk_expf's bits too, and beyond any number. Where such x can be, each has a word of its own: from 22 on it keeps a bit of ZK_EXPF_LARGE.
#define ZK_EXPF_USUAL 0x3f400000u
#define ZK_EXPF_LARGE 0x003fff80u
ZK_INLINE float zk_expf_usual(float x, uint32_t *seen);
// ln x in f32. x = 2^e m with m in [sqrt(1/2), sqrt(2)), ln(1 + f) by a degree-10 polynomial, e ln2 added with its rounding error kept.
// Error at most 0.90 ulp over all positive inputs, subnormals included; 0 gives -inf, +inf gives +inf, negative and NaN give NaN 0x7fc00000.
ZK_INLINE float zk_logf(float x);
// The same value for a positive normal x, without the selects for the others; anything else gives a meaningless number.
ZK_INLINE float zk_logf_normal(float x);
// 2^x in f32 for x <= 1, by which bf16's attention scales its sums, and weighs in its backward: x = n + r with |r| <= 1/2 exactly, a degree-5
// polynomial in r that is 1 at 0, scaled exactly by 2^n. Error at most 2 ulp; 2^-126 for every x below -126, so never 0 or subnormal; exact at
// integers. A NaN gives a NaN.
ZK_INLINE float zk_exp2f(float x);
// W, the weight of a score in bf16's attention: 2^t rounded to bf16, -126 <= t <= -64, as a float whose lower half is 0. The definition is a table
// (kernels/reference/exp2_bf16_table.h); this has its bits for every t, in 12 operations. +0 below -126, 2^-64 above -64; a NaN gives 0x7fff0000.
ZK_INLINE float zk_exp2_bf16(float t);
// log2 x as zk_logf(x) times log2 e, one rounding: what keeps a log-sum-exp beside zk_exp2f. Special values as zk_logf.
ZK_INLINE float zk_log2f(float x);
// Double precision, for tables, schedules and bias correction on the host. Relative error under 2^-52 (zk_exp, zk_log); absolute
// under 2^-52 for |x| < 2^30 (zk_sin, zk_cos); of zk_pow, exp(exponent * log(base)) with base > 0, 2^-52 (2 + |exponent * log(base)|).
ZK_INLINE double zk_exp(double x);
ZK_INLINE double zk_log(double x);
ZK_INLINE double zk_sin(double x);
ZK_INLINE double zk_cos(double x);
ZK_INLINE double zk_pow(double base, double exponent);
ZK_INLINE double zk_powi(double base, int64_t exponent); // by squaring, lowest bit of |exponent| first; 1 / that when negative

#include "kernels/math_impl.h"

#endif
