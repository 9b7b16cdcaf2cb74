// Tokens that a step takes from the one before it, on the device.
#include "kernels/backend.h"
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 256 };

// A thread a token.
static __global__ void __launch_bounds__(THREADS) follow_kernel(int64_t n, const int32_t *drawn, int32_t *tokens) {
  const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (i >= n || tokens[i] >= 0) return;
  const int32_t token = drawn[-1 - tokens[i]];
  tokens[i] = token < 0 ? 0 : token;
}

zk_status zk_cuda_tokens_follow(zk_stream *stream, int64_t n, const int32_t *drawn, int32_t *tokens) {
  ZK_LAUNCH(follow_kernel, (unsigned)zk_ceil_div(n, THREADS), THREADS, 0, stream, n, drawn, tokens);
  return ZK_OK;
}
