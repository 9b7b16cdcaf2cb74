// A bitonic sort (Batcher 1968) of one 64-bit key a row. Keys differ, so there is one sorted order, whatever the network.
#include "kernels/cuda/token_order.cuh"

#define TILE 2048 // keys that a block sorts in shared memory
#define THREADS (TILE / 2)

// keys [n]: those of num_rows tokens, then padding.
static __global__ void make_keys_kernel(int64_t num_rows, int64_t n, int32_t vocab, const int32_t *tokens,
                                        unsigned long long *keys, unsigned long long *error_word) {
  const int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (row >= n) return;
  unsigned long long key = ZK_NO_TOKEN;
  if (row < num_rows) {
    const int32_t token = tokens[row];
    if (token >= 0 && token < vocab)
      key = (unsigned long long)token << 32 | (unsigned long long)row;
    else
      zk_cuda_raise(error_word, ZK_CUDA_BAD_TOKEN, row);
  }
  keys[row] = key;
}

// A sequence of `size` keys is merged to ascending where its index is even, to descending where it is odd.
static __device__ __forceinline__ void exchange(unsigned long long *low, unsigned long long *high, bool ascending) {
  const unsigned long long a = *low, b = *high;
  if ((a > b) != ascending) return;
  *low = b;
  *high = a;
}

// The steps of sizes from .. to whose distances are below TILE.
static __global__ void sort_tile_kernel(int64_t from, int64_t to, unsigned long long *keys) {
  __shared__ unsigned long long tile[TILE];
  const int t = threadIdx.x;
  const int64_t base = (int64_t)blockIdx.x * TILE;
  tile[t] = keys[base + t];
  tile[t + THREADS] = keys[base + t + THREADS];
  for (int64_t size = from; size <= to; size *= 2)
    for (int distance = (int)(size < TILE ? size : TILE) / 2; distance >= 1; distance /= 2) {
      __syncthreads();
      const int i = t / distance * 2 * distance + t % distance;
      exchange(&tile[i], &tile[i + distance], ((base + i) & size) == 0);
    }
  __syncthreads();
  keys[base + t] = tile[t];
  keys[base + t + THREADS] = tile[t + THREADS];
}

// One step of a distance of TILE or more.
static __global__ void sort_far_kernel(int64_t size, int64_t distance, unsigned long long *keys) {
  const int64_t t = (int64_t)blockIdx.x * THREADS + threadIdx.x, i = t / distance * 2 * distance + t % distance;
  exchange(&keys[i], &keys[i + distance], (i & size) == 0);
}

zk_status zk_cuda_token_order(zk_stream *stream, int64_t num_rows, int32_t vocab, const int32_t *tokens,
                              const unsigned long long **out) {
  int64_t n = TILE;
  while (n < num_rows) n *= 2;
  const unsigned tiles = (unsigned)(n / TILE);
  void *scratch;
  ZK_TRY(zk_stream_scratch(stream, (size_t)n * sizeof(unsigned long long), &scratch));
  unsigned long long *keys = (unsigned long long *)scratch;
  ZK_LAUNCH(make_keys_kernel, (unsigned)(n / THREADS), THREADS, 0, stream, num_rows, n, vocab, tokens, keys,
            zk_cuda_error_word(stream));
  ZK_LAUNCH(sort_tile_kernel, tiles, THREADS, 0, stream, (int64_t)2, (int64_t)TILE, keys);
  for (int64_t size = 2 * TILE; size <= n; size *= 2) {
    for (int64_t distance = size / 2; distance >= TILE; distance /= 2)
      ZK_LAUNCH(sort_far_kernel, tiles, THREADS, 0, stream, size, distance, keys);
    ZK_LAUNCH(sort_tile_kernel, tiles, THREADS, 0, stream, size, size, keys);
  }
  *out = keys;
  return ZK_OK;
}
