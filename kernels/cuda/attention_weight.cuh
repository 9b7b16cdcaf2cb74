// Weights of scores in bf16's attention (zk_exp2_bf16 of kernels/math.h), two at a time, as Hopper computes them: its
// approximation of 2^t, rounded to bf16, is the contract's table for every t in [-126, -64] that an f32 can hold, and
// +0 below. The table defines the bits; that this unit has them is compared over all 2^17 fractions and all exponents by
// `zerokl check` (attention_weights), its short form included.
#ifndef ZK_KERNELS_CUDA_ATTENTION_WEIGHT_CUH
#define ZK_KERNELS_CUDA_ATTENTION_WEIGHT_CUH

#include "kernels/cuda/pack.cuh"
#include "kernels/math.h"

// The weights of two scores, `low` in the lower half, for arguments of at most -64, or NaN.
static __device__ __forceinline__ uint32_t zk_weights_usual(float low, float high) {
#ifdef __CUDA_ARCH__
  float x, y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(x) : "f"(low));
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(high));
  return zk_pack_bf16(x, y);
#else
  return zk_pack_bf16(zk_exp2_bf16(low), zk_exp2_bf16(high));
#endif
}

// The same for any arguments.
static __device__ __forceinline__ uint32_t zk_weights(float low, float high) {
  low = low > -64.0f ? -64.0f : low; // a NaN stays
  high = high > -64.0f ? -64.0f : high;
  return zk_weights_usual(low, high);
}

#endif
