// The functions of kernels/math.h over arrays, as nvcc compiled them; zk_exp2_bf16 as attention's kernels compute it.
#include "kernels/cuda/attention_weight.cuh"
#include "kernels/math_map.h"
#include "kernels/rng.h"

static __global__ void map_kernel(zk_math_function f, int64_t n, const uint32_t *x, float *y) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float v = zk_bits_float(x[i]);
  y[i] = f == ZK_MAP_EXPF        ? zk_expf(v)
         : f == ZK_MAP_LOGF      ? zk_logf(v)
         : f == ZK_MAP_EXP2F     ? zk_exp2f(v)
         : f == ZK_MAP_EXP2_BF16 ? zk_low_bf16(zk_weights(v, v))
         : f == ZK_MAP_LOG2F     ? zk_log2f(v)
                                 : zk_gumbel(x[i]);
}

extern "C" zk_status zk_cuda_math_map(zk_stream *stream, zk_math_function f, int64_t n, const void *x, float *y) {
  if (n > 0) ZK_LAUNCH(map_kernel, (unsigned)zk_ceil_div(n, 256), 256, 0, stream, f, n, static_cast<const uint32_t *>(x), y);
  return ZK_OK;
}
