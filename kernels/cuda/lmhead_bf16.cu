// LM head forward over tiles in bf16: which kernel forms the logits. All of them leave a row's 128 logits of a tile
// in the registers of four neighbouring threads, where they are read (lmhead_fragment.cuh).
#include "kernels/cuda/gemm_bf16.cuh"
#include "kernels/cuda/lmhead_fragment.cuh"
#include "kernels/cuda/lmhead_wgmma.cuh"

enum { WARPS = 4, ROWS = 16 * WARPS };

// For operands at any address, and what the emulated device prefers. grid: (blocks of rows, tiles); a warp has 16 rows and its
// block's tile. Operands come straight from memory: thread (g, t) takes the four neighbouring k from 4 t on
// (gemm_bf16.cuh).
static __global__ void __launch_bounds__(32 * WARPS) fragments_kernel(zk_cuda_gemm p, zk_lmhead_block b) {
  const int lane = (int)threadIdx.x % 32, t = lane % 4 * 4;
  const int64_t row0 = (int64_t)blockIdx.x * ROWS + threadIdx.x / 32 * 16, m = row0 + lane / 4,
                n = (int64_t)blockIdx.y * ZK_VOCAB_TILE + lane / 4;
  if (row0 >= p.m) return;
  float acc[1][ZK_VOCAB_TILE / 2] = {};
  for (int64_t k = 0; k < p.k; k += 16) {
    zk_bf16x4 x[2];
#pragma unroll
    for (int h = 0; h < 2; h++)
      x[h] = zk_fetch_bf16<4, zk_bf16x4>((const zk_bf16 *)p.a + (m + 8 * h) * p.lda + k + t,
                                         m + 8 * h < p.m ? p.k - k - t : 0, p.a_wide);
    const uint32_t a[4] = {x[0].w[0], x[1].w[0], x[0].w[1], x[1].w[1]};
#pragma unroll
    for (int j = 0; j < ZK_VOCAB_TILE / 8; j++) {
      const zk_bf16x4 w = zk_fetch_bf16<4, zk_bf16x4>((const zk_bf16 *)p.b + (n + 8 * j) * p.ldb + k + t,
                                                      n + 8 * j < p.n ? p.k - k - t : 0, p.b_wide);
      zk_mma_bf16(acc[0] + 4 * j, a, w.w);
    }
  }
  zk_lmhead_read_rows(b, row0, (int32_t)blockIdx.y, acc, zk_lmhead_fetch_rows<2>(b, row0, (int32_t)blockIdx.y));
}

// Up to 128 rows: nothing but weights waits for memory, and blocks are side by side on a multiprocessor up to 64.
static zk_status launch_few(zk_stream *stream, zk_lmhead_block block, const zk_cuda_gemm *p) {
  const zk_decode_product product = {p->a, p->m, p->k, p->lda, p->ldb, 1, {p->b}, {p->n}};
  const zk_decode_tuning tuning = {ZK_VOCAB_TILE, p->m <= 64 ? ZK_DECODE_HALF_KIB : ZK_DECODE_ALL_KIB};
  block.most = NULL;
  ZK_TRY(zk_lmhead_draw_ahead(stream, &block));
  return zk_decode_launch<ZK_VOCAB_TILE>(stream, product, tuning, zk_lmhead_few_rows{block});
}

// More: two warpgroups form tiles by turns, so that one reads its logits while the other multiplies. Up to 64 rows
// memory is slower than both, and random numbers are drawn meanwhile.
template <int ROWS, int CLUSTER, int DEPTH>
static zk_status launch_many(zk_stream *stream, zk_lmhead_block block, const zk_cuda_gemm *p) {
  if (ROWS == 64) block.most = NULL;
  ZK_TRY(zk_lmhead_draw_ahead(stream, &block));
  typedef zk_gemm_wgmma_core<zk_gemm_wgmma_shape<ROWS, ZK_VOCAB_TILE, CLUSTER, DEPTH, true>, 0> Core;
  return zk_gemm_wgmma_launch<Core, zk_lmhead_many_rows<ROWS / 64>>(stream, p, block);
}

// False: there is none for this product, or another kernel was asked for.
static bool launch_wgmma(zk_stream *stream, const zk_lmhead_block *block, const zk_cuda_gemm *p, zk_status *status) {
  if (!zk_gemm_wgmma_fits(p)) return false;
  const bool few = zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_DECODE) && p->m <= ZK_DECODE_MOST_TOKENS;
  const bool rows_64 = zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_WGMMA_64);
  const bool rows_128 = zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_WGMMA_128);
  const bool rows_256 = zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_WGMMA_TURNS);
  const bool any = !few && !rows_64 && !rows_128 && !rows_256;
  if (any && !zk_cuda_gemm_available(ZK_CUDA_GEMM_BF16_WGMMA_TURNS)) return false;
  if (zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_SMALL) || zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_TILE)) return false;
  const bool draws = block->pick == ZK_CUDA_PICK_GUMBEL;
  const bool few_suits = p->m <= 32 || (p->m > 64 && p->m <= ZK_DECODE_MOST_TOKENS && !draws);
  if (few || (any && few_suits)) *status = launch_few(stream, *block, p);
  else if (rows_64 || (any && p->m <= 64)) *status = launch_many<64, 1, 2>(stream, *block, p);
  else if (rows_128 || (any && p->m <= 128)) *status = launch_many<128, 1, 1>(stream, *block, p);
  else *status = launch_many<128, 2, 1>(stream, *block, p);
  return true;
}

zk_status zk_lmhead_tiles_bf16(zk_stream *stream, const zk_lmhead_block *block, zk_cuda_gemm *product) {
  zk_status status = ZK_OK;
  (void)zk_cuda_gemm_choose(product); // says how the operands are aligned
  if (launch_wgmma(stream, block, product, &status)) return status;
  zk_lmhead_block b = *block;
  if (b.num_rows <= 16) b.most = NULL; // few numbers are drawn as soon by who reads the tiles
  ZK_TRY(zk_lmhead_draw_ahead(stream, &b));
  const dim3 grid((unsigned)zk_ceil_div(b.num_rows, ROWS), (unsigned)b.num_tiles);
  ZK_LAUNCH(fragments_kernel, grid, 32 * WARPS, 0, stream, *product, b);
  return ZK_OK;
}
