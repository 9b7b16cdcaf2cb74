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
// Below -103 (and for -inf) returns +0, above 88.72 +inf; subnormal results are rounded once. Under 1.1 ulp. Branch-free selects, so it vectorises.
ZK_INLINE float zk_expf(float x);
// ln x in f32 for positive normal x (what the contract needs; 0 gives -inf, negative or NaN gives NaN). Under 1.1 ulp.
ZK_INLINE float zk_logf(float x);
// Double precision, for tables, schedules and bias correction on the host: relative error under 1e-15 (sin, cos: absolute, |x| < 1e6).
ZK_INLINE double zk_exp(double x);
ZK_INLINE double zk_log(double x);
ZK_INLINE double zk_sin(double x);
ZK_INLINE double zk_cos(double x);
ZK_INLINE double zk_pow(double base, double exponent); // exp(exponent * log(base)), base > 0; integer powers by multiplication: zk_powi
ZK_INLINE double zk_powi(double base, int64_t exponent);

#include "kernels/math_impl.h"

#endif
