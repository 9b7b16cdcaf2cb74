// Launches of the bf16 products.
#include "kernels/cuda/gemm_bf16.cuh"

template <class Core> static zk_status launch(zk_stream *stream, const zk_cuda_gemm *g) {
  ZK_LAUNCH((zk_gemm_kernel<Core>), zk_gemm_grid<Core>(g), Core::THREADS, Core::SHARED, stream, *g);
  return ZK_OK;
}

zk_status zk_cuda_gemm_bf16_small(zk_stream *stream, const zk_cuda_gemm *g) {
  return launch<zk_gemm_bf16_small<2>>(stream, g);
}

zk_status zk_cuda_gemm_bf16_tile(zk_stream *stream, const zk_cuda_gemm *g) {
  if (g->a_outer) return launch<zk_gemm_bf16_tile<true, true>>(stream, g);
  return g->b_outer ? launch<zk_gemm_bf16_tile<false, true>>(stream, g)
                    : launch<zk_gemm_bf16_tile<false, false>>(stream, g);
}
