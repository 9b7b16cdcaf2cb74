// Sums of several chains, of 64 rows of a tile: what a consumer of gemm_wgmma.cuh keeps beside the accumulators of the chain that it forms.
#ifndef ZK_KERNELS_CUDA_GEMM_SUMS_CUH
#define ZK_KERNELS_CUDA_GEMM_SUMS_CUH

#include "kernels/cuda/gemm_wgmma_store.cuh"

// Four of neighbouring accumulators at a time: 2 columns of a row and of the one 8 below. Of N columns as many as there are registers for stay
// there, the others in shared memory. Rows and pairs of columns outside are left out of memory.
template <int N> struct zk_gemm_sums {
  static constexpr int COLUMNS = N <= 192 ? N : 128, OTHERS = N - COLUMNS, SHARED = OTHERS * 64 * (int)sizeof(float); // of a consumer
  float at[COLUMNS / 2];
  float4 *others; // [OTHERS / 8][128], this thread's
  float *memory;  // the thread's first
  int64_t below;  // from there to the row 8 below
  int columns;    // inside, from there on
  bool inside[2]; // the rows

  // sums [rows, columns] in memory, of which the thread's first are in `row`, and the tile's in `column`.
  __device__ __forceinline__ zk_gemm_sums(float *sums, int rows, int columns, int row, int column, char *shared) {
    others = (float4 *)shared + threadIdx.x % 128;
    memory = sums + (int64_t)row * columns + column + zk_gemm_wgmma_own_column();
    below = (int64_t)8 * columns, this->columns = columns - column;
    for (int h = 0; h < 2; h++) inside[h] = row + 8 * h < rows;
  }
  __device__ __forceinline__ float4 load(int j) const {
    float4 s = {};
    if (8 * j >= columns) return s;
    if (inside[0]) *(float2 *)&s.x = *(const float2 *)(memory + 8 * j);
    if (inside[1]) *(float2 *)&s.z = *(const float2 *)(memory + below + 8 * j);
    return s;
  }
  __device__ __forceinline__ void store(int j, float4 s) const {
    if (8 * j >= columns) return;
    if (inside[0]) *(float2 *)(memory + 8 * j) = make_float2(s.x, s.y);
    if (inside[1]) *(float2 *)(memory + below + 8 * j) = make_float2(s.z, s.w);
  }
  __device__ __forceinline__ void begin(bool are_zero) {
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) {
      const float4 s = are_zero ? float4{} : load(j);
      at[4 * j] = s.x, at[4 * j + 1] = s.y, at[4 * j + 2] = s.z, at[4 * j + 3] = s.w;
    }
  }
  // Adds a tile's chains; sums in shared memory come from memory with the first, and all go to put(j, sums) with the last.
  template <class Put>
  __device__ __forceinline__ void add(const float (&d)[N / 2], bool are_zero, bool is_first, bool is_last, Put put) {
#pragma unroll
    for (int e = 0; e < COLUMNS / 2; e++) at[e] = at[e] + d[e];
#pragma unroll
    for (int i = 0; i < OTHERS / 8; i++) {
      const int j = COLUMNS / 8 + i;
      float4 s = !is_first ? others[128 * i] : are_zero ? float4{} : load(j);
      s = make_float4(s.x + d[4 * j], s.y + d[4 * j + 1], s.z + d[4 * j + 2], s.w + d[4 * j + 3]);
      if (is_last) put(j, s);
      else others[128 * i] = s;
    }
    if (!is_last) return;
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++) put(j, make_float4(at[4 * j], at[4 * j + 1], at[4 * j + 2], at[4 * j + 3]));
  }
};

#endif
