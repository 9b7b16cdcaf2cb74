// The kernel around every core: form a tile of outputs in registers, then finish and store each. A core is a struct
// with
//   M, N        rows and columns of its tile of outputs; THREADS of a block; SHARED bytes of dynamic shared memory
//   run         the chains of the outputs of the tile at (m0, n0)
//   each        f(i, j, value) for each of the thread's outputs, i < M, j < N; some lie outside the product
#ifndef ZK_KERNELS_CUDA_GEMM_KERNEL_CUH
#define ZK_KERNELS_CUDA_GEMM_KERNEL_CUH

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"

// Sixteen neighbouring bytes, moved by one instruction.
struct alignas(16) zk_16b {
  uint32_t w[4];
};
struct alignas(16) zk_f32x4 {
  float v[4];
};

__device__ __forceinline__ float zk_gemm_read(const void *p, zk_numerics as, int64_t i) {
  return as == ZK_BF16 ? zk_load((const zk_bf16 *)p, i) : zk_load((const float *)p, i);
}

// Output (i, j): bias, then addend, then the one rounding.
__device__ __forceinline__ void zk_gemm_finish(const zk_cuda_gemm &g, int64_t i, int64_t j, float acc) {
  if (g.bias != NULL) acc = acc + zk_gemm_read(g.bias, g.numerics, j);
  if (g.addend != NULL) acc = acc + zk_gemm_read(g.addend, g.addend_as, i * g.ldaddend + j);
  if (g.c_as == ZK_BF16) zk_store((zk_bf16 *)g.c, i * g.ldc + j, acc);
  else zk_store((float *)g.c, i * g.ldc + j, acc);
}

// grid: (tiles of m, tiles of n): blocks that run together share b, the larger operand in most products.
template <class Core> __global__ void __launch_bounds__(Core::THREADS) zk_gemm_kernel(zk_cuda_gemm g) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int64_t m0 = (int64_t)blockIdx.x * Core::M, n0 = (int64_t)blockIdx.y * Core::N;
  Core core;
  core.run(g, m0, n0, shared);
  core.each([&](int i, int j, float value) {
    if (m0 + i < g.m && n0 + j < g.n) zk_gemm_finish(g, m0 + i, n0 + j, value);
  });
}

// Takes K of k at a time, ascending, through shared memory: use(a, b, k0) multiplies one pair of slices, of SLICE words
// each, while the next is on its way from memory. A slice has
//   element     as stored; word: as in shared memory
//   fetch       of its operand's rows, to registers; store: from there to shared memory
template <class SliceA, class SliceB, int K, int SLICE, class Use>
__device__ __forceinline__ void zk_gemm_walk(const zk_cuda_gemm &g, int64_t m0, int64_t n0, char *shared, Use use) {
  using element = typename SliceA::element;
  using word = typename SliceA::word;
  word *a = (word *)shared, *b = a + 2 * SLICE; // [2][SLICE] each
  SliceA next_a;
  SliceB next_b;
  next_a.fetch((const element *)g.a, g.lda, m0, g.m, 0, g.k, g.a_wide);
  next_b.fetch((const element *)g.b, g.ldb, n0, g.n, 0, g.k, g.b_wide);
  int buffer = 0;
  for (int64_t k0 = 0; k0 < g.k; k0 += K, buffer ^= 1) {
    word *sa = a + buffer * SLICE, *sb = b + buffer * SLICE;
    next_a.store(sa), next_b.store(sb);
    __syncthreads(); // also: everyone is done with the other buffer, which the next round fills
    if (k0 + K < g.k) {
      next_a.fetch((const element *)g.a, g.lda, m0, g.m, k0 + K, g.k, g.a_wide);
      next_b.fetch((const element *)g.b, g.ldb, n0, g.n, k0 + K, g.k, g.b_wide);
    }
    use(sa, sb, k0);
  }
}

template <class Core> static dim3 zk_gemm_grid(const zk_cuda_gemm *g) {
  return dim3((unsigned)zk_ceil_div(g->m, Core::M), (unsigned)zk_ceil_div(g->n, Core::N));
}

template <class Core> static zk_status zk_gemm_launch(zk_stream *stream, const zk_cuda_gemm *g) {
  ZK_LAUNCH((zk_gemm_kernel<Core>), zk_gemm_grid<Core>(g), Core::THREADS, Core::SHARED, stream, *g);
  return ZK_OK;
}

#endif
