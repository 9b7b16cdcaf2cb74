// Pieces of the bf16 attention kernels: tiles in shared memory and the fragments of mma.sync.m16n8k16 that are read
// from them.
//
// A warp's lane holds, with g = lane / 4 and c = lane % 4, of an accumulator (16 x 8) the columns 2c, 2c + 1 of rows g
// and g + 8. Two neighbouring accumulators, as bf16, are the A operand (16 x 16) of the next product with no exchange;
// and since a tile's columns are keys, a lane's own columns are lanes 2c and 2c + 1 of the contract's 8 lanes of l.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BF16_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BF16_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_weight.cuh"
#include "kernels/cuda/mma.cuh"

#define ZK_BF16_KEYS ZK_ATTN_TILE_BF16

// What a row's weights are relative to: b, so that a score s (unscaled) weighs 2^(s * c + b); c = scale * log2(e), in
// double, rounded once. b is +inf at first, and moves, down, only when a tile's largest score would weigh more than
// 2^-72: that score then weighs 2^-80.
struct zk_attn_exp_bf16 {
  float c;
  static __device__ __forceinline__ float none() { return INFINITY; }
  static __device__ __forceinline__ float join(float B, float b) { return b < B ? b : B; }
  // The factor of a sum that was relative to b and is to be relative to n <= b.
  __device__ __forceinline__ float operator()(float b, float n) const { return zk_exp2f(n - b); }
  // b after a tile whose largest score is mt; *moved: whether it is another.
  __device__ __forceinline__ float next(float b, float mt, bool *moved) const {
    *moved = !(fmaf(mt, c, b) <= -72.0f); // so, too, for b = +inf and whatever mt
    return *moved ? fmaf(-mt, c, -80.0f) : b;
  }
  __device__ __forceinline__ float out(float o, float l) const {
    return (o + 0.0f) / l;
  } // a chain may have ended in -0
  __device__ __forceinline__ float lse(float b, float l) const { return zk_log2f(l * 0x1p+80f) - (b + 80.0f); }
};
static inline zk_attn_exp_bf16 zk_attn_exp_of(float scale) { return {(float)((double)scale * 1.4426950408889634)}; }
static inline zk_attn_exp_bf16 zk_attn_exp_of(const zk_attn &a) { return zk_attn_exp_of(a.scale); }

// A tile's row is DP elements (D rounded up to 64, 128 or 256) and 16 bytes that spread rows over the banks.
static __host__ __device__ constexpr int32_t zk_bf16_tile(int32_t rows, int32_t dp) { return rows * (dp + 8); }

// Loads rows [0, ROWS) of a tile with THREADS threads; row(r) is the address of its D elements, or NULL for zeros.
template <int ROWS, int DP, int THREADS, class Row>
static __device__ __forceinline__ void zk_bf16_load(zk_bf16 *tile, int32_t dim, const Row &row) {
  for (int32_t i = (int32_t)threadIdx.x; i < ROWS * (DP / 8); i += THREADS) {
    const int32_t r = i / (DP / 8), d = i % (DP / 8) * 8;
    const zk_bf16 *from = row(r);
    zk_vec16 piece = {{0, 0, 0, 0}};
    if (from != NULL && d < dim) piece = *(const zk_vec16 *)(from + d);
    *(zk_vec16 *)(tile + r * (DP + 8) + d) = piece;
  }
}

// A operand: rows [row, row + 16), reduction over the tile's columns [k, k + 16).
template <int DP>
static __device__ __forceinline__ void zk_bf16_a(const zk_bf16 *tile, int32_t row, int32_t k, uint32_t a[4]) {
  const int32_t lane = (int32_t)threadIdx.x % 32;
  const zk_bf16 *at = tile + (row + lane / 4) * (DP + 8) + k + lane % 4 * 2;
  a[0] = *(const uint32_t *)at;
  a[1] = *(const uint32_t *)(at + 8 * (DP + 8));
  a[2] = *(const uint32_t *)(at + 8);
  a[3] = *(const uint32_t *)(at + 8 * (DP + 8) + 8);
}

// B operand whose columns are the tile's rows [n, n + 8): reduction over the tile's columns [k, k + 16).
template <int DP>
static __device__ __forceinline__ void zk_bf16_b_rows(const zk_bf16 *tile, int32_t n, int32_t k, uint32_t b[2]) {
  const int32_t lane = (int32_t)threadIdx.x % 32;
  const zk_bf16 *at = tile + (n + lane / 4) * (DP + 8) + k + lane % 4 * 2;
  b[0] = *(const uint32_t *)at;
  b[1] = *(const uint32_t *)(at + 8);
}

// B operand whose columns are the tile's columns [n, n + 8): reduction over the tile's rows [k, k + 16).
template <int DP>
static __device__ __forceinline__ void zk_bf16_b_columns(const zk_bf16 *tile, int32_t k, int32_t n, uint32_t b[2]) {
  const int32_t lane = (int32_t)threadIdx.x % 32;
  const zk_bf16 *at = tile + (k + lane % 4 * 2) * (DP + 8) + n + lane / 4;
  b[0] = (uint32_t)at[0].bits | (uint32_t)at[DP + 8].bits << 16;
  b[1] = (uint32_t)at[8 * (DP + 8)].bits | (uint32_t)at[9 * (DP + 8)].bits << 16;
}

// dot = chain over d, in steps of 16, of rows [row, row + 16) of `rows` with rows [n, n + 8 * N) of `others`.
template <int N, int DP>
static __device__ __forceinline__ void zk_bf16_dot(const zk_bf16 *rows, int32_t row, const zk_bf16 *others, int32_t n,
                                                   int32_t dim, float dot[N][4]) {
#pragma unroll
  for (int t = 0; t < N; ++t)
#pragma unroll
    for (int e = 0; e < 4; ++e) dot[t][e] = 0.0f;
  for (int32_t k = 0; k < dim; k += 16) {
    uint32_t a[4];
    zk_bf16_a<DP>(rows, row, k, a);
#pragma unroll
    for (int t = 0; t < N; ++t) {
      uint32_t b[2];
      zk_bf16_b_rows<DP>(others, n + 8 * t, k, b);
      zk_mma_bf16(dot[t], a, b);
    }
  }
}

// Two neighbouring accumulators, rounded, as an A operand.
static __device__ __forceinline__ void zk_bf16_weights(const float left[4], const float right[4], uint32_t a[4]) {
  a[0] = zk_pack_bf16(left[0], left[1]);
  a[1] = zk_pack_bf16(left[2], left[3]);
  a[2] = zk_pack_bf16(right[0], right[1]);
  a[3] = zk_pack_bf16(right[2], right[3]);
}

#endif
