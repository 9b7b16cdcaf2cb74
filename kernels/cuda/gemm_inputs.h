// The gradient of the input that several layers share as one launch: dx = dy W of the first, then each following layer's product + dx, every
// one rounded as it would be stored (kernels/linear_parts.h). dx stays in registers from layer to layer.
#ifndef ZK_KERNELS_CUDA_GEMM_INPUTS_H
#define ZK_KERNELS_CUDA_GEMM_INPUTS_H

#include "kernels/cuda/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

// g[num]: the layers' products as they would be run one by one, all of one m, n and c. *done false: there is no such kernel for them, or the
// products one by one are as fast, and nothing is queued.
zk_status zk_cuda_gemm_inputs(zk_stream *stream, zk_cuda_gemm *g, int num, bool *done);

#ifdef __cplusplus
}
#endif
#endif
