// Decoding attention, bf16: merges the splits of each row that has several, ascending. A row belongs to one warp, to half
// of one, or (its columns) to two, so that nothing is added by two threads.
#ifndef ZK_KERNELS_CUDA_ATTENTION_DECODE_MERGE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_DECODE_MERGE_CUH

#include "kernels/cuda/attention_factors.cuh"

#define ZK_DECODE_MERGE_THREADS 128
#define ZK_DECODE_FEW_SPLITS 16

struct zk_decode_outputs {
  zk_attn_partials partials;
  int32_t *num_splits; // of each row of [T, Hq]
  zk_bf16 *out;
  float *lse;
  uint32_t *queue; // the loader's
};

// Rows of at most 16 splits: 16 lanes a row. Lane i computes the factors of split i; all lanes then walk the
// splits, each for DIM / 16 columns.
template <int DIM>
static __global__ void __launch_bounds__(ZK_DECODE_MERGE_THREADS)
    zk_decode_merge_few(zk_attn_exp_bf16 weight, int32_t num_rows, zk_decode_outputs to) {
  constexpr int COLUMNS = DIM / 16, AHEAD = 4;
  const int32_t lane = (int32_t)threadIdx.x % 16;
  const size_t row = (size_t)blockIdx.x * (ZK_DECODE_MERGE_THREADS / 16) + threadIdx.x / 16,
               first = row * (size_t)to.partials.num_splits;
  zk_wait_for_previous();
  zk_let_next_start();
  int32_t num_splits = 0;
  if (row < (size_t)num_rows) num_splits = to.num_splits[row];
  const bool mine = num_splits > 1;
  if (!mine) num_splits = 0;
  const int32_t other = __shfl_xor_sync(0xffffffffu, num_splits, 16), most = num_splits > other ? num_splits : other;
  const float *o = to.partials.o + first * DIM + lane * COLUMNS;
  zk_float4 part[AHEAD][COLUMNS / 4];
  const auto load = [&](int begin) {
#pragma unroll
    for (int i = 0; i < AHEAD; ++i)
#pragma unroll
      for (int c = 0; c < COLUMNS / 4; ++c)
        if (begin + i < num_splits) part[i][c] = *(const zk_float4 *)(o + (begin + i) * DIM + 4 * c);
  };
  load(0);
  float2 bl = make_float2(INFINITY, 0.0f);
  if (lane < num_splits) bl = ((const float2 *)to.partials.ml)[first + (size_t)lane];
  const zk_merge_factors factors = zk_merge_scan<16, 16>(weight, bl.x, bl.y, INFINITY);
  const float B = __shfl_sync(0xffffffffu, factors.n, 15, 16);
  float L = 0.0f, O[COLUMNS];
#pragma unroll
  for (int c = 0; c < COLUMNS; ++c) O[c] = 0.0f;
  for (int32_t begin = 0; begin < most; begin += AHEAD) {
    if (begin > 0) load(begin);
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      const int at = (begin + i) % 16;
      const zk_merge_factors f = zk_merge_factors_at<16>(factors, at);
      if (begin + i >= num_splits) continue;
      L = zk_merge_sum(f, L, f.l);
#pragma unroll
      for (int c = 0; c < COLUMNS; ++c) O[c] = zk_merge_sum(f, O[c], part[i][c / 4].at[c % 4]);
    }
  }
  if (!mine) return;
  zk_words<COLUMNS / 2> out;
#pragma unroll
  for (int c = 0; c < COLUMNS; c += 2) out.w[c / 2] = zk_pack_bf16(weight.out(O[c], L), weight.out(O[c + 1], L));
  *(zk_words<COLUMNS / 2> *)(to.out + row * DIM + (size_t)(lane * COLUMNS)) = out;
  if (lane == 0 && to.lse != NULL) to.lse[row] = weight.lse(B, L);
}

// Rows of any number of splits: one block a row, one warp for 64 columns. Lane i computes the factors of split 32 j + i;
// all lanes then walk the splits.
template <int DIM>
static __global__ void __launch_bounds__(DIM / 2) zk_decode_merge_many(zk_attn_exp_bf16 weight, zk_decode_outputs to) {
  const int32_t lane = (int32_t)threadIdx.x % 32, d = (int32_t)threadIdx.x * 2;
  const size_t row = blockIdx.x, first = row * (size_t)to.partials.num_splits;
  zk_wait_for_previous();
  zk_let_next_start();
  const int32_t num_splits = to.num_splits[row];
  if (num_splits == 1) return;
  float B = INFINITY, L = 0.0f, O[2] = {0.0f, 0.0f};
  for (int32_t begin = 0; begin < num_splits; begin += 32) {
    const int32_t count = zk_attn_min(num_splits - begin, 32);
    const float *ml = to.partials.ml + 2 * (first + (size_t)begin),
                *o = to.partials.o + (first + (size_t)begin) * DIM + d;
    const float b = lane < count ? ml[2 * lane] : INFINITY, l = lane < count ? ml[2 * lane + 1] : 0.0f;
    float2 part[32];
#pragma unroll
    for (int i = 0; i < 32; ++i)
      if (i < count) part[i] = *(const float2 *)(o + i * DIM);
    const zk_merge_factors factors = zk_merge_scan<32, 32>(weight, b, l, B);
    B = __shfl_sync(0xffffffffu, factors.n, 31);
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      if (i >= count) break;
      const zk_merge_factors f = zk_merge_factors_at<32>(factors, i);
      L = zk_merge_sum(f, L, f.l);
      O[0] = zk_merge_sum(f, O[0], part[i].x);
      O[1] = zk_merge_sum(f, O[1], part[i].y);
    }
  }
  *(uint32_t *)(to.out + row * DIM + (size_t)d) = zk_pack_bf16(weight.out(O[0], L), weight.out(O[1], L));
  if (d == 0 && to.lse != NULL) to.lse[row] = weight.lse(B, L);
}

#endif
