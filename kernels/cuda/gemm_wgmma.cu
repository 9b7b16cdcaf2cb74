// Linear layers by the large products of Hopper: which of them a description suits, and their launches.
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"

#ifdef ZK_SIMT // the emulated device has no copy engine
bool zk_cuda_gemm_wgmma_valid(const zk_cuda_gemm *g) { return false; }
zk_status zk_cuda_gemm_wgmma(zk_stream *stream, int tile, const zk_cuda_gemm *g) {
  return ZK_FAIL(ZK_INTERNAL, "the emulated device has no wgmma");
}
#else

#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

bool zk_cuda_gemm_wgmma_valid(const zk_cuda_gemm *g) {
  return !g->b_outer && zk_gemm_wgmma_fits(g) && zk_gemm_wgmma_stores(g);
}

template <int N> static zk_status launch(zk_stream *stream, const zk_cuda_gemm *g) {
  typedef zk_gemm_wgmma_store<N> Epilogue;
  typename Epilogue::Args args;
  args.g = *g;
  if (g->c_as == ZK_BF16) ZK_TRY(zk_tma_map_2d(ZK_BF16, g->c, g->m, g->n, g->ldc, 16, 64, ZK_TMA_SWIZZLE_128, &args.c));
  return zk_gemm_wgmma_launch<zk_gemm_wgmma<N, false, false, 2, Epilogue::SHARED>, Epilogue>(stream, g, args);
}

zk_status zk_cuda_gemm_wgmma(zk_stream *stream, int tile, const zk_cuda_gemm *g) {
  switch (tile) {
  case 256:
    return launch<256>(stream, g);
  case 192:
    return launch<192>(stream, g);
  case 128:
    return launch<128>(stream, g);
  default:
    return launch<64>(stream, g);
  }
}
#endif
