// bf16 products: every output is one chain of k16 tensor-core steps, k ascending from +0 in steps of 16 counted from
// the first, the last one padded with zeros on both sides. Steps wholly behind the last k are not made: a chain may
// stand at -0, which a step of zeros would make +0.
//
// Fragments of mma m16n8k16, lane = 4 g + t: a0 (row g, k 2t and 2t+1), a1 (row g + 8), a2 and a3 the same at k + 8; b0
// (column g, k 2t and 2t+1), b1 at k + 8; d0, d1 (row g, columns 2t and 2t+1), d2, d3 (row g + 8).
#ifndef ZK_KERNELS_CUDA_GEMM_BF16_CUH
#define ZK_KERNELS_CUDA_GEMM_BF16_CUH

#include "kernels/cuda/gemm_kernel.cuh"
#include "kernels/cuda/mma.cuh"

// COUNT neighbouring elements (a multiple of two), two a word; those from `valid` on are not read, and +0.
template <int COUNT, class Words>
__device__ __forceinline__ Words zk_fetch_bf16(const zk_bf16 *p, int64_t valid, bool wide) {
  if (wide && valid >= COUNT) return *(const Words *)p;
  Words x;
#pragma unroll
  for (int e = 0; e < COUNT; e += 2) {
    const uint32_t low = e < valid ? p[e].bits : 0u, high = e + 1 < valid ? p[e + 1].bits : 0u;
    x.w[e / 2] = low | high << 16;
  }
  return x;
}

// One operand's slice of 32 k by 128 rows on its way to shared memory [128][LD words], two fetches of eight elements a
// thread.
template <bool OUTER> struct zk_gemm_bf16_slice {
  using element = zk_bf16;
  using word = uint32_t;
  static constexpr int LD = 20; // words: 16 and padding, so that the eight rows of a fragment lie in different banks
  zk_16b x[2];

  __device__ __forceinline__ void fetch(const zk_bf16 *p, int64_t ld, int64_t row0, int64_t rows, int64_t k0, int64_t k,
                                        bool wide) {
    const int tid = (int)threadIdx.x;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (OUTER) { // k 2p and 2p + 1 of eight rows, to be paired
        const int64_t kk = k0 + tid % 16 * 2 + h, i = row0 + tid / 16 * 8;
        x[h] = zk_fetch_bf16<8, zk_16b>(p + kk * ld + i, kk < k ? rows - i : 0, wide);
      } else {
        const int64_t i = row0 + h * 64 + tid / 4, kk = k0 + tid % 4 * 8;
        x[h] = zk_fetch_bf16<8, zk_16b>(p + i * ld + kk, i < rows ? k - kk : 0, wide);
      }
    }
  }
  __device__ __forceinline__ void store(uint32_t *s) const {
    const int tid = (int)threadIdx.x;
    if (OUTER) {
#pragma unroll
      for (int e = 0; e < 8; e++) {
        const uint32_t low = x[0].w[e / 2] >> (e % 2 * 16) & 0xffffu, high = x[1].w[e / 2] >> (e % 2 * 16) & 0xffffu;
        s[(tid / 16 * 8 + e) * LD + tid % 16] = low | high << 16;
      }
    } else {
#pragma unroll
      for (int h = 0; h < 2; h++) *(zk_16b *)(s + (h * 64 + tid / 4) * LD + tid % 4 * 4) = x[h];
    }
  }
};

// 128 x 128 outputs by eight warps, 64 x 32 each: 4 x 4 mma; shared memory is double buffered.
template <bool A_OUTER, bool B_OUTER> struct zk_gemm_bf16_tile {
  static constexpr int M = 128, N = 128, K = 32, THREADS = 256, LD = zk_gemm_bf16_slice<false>::LD;
  static constexpr int SLICE = M * LD, SHARED = 4 * SLICE * (int)sizeof(uint32_t);
  float acc[4][4][4];

  // One k16 step; a and b point at its first word.
  __device__ __forceinline__ void step(const uint32_t *a, const uint32_t *b) {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, g = lane / 4, t = lane % 4;
    uint32_t fa[4][4], fb[4][2];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int q = 0; q < 4; q++) fa[i][q] = a[(warp % 2 * 64 + i * 16 + g + q % 2 * 8) * LD + t + q / 2 * 4];
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int q = 0; q < 2; q++) fb[j][q] = b[(warp / 2 * 32 + j * 8 + g) * LD + t + q * 4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) zk_mma_bf16(acc[i][j], fa[i], fb[j]);
  }

  __device__ __forceinline__ void run(const zk_cuda_gemm &g, int64_t m0, int64_t n0, char *shared) {
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int q = 0; q < 4; q++) acc[i][j][q] = 0.0f;
    zk_gemm_walk<zk_gemm_bf16_slice<A_OUTER>, zk_gemm_bf16_slice<B_OUTER>, K, SLICE>(
        g, m0, n0, shared, [&](const uint32_t *a, const uint32_t *b, int64_t k0) {
          step(a, b);
          if (k0 + 16 < g.k) step(a + 8, b + 8);
        });
  }

  template <class F> __device__ __forceinline__ void each(F f) const {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int q = 0; q < 4; q++)
          f(warp % 2 * 64 + i * 16 + lane / 4 + q / 2 * 8, warp / 2 * 32 + j * 8 + lane % 4 * 2 + q % 2, acc[i][j][q]);
  }
};

struct alignas(8) zk_bf16x4 {
  uint32_t w[2];
};

// Up to 16 rows of a, both operands with k inside: b's rows are the mma's 16, a's its 8 columns (twice when there are
// more than 8). Operands come straight from memory: lane (g, t) takes the four neighbouring k from 4 t on in place of
// 2t, 2t+1, 2t+8 and 2t+9, in both operands; a step's sum is exact before its one truncation, so its order is free.
template <int WARPS> struct zk_gemm_bf16_small {
  static constexpr int M = 16, N = 16 * WARPS, THREADS = 32 * WARPS, SHARED = 0, UNROLL = 4;
  float acc[2][4];

  __device__ __forceinline__ void run(const zk_cuda_gemm &g, int64_t m0, int64_t n0, char *) {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int64_t n = n0 + warp * 16 + lane / 4, m = m0 + lane / 4;
    const zk_bf16 *w = (const zk_bf16 *)g.b + lane % 4 * 4, *x = (const zk_bf16 *)g.a + lane % 4 * 4;
    const bool more_than_8 = g.m - m0 > 8;
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
      for (int q = 0; q < 4; q++) acc[j][q] = 0.0f;
    for (int64_t first = 0; first < g.k; first += 16 * UNROLL) {
      zk_bf16x4 fw[UNROLL][2], fx[UNROLL][2];
#pragma unroll
      for (int u = 0; u < UNROLL; u++) {
        const int64_t k0 = first + 16 * u, valid = g.k - k0 - lane % 4 * 4;
#pragma unroll
        for (int h = 0; h < 2; h++) {
          fw[u][h] = zk_fetch_bf16<4, zk_bf16x4>(w + (n + 8 * h) * g.ldb + k0, n + 8 * h < g.n ? valid : 0, g.b_wide);
          fx[u][h] = zk_fetch_bf16<4, zk_bf16x4>(x + (m + 8 * h) * g.lda + k0, m + 8 * h < g.m ? valid : 0, g.a_wide);
        }
      }
#pragma unroll
      for (int u = 0; u < UNROLL; u++) {
        if (first + 16 * u >= g.k) break;
        const uint32_t a[4] = {fw[u][0].w[0], fw[u][1].w[0], fw[u][0].w[1], fw[u][1].w[1]};
        zk_mma_bf16(acc[0], a, fx[u][0].w);
        if (more_than_8) zk_mma_bf16(acc[1], a, fx[u][1].w);
      }
    }
  }

  template <class F> __device__ __forceinline__ void each(F f) const {
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
      for (int q = 0; q < 4; q++) f(j * 8 + lane % 4 * 2 + q % 2, warp * 16 + lane / 4 + q / 2 * 8, acc[j][q]);
  }
};

#endif
