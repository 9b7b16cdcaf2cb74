// The logistic function 1 / (1 + exp(-g)), bit for bit as zk_expf and IEEE division give it, in half their
// instructions.
//
// Why the bits are the same. Let e = zk_expf(-g) = p 2^n, a = 1 + e rounded.
//   g > 80: e < 2^-115, so a = 1 whatever e is: g may be lowered to 80, and e is then a normal number.
//   g >= -86: n <= 124. zk_expf multiplies p by 2^n exactly, which adds n to its exponent: the same integer addition is
//   made here, to
//     p 2^(n - 2) so that no exponent is out of range, and fma(that, 4, 1) rounds 1 + e once.
//   1 / a, 1 <= a < 2^125: a reciprocal to within 1 ulp, then one Newton step with an exact residual, is the correctly
//   rounded quotient (it
//     is what the compiler makes of a division, without its test for other arguments). All 2^32 g have been compared.
//   g < -86, and a NaN: as written, by zk_expf and division.
#ifndef ZK_KERNELS_CUDA_SIGMOID_CUH
#define ZK_KERNELS_CUDA_SIGMOID_CUH

#include "kernels/cuda/cuda.cuh"
#include "kernels/math.h"

static __device__ __forceinline__ float zk_reciprocal(float a) {
#ifdef __CUDA_ARCH__
  float r;
  asm("rcp.approx.f32 %0, %1;" : "=f"(r) : "f"(a));
  return fmaf(r, fmaf(-a, r, 1.0f), r);
#else
  return 1.0f / a;
#endif
}

// For g >= -86.
static __device__ __forceinline__ float zk_sigmoid_usual(float g) {
  const float round = ZK_MATH_ROUND_F - 2.0f; // as zk_expf's, with n - 2 in the low bits: ties still go to even n
  const float x = fmaxf(-g, -80.0f);
  const float t = fmaf(x, 0x1.715476p+0f, round);
  const float n = t - round;
  float r = fmaf(n, -0x1.62e43p-1f, x);
  r = fmaf(n, 0x1.05c61p-29f, r);
  const float p = zk_math_exp_near(r);
  const float quarter =
      zk_bits_float(zk_float_bits(p) + (zk_float_bits(t) << 23)); // the rounding constant's own bits are shifted out
  return zk_reciprocal(fmaf(quarter, 4.0f, 1.0f));
}

// s[i] of g[i]. One test serves all N.
template <int N> static __device__ __forceinline__ void zk_sigmoid(const float *g, float *s) {
  bool usual = true;
#pragma unroll
  for (int i = 0; i < N; i++) usual &= g[i] >= -86.0f;
  if (usual) {
#pragma unroll
    for (int i = 0; i < N; i++) s[i] = zk_sigmoid_usual(g[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; i++) s[i] = 1.0f / (1.0f + zk_expf(-g[i]));
  }
}

#endif
