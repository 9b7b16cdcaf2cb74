// Random weights on a GPU: a thread makes one element, from its index alone.
#include "kernels/init.h"

#include "kernels/cuda/cuda.cuh"

#define THREADS 256

// Stored: float or zk_bf16.
template <typename Stored>
static __global__ void init_kernel(uint64_t seed, int64_t first, int64_t n, double scale, Stored *out) {
  const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (i < n) zk_store(out, i, zk_init_weight(seed, first + i, scale));
}

zk_status zk_cuda_init_normal(zk_stream *stream, zk_numerics numerics, uint64_t seed, int64_t first, int64_t n, double scale, void *out) {
  if (n == 0) return ZK_OK;
  const unsigned blocks = (unsigned)zk_ceil_div(n, THREADS);
  if (numerics == ZK_F32) ZK_LAUNCH(init_kernel<float>, blocks, THREADS, 0, stream, seed, first, n, scale, static_cast<float *>(out));
  else ZK_LAUNCH(init_kernel<zk_bf16>, blocks, THREADS, 0, stream, seed, first, n, scale, static_cast<zk_bf16 *>(out));
  return ZK_OK;
}
