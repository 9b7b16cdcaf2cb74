// What bf16 attention backward by one kernel wants first (attention_backward_fused.cuh): (lse, delta) of each row and head, where its step finds
// them, the order in which tiles are drawn, and counters at 0. delta is the chain over d of fma(dout[d], out[d], acc).
//
// A thread has a row of a head, whose chain is its own; the rows of a block are neighbours in memory and come through shared memory, so that
// each piece of it is read once, by neighbouring threads. There a row is 16 bytes longer, and eight threads that read their rows meet in no bank.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_PREPARE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_PREPARE_CUH

#include "kernels/cuda/attention_backward_fused.cuh"

enum { ZK_PREPARE_THREADS = 128 };

template <int D> constexpr int ZK_PREPARE_ROW = 2 * D + 16;                                     // bytes
template <int D> constexpr int ZK_PREPARE_SHARED = 2 * ZK_PREPARE_THREADS * ZK_PREPARE_ROW<D>; // of dout, then of out

// Rows of a block from `first` on, `left` of them and no more than there are threads.
template <int D> static __device__ __forceinline__ void zk_prepare_fetch(const zk_bf16 *from, int64_t first, int64_t left, char *to) {
  constexpr int PIECES = D / 8; // of a row
#pragma unroll
  for (int i = 0; i < PIECES; i++) {
    const int piece = i * ZK_PREPARE_THREADS + (int)threadIdx.x, row = piece / PIECES;
    if (row < left) zk_copy_16_or_zero(to + row * ZK_PREPARE_ROW<D> + piece % PIECES * 16, from + first * D + piece * 8, true);
  }
}

// The place of a tile of the plan among those that are drawn: sequences take turns, tile by tile, seqs_at_once of them until they have ended.
static __device__ __forceinline__ void zk_prepare_order(const zk_fused &f, int32_t tile) {
  const int32_t *start = f.at.block_start, s = zk_attn_bisect(start, f.at.num_seqs, tile), index = tile - start[s],
                first = s / f.seqs_at_once * f.seqs_at_once, end = zk_attn_min(first + f.seqs_at_once, f.at.num_seqs);
  int32_t place = start[first];
  for (int32_t other = first; other < end; other++)
    place += zk_attn_min(start[other + 1] - start[other], other < s ? index + 1 : index);
  f.order[place] = tile;
}

template <int D>
static __global__ void __launch_bounds__(ZK_PREPARE_THREADS)
    zk_prepare_kernel(zk_fused f, const zk_bf16 *out, const zk_bf16 *dout, const float *lse, uint32_t *counters, int32_t num_counters) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int64_t first = (int64_t)blockIdx.x * ZK_PREPARE_THREADS, i = first + threadIdx.x, left = (int64_t)f.num_rows * f.at.num_heads - first;
  char *const outs = shared + ZK_PREPARE_THREADS * ZK_PREPARE_ROW<D>;
  zk_prepare_fetch<D>(dout, first, left, shared);
  zk_prepare_fetch<D>(out, first, left, outs);
  for (int64_t at = i; at < num_counters; at += (int64_t)gridDim.x * ZK_PREPARE_THREADS) counters[at] = 0;
  if (i < f.at.block_start[f.at.num_seqs]) zk_prepare_order(f, (int32_t)i);
  zk_copy_wait();
  __syncthreads();
  if ((int64_t)threadIdx.x >= left) return;
  const zk_words<4> *x = (const zk_words<4> *)(shared + threadIdx.x * ZK_PREPARE_ROW<D>), *y = (const zk_words<4> *)(outs + threadIdx.x * ZK_PREPARE_ROW<D>);
  float delta = 0.0f;
#pragma unroll 4
  for (int d = 0; d < D / 8; ++d) {
    const zk_words<4> a = x[d], b = y[d];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      delta = fmaf(zk_low_bf16(a.w[e]), zk_low_bf16(b.w[e]), delta);
      delta = fmaf(zk_high_bf16(a.w[e]), zk_high_bf16(b.w[e]), delta);
    }
  }
  const int32_t row = (int32_t)(i / f.at.num_heads), head = (int32_t)(i % f.at.num_heads), s = zk_attn_bisect(f.at.seq_row_start, f.at.num_seqs, row),
                pos = row - f.at.seq_row_start[s];
  const size_t tile = (size_t)head * (size_t)f.num_tiles + (size_t)(f.at.block_start[s] + pos / ZK_FUSED_KEYS);
  float *to = f.lse_delta + tile * (2 * ZK_FUSED_KEYS) + pos % ZK_FUSED_KEYS / ZK_FUSED_ROWS * (2 * ZK_FUSED_ROWS) + pos % ZK_FUSED_ROWS;
  to[0] = lse[i], to[ZK_FUSED_ROWS] = delta;
}

#endif
