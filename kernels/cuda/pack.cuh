// Two bf16 in a 32-bit word, the lower element in the low half: widened exactly, and packed with the one rounding of
// kernels/bf16.h.
#ifndef ZK_KERNELS_CUDA_PACK_CUH
#define ZK_KERNELS_CUDA_PACK_CUH

#include "kernels/cuda/cuda.cuh"

// 2 N neighbouring elements, moved by one access of 4 N bytes.
template <int N> struct alignas(4 * N) zk_words { uint32_t w[N]; };

static __device__ __forceinline__ float zk_low_bf16(uint32_t word) { return zk_bits_float(word << 16); }
static __device__ __forceinline__ float zk_high_bf16(uint32_t word) { return zk_bits_float(word & 0xffff0000u); }

// The instruction rounds as zk_float_to_bf16 does: to nearest, ties to even, subnormals kept, every NaN to 0x7fff.
static __device__ __forceinline__ uint32_t zk_pack_bf16(float low, float high) {
#ifdef __CUDA_ARCH__
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  return (uint32_t)zk_float_to_bf16(low).bits | (uint32_t)zk_float_to_bf16(high).bits << 16;
#endif
}

#endif
