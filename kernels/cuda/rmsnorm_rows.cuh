// RMSNorm forward in bf16, each row read from memory once.
//
// Sums are those of lanes.cuh: element i of a row is in lane i mod 128, each lane a chain with i ascending, then the
// halving. An absent element is read as 0, and fma(0, 0, lane) leaves a sum of squares as it is. Widths are multiples
// of 8, so that a piece of 8 (or 4) elements is there or absent as a whole; rows begin at multiples of 16 bytes.
#ifndef ZK_KERNELS_CUDA_RMSNORM_ROWS_CUH
#define ZK_KERNELS_CUDA_RMSNORM_ROWS_CUH

#include "kernels/cuda/pack.cuh"
#include "kernels/reduce.h"

static __device__ __forceinline__ float zk_rms_scale(float sum, int32_t width, float eps) {
  return 1.0f / sqrtf(sum / (float)width + eps);
}

// The halving of 128 lanes held by THREADS neighbouring threads of a warp, 128 / THREADS each; all of them get the
// sum. A sum's two sides may stand either way round.
template <int THREADS> __device__ __forceinline__ float zk_lanes_of_group(float (&lane)[ZK_LANES / THREADS]) {
  constexpr int PER = ZK_LANES / THREADS;
#pragma unroll
  for (int away = THREADS / 2; away > 0; away /= 2)
#pragma unroll
    for (int i = 0; i < PER; i++) lane[i] = lane[i] + __shfl_xor_sync(0xffffffffu, lane[i], away);
#pragma unroll
  for (int half = PER / 2; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; i++) lane[i] = lane[i] + lane[i + half];
  return lane[0];
}

// Normalises a piece: bf((x * scale) * w).
template <int WORDS>
__device__ __forceinline__ void zk_rms_apply(zk_words<WORDS> &x, const zk_words<WORDS> &w, float scale) {
#pragma unroll
  for (int i = 0; i < WORDS; i++)
    x.w[i] = zk_pack_bf16((zk_low_bf16(x.w[i]) * scale) * zk_low_bf16(w.w[i]),
                          (zk_high_bf16(x.w[i]) * scale) * zk_high_bf16(w.w[i]));
}

enum { ZK_RMS_GROUP = 16 }; // threads of a short row

// Many short rows: 16 threads have a row, which waits in their registers, packed, while its squares are summed. Thread
// t holds lanes 8 t .. 8 t + 7 of each of up to STEPS stretches of 128 elements. Any block size; y may be x.
template <int STEPS>
__global__ void __launch_bounds__(128) zk_rmsnorm_group_kernel(int64_t rows, int32_t width, float eps, const zk_bf16 *x,
                                                               const zk_bf16 *weight, zk_bf16 *y, float *rstd) {
  constexpr int THREADS = ZK_RMS_GROUP, PER = ZK_LANES / THREADS, WORDS = PER / 2;
  const int64_t row = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / THREADS;
  const bool there =
      row < rows; // a row that is not there is read as zeros: its threads take part in their warp's shuffles
  const int first = threadIdx.x % THREADS * PER;
  zk_words<WORDS> piece[STEPS];
  zk_wait_for_previous();
  zk_let_next_start();
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    piece[s] = {};
    if (there && s * ZK_LANES + first < width)
      piece[s] = *(const zk_words<WORDS> *)(x + row * width + s * ZK_LANES + first);
  }
  float lane[PER] = {};
#pragma unroll
  for (int s = 0; s < STEPS; s++)
#pragma unroll
    for (int i = 0; i < WORDS; i++) {
      const float low = zk_low_bf16(piece[s].w[i]), high = zk_high_bf16(piece[s].w[i]);
      lane[2 * i] = fmaf(low, low, lane[2 * i]), lane[2 * i + 1] = fmaf(high, high, lane[2 * i + 1]);
    }
  const float scale = zk_rms_scale(zk_lanes_of_group<THREADS>(lane), width, eps);
  if (!there) return;
  if (first == 0 && rstd != NULL) rstd[row] = scale;
#pragma unroll
  for (int s = 0; s < STEPS; s++) {
    if (s * ZK_LANES + first >= width) break;
    zk_rms_apply(piece[s], *(const zk_words<WORDS> *)(weight + s * ZK_LANES + first), scale);
    *(zk_words<WORDS> *)(y + row * width + s * ZK_LANES + first) = piece[s];
  }
}

enum { ZK_RMS_BLOCK_WIDTH = 8192, ZK_RMS_BLOCK_MIN_THREADS = 64 };

// A block has a row, PIECES times 8 elements a thread. The row goes through shared memory to the 64 threads that have
// two lanes each; every warp then does the halving for itself. Few rows want as many threads as there is work for (one
// piece); many rows are sooner done with two, since twice as many of them are then under way at a time, while memory
// is still walked in about the order of its addresses.
template <int PIECES>
static __global__ void __launch_bounds__(ZK_RMS_BLOCK_WIDTH / 8 / PIECES)
    zk_rmsnorm_block_kernel(int32_t width, float eps, const zk_bf16 *x, const zk_bf16 *weight, zk_bf16 *y,
                            float *rstd) {
  ZK_DYNAMIC_SHARED(zk_words<4>, shared);
  __shared__ float lanes[ZK_LANES];
  const int tid = (int)threadIdx.x, warp_thread = tid % 32, threads = (int)blockDim.x, pieces = width / 8;
  const int64_t at = (int64_t)blockIdx.x * width;
  zk_words<4> piece[PIECES] = {}, w = {};
  if (PIECES == 1 && tid < pieces) w = *(const zk_words<4> *)(weight + tid * 8);
  zk_wait_for_previous();
  zk_let_next_start();
#pragma unroll
  for (int p = 0, i = tid; p < PIECES; p++, i += threads)
    if (i < pieces) piece[p] = *(const zk_words<4> *)(x + at + i * 8);
#pragma unroll
  for (int p = 0, i = tid; p < PIECES; p++, i += threads)
    if (i < pieces) shared[i] = piece[p];
  __syncthreads();
  if (tid < ZK_LANES / 2) {
    const uint32_t *const words = (const uint32_t *)shared;
    float even = 0.0f, odd = 0.0f;
#pragma unroll 8
    for (int i = tid; i < width / 2; i += ZK_LANES / 2) {
      const float low = zk_low_bf16(words[i]), high = zk_high_bf16(words[i]);
      even = fmaf(low, low, even), odd = fmaf(high, high, odd);
    }
    lanes[2 * tid] = even, lanes[2 * tid + 1] = odd;
  }
  __syncthreads();
  float sum = (lanes[warp_thread] + lanes[warp_thread + 64]) + (lanes[warp_thread + 32] + lanes[warp_thread + 96]);
  for (int away = 16; away > 0; away /= 2) sum = sum + __shfl_xor_sync(0xffffffffu, sum, away);
  const float scale = zk_rms_scale(sum, width, eps);
  if (tid == 0 && rstd != NULL) rstd[blockIdx.x] = scale;
#pragma unroll
  for (int p = 0, i = tid; p < PIECES; p++, i += threads) {
    if (i >= pieces) break;
    if (PIECES > 1) w = *(const zk_words<4> *)(weight + i * 8);
    zk_rms_apply(piece[p], w, scale);
    *(zk_words<4> *)(y + at + i * 8) = piece[p];
  }
}

#endif
