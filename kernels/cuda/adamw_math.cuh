// One element of AdamW (kernels/adamw.h), as every kernel of it computes it.
#ifndef ZK_KERNELS_CUDA_ADAMW_MATH_CUH
#define ZK_KERNELS_CUDA_ADAMW_MATH_CUH

#include "kernels/adamw.h"
#include "kernels/cuda/cuda.cuh"

static __device__ __forceinline__ void zk_adamw_moments(const zk_adamw_params &q, float grad, float &m, float &v) {
  const float g = grad * q.grad_scale;
  m = fmaf(q.beta1, m, q.one_minus_beta1 * g);
  v = fmaf(q.beta2, v, (q.one_minus_beta2 * g) * g);
}
static __device__ __forceinline__ float zk_adamw_direction(const zk_adamw_params &q, float m, float v) {
  return (m / q.bias1) / (sqrtf(v / q.bias2) + q.eps);
}
// decay: that of the parameters, or 1, by which a product is not rounded.
static __device__ __forceinline__ void zk_adamw_element(const zk_adamw_params &q, float decay, float grad, float &master, float &m, float &v) {
  zk_adamw_moments(q, grad, m, v);
  master = fmaf(-q.lr, zk_adamw_direction(q, m, v), master * decay);
}

#endif
