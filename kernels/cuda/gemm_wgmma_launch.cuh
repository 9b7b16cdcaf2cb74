// The host's side of a large product (gemm_wgmma.cuh): whether its operands suit the copy engine, their maps, the
// launch with whatever epilogue.
#ifndef ZK_KERNELS_CUDA_GEMM_WGMMA_LAUNCH_CUH
#define ZK_KERNELS_CUDA_GEMM_WGMMA_LAUNCH_CUH

#include "kernels/cuda/gemm_wgmma.cuh"

// The copy engine wants 16-byte addresses and distances (a_wide, b_wide), and 32-bit places.
static inline bool zk_gemm_wgmma_fits(const zk_cuda_gemm *g) {
  const int64_t most = INT32_MAX - 1024;
  return g->numerics == ZK_BF16 && g->a_wide && g->b_wide && (g->b_outer || !g->a_outer) && g->k > 0 && g->k < most &&
         g->m < most && g->n < most;
}

// Of an operand of `rows` rows, `box` of which are fetched at a time.
static inline zk_status zk_gemm_wgmma_map(const void *p, bool outer, int64_t rows, int64_t k, int64_t ld, int box,
                                          CUtensorMap *out) {
  if (outer) return zk_tma_map_2d(ZK_BF16, p, k, rows, ld, 64, 64, ZK_TMA_SWIZZLE_128, out);
  return zk_tma_map_2d(ZK_BF16, p, rows, k, ld, box, 64, ZK_TMA_SWIZZLE_128, out);
}

// g[num_parts]: products of one a; of HALVES two, whose columns share the tiles.
template <class Core, class Epilogue>
static zk_status zk_gemm_wgmma_launch(zk_stream *stream, const zk_cuda_gemm *g, const typename Epilogue::Args &epilogue,
                                      const zk_gemm_parts &parts, int num_weights) {
  enum { GROUP_ROWS = 2048 };
  zk_gemm_wgmma_args<Epilogue> args = {};
  args.epilogue = epilogue;
  args.parts = parts;
  args.tiles.rows = (int)zk_ceil_div(g->m, Core::M * Core::CLUSTER);
  args.tiles.columns = parts.end[parts.count - 1];
  args.tiles.group = GROUP_ROWS / (Core::M * Core::CLUSTER);
  args.k_slices = (int)zk_ceil_div(g->k, Core::K * Core::DEPTH);
  ZK_TRY(zk_gemm_wgmma_map(g->a, Core::A_OUTER, g->m, g->k, g->lda, Core::M, &args.a));
  // A box that ends outside of a takes the copy engine longer than a whole one.
  args.rows = (int)g->m;
  if (!Core::A_OUTER && g->m % Core::M != 0)
    ZK_TRY(zk_gemm_wgmma_map(g->a, false, g->m, g->k, g->lda, (int)(g->m % Core::M), &args.a_last));
  for (int i = 0; i < num_weights; i++)
    ZK_TRY(zk_gemm_wgmma_map(g[i].b, Core::B_OUTER, g[i].n, g[i].k, g[i].ldb, Core::B_ROWS, &args.b[i]));
  // As many blocks as run at a time, or as there are tiles.
  const int64_t clusters = zk_cuda_num_sms(stream->device) / Core::CLUSTER;
  const int64_t count = (int64_t)args.tiles.rows * args.tiles.columns;
  const unsigned grid = (unsigned)((count < clusters ? count : clusters) * Core::CLUSTER);
  ZK_LAUNCH_CLUSTERS(Core::CLUSTER, (zk_gemm_wgmma_kernel<Core, Epilogue>), grid, Core::THREADS, Core::SHARED, stream,
                     args);
  return ZK_OK;
}

template <class Core> static zk_gemm_parts zk_gemm_wgmma_parts(const zk_cuda_gemm *g, int count) {
  zk_gemm_parts parts = {count, {}};
  for (int i = 0, end = 0; i < count; i++) parts.end[i] = end += (int)zk_ceil_div(g[i].n, Core::WIDTH);
  return parts;
}

template <class Core, class Epilogue>
static zk_status zk_gemm_wgmma_launch(zk_stream *stream, const zk_cuda_gemm *g,
                                      const typename Epilogue::Args &epilogue) {
  return zk_gemm_wgmma_launch<Core, Epilogue>(stream, g, epilogue, zk_gemm_wgmma_parts<Core>(g, 1), 1);
}

#endif
