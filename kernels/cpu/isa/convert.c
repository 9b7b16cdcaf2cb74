// bf16 arrays to f32 and back.
#include "kernels/cpu/convert.h"
#include "kernels/cpu/simd.h"

void ZK_ISA_FN(zk_cpu_widen)(int64_t n, const zk_bf16 *x, float *y) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) y[i] = zk_bf16_to_float(x[i]);
}

void ZK_ISA_FN(zk_cpu_narrow)(int64_t n, const float *x, zk_bf16 *y) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) y[i] = zk_float_to_bf16(x[i]);
}
