// Linear layers by the large products of Hopper: which of them a description suits, and their launches.
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"

#ifdef ZK_SIMT // the emulated device has no copy engine
bool zk_cuda_gemm_wgmma_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) { return false; }
zk_status zk_cuda_gemm_wgmma(zk_stream *stream, zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) {
  return ZK_FAIL(ZK_INTERNAL, "the emulated device has no wgmma");
}
#else

#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

bool zk_cuda_gemm_wgmma_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) {
  return zk_gemm_wgmma_fits(g) && zk_gemm_wgmma_stores(g) && (!g->b_outer || variant == ZK_CUDA_GEMM_BF16_WGMMA_TURNS);
}

// Blocks in pairs. More of k at a time pays where a slice is little work.
template <int M, int N, bool TURNS, int DEPTH, bool A_OUTER = false, bool B_OUTER = false>
static zk_status launch(zk_stream *stream, const zk_cuda_gemm *g) {
  typedef zk_gemm_wgmma_store<N> Epilogue;
  constexpr int STORE_BYTES = (TURNS ? 2 : M / 64) * Epilogue::SHARED;
  typedef zk_gemm_wgmma_core<M, N, A_OUTER, B_OUTER, 2, TURNS, DEPTH, STORE_BYTES> Core;
  typename Epilogue::Args args;
  args.g = *g;
  if (g->c_as == ZK_BF16) ZK_TRY(zk_tma_map_2d(ZK_BF16, g->c, g->m, g->n, g->ldc, 16, 64, ZK_TMA_SWIZZLE_128, &args.c));
  return zk_gemm_wgmma_launch<Core, Epilogue>(stream, g, args);
}

zk_status zk_cuda_gemm_wgmma(zk_stream *stream, zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) {
  switch (variant) {
  case ZK_CUDA_GEMM_BF16_WGMMA_64:
    return launch<64, 128, false, 2>(stream, g);
  case ZK_CUDA_GEMM_BF16_WGMMA_128:
    return launch<128, 128, false, 1>(stream, g);
  case ZK_CUDA_GEMM_BF16_WGMMA_192:
    return launch<128, 192, false, 1>(stream, g);
  case ZK_CUDA_GEMM_BF16_WGMMA_256:
    return launch<128, 256, false, 1>(stream, g);
  default: // by turns
    if (g->a_outer) return launch<128, 128, true, 1, true, true>(stream, g);
    return g->b_outer ? launch<128, 128, true, 1, false, true>(stream, g) : launch<128, 128, true, 1>(stream, g);
  }
}
#endif
