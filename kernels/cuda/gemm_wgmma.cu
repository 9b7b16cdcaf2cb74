// Linear layers by the large products of Hopper: which of them a description suits, and their launches.
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

bool zk_cuda_gemm_wgmma_valid(zk_cuda_gemm_variant variant, const zk_cuda_gemm *g) {
  return zk_gemm_wgmma_fits(g) && zk_gemm_wgmma_stores(g) &&
         (!g->b_outer || variant == ZK_CUDA_GEMM_BF16_WGMMA_TURNS ||
          variant == (g->a_outer ? ZK_CUDA_GEMM_BF16_WGMMA_192 : ZK_CUDA_GEMM_BF16_WGMMA_256)) &&
         !(g->c_as == ZK_F32 && variant == ZK_CUDA_GEMM_BF16_WGMMA_256);
}

template <class Shape> static zk_status launch(zk_stream *stream, const zk_cuda_gemm *g, int num_parts) {
  typedef zk_gemm_wgmma_store<Shape::N> Epilogue;
  typedef zk_gemm_wgmma_core<Shape, (Shape::TURNS ? 2 : Shape::M / 64) * Epilogue::SHARED> Core;
  typename Epilogue::Args args;
  args.parts = zk_gemm_wgmma_parts<Core>(g, num_parts);
  for (int i = 0; i < num_parts; i++) {
    args.g[i] = g[i];
    if (g->c_as == ZK_BF16) ZK_TRY(zk_gemm_wgmma_rows<Shape::N>::map(&g[i], &args.c[i]));
  }
  return zk_gemm_wgmma_launch<Core, Epilogue>(stream, g, args, args.parts, num_parts);
}

// kept: gate and up, with c of their own for it, or NULL.
template <class Shape, bool KEEPS = false>
static zk_status launch_swiglu(zk_stream *stream, const zk_cuda_gemm *gate, const void *up, const zk_cuda_gemm *kept = NULL) {
  typedef zk_gemm_wgmma_swiglu<Shape::N, KEEPS> Epilogue;
  typedef zk_gemm_wgmma_core<Shape, (Shape::TURNS ? 2 : Shape::M / 64) * Epilogue::SHARED> Core;
  typename Epilogue::Args args;
  args.rows = (int)gate->m, args.columns = (int)gate->n;
  ZK_TRY(zk_gemm_wgmma_rows<Core::WIDTH>::map(gate, &args.c));
  for (int i = 0; i < (KEEPS ? 2 : 0); i++) ZK_TRY(zk_gemm_wgmma_rows<Core::WIDTH>::map(&kept[i], &args.kept[i]));
  zk_cuda_gemm g[2] = {*gate, *gate};
  g[1].b = up;
  return zk_gemm_wgmma_launch<Core, Epilogue>(stream, g, args, zk_gemm_wgmma_parts<Core>(g, 1), 2);
}

// Rows, columns, blocks in a cluster, 64 k in a slice: more of them at a time pay where a slice is little work.
typedef zk_gemm_wgmma_shape<64, 64, 2, 2> shape_small;
typedef zk_gemm_wgmma_shape<64, 128, 2, 1> shape_64;
template <bool HALVES> using shape_96 = zk_gemm_wgmma_shape<128, 96, 2, 1, false, HALVES>;
template <bool HALVES> using shape_128 = zk_gemm_wgmma_shape<128, 128, 2, 1, false, HALVES>;
template <bool OUTER> using shape_192 = zk_gemm_wgmma_shape<128, 192, 2, 1, false, false, OUTER, OUTER>;
template <bool B_OUTER> using shape_256 = zk_gemm_wgmma_shape<128, 256, 2, 1, false, false, false, B_OUTER>;
template <bool HALVES, bool A_OUTER = false, bool B_OUTER = false>
using shape_turns = zk_gemm_wgmma_shape<128, 128, 2, 1, true, HALVES, A_OUTER, B_OUTER>;

zk_status zk_cuda_gemm_wgmma(zk_stream *stream, zk_cuda_gemm_variant variant, const zk_cuda_gemm *g, int num_parts) {
  switch (variant) {
  case ZK_CUDA_GEMM_BF16_WGMMA_SMALL:
    return launch<shape_small>(stream, g, num_parts);
  case ZK_CUDA_GEMM_BF16_WGMMA_64:
    return launch<shape_64>(stream, g, num_parts);
  case ZK_CUDA_GEMM_BF16_WGMMA_96:
    return launch<shape_96<false>>(stream, g, num_parts);
  case ZK_CUDA_GEMM_BF16_WGMMA_128:
    return launch<shape_128<false>>(stream, g, num_parts);
  case ZK_CUDA_GEMM_BF16_WGMMA_192:
    return g->b_outer ? launch<shape_192<true>>(stream, g, 1) : launch<shape_192<false>>(stream, g, num_parts);
  case ZK_CUDA_GEMM_BF16_WGMMA_256:
    return g->b_outer ? launch<shape_256<true>>(stream, g, 1) : launch<shape_256<false>>(stream, g, num_parts);
  default: // by turns
    if (g->a_outer) return launch<shape_turns<false, true, true>>(stream, g, 1);
    return g->b_outer ? launch<shape_turns<false, false, true>>(stream, g, 1)
                      : launch<shape_turns<false>>(stream, g, num_parts);
  }
}

zk_status zk_cuda_gemm_wgmma_swiglu(zk_stream *stream, zk_cuda_gemm_variant variant, const zk_cuda_gemm *gate,
                                    const void *up) {
  switch (variant) {
  case ZK_CUDA_GEMM_BF16_WGMMA_96:
    return launch_swiglu<shape_96<true>>(stream, gate, up);
  case ZK_CUDA_GEMM_BF16_WGMMA_128:
    return launch_swiglu<shape_128<true>>(stream, gate, up);
  default: // by turns
    return launch_swiglu<shape_turns<true>>(stream, gate, up);
  }
}

zk_status zk_cuda_gemm_wgmma_swiglu_keeping(zk_stream *stream, const zk_cuda_gemm *g, void *out) {
  zk_cuda_gemm act = g[0];
  act.c = out;
  return launch_swiglu<shape_turns<true>, true>(stream, &act, g[1].b, g);
}
