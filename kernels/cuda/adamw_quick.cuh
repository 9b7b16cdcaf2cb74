// AdamW of a few elements at once, with the bits of adamw_math.cuh and without a branch in each division and root: those are the compiler's
// own steps to a correctly rounded result, which hold where nothing is so large or so small that a step of theirs leaves the normal range.
#ifndef ZK_KERNELS_CUDA_ADAMW_QUICK_CUH
#define ZK_KERNELS_CUDA_ADAMW_QUICK_CUH

#include "kernels/cuda/adamw_math.cuh"

// The parameters, and what is divided by for every element.
struct zk_adamw_quick {
  zk_adamw_params q;
  float over_bias1, over_bias2; // 1 / bias, correctly rounded
  bool usual;                   // the scalars are as in any run, so that the steps may hold
};
static inline zk_adamw_quick zk_adamw_quick_of(const zk_adamw_params &q) {
#ifdef ZK_SIMT // without the approximations that the steps begin with
  const bool usual = false;
#else
  const bool usual = q.eps <= 1.0f && q.bias1 >= 0x1p-30f && q.bias2 >= 0x1p-30f;
#endif
  return {q, 1.0f / q.bias1, 1.0f / q.bias2, usual};
}

// Whether the steps hold for such moments: |m| from 2^-60 on and v from 2^-100 on, both below 2^60. Without a branch.
static __device__ __forceinline__ bool zk_adamw_is_quick(float m, float v) {
  const uint32_t size = zk_float_bits(m) & 0x7fffffffu;
  return (size - 0x21800000u < 0x3c000000u) & (zk_float_bits(v) - 0x0d800000u < 0x50000000u);
}

#ifndef ZK_SIMT
// a / b; y: 1 / b within a unit in the last place.
static __device__ __forceinline__ float zk_divide_by(float a, float b, float y) {
  float x = a * y;
  x = fmaf(fmaf(-b, x, a), y, x);
  return fmaf(fmaf(-b, x, a), y, x);
}
static __device__ __forceinline__ float zk_divide_quick(float a, float b) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(b));
  return zk_divide_by(a, b, fmaf(fmaf(-b, y, 1.0f), y, y));
}
static __device__ __forceinline__ float zk_sqrt_quick(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  const float root = x * y;
  return fmaf(fmaf(-root, root, x), y * 0.5f, root);
}
#endif

// zk_adamw_element of each, all with weight decay.
template <int N>
static __device__ __forceinline__ void zk_adamw_elements(const zk_adamw_quick &a, const float (&grad)[N], float (&master)[N], float (&m)[N], float (&v)[N]) {
  const zk_adamw_params &q = a.q;
  bool quick = a.usual;
#pragma unroll
  for (int j = 0; j < N; j++) {
    zk_adamw_moments(q, grad[j], m[j], v[j]);
    quick = quick & zk_adamw_is_quick(m[j], v[j]);
  }
  float direction[N];
#ifndef ZK_SIMT
  if (quick) {
#pragma unroll
    for (int j = 0; j < N; j++)
      direction[j] = zk_divide_quick(zk_divide_by(m[j], q.bias1, a.over_bias1), zk_sqrt_quick(zk_divide_by(v[j], q.bias2, a.over_bias2)) + q.eps);
  }
#endif
  if (!quick) {
#pragma unroll
    for (int j = 0; j < N; j++) direction[j] = zk_adamw_direction(q, m[j], v[j]);
  }
#pragma unroll
  for (int j = 0; j < N; j++) master[j] = fmaf(-q.lr, direction[j], master[j] * q.decay);
}

#endif
