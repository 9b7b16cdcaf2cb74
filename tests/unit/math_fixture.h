// What the sampled and the exhaustive test of kernels/math.h share: errors in ulps, and the three instruction sets side
// by side.
#ifndef ZK_TESTS_MATH_FIXTURE_H
#define ZK_TESTS_MATH_FIXTURE_H

#include "tests/unit/kernel_fixture.h"

#include <math.h>

#include "kernels/cpu/math_map.h"

// |y - exact| in units of the last place that a float of the exact value's size has: 2^(e-23) where exact is in [2^e, 2^(e+1)), no smaller than the
// subnormals' and no larger than the largest float's. Its inverse is a power of two, made of its bits.
static inline double error_in_ulps(float y, double exact) {
  int64_t e = (int64_t)(zk_double_bits(exact) >> 52 & 2047) - 1023;
  if (e < -126) e = -126;
  if (e > 127) e = 127;
  return fabs((double)y - exact) * zk_bits_double((uint64_t)(1023 + 23 - e) << 52);
}

// libm's, without the inputs that it is slow for: beyond 700 a float is 0 or infinity, and a logarithm of less than 0 is none.
static double exact_exp(double x) { return exp(x < -700.0 ? -700.0 : x > 700.0 ? 700.0 : x); }
static double exact_log(double x) { return x < 0.0 ? (double)NAN : log(x); }
static double exact_log2(double x) { return x < 0.0 ? (double)NAN : log2(x); }

typedef void (*map_function)(int64_t n, const float *x, float *y);
typedef struct {
  const char *name;
  map_function by_isa[3]; // scalar, avx2, avx512
  float (*scalar)(float);
  double (*libm)(double);
  double max_ulps;       // as kernels/math.h states it
  float lowest, highest; // the inputs it states that for; elsewhere bits are equal all the same
} math_function;
#define BY_ISA(name)                                                                                                   \
  { name##_scalar, name##_avx2, name##_avx512 }
static const math_function math_functions[] = {
    {"expf", BY_ISA(zk_cpu_map_expf), zk_expf, exact_exp, 0.90, -INFINITY, INFINITY},
    {"logf", BY_ISA(zk_cpu_map_logf), zk_logf, exact_log, 0.90, -INFINITY, INFINITY},
    {"exp2f", BY_ISA(zk_cpu_map_exp2f), zk_exp2f, exp2, 2.0, -126.0f, 1.0f},
    {"log2f", BY_ISA(zk_cpu_map_log2f), zk_log2f, exact_log2, 1.90, -INFINITY, INFINITY},
};

// Equal bits, or both NaN: the payload of a NaN is no part of the contract.
static inline int same(float a, float b) { return zk_float_bits(a) == zk_float_bits(b) || (a != a && b != b); }

// What the exact value must give, to within the stated error. 0 is not positive: log 0 is -inf.
static inline int accurate(const math_function *f, float x, float y, double *worst) {
  if (x < f->lowest || x > f->highest) return 1;
  const double exact = f->libm((double)x);
  if (exact != exact) return y != y;
  if (fabs(exact) >= 0x1.ffffffp+127) return y == (exact > 0 ? INFINITY : -INFINITY); // rounds to infinity
  const double error = error_in_ulps(y, exact);
  if (error > *worst) *worst = error;
  return error <= f->max_ulps;
}

#endif
