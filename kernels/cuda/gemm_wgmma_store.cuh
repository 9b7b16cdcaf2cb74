// What a linear layer does with a consumer's 64 x N outputs (gemm_wgmma.cuh): + bias, + addend, each a rounded f32
// addition, and one rounding if they are stored as bf16 (gemm.h). Or SwiGLU of their two halves, gate and up, rounded
// where each would have been stored.
//
// A warp owns 16 rows; lane l holds columns 8 j + 2 (l % 4) and the next of rows l / 4 and l / 4 + 8. f32 outputs go
// straight to memory: four lanes fill 32 bytes. bf16 outputs go through tiles of 16 rows in shared memory, two a warp in
// turn, which the copy engine writes out while the warp prepares the next one; it leaves out what lies outside c.
#ifndef ZK_KERNELS_CUDA_GEMM_WGMMA_STORE_CUH
#define ZK_KERNELS_CUDA_GEMM_WGMMA_STORE_CUH

#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/gemm_wgmma.cuh"
#include "kernels/cuda/sigmoid.cuh"

// Columns come in groups of 8, which are inside c or outside as a whole, and in pairs, which are read at once.
static inline bool zk_gemm_wgmma_stores(const zk_cuda_gemm *g) {
  const uint64_t c = g->c_as == ZK_BF16 ? 16 : 8, addend = g->addend_as == ZK_BF16 ? 4 : 8;
  return g->n % 8 == 0 && g->c != NULL && (uintptr_t)g->c % c == 0 && g->ldc % (g->c_as == ZK_BF16 ? 8 : 2) == 0 &&
         (uintptr_t)g->bias % 4 == 0 && (uintptr_t)g->addend % addend == 0 && g->ldaddend % 2 == 0;
}

// A warp's bf16 stores, WIDTH columns in tiles of 16 x COLUMNS. Those of 64 columns are swizzled as tma.cuh says, others
// are plain.
template <int WIDTH> struct zk_gemm_wgmma_rows {
  static constexpr int most() { // the widest of up to 64 columns that divides them
    int c = 64;
    while (WIDTH % c != 0) c -= 8;
    return c;
  }
  static constexpr int COLUMNS = most(), TILE = 16 * COLUMNS * 2;
  static constexpr int SHARED = (4 * 2 * TILE + 1023) / 1024 * 1024; // of a warpgroup
  int turn;

  __device__ __forceinline__ zk_gemm_wgmma_rows() : turn(0) {}

  static zk_status map(const zk_cuda_gemm *g, CUtensorMap *out) {
    return zk_tma_map_2d(ZK_BF16, g->c, g->m, g->n, g->ldc, 16, COLUMNS,
                         COLUMNS == 64 ? ZK_TMA_SWIZZLE_128 : ZK_TMA_PLAIN, out);
  }
  // The warp's 16 rows from m of c, which has `rows` and `columns`; columns [n, n + WIDTH), d their outputs.
  __device__ __forceinline__ void store(const CUtensorMap *c, int rows, int columns, const float *d, int m, int n,
                                        char *shared) {
    const int lane = (int)threadIdx.x % 32, row = lane % 16;
#pragma unroll
    for (int first = 0; first < WIDTH; first += COLUMNS) {
      char *tile = shared + ((int)threadIdx.x % 128 / 32 * 2 + turn) * TILE;
      turn ^= 1;
      if (lane == 0) zk_tma_wait_read<1>(); // this tile's last content has been written out
      __syncwarp();
#pragma unroll
      for (int j = 0; j < COLUMNS / 8;
           j += 2) { // matrices: rows 0..7 and 8..15 of columns 8 j .., then of the next 8, or again
        const int other = j + 1 < COLUMNS / 8 ? 1 : 0, group = j + lane / 16 * other;
        const float *x = d + first / 2 + 4 * j, *y = x + 4 * other;
        const uint32_t words[4] = {zk_pack_bf16(x[0], x[1]), zk_pack_bf16(x[2], x[3]), zk_pack_bf16(y[0], y[1]),
                                   zk_pack_bf16(y[2], y[3])};
        zk_store_matrices(tile + row * COLUMNS * 2 + (COLUMNS == 64 ? group ^ (row % 8) : group) * 16, words);
      }
      zk_fence_async();
      __syncwarp();
      if (lane == 0) {
        if (m < rows && n + first < columns) zk_tma_store_2d(c, tile, n + first, m);
        zk_tma_commit();
      }
    }
  }
  static __device__ __forceinline__ void end() {
    if (threadIdx.x % 32 == 0) zk_tma_wait_read<0>(); // shared memory must outlive the copies
  }
};

// The warp's first row of the warpgroup's 64, and the thread's first row and column in its outputs.
static __device__ __forceinline__ int zk_gemm_wgmma_warp_row() { return (int)threadIdx.x % 128 / 32 * 16; }
static __device__ __forceinline__ int zk_gemm_wgmma_own_row() {
  return zk_gemm_wgmma_warp_row() + (int)threadIdx.x % 32 / 4;
}
static __device__ __forceinline__ int zk_gemm_wgmma_own_column() { return (int)threadIdx.x % 4 * 2; }

template <int N> struct zk_gemm_wgmma_store {
  typedef zk_gemm_wgmma_rows<N> Rows;
  static constexpr bool WHOLE = false;
  static constexpr int SHARED = Rows::SHARED;
  // Addends are fetched some columns at a time, the first of them before the chains are complete.
  static constexpr int F32_COLUMNS = Rows::COLUMNS, BF16_COLUMNS = N % 128 == 0 ? 128 : F32_COLUMNS, WORDS = 32;
  struct Args {
    zk_gemm_parts parts;
    CUtensorMap c[ZK_GEMM_MOST_PARTS]; // of bf16 c
    zk_cuda_gemm g[ZK_GEMM_MOST_PARTS];
  };
  struct Fetched {
    uint32_t word[WORDS]; // pairs of addends as they are stored, in the order of d
  };
  Rows bf16_rows;

  // The thread's addends of columns [n, n + COLUMNS). Rows outside c get the last row's, which nobody will store.
  template <class T, int COLUMNS>
  static __device__ __forceinline__ void fetch(const zk_cuda_gemm &g, int m0, int n, Fetched &to) {
    const int row = m0 + zk_gemm_wgmma_own_row(), last = (int)g.m - 1, columns = (int)g.n - n;
    asm volatile("" ::: "memory"); // no sooner: there are registers for one batch
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const T *p = (const T *)g.addend + min(row + 8 * h, last) * g.ldaddend + n + zk_gemm_wgmma_own_column();
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
    const zk_cuda_gemm &g = args.g[0]; // parts have no addend
    if (g.addend == NULL) return;
    if (g.addend_as == ZK_F32) fetch<float, F32_COLUMNS>(g, m0, n0, to);
    else fetch<zk_bf16, BF16_COLUMNS>(g, m0, n0, to);
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
    const zk_bf16 *p = (const zk_bf16 *)g.bias + n0 + zk_gemm_wgmma_own_column();
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
      if (j % 16 == 0) asm volatile("" ::: "memory"); // 16 loads at a time
      const uint32_t pair = 8 * j < (int)g.n - n0 ? *(const uint32_t *)(p + 8 * j) : 0;
#pragma unroll
      for (int e = 0; e < 4; e++)
        d[4 * j + e] = d[4 * j + e] + __uint_as_float(e % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
    }
  }
  static __device__ __forceinline__ void store_f32(const zk_cuda_gemm &g, const float *d, int m0, int n0) {
    const int row = m0 + zk_gemm_wgmma_own_row(), columns = (int)g.n - n0;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float *p = (float *)g.c + (row + 8 * h) * g.ldc + n0 + zk_gemm_wgmma_own_column();
      if (row + 8 * h < (int)g.m)
#pragma unroll
        for (int j = 0; j < N / 8; j++)
          if (8 * j < columns) *(float2 *)(p + 8 * j) = make_float2(d[4 * j + 2 * h], d[4 * j + 2 * h + 1]);
    }
  }

  __device__ __forceinline__ void store(const Args &args, float (&d)[N / 2], int m0, int n0, Fetched &fetched,
                                        char *shared) {
    int column;
    const int part = args.parts.at(n0 / N, &column);
    const zk_cuda_gemm &g = args.g[part];
    n0 = column * N;
    if (g.bias != NULL) add_bias(g, d, n0);
    if (g.addend != NULL) {
      if (g.addend_as == ZK_F32) add<float, F32_COLUMNS>(g, d, m0, n0, fetched);
      else add<zk_bf16, BF16_COLUMNS>(g, d, m0, n0, fetched);
    }
    if (g.c_as == ZK_F32) store_f32(g, d, m0, n0);
    else bf16_rows.store(&args.c[part], (int)g.m, (int)g.n, d, m0 + zk_gemm_wgmma_warp_row(), n0, shared);
  }
  __device__ __forceinline__ void end() { Rows::end(); }
};

// c = SwiGLU of the two halves (kernels/swiglu.h). KEEPS: which are stored too, as they are read for it.
template <int N, bool KEEPS = false> struct zk_gemm_wgmma_swiglu {
  typedef zk_gemm_wgmma_rows<N / 2> Rows;
  static constexpr bool WHOLE = false;
  static constexpr int SHARED = Rows::SHARED;
  struct Args {
    CUtensorMap c, kept[KEEPS ? 2 : 1];
    int rows, columns; // of c
  };
  struct Fetched {};
  Rows rows;

  __device__ __forceinline__ void begin(const Args &, int, int, Fetched &) const {}
  __device__ __forceinline__ void store(const Args &args, float (&d)[N / 2], int m0, int n0, Fetched &, char *shared) {
    const int m = m0 + zk_gemm_wgmma_warp_row(), n = n0 / 2;
    if (KEEPS) {
      rows.store(&args.kept[0], args.rows, args.columns, d, m, n, shared);
      rows.store(&args.kept[KEEPS], args.rows, args.columns, d + N / 4, m, n, shared);
    }
#pragma unroll
    for (int e = 0; e < N / 4; e += 2) {
      const uint32_t gates = zk_pack_bf16(d[e], d[e + 1]), ups = zk_pack_bf16(d[N / 4 + e], d[N / 4 + e + 1]);
      const float g[2] = {zk_low_bf16(gates), zk_high_bf16(gates)};
      float s[2];
      zk_sigmoid<2>(g, s);
      d[e] = (g[0] * s[0]) * zk_low_bf16(ups);
      d[e + 1] = (g[1] * s[1]) * zk_high_bf16(ups);
    }
    rows.store(&args.c, args.rows, args.columns, d, m, n, shared);
  }
  __device__ __forceinline__ void end() { Rows::end(); }
};

#endif
