// RMSNorm backward in bf16, of few rows as one launch; many rows go through rmsnorm_backward_ring.cuh.
//
// Rows: a warp's thread t holds lanes 4 t .. 4 t + 3 of dy and x (lanes.cuh), 4 elements of every stretch of 128, from memory to dx.
// Columns: a thread has neighbouring columns and walks a block of 64 rows, for the weights' gradient.
//
// Some blocks walk columns, four blocks of rows each, while the others have rows.
#ifndef ZK_KERNELS_CUDA_RMSNORM_BACKWARD_CUH
#define ZK_KERNELS_CUDA_RMSNORM_BACKWARD_CUH

#include "kernels/cuda/block_sums.cuh"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/pack.cuh"

enum {
  ZK_RMS_BACK_THREADS = 128,
  ZK_RMS_BACK_COLUMNS = 64, // of a strip
  ZK_RMS_BACK_GROUP = ZK_RMS_BACK_THREADS / 32 * ZK_GRAD_BLOCK_ROWS,
  ZK_RMS_BACK_AHEAD = 16 // rows that a column's thread reads before it adds them
};

struct zk_rms_backward {
  int64_t rows;
  int32_t width;
  const zk_bf16 *dy, *x, *weight, *addend; // addend may be NULL
  const float *rstd;
  zk_bf16 *dx;
  zk_sum_groups groups;
  zk_block_sums sums;
  int32_t column_blocks; // the first so many blocks of the grid
};

static __device__ __forceinline__ void zk_rms_back_columns(const zk_rms_backward &b) {
  constexpr int WARPS = ZK_RMS_BACK_THREADS / 32;
  __shared__ zk_sum_pair block_sum[WARPS][32];
  const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
  const int32_t strips = (b.width + ZK_RMS_BACK_COLUMNS - 1) / ZK_RMS_BACK_COLUMNS;
  const int32_t strip = (int32_t)blockIdx.x % strips, group = (int32_t)blockIdx.x / strips, c = zk_chunk_of_group(b.groups, group);
  const int64_t first = b.groups.first_row[c] + (int64_t)(group - b.groups.first_group[c]) * ZK_RMS_BACK_GROUP;
  const int64_t row = first + warp * ZK_GRAD_BLOCK_ROWS, left = b.groups.first_row[c + 1] - row;
  const int count = left < 0 ? 0 : left < ZK_GRAD_BLOCK_ROWS ? (int)left : ZK_GRAD_BLOCK_ROWS;
  const int32_t column = strip * ZK_RMS_BACK_COLUMNS + 2 * lane;
  if (column < b.width) {
    const zk_bf16 *dy = b.dy + row * b.width + column, *x = b.x + row * b.width + column;
    zk_sum_pair sum = {0.0f, 0.0f};
    for (int i = 0; i < count; i += ZK_RMS_BACK_AHEAD) {
      uint32_t dys[ZK_RMS_BACK_AHEAD], xs[ZK_RMS_BACK_AHEAD];
      float scale[ZK_RMS_BACK_AHEAD];
#pragma unroll
      for (int j = 0; j < ZK_RMS_BACK_AHEAD; j++)
        if (i + j < count) {
          dys[j] = *(const uint32_t *)(dy + (int64_t)(i + j) * b.width), xs[j] = *(const uint32_t *)(x + (int64_t)(i + j) * b.width);
          scale[j] = b.rstd[row + i + j];
        }
#pragma unroll
      for (int j = 0; j < ZK_RMS_BACK_AHEAD; j++)
        if (i + j < count) {
          sum.low = fmaf(zk_low_bf16(dys[j]), zk_low_bf16(xs[j]) * scale[j], sum.low);
          sum.high = fmaf(zk_high_bf16(dys[j]), zk_high_bf16(xs[j]) * scale[j], sum.high);
        }
    }
    block_sum[warp][lane] = sum;
  }
  __syncthreads();
  if (warp == 0 && column < b.width) {
    zk_sum_pair value[WARPS];
    for (int w = 0; w < WARPS; w++) value[w] = block_sum[w][lane];
    const int64_t in_chunk = b.groups.first_row[c + 1] - first, blocks = zk_ceil_div(in_chunk, ZK_GRAD_BLOCK_ROWS);
    const zk_sum_pair sum = zk_sum_tree(value, blocks < WARPS ? (int)blocks : WARPS);
    float *partial = b.sums.partials + (int64_t)group * b.width + column;
    partial[0] = sum.low, partial[1] = sum.high;
  }
  zk_sums_arrive<ZK_RMS_BACK_COLUMNS / 2>(b.groups, b.sums, b.width, strip * ZK_RMS_BACK_COLUMNS, b.sums.arrived + strip,
                                          (uint32_t)b.groups.first_group[b.groups.num_chunks]);
}

// 4 elements, as they are stored.
typedef zk_words<2> zk_rms_piece;

static __device__ __forceinline__ void zk_rms_widen(const zk_rms_piece &p, float (&x)[4]) {
  x[0] = zk_low_bf16(p.w[0]), x[1] = zk_high_bf16(p.w[0]), x[2] = zk_low_bf16(p.w[1]), x[3] = zk_high_bf16(p.w[1]);
}

template <int STEPS> static __device__ __forceinline__ void zk_rms_back_row(const zk_rms_backward &b, int64_t row) {
  const int32_t first = (int32_t)(threadIdx.x % 32) * 4;
  const zk_bf16 *dy = b.dy + row * b.width + first, *x = b.x + row * b.width + first, *weight = b.weight + first;
  const float scale = b.rstd[row];
  zk_rms_piece dys[STEPS], xs[STEPS];
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    dys[s] = xs[s] = {};
    if (s * ZK_LANES + first < b.width)
      dys[s] = *(const zk_rms_piece *)(dy + s * ZK_LANES), xs[s] = *(const zk_rms_piece *)(x + s * ZK_LANES);
  }
  float lane[4] = {};
#pragma unroll
  for (int s = 0; s < STEPS; s++)
    if (s * ZK_LANES + first < b.width) {
      float d[4], v[4], w[4];
      zk_rms_widen(dys[s], d), zk_rms_widen(xs[s], v), zk_rms_widen(*(const zk_rms_piece *)(weight + s * ZK_LANES), w);
#pragma unroll
      for (int i = 0; i < 4; i++) lane[i] = fmaf(d[i] * w[i], v[i], lane[i]);
    }
  const float k = (((zk_lanes_finish(lane) * scale) * scale) * scale) / (float)b.width;
#pragma unroll
  for (int s = 0; s < STEPS; s++)
    if (s * ZK_LANES + first < b.width) {
      const int64_t at = row * b.width + first + s * ZK_LANES;
      float d[4], v[4], w[4];
      zk_rms_widen(dys[s], d), zk_rms_widen(xs[s], v), zk_rms_widen(*(const zk_rms_piece *)(weight + s * ZK_LANES), w);
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = fmaf(-k, v[i], (d[i] * w[i]) * scale);
      if (b.addend != NULL) {
        zk_rms_widen(*(const zk_rms_piece *)(b.addend + at), d);
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = v[i] + d[i];
      }
      *(zk_rms_piece *)(b.dx + at) = {zk_pack_bf16(v[0], v[1]), zk_pack_bf16(v[2], v[3])};
    }
}

// Rows of up to 128 STEPS elements.
template <int STEPS> __global__ void __launch_bounds__(ZK_RMS_BACK_THREADS) zk_rmsnorm_backward_kernel(const __grid_constant__ zk_rms_backward b) {
  zk_wait_for_previous();
  zk_let_next_start();
  if ((int)blockIdx.x < b.column_blocks) {
    zk_rms_back_columns(b);
  } else {
    const int64_t row = (int64_t)((int)blockIdx.x - b.column_blocks) * (ZK_RMS_BACK_THREADS / 32) + threadIdx.x / 32;
    if (row < b.rows) zk_rms_back_row<STEPS>(b, row);
  }
}

#endif
