// The lane sums of kernels/reduce.h on a GPU: 128 lanes held by 128 / P threads, thread t holding lanes P t .. P t + P - 1.
// P = 4: a row belongs to one warp, loads are wide and nothing is shared. P = 1: it belongs to a block of 128 threads, which
// is sooner done with a long row when there are few. Element i is in lane i mod 128 either way, so the bits are the same.
#ifndef ZK_KERNELS_CUDA_LANES_CUH
#define ZK_KERNELS_CUDA_LANES_CUH

#include "kernels/cuda/cuda.cuh"
#include "kernels/reduce.h"

#define ZK_LANE_BLOCK_THREADS 128 // of every kernel that sums by lanes: 4 rows a block with P = 4, 1 row with P = 1

// The halving 64, 32, .., 1; every thread of the row gets the sum. All threads of the warp (P = 4) or block (P = 1) call it.
template <int P> __device__ __forceinline__ float zk_lanes_finish(const float (&lane)[P]);

template <> __device__ __forceinline__ float zk_lanes_finish<4>(const float (&lane)[4]) {
  float sum[4];
  for (int i = 0; i < 4; i++) sum[i] = lane[i];
  for (int threads = 16; threads >= 1; threads /= 2) // lanes 64, 32, 16, 8, 4 away
    for (int i = 0; i < 4; i++) sum[i] = sum[i] + __shfl_down_sync(0xffffffffu, sum[i], threads);
  return __shfl_sync(0xffffffffu, (sum[0] + sum[2]) + (sum[1] + sum[3]), 0);
}

template <> __device__ __forceinline__ float zk_lanes_finish<1>(const float (&lane)[1]) {
  __shared__ float all[ZK_LANES];
  const int t = threadIdx.x;
  __syncthreads(); // an earlier sum has been read
  all[t] = lane[0];
  __syncthreads();
  if (t < 32) {
    float sum = (all[t] + all[t + 64]) + (all[t + 32] + all[t + 96]);
    for (int threads = 16; threads >= 1; threads /= 2) sum = sum + __shfl_down_sync(0xffffffffu, sum, threads);
    if (t == 0) all[0] = sum;
  }
  __syncthreads();
  return all[0];
}

// The row of this thread, and which of the row's threads it is.
template <int P> __device__ __forceinline__ int64_t zk_lane_row() {
  return ((int64_t)blockIdx.x * ZK_LANE_BLOCK_THREADS + threadIdx.x) / (ZK_LANES / P);
}
template <int P> __device__ __forceinline__ int zk_lane_thread() { return threadIdx.x % (ZK_LANES / P); }
template <int P> static inline unsigned zk_lane_blocks(int64_t rows) {
  const int64_t a_block = ZK_LANE_BLOCK_THREADS / (ZK_LANES / P);
  return (unsigned)zk_ceil_div(rows, a_block);
}

#endif
