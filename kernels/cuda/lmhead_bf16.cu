// LM head forward over tiles in bf16: which kernel forms the logits. All of them leave a row's 128 logits of a tile in the registers of four
// neighbouring threads, where they are read (lmhead_fragment.cuh).
#include "kernels/cuda/gemm_bf16.cuh"
#include "kernels/cuda/lmhead_fragment.cuh"
#include "kernels/cuda/lmhead_wgmma.cuh"

enum { WARPS = 4, ROWS = 16 * WARPS };

// For operands at any address, and for the emulated device. grid: (blocks of rows, tiles); a warp has 16 rows and its block's tile. Operands
// come straight from memory: thread (g, t) takes the four neighbouring k from 4 t on (gemm_bf16.cuh).
static __global__ void __launch_bounds__(32 * WARPS) fragments_kernel(zk_cuda_gemm p, zk_lmhead_block b) {
  const int lane = (int)threadIdx.x % 32, t = lane % 4 * 4;
  const int64_t row0 = (int64_t)blockIdx.x * ROWS + threadIdx.x / 32 * 16, m = row0 + lane / 4, n = (int64_t)blockIdx.y * ZK_VOCAB_TILE + lane / 4;
  if (row0 >= p.m) return;
  float acc[ZK_VOCAB_TILE / 2] = {};
  for (int64_t k = 0; k < p.k; k += 16) {
    zk_bf16x4 x[2];
#pragma unroll
    for (int h = 0; h < 2; h++)
      x[h] = zk_fetch_bf16<4, zk_bf16x4>((const zk_bf16 *)p.a + (m + 8 * h) * p.lda + k + t, m + 8 * h < p.m ? p.k - k - t : 0, p.a_wide);
    const uint32_t a[4] = {x[0].w[0], x[1].w[0], x[0].w[1], x[1].w[1]};
#pragma unroll
    for (int j = 0; j < ZK_VOCAB_TILE / 8; j++) {
      const zk_bf16x4 w =
          zk_fetch_bf16<4, zk_bf16x4>((const zk_bf16 *)p.b + (n + 8 * j) * p.ldb + k + t, n + 8 * j < p.n ? p.k - k - t : 0, p.b_wide);
      zk_mma_bf16(acc + 4 * j, a, w.w);
    }
  }
  zk_lmhead_read_rows(b, row0, (int32_t)blockIdx.y, acc, zk_lmhead_row_best(b));
}

static zk_status forget_best(zk_stream *stream, const zk_lmhead_block *block) {
  if (block->pick == ZK_CUDA_PICK_NOTHING) return ZK_OK;
  return zk_fill_zero(stream, block->row_best, (size_t)block->num_rows * sizeof *block->row_best);
}

#ifdef ZK_SIMT
static bool launch_wgmma(zk_stream *, const zk_lmhead_block *, const zk_cuda_gemm *, zk_status *) { return false; }
#else
enum { MOST_FEW = ZK_DECODE_MOST_TOKENS };

static zk_status launch_few(zk_stream *stream, const zk_lmhead_block *block, const zk_cuda_gemm *p) {
  const zk_decode_product product = {p->a, p->m, p->k, p->lda, p->ldb, 1, {p->b}, {p->n}};
  const zk_decode_tuning tuning = {ZK_VOCAB_TILE, p->m <= 64 ? ZK_DECODE_HALF_KIB : ZK_DECODE_ALL_KIB};
  return zk_decode_launch<ZK_VOCAB_TILE>(stream, product, tuning, zk_lmhead_few_rows{*block});
}

template <int N> static zk_status launch_many(zk_stream *stream, const zk_lmhead_block *block, const zk_cuda_gemm *p) {
  ZK_TRY(forget_best(stream, block));
  return zk_gemm_wgmma_launch<zk_gemm_wgmma<N, false, false, 2, 0>, zk_lmhead_many_rows>(stream, p, *block);
}

// False: there is none for this product, or another kernel was asked for.
static bool launch_wgmma(zk_stream *stream, const zk_lmhead_block *block, const zk_cuda_gemm *p, zk_status *status) {
  if (!zk_gemm_wgmma_fits(p)) return false;
  if (zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_SMALL) || zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_TILE)) return false;
  if (zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_WGMMA_128)) *status = launch_many<128>(stream, block, p);
  else if (zk_cuda_gemm_is_forced(ZK_CUDA_GEMM_BF16_WGMMA_256)) *status = launch_many<256>(stream, block, p);
  else if (p->m <= MOST_FEW) *status = launch_few(stream, block, p);
  else *status = launch_many<256>(stream, block, p);
  return true;
}
#endif

zk_status zk_lmhead_tiles_bf16(zk_stream *stream, const zk_lmhead_block *block, zk_cuda_gemm *product) {
  zk_status status = ZK_OK;
  (void)zk_cuda_gemm_choose(product); // says how the operands are aligned
  if (launch_wgmma(stream, block, product, &status)) return status;
  ZK_TRY(forget_best(stream, block));
  const dim3 grid((unsigned)zk_ceil_div(block->num_rows, ROWS), (unsigned)block->num_tiles);
  ZK_LAUNCH(fragments_kernel, grid, 32 * WARPS, 0, stream, *product, *block);
  return ZK_OK;
}
