// Launches of the bf16 products.
#include "kernels/cuda/gemm_bf16.cuh"

zk_status zk_cuda_gemm_bf16_small(zk_stream *stream, const zk_cuda_gemm *g) {
  return zk_gemm_launch<zk_gemm_bf16_small<2>>(stream, g);
}

zk_status zk_cuda_gemm_bf16_tile(zk_stream *stream, const zk_cuda_gemm *g) {
  if (g->a_outer) return zk_gemm_launch<zk_gemm_bf16_tile<true, true>>(stream, g);
  return g->b_outer ? zk_gemm_launch<zk_gemm_bf16_tile<false, true>>(stream, g)
                    : zk_gemm_launch<zk_gemm_bf16_tile<false, false>>(stream, g);
}
