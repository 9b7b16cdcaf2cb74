// What the sampled and the exhaustive test of kernels/math.h share: errors in ulps, and the three instruction sets side
// by side.
#ifndef ZK_TESTS_MATH_FIXTURE_H
#define ZK_TESTS_MATH_FIXTURE_H

#include "tests/unit/kernel_fixture.h"

#include <math.h>

#include "kernels/cpu/math_map.h"

// |y - exact| in units of the last place that a float of the exact value's size has.
static inline double error_in_ulps(float y, double exact) {
  int exponent;
  frexp(exact, &exponent);
  if (exponent < -125) exponent = -125;
  if (exponent > 128) exponent = 128;
  return fabs((double)y - exact) / ldexp(1.0, exponent - 24);
}

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
    {"expf", BY_ISA(zk_cpu_map_expf), zk_expf, exp, 0.90, -INFINITY, INFINITY},
    {"logf", BY_ISA(zk_cpu_map_logf), zk_logf, log, 0.90, -INFINITY, INFINITY},
    {"exp2f", BY_ISA(zk_cpu_map_exp2f), zk_exp2f, exp2, 2.0, -126.0f, 1.0f},
    {"log2f", BY_ISA(zk_cpu_map_log2f), zk_log2f, log2, 1.90, -INFINITY, INFINITY},
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
