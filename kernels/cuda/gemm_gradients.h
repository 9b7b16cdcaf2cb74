// Weight gradients of layers of one input as one launch: for each part dW += dy^T x of every chunk of tokens, the chunks ascending
// (kernels/linear.h). Tiles of all parts follow each other, so that few multiprocessors are without one at the end, and a tile's sums stay in
// registers from chunk to chunk.
#ifndef ZK_KERNELS_CUDA_GEMM_GRADIENTS_H
#define ZK_KERNELS_CUDA_GEMM_GRADIENTS_H

#include "kernels/chunks.h"
#include "kernels/cuda/gemm.h"
#include "kernels/linear_parts.h"

#ifdef __cplusplus
extern "C" {
#endif

// *done false: there is no such kernel for these layers, or the products one by one are as fast, and nothing is queued.
zk_status zk_cuda_gemm_gradients(zk_stream *stream, const zk_linear_back_parts *parts, const zk_chunks *chunks, const void *x, bool *done);

#ifdef __cplusplus
}
#endif
#endif
