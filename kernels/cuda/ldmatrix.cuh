// Four 8 x 8 matrices of bf16 from shared memory into the fragments of mma.sync (PTX ldmatrix): lane l gives the
// address of row l % 8 of matrix l / 8, 16 bytes, aligned. With g = lane / 4 and t = lane % 4 a lane receives
//   plain       word i = elements [g][2t], [g][2t + 1] of matrix i: an A operand, or a B operand whose columns are rows
//   transposed  word i = elements [2t][g], [2t + 1][g] of matrix i: a B operand whose columns are columns
#ifndef ZK_KERNELS_CUDA_LDMATRIX_CUH
#define ZK_KERNELS_CUDA_LDMATRIX_CUH

#include "kernels/cuda/cuda.cuh"

#ifndef ZK_SIMT
template <bool TRANSPOSED> static __device__ __forceinline__ void zk_ldmatrix(const void *row, uint32_t word[4]) {
  const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
  if (TRANSPOSED)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"(at)
                 : "memory");
}
#else
template <bool TRANSPOSED> static inline void zk_ldmatrix(const void *row, uint32_t word[4]) {
  const int g = (int)zk_simt_lane() / 4, t = (int)zk_simt_lane() % 4;
  for (int i = 0; i < 4; i++) {
    if (TRANSPOSED) {
      const uint16_t *low = (const uint16_t *)__shfl_sync(0xffffffffu, row, 8 * i + 2 * t),
                     *high = (const uint16_t *)__shfl_sync(0xffffffffu, row, 8 * i + 2 * t + 1);
      word[i] = (uint32_t)low[g] | (uint32_t)high[g] << 16;
    } else word[i] = ((const uint32_t *)__shfl_sync(0xffffffffu, row, 8 * i + g))[t];
  }
}
#endif

#endif
