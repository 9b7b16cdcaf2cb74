// Pieces of the f32 attention kernels: tiles in shared memory, and the two products of a block of rows with a tile of
// 64 keys.
//
// A block has 256 threads, 16 x 16: thread (ty, tx) owns RT rows, ty + 16 i, and of a product
//   with keys     the keys tx + 16 j, j < 4: exactly lane tx of the contract's 16 lanes;
//   with columns  the columns 4 tx + 64 c .. + 3, c < DP / 64, where DP is D rounded up to 64, 128 or 256.
// So a row's scores and weights never leave the 16 threads that share its ty. Chains ascend inside one thread.
#ifndef ZK_KERNELS_CUDA_ATTENTION_F32_CUH
#define ZK_KERNELS_CUDA_ATTENTION_F32_CUH

#include "kernels/cuda/attention.cuh"

#define ZK_F32_THREADS 256
#define ZK_F32_KEYS ZK_ATTN_TILE
#define ZK_F32_W_STRIDE (ZK_F32_KEYS + 4) // of a tile of weights, [rows][keys]

// Floats of a tile of `rows` rows: a row is DP floats and 16 bytes that spread rows over the banks.
static __host__ __device__ constexpr int32_t zk_f32_tile(int32_t rows, int32_t dp) { return rows * (dp + 4); }

// Loads rows [0, ROWS) of a tile; row(r) is the address of its D floats, or NULL for zeros.
template <int ROWS, int DP, class Row>
static __device__ __forceinline__ void zk_f32_load(float *tile, int32_t dim, const Row &row) {
  for (int32_t i = (int32_t)threadIdx.x; i < ROWS * (DP / 4); i += ZK_F32_THREADS) {
    const int32_t r = i / (DP / 4), d = i % (DP / 4) * 4;
    const float *from = row(r);
    zk_vec16 piece = {{0, 0, 0, 0}};
    if (from != NULL && d < dim) piece = *(const zk_vec16 *)(from + d);
    *(zk_vec16 *)(tile + r * (DP + 4) + d) = piece;
  }
}

// dot[i][j] = chain over d of fma(rows[ty + 16 i][d], keys[tx + 16 j][d], acc).
template <int RT, int DP>
static __device__ __forceinline__ void zk_f32_dot(const float *rows, const float *keys, int32_t dim, float dot[RT][4]) {
  const int32_t ty = (int32_t)threadIdx.x / 16, tx = (int32_t)threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < RT; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) dot[i][j] = 0.0f;
  for (int32_t d = 0; d < dim; d += 4) {
    zk_float4 a[RT], b[4];
#pragma unroll
    for (int i = 0; i < RT; ++i) a[i] = *(const zk_float4 *)(rows + (ty + 16 * i) * (DP + 4) + d);
#pragma unroll
    for (int j = 0; j < 4; ++j) b[j] = *(const zk_float4 *)(keys + (tx + 16 * j) * (DP + 4) + d);
#pragma unroll
    for (int e = 0; e < 4; ++e)
#pragma unroll
      for (int i = 0; i < RT; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) dot[i][j] = fmaf(a[i].at[e], b[j].at[e], dot[i][j]);
  }
}

// Stores a thread's part of a tile of weights, to be read by zk_f32_add.
template <int RT> static __device__ __forceinline__ void zk_f32_store_weights(float *w, const float part[RT][4]) {
  const int32_t ty = (int32_t)threadIdx.x / 16, tx = (int32_t)threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < RT; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) w[(ty + 16 * i) * ZK_F32_W_STRIDE + tx + 16 * j] = part[i][j];
}

// sum[i][..] = fma(w[row i][j], tile[j][column], sum) over the j in [low[i], high[i]) ascending; the others take no
// part.
template <int RT, int DP>
static __device__ __forceinline__ void zk_f32_add(const float *w, const float *tile, const int32_t low[RT],
                                                  const int32_t high[RT], float sum[RT][DP / 16]) {
  const int32_t ty = (int32_t)threadIdx.x / 16, tx = (int32_t)threadIdx.x % 16;
  int32_t first = ZK_F32_KEYS, last = 0, all_from = 0, all_to = ZK_F32_KEYS; // keys of any row; keys of every row
#pragma unroll
  for (int i = 0; i < RT; ++i) {
    if (low[i] < high[i]) first = zk_attn_min(first, low[i]), last = high[i] > last ? high[i] : last;
    all_from = low[i] > all_from ? low[i] : all_from, all_to = zk_attn_min(all_to, high[i]);
  }
  for (int32_t j = first; j < last; ++j) {
    float x[RT];
#pragma unroll
    for (int i = 0; i < RT; ++i) x[i] = w[(ty + 16 * i) * ZK_F32_W_STRIDE + j];
    const bool all = j >= all_from && j < all_to;
#pragma unroll
    for (int c = 0; c < DP / 64; ++c) {
      const zk_float4 y = *(const zk_float4 *)(tile + j * (DP + 4) + 64 * c + 4 * tx);
#pragma unroll
      for (int i = 0; i < RT; ++i) {
        if (!all && (j < low[i] || j >= high[i])) continue;
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[i][4 * c + e] = fmaf(x[i], y.at[e], sum[i][4 * c + e]);
      }
    }
  }
}

template <int RT, int N> static __device__ __forceinline__ void zk_f32_clear(float sum[RT][N]) {
#pragma unroll
  for (int i = 0; i < RT; ++i)
#pragma unroll
    for (int n = 0; n < N; ++n) sum[i][n] = 0.0f;
}

// total = part, or total + part when there is a sum so far.
template <int N>
static __device__ __forceinline__ void zk_f32_add_part(bool first, const float part[N], float total[N]) {
#pragma unroll
  for (int n = 0; n < N; ++n) total[n] = first ? part[n] : total[n] + part[n];
}

// Calls visit(d, x) for the columns of a row that a thread owns: x points to 4 floats of columns d .. d + 3.
template <int DP, class Visit>
static __device__ __forceinline__ void zk_f32_columns(int32_t dim, float row[DP / 16], const Visit &visit) {
  const int32_t tx = (int32_t)threadIdx.x % 16;
#pragma unroll
  for (int c = 0; c < DP / 64; ++c)
    if (64 * c + 4 * tx < dim) visit(64 * c + 4 * tx, row + 4 * c);
}

#endif
