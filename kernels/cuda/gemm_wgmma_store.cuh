// What a linear layer does with a consumer's 64 x N outputs (gemm_wgmma.cuh): + bias, + addend, each a rounded f32
// addition, and one rounding if they are stored as bf16 (gemm.h).
//
// A warp owns 16 rows; lane l holds columns 8 j + 2 (l % 4) and the next of rows l / 4 and l / 4 + 8. f32 outputs go
// straight to memory: four lanes fill 32 bytes. bf16 outputs go through 16 x 64 tiles in shared memory, two a warp in
// turn, which the copy engine writes out while the warp prepares the next one; it leaves out what lies outside c.
#ifndef ZK_KERNELS_CUDA_GEMM_WGMMA_STORE_CUH
#define ZK_KERNELS_CUDA_GEMM_WGMMA_STORE_CUH

#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/gemm_wgmma.cuh"

// Columns come in groups of 8, which are inside c or outside as a whole, and in pairs, which are read at once.
static inline bool zk_gemm_wgmma_stores(const zk_cuda_gemm *g) {
  const uint64_t c = g->c_as == ZK_BF16 ? 16 : 8, addend = g->addend_as == ZK_BF16 ? 4 : 8;
  return g->n % 8 == 0 && g->c != NULL && (uintptr_t)g->c % c == 0 && g->ldc % (g->c_as == ZK_BF16 ? 8 : 2) == 0 &&
         (uintptr_t)g->bias % 4 == 0 && (uintptr_t)g->addend % addend == 0 && g->ldaddend % 2 == 0;
}

template <int N> struct zk_gemm_wgmma_store {
  static constexpr int TILE = 16 * 64 * 2, SHARED = 4 * 2 * TILE;
  // Addends are fetched some columns at a time, the first of them before the chains are complete.
  static constexpr int F32_COLUMNS = 64, BF16_COLUMNS = N % 128 == 0 ? 128 : 64, WORDS = 32;
  struct Args {
    CUtensorMap c; // bf16 c: boxes of 16 rows of 64
    zk_cuda_gemm g;
  };
  struct Fetched {
    uint32_t word[WORDS]; // pairs of addends as they are stored, in the order of d
  };
  int turn;

  __device__ __forceinline__ zk_gemm_wgmma_store() : turn(0) {}

  static __device__ __forceinline__ int own_row() {
    return (int)threadIdx.x % 128 / 32 * 16 + (int)threadIdx.x % 32 / 4;
  }
  static __device__ __forceinline__ int own_column() { return (int)threadIdx.x % 4 * 2; }

  // The thread's addends of columns [n, n + COLUMNS). Rows outside c get the last row's, which nobody will store.
  template <class T, int COLUMNS>
  static __device__ __forceinline__ void fetch(const zk_cuda_gemm &g, int m0, int n, Fetched &to) {
    const int row = m0 + own_row(), last = (int)g.m - 1, columns = (int)g.n - n;
    asm volatile("" ::: "memory"); // no sooner: there are registers for one batch
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const T *p = (const T *)g.addend + min(row + 8 * h, last) * g.ldaddend + n + own_column();
#pragma unroll
      for (int j = 0; j < COLUMNS / 8; j++) {
        if (sizeof(T) == 4) {
          const uint2 pair = 8 * j < columns ? *(const uint2 *)(p + 8 * j) : make_uint2(0, 0);
          to.word[(4 * j + 2 * h) % WORDS] = pair.x, to.word[(4 * j + 2 * h + 1) % WORDS] = pair.y;
        } else {
          to.word[2 * j + h] = 8 * j < columns ? *(const uint32_t *)(p + 8 * j) : 0;
        }
      }
    }
  }
  __device__ __forceinline__ void begin(const Args &args, int m0, int n0, Fetched &to) const {
    if (args.g.addend == NULL) return;
    if (args.g.addend_as == ZK_F32) fetch<float, F32_COLUMNS>(args.g, m0, n0, to);
    else fetch<zk_bf16, BF16_COLUMNS>(args.g, m0, n0, to);
  }
  template <class T, int COLUMNS>
  static __device__ __forceinline__ void add(const zk_cuda_gemm &g, float (&d)[N / 2], int m0, int n0, Fetched &next) {
#pragma unroll
    for (int first = 0; first < N; first += COLUMNS) {
#pragma unroll
      for (int e = 0; e < COLUMNS / 2; e++) {
        const uint32_t word = next.word[(sizeof(T) == 4 ? e : e / 2) % WORDS];
        float &x = d[first / 2 + e];
        x = x + __uint_as_float(sizeof(T) == 4 ? word : e % 2 == 0 ? word << 16 : word & 0xffff0000u);
      }
      if (first + COLUMNS < N) fetch<T, COLUMNS>(g, m0, n0 + first + COLUMNS, next);
    }
  }
  static __device__ __forceinline__ void add_bias(const zk_cuda_gemm &g, float (&d)[N / 2], int n0) {
    const zk_bf16 *p = (const zk_bf16 *)g.bias + n0 + own_column();
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
      if (j % 16 == 0) asm volatile("" ::: "memory"); // 16 loads at a time
      const uint32_t pair = 8 * j < (int)g.n - n0 ? *(const uint32_t *)(p + 8 * j) : 0;
#pragma unroll
      for (int e = 0; e < 4; e++)
        d[4 * j + e] = d[4 * j + e] + __uint_as_float(e % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
    }
  }

  // Columns [n, n + 64) of the warp's 16 rows from m, d their outputs.
  __device__ __forceinline__ void store_bf16(const Args &args, const float *d, int m, int n, char *shared) {
    const int lane = (int)threadIdx.x % 32, row = lane % 16;
    char *tile = shared + ((int)threadIdx.x % 128 / 32 * 2 + turn) * TILE;
    turn ^= 1;
    if (lane == 0) zk_tma_wait_read<1>(); // this tile's last content has been written out
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 8; j += 2) { // matrices: rows 0..7 and 8..15 of column group j, then of j + 1
      uint32_t x[4];
#pragma unroll
      for (int i = 0; i < 4; i++) x[i] = zk_pack_bf16(d[4 * j + 2 * i], d[4 * j + 2 * i + 1]);
      zk_store_matrices(tile + row * 128 + (((j + lane / 16) ^ (row % 8)) * 16), x);
    }
    zk_fence_async();
    __syncwarp();
    if (lane == 0) {
      if (m < args.g.m && n < args.g.n) zk_tma_store_2d(&args.c, tile, n, m);
      zk_tma_commit();
    }
  }
  static __device__ __forceinline__ void store_f32(const zk_cuda_gemm &g, const float *d, int m0, int n0) {
    const int row = m0 + own_row(), columns = (int)g.n - n0;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float *p = (float *)g.c + (row + 8 * h) * g.ldc + n0 + own_column();
      if (row + 8 * h < (int)g.m)
#pragma unroll
        for (int j = 0; j < N / 8; j++)
          if (8 * j < columns) *(float2 *)(p + 8 * j) = make_float2(d[4 * j + 2 * h], d[4 * j + 2 * h + 1]);
    }
  }

  __device__ __forceinline__ void store(const Args &args, float (&d)[N / 2], int m0, int n0, Fetched &fetched,
                                        char *shared) {
    const zk_cuda_gemm &g = args.g;
    if (g.bias != NULL) add_bias(g, d, n0);
    if (g.addend != NULL) {
      if (g.addend_as == ZK_F32) add<float, F32_COLUMNS>(g, d, m0, n0, fetched);
      else add<zk_bf16, BF16_COLUMNS>(g, d, m0, n0, fetched);
    }
    if (g.c_as == ZK_F32) {
      store_f32(g, d, m0, n0);
    } else {
#pragma unroll
      for (int n = 0; n < N; n += 64)
        store_bf16(args, d + n / 2, m0 + (int)threadIdx.x % 128 / 32 * 16, n0 + n, shared);
    }
  }
  __device__ __forceinline__ void end() {
    if (threadIdx.x % 32 == 0) zk_tma_wait_read<0>(); // shared memory must outlive the copies
  }
};

#endif
