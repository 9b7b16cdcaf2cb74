// The tokens of a batch sorted by id, and by row among equal ids: who sums over the rows of one id walks a stretch of it.
#ifndef ZK_KERNELS_CUDA_TOKEN_ORDER_CUH
#define ZK_KERNELS_CUDA_TOKEN_ORDER_CUH

#include "kernels/cuda/cuda.cuh"

// A row whose id is outside the vocabulary is raised as an error and sorts behind all others, as padding does.
#define ZK_NO_TOKEN 0xffffffffffffffffull

// *out: scratch of `stream` with num_rows sorted keys (id << 32 | row), valid until the stream's next operation.
// Cost: log2(n)^2 / 2 steps over n keys, n = num_rows rounded up to a power of two; 21 launches at 65,536 rows.
zk_status zk_cuda_token_order(zk_stream *stream, int64_t num_rows, int32_t vocab, const int32_t *tokens,
                              const unsigned long long **out);

#endif
