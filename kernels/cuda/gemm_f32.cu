// Launches of the f32 products.
#include "kernels/cuda/gemm_f32.cuh"

zk_status zk_cuda_gemm_f32_small(zk_stream *stream, const zk_cuda_gemm *g) {
  return zk_gemm_launch<zk_gemm_f32_small<32, 4>>(stream, g);
}

zk_status zk_cuda_gemm_f32_tile(zk_stream *stream, const zk_cuda_gemm *g) {
  if (g->a_outer) return zk_gemm_launch<zk_gemm_f32_tile<true, true>>(stream, g);
  return g->b_outer ? zk_gemm_launch<zk_gemm_f32_tile<false, true>>(stream, g)
                    : zk_gemm_launch<zk_gemm_f32_tile<false, false>>(stream, g);
}
