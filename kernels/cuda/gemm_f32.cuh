// f32 products: every output is acc = fma(a[k], b[k], acc), k ascending from +0, by one thread from the first k to the
// last. Nothing is padded along k: a chain may stand at -0, and one more fma(0, 0, acc) would make it +0.
#ifndef ZK_KERNELS_CUDA_GEMM_F32_CUH
#define ZK_KERNELS_CUDA_GEMM_F32_CUH

#include "kernels/cuda/gemm_kernel.cuh"

// Four neighbouring elements; those from `valid` on are not read, and +0.
__device__ __forceinline__ zk_f32x4 zk_fetch_f32x4(const float *p, int64_t valid, bool wide) {
  if (wide && valid >= 4) return *(const zk_f32x4 *)p;
  zk_f32x4 x;
#pragma unroll
  for (int e = 0; e < 4; e++) x.v[e] = e < valid ? p[e] : 0.0f;
  return x;
}

// One operand's slice of 8 k by 128 rows on its way to shared memory [8][LD], one fetch of four floats a thread.
template <bool OUTER> struct zk_gemm_f32_slice {
  using element = float;
  using word = float;
  static constexpr int LD = 132; // floats; keeps 16-byte alignment and spreads the transposed stores over the banks
  zk_f32x4 x;

  __device__ __forceinline__ void fetch(const float *p, int64_t ld, int64_t row0, int64_t rows, int64_t k0, int64_t k,
                                        bool wide) {
    const int tid = (int)threadIdx.x;
    if (OUTER) {
      const int64_t kk = k0 + tid / 32, i = row0 + tid % 32 * 4;
      x = zk_fetch_f32x4(p + kk * ld + i, kk < k ? rows - i : 0, wide);
    } else {
      const int64_t i = row0 + tid / 2, kk = k0 + tid % 2 * 4;
      x = zk_fetch_f32x4(p + i * ld + kk, i < rows ? k - kk : 0, wide);
    }
  }
  __device__ __forceinline__ void store(float *s) const {
    const int tid = (int)threadIdx.x;
    if (OUTER) {
      *(zk_f32x4 *)(s + tid / 32 * LD + tid % 32 * 4) = x;
    } else {
#pragma unroll
      for (int e = 0; e < 4; e++) s[(tid % 2 * 4 + e) * LD + tid / 2] = x.v[e];
    }
  }
};

// 128 x 128 outputs by 256 threads, 8 x 8 each (two groups of four rows by two of four columns); shared memory is
// double buffered.
template <bool A_OUTER, bool B_OUTER> struct zk_gemm_f32_tile {
  static constexpr int M = 128, N = 128, K = 8, THREADS = 256, LD = zk_gemm_f32_slice<false>::LD;
  static constexpr int SLICE = K * LD, SHARED = 4 * SLICE * (int)sizeof(float);
  float acc[8][8];

  __device__ __forceinline__ void step(const float *a, const float *b) {
    const int tid = (int)threadIdx.x;
    const zk_f32x4 a0 = *(const zk_f32x4 *)(a + tid / 16 * 4), a1 = *(const zk_f32x4 *)(a + 64 + tid / 16 * 4);
    const zk_f32x4 b0 = *(const zk_f32x4 *)(b + tid % 16 * 4), b1 = *(const zk_f32x4 *)(b + 64 + tid % 16 * 4);
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
      for (int j = 0; j < 8; j++)
        acc[i][j] = fmaf(i < 4 ? a0.v[i % 4] : a1.v[i % 4], j < 4 ? b0.v[j % 4] : b1.v[j % 4], acc[i][j]);
  }

  __device__ __forceinline__ void run(const zk_cuda_gemm &g, int64_t m0, int64_t n0, char *shared) {
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) acc[i][j] = 0.0f;
    zk_gemm_walk<zk_gemm_f32_slice<A_OUTER>, zk_gemm_f32_slice<B_OUTER>, K, SLICE>(
        g, m0, n0, shared, [&](const float *a, const float *b, int64_t k0) {
          if (k0 + K <= g.k) {
#pragma unroll
            for (int kk = 0; kk < K; kk++) step(a + kk * LD, b + kk * LD);
          } else {
            for (int kk = 0; kk < (int)(g.k - k0); kk++) step(a + kk * LD, b + kk * LD);
          }
        });
  }

  template <class F> __device__ __forceinline__ void each(F f) const {
    const int tid = (int)threadIdx.x;
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) f(i / 4 * 64 + tid / 16 * 4 + i % 4, j / 4 * 64 + tid % 16 * 4 + j % 4, acc[i][j]);
  }
};

// Up to 16 rows of a by NT columns, both operands with k inside: a thread owns ROWS rows of one column. The weights' 32
// k of each column are read as whole 128-byte lines and turned in shared memory; a's are beside them.
template <int NT, int ROWS> struct zk_gemm_f32_small {
  static constexpr int M = 16, N = NT, K = 32, THREADS = NT * (M / ROWS), LD = K + 1;
  static constexpr int SHARED = (NT * LD + M * K) * (int)sizeof(float);
  static constexpr int FETCHES = NT * K / THREADS, WARPS = THREADS / 32;
  float acc[ROWS];

  // Column warp + WARPS * i, element `lane` of its 32.
  __device__ __forceinline__ void fetch(const zk_cuda_gemm &g, int64_t n0, int64_t k0, float x[FETCHES]) const {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < FETCHES; i++) {
      const int64_t n = n0 + warp + WARPS * i;
      x[i] = n < g.n && k0 + lane < g.k ? ((const float *)g.b)[n * g.ldb + k0 + lane] : 0.0f;
    }
  }

  __device__ __forceinline__ void step(const float *w, const float *x, int kk) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) acc[r] = fmaf(x[r * K + kk], w[kk], acc[r]);
  }

  __device__ __forceinline__ void run(const zk_cuda_gemm &g, int64_t m0, int64_t n0, char *shared) {
    const int tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32, row = tid / NT * ROWS;
    float *weights = (float *)shared, *rows = weights + NT * LD; // [NT][LD], [M][K]
    float next[FETCHES];
#pragma unroll
    for (int r = 0; r < ROWS; r++) acc[r] = 0.0f;
    fetch(g, n0, 0, next);
    for (int64_t k0 = 0; k0 < g.k; k0 += K) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < FETCHES; i++) weights[(warp + WARPS * i) * LD + lane] = next[i];
      for (int i = tid; i < M * K; i += THREADS) {
        const int64_t m = m0 + i / K, k = k0 + i % K;
        rows[i] = m < g.m && k < g.k ? ((const float *)g.a)[m * g.lda + k] : 0.0f;
      }
      __syncthreads();
      if (k0 + K < g.k) fetch(g, n0, k0 + K, next);
      if (m0 + row >= g.m) continue;
      const float *w = weights + tid % NT * LD, *x = rows + row * K;
      if (k0 + K <= g.k) {
#pragma unroll
        for (int kk = 0; kk < K; kk++) step(w, x, kk);
      } else {
        for (int kk = 0; kk < (int)(g.k - k0); kk++) step(w, x, kk);
      }
    }
  }

  template <class F> __device__ __forceinline__ void each(F f) const {
    const int tid = (int)threadIdx.x;
#pragma unroll
    for (int r = 0; r < ROWS; r++) f(tid / NT * ROWS + r, tid % NT, acc[r]);
  }
};

#endif
