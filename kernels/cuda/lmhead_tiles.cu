// LM head forward over tiles: logits formed and read in one kernel (bf16: lmhead_bf16.cu), or read where they are stored.
#include "kernels/cuda/gemm_f32.cuh"
#include "kernels/cuda/lmhead_tile.cuh"

enum { STAGE_LD = ZK_VOCAB_TILE + 4 }; // floats

// grid: (blocks of rows, tiles). The product's tile goes through shared memory, where its chains' operands were; then a
// warp a row.
template <class Core>
static __global__ void __launch_bounds__(Core::THREADS) tiles_kernel(zk_cuda_gemm g, zk_lmhead_block b) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int64_t m0 = (int64_t)blockIdx.x * Core::M;
  Core core;
  core.run(g, m0, (int64_t)blockIdx.y * ZK_VOCAB_TILE, shared);
  __syncthreads();
  float *stage = (float *)shared; // [Core::M][STAGE_LD]
  core.each([&](int i, int j, float value) { stage[i * STAGE_LD + j] = value; });
  __syncthreads();
  for (int i = (int)threadIdx.x / 32; i < Core::M && m0 + i < b.num_rows; i += Core::THREADS / 32)
    zk_lmhead_read_tile(b, m0 + i, (int32_t)blockIdx.y, stage + i * STAGE_LD);
}

template <class Core> static zk_status launch(zk_stream *stream, const zk_cuda_gemm *g, const zk_lmhead_block *block) {
  static_assert(Core::N == ZK_VOCAB_TILE, "a block of threads forms whole tiles of the vocabulary");
  const int stage = Core::M * STAGE_LD * (int)sizeof(float), shared = stage > Core::SHARED ? stage : Core::SHARED;
  ZK_LAUNCH((tiles_kernel<Core>), zk_gemm_grid<Core>(g), Core::THREADS, shared, stream, *g, *block);
  return ZK_OK;
}

static zk_cuda_gemm logits_product(const zk_lmhead_block *block) {
  zk_cuda_gemm g = {};
  g.numerics = block->numerics, g.c_as = ZK_F32;
  g.m = block->num_rows, g.n = block->vocab, g.k = block->hidden;
  g.a = block->x, g.lda = block->hidden;
  g.b = block->weight, g.ldb = block->hidden;
  return g;
}

zk_status zk_lmhead_tiles(zk_stream *stream, const zk_lmhead_block *block) {
  zk_cuda_gemm g = logits_product(block);
  if (block->numerics == ZK_BF16) return zk_lmhead_tiles_bf16(stream, block, &g);
  ZK_TRY(zk_lmhead_draw_ahead(stream, block));
  switch (zk_cuda_gemm_choose(&g)) {
  case ZK_CUDA_GEMM_F32_SMALL:
    return launch<zk_gemm_f32_small<ZK_VOCAB_TILE, 8>>(stream, &g, block);
  case ZK_CUDA_GEMM_F32_TILE:
    return launch<zk_gemm_f32_tile<false, false>>(stream, &g, block);
  default:
    return ZK_FAIL(ZK_INTERNAL, "lm head: no kernel for %s", zk_numerics_name(block->numerics));
  }
}

enum { READ_WARPS = 8 };

static __global__ void read_kernel(zk_lmhead_block b) {
  const int32_t tile = (int32_t)blockIdx.x * READ_WARPS + (int32_t)threadIdx.x / 32;
  const int64_t row = blockIdx.y;
  if (tile < b.num_tiles)
    zk_lmhead_read_tile(b, row, tile, b.logits + (row * b.num_tiles + tile) * (int64_t)ZK_VOCAB_TILE);
}

zk_status zk_lmhead_read(zk_stream *stream, const zk_lmhead_block *block) {
  zk_cuda_gemm g = logits_product(block);
  g.c = block->logits, g.ldc = (int64_t)block->num_tiles * ZK_VOCAB_TILE;
  ZK_TRY(zk_cuda_gemm_run(stream, g));
  if (block->dist.filtered) ZK_TRY(zk_lmhead_filter(stream, block));
  ZK_TRY(zk_lmhead_draw_ahead(stream, block));
  const dim3 grid((unsigned)((block->num_tiles + READ_WARPS - 1) / READ_WARPS), (unsigned)block->num_rows);
  ZK_LAUNCH(read_kernel, grid, READ_WARPS * 32, 0, stream, *block);
  return ZK_OK;
}
