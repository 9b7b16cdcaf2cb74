// The kernel of gemm_swiglu_backward.h: a product by turns (gemm_wgmma.cuh) whose outputs, rounded as they would be stored, go through
// SwiGLU backwards in the registers of the consumer that formed them, while the other multiplies.
#include "kernels/cuda/gemm_swiglu_backward.h"

#include "kernels/cuda/cuda.cuh"

#ifdef ZK_SIMT // the emulated device has no copy engine
zk_status zk_cuda_gemm_swiglu_backward(zk_stream *stream, zk_cuda_gemm g, const void *gate, const void *up, void *dup, bool *done) {
  *done = false;
  return ZK_OK;
}
#else

#include "kernels/cuda/gemm_wgmma_launch.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

// As zk_gemm_wgmma_store: gate and up are fetched COLUMNS at a time, the first of them before the chains are complete, and give way to
// their gradients.
struct swiglu_backward {
  static constexpr int N = 128, COLUMNS = 64, WORDS = COLUMNS / 4;
  typedef zk_gemm_wgmma_rows<COLUMNS> Rows;
  static constexpr bool WHOLE = false;
  static constexpr int SHARED = Rows::SHARED;
  struct Args {
    CUtensorMap dgate, dup;
    const zk_bf16 *gate, *up;
    int rows, columns;
  };
  struct Fetched {
    uint32_t gate[WORDS], up[WORDS]; // word 2 j + h: columns 8 j .. of the thread's first row, or of that 8 further
  };
  Rows rows;

  static __device__ __forceinline__ void fetch(const Args &args, int m0, int n0, Fetched &to) {
    const int row = m0 + zk_gemm_wgmma_own_row(), n = n0 + zk_gemm_wgmma_own_column();
    asm volatile("" ::: "memory"); // no sooner: there are registers for one batch
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int64_t at = (int64_t)min(row + 8 * h, args.rows - 1) * args.columns + n; // beyond the last row nothing will be stored
#pragma unroll
      for (int j = 0; j < COLUMNS / 8; j++) {
        const bool there = n0 + 8 * j < args.columns;
        to.gate[2 * j + h] = there ? *(const uint32_t *)(args.gate + at + 8 * j) : 0;
        to.up[2 * j + h] = there ? *(const uint32_t *)(args.up + at + 8 * j) : 0;
      }
    }
  }
  __device__ __forceinline__ void begin(const Args &args, int m0, int n0, Fetched &to) const { fetch(args, m0, n0, to); }
  __device__ __forceinline__ void store(const Args &args, float (&d)[N / 2], int m0, int n0, Fetched &x, char *shared) {
#pragma unroll
    for (int first = 0; first < N; first += COLUMNS) {
#pragma unroll
      for (int i = 0; i < WORDS; i++) {
        const uint32_t dact = zk_pack_bf16(d[first / 2 + 2 * i], d[first / 2 + 2 * i + 1]);
        const float g[2] = {zk_low_bf16(x.gate[i]), zk_high_bf16(x.gate[i])}, u[2] = {zk_low_bf16(x.up[i]), zk_high_bf16(x.up[i])};
        const float dy[2] = {zk_low_bf16(dact), zk_high_bf16(dact)};
        float s[2], dgate[2], dup[2];
        zk_sigmoid<2>(g, s);
#pragma unroll
        for (int e = 0; e < 2; e++) {
          dup[e] = dy[e] * (g[e] * s[e]);
          dgate[e] = (dy[e] * u[e]) * (s[e] * fmaf(g[e], 1.0f - s[e], 1.0f));
        }
        x.gate[i] = zk_pack_bf16(dgate[0], dgate[1]), x.up[i] = zk_pack_bf16(dup[0], dup[1]);
      }
      const int m = m0 + zk_gemm_wgmma_warp_row(), n = n0 + first;
      rows.store_words(&args.dgate, args.rows, args.columns, [&](int i) { return x.gate[i]; }, m, n, shared);
      rows.store_words(&args.dup, args.rows, args.columns, [&](int i) { return x.up[i]; }, m, n, shared);
      if (first + COLUMNS < N) fetch(args, m0, n + COLUMNS, x);
    }
  }
  __device__ __forceinline__ void end() { Rows::end(); }
};

typedef zk_gemm_wgmma_core<zk_gemm_wgmma_shape<128, swiglu_backward::N, 2, 1, true, false, false, true>, 2 * swiglu_backward::SHARED> core_type;

zk_status zk_cuda_gemm_swiglu_backward(zk_stream *stream, zk_cuda_gemm g, const void *gate, const void *up, void *dup, bool *done) {
  *done = ((uintptr_t)gate | (uintptr_t)up) % 4 == 0 && (uintptr_t)dup % 16 == 0 && zk_cuda_gemm_takes_turns(&g);
  if (!*done) return ZK_OK;
  swiglu_backward::Args args;
  args.gate = (const zk_bf16 *)gate, args.up = (const zk_bf16 *)up, args.rows = (int)g.m, args.columns = (int)g.n;
  zk_cuda_gemm second = g;
  second.c = dup;
  ZK_TRY(swiglu_backward::Rows::map(&g, &args.dgate));
  ZK_TRY(swiglu_backward::Rows::map(&second, &args.dup));
  return zk_gemm_wgmma_launch<core_type, swiglu_backward>(stream, &g, args);
}
#endif
