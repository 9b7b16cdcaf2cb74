// The functions of kernels/math.h over arrays.
#include "kernels/cpu/math_map.h"
#include "kernels/cpu/simd.h"

#include "kernels/rng.h"

void ZK_ISA_FN(zk_cpu_map_expf)(int64_t n, const float *x, float *y) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) y[i] = zk_expf(x[i]);
}

void ZK_ISA_FN(zk_cpu_map_logf)(int64_t n, const float *x, float *y) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) y[i] = zk_logf(x[i]);
}

void ZK_ISA_FN(zk_cpu_map_exp2f)(int64_t n, const float *x, float *y) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) y[i] = zk_exp2f(x[i]);
}

void ZK_ISA_FN(zk_cpu_map_log2f)(int64_t n, const float *x, float *y) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) y[i] = zk_log2f(x[i]);
}

void ZK_ISA_FN(zk_cpu_map_gumbel)(int64_t n, const uint32_t *r, float *y) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) y[i] = zk_gumbel(r[i]);
}
