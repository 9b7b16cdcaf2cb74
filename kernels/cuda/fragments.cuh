// A warp's 8 x 8 matrices of bf16 between registers and shared memory. In registers lane l holds columns 2 (l % 4) and
// the next of row l / 4 of each, the lower column in the low half: as mma.sync and wgmma hold them.
#ifndef ZK_KERNELS_CUDA_FRAGMENTS_CUH
#define ZK_KERNELS_CUDA_FRAGMENTS_CUH

#include "kernels/cuda/async.cuh"
#include "kernels/cuda/pack.cuh"

// Four matrices to shared memory; lane l says where the 16 bytes of row l % 8 of matrix l / 8 go.
static __device__ __forceinline__ void zk_store_matrices(void *row, const uint32_t x[4]) {
#ifdef ZK_SIMT
  const int lane = (int)zk_simt_lane();
  for (int i = 0; i < 4; i++) ((uint32_t *)__shfl_sync(0xffffffffu, row, 8 * i + lane / 4))[lane % 4] = x[i];
#else
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(zk_shared_address(row)),
               "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3])
               : "memory");
#endif
}

#endif
