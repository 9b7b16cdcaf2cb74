// zk_expf, zk_exp2f and zk_exp2_bf16 over an array.
#include "kernels/cpu/exp.h"
#include "kernels/cpu/simd_exp.h"

void ZK_ISA_FN(zk_cpu_exp)(int64_t n, const float *x, float *y) {
  int64_t i = 0;
  for (; i + ZK_VLEN <= n; i += ZK_VLEN) zk_vf_store(y + i, zk_vf_exp(zk_vf_load(x + i)));
  for (; i < n; ++i) y[i] = zk_expf(x[i]);
}

void ZK_ISA_FN(zk_cpu_exp2)(int64_t n, const float *x, float *y) {
  int64_t i = 0;
  for (; i + ZK_VLEN <= n; i += ZK_VLEN) zk_vf_store(y + i, zk_vf_exp2(zk_vf_load(x + i)));
  for (; i < n; ++i) y[i] = zk_exp2f(x[i]);
}

void ZK_ISA_FN(zk_cpu_exp2_bf16)(int64_t n, const float *x, float *y) {
  int64_t i = 0;
  for (; i + ZK_VLEN <= n; i += ZK_VLEN) zk_vf_store(y + i, zk_vf_exp2_bf16(zk_vf_load(x + i)));
  for (; i < n; ++i) y[i] = zk_exp2_bf16(x[i]);
}
