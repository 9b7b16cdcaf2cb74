// Hashes of bits on a GPU: each thread sums a share of the elements, a warp adds its sums, and integer additions to one word
// commute.
#include "kernels/hash.h"

#include "kernels/cuda/cuda.cuh"

#define THREADS 256
#define MAX_BLOCKS 2048

// Bits: uint32_t or uint16_t.
template <typename Bits>
__global__ void hash_kernel(int64_t n, uint64_t first_index, const Bits *data, unsigned long long *sum) {
  unsigned long long mine = 0;
#pragma unroll 4
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)gridDim.x * THREADS)
    mine += zk_mix64(data[i], first_index + (uint64_t)i);
  for (int threads = 16; threads >= 1; threads /= 2) mine += __shfl_down_sync(0xffffffffu, mine, threads);
  if (threadIdx.x % 32 == 0) atomicAdd(sum, mine);
}

zk_status zk_cuda_hash_elements(zk_stream *stream, int32_t element_bytes, int64_t num_elements, uint64_t first_index,
                                const void *data, uint64_t *sum) {
  *sum = 0;
  if (num_elements == 0) return ZK_OK;
  const int64_t wanted = zk_ceil_div(num_elements, THREADS);
  const unsigned blocks = (unsigned)(wanted < MAX_BLOCKS ? wanted : MAX_BLOCKS);
  void *sum_d;
  ZK_TRY(zk_stream_scratch(stream, sizeof *sum, &sum_d));
  ZK_TRY(zk_fill_zero(stream, sum_d, sizeof *sum));
  if (element_bytes == 4)
    ZK_LAUNCH(hash_kernel<uint32_t>, blocks, THREADS, 0, stream, num_elements, first_index, (const uint32_t *)data,
              (unsigned long long *)sum_d);
  else
    ZK_LAUNCH(hash_kernel<uint16_t>, blocks, THREADS, 0, stream, num_elements, first_index, (const uint16_t *)data,
              (unsigned long long *)sum_d);
  ZK_TRY(zk_copy_to_host(stream, sum, sum_d, sizeof *sum));
  return zk_stream_wait(stream);
}
