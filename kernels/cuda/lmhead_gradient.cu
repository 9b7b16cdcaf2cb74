// LM head backward on Hopper: a slab of gradients by the kernel of many rows (lmhead_gradient.cuh), in which one warpgroup
// turns its logits into gradients while the other multiplies.
#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/lmhead_gradient.cuh"

bool zk_lmhead_gradients_fit(const zk_lmhead_chunk *chunk, const zk_cuda_gemm *logits) {
  return zk_gemm_wgmma_fits(logits) && chunk->dentropy == NULL && (uintptr_t)chunk->dlogit % 16 == 0 && chunk->slab % 8 == 0 &&
         (zk_cuda_gemm_available(ZK_CUDA_GEMM_BF16_WGMMA_TURNS) ? !zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_TILE)
                                                                : zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_WGMMA_TURNS));
}

template <bool BOTH>
static zk_status launch(zk_stream *stream, const zk_cuda_gemm *logits, const zk_cuda_gemm &c, const zk_lmhead_chunk &chunk,
                        const zk_lmhead_block &forward, int32_t first) {
  typedef zk_lmhead_gradient_rows<BOTH> Epilogue;
  typedef zk_gemm_wgmma_core<zk_gemm_wgmma_shape<128, ZK_VOCAB_TILE, 2, 1, true>, 2 * Epilogue::SHARED> Core;
  typename Epilogue::Args args = {};
  ZK_TRY(Epilogue::Rows::map(&c, &args.c));
  args.chunk = chunk, args.forward = forward, args.first = first, args.num_ids = (int32_t)logits->n;
  args.error = zk_cuda_error_word(stream);
  return zk_gemm_wgmma_launch<Core, Epilogue>(stream, logits, args);
}

zk_status zk_lmhead_gradients(zk_stream *stream, const zk_lmhead_chunk *chunk, const zk_cuda_gemm *logits, int32_t first,
                              const zk_lmhead_block *block) {
  zk_cuda_gemm c = {};
  c.c = chunk->dlogit, c.m = chunk->num_rows, c.n = logits->n, c.ldc = chunk->slab;
  if (block != NULL) return launch<true>(stream, logits, c, *chunk, *block, first);
  return launch<false>(stream, logits, c, *chunk, {}, first);
}
