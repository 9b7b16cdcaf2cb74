// One tensor-core step of a warp: D[16 x 8] += A[16 x 16] B[16 x 8], bf16 operands, fp32 accumulators (PTX mma.sync.m16n8k16.row.col).
//
// Lane l holds, with g = l / 4 and t = l % 4:
//   a[0] = A[g][2t, 2t+1]  a[1] = A[g+8][2t, 2t+1]  a[2] = A[g][2t+8, 2t+9]  a[3] = A[g+8][2t+8, 2t+9]   (lower column in the low half)
//   b[0] = B[2t, 2t+1][g]  b[1] = B[2t+8, 2t+9][g]
//   d[0] = D[g][2t]  d[1] = D[g][2t+1]  d[2] = D[g+8][2t]  d[3] = D[g+8][2t+1]
// Each element of D is one step of the contract's chain (kernels/tensor_core.h), whatever its place.
#ifndef ZK_KERNELS_CUDA_MMA_CUH
#define ZK_KERNELS_CUDA_MMA_CUH

#include <stdint.h>

#ifndef ZK_SIMT // tests/simt gives its own
static __device__ __forceinline__ void zk_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#endif
