// The f32 functions of kernels/math.h one value at a time: what their vectorised forms are compared with.
#ifndef ZK_KERNELS_REFERENCE_MATH_REFERENCE_H
#define ZK_KERNELS_REFERENCE_MATH_REFERENCE_H

#include "kernels/math.h"

void zk_reference_expf(int64_t n, const float *x, float *y);
void zk_reference_logf(int64_t n, const float *x, float *y);
void zk_reference_exp2f(int64_t n, const float *x, float *y);
void zk_reference_log2f(int64_t n, const float *x, float *y);
void zk_reference_gumbel(int64_t n, const uint32_t *r, float *y);

#endif
