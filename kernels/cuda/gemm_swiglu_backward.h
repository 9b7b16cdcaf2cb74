// The input gradient of a linear layer and, behind it, SwiGLU's, in one kernel (kernels/linear_parts.h).
#ifndef ZK_KERNELS_CUDA_GEMM_SWIGLU_BACKWARD_H
#define ZK_KERNELS_CUDA_GEMM_SWIGLU_BACKWARD_H

#include "kernels/cuda/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

// g: the product that would be dact; its c is dgate. gate, up, dup: as c. *done false: there is no such kernel for it, and nothing is queued.
zk_status zk_cuda_gemm_swiglu_backward(zk_stream *stream, zk_cuda_gemm g, const void *gate, const void *up, void *dup, bool *done);

#ifdef __cplusplus
}
#endif
#endif
