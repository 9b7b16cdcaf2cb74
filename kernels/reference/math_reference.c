// The f32 functions of kernels/math.h one value at a time (this folder is compiled without vectorisation).
#include "kernels/reference/math_reference.h"

#include "kernels/rng.h"

void zk_reference_expf(int64_t n, const float *x, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = zk_expf(x[i]);
}

void zk_reference_logf(int64_t n, const float *x, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = zk_logf(x[i]);
}

void zk_reference_exp2f(int64_t n, const float *x, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = zk_exp2f(x[i]);
}

void zk_reference_log2f(int64_t n, const float *x, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = zk_log2f(x[i]);
}

void zk_reference_gumbel(int64_t n, const uint32_t *r, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = -zk_logf(-zk_logf(zk_uniform(r[i])));
}
