// RMSNorm backward in bf16 of many rows: memory is read once, and nobody waits for it but a ring.
//
// A block has 64 rows. A thread asks the copy engine for row after row of dy, x and the addend, for a ring of rows in shared memory. Some
// warps take whole rows, one at a time each, to dx; others have columns, and walk all rows for the weights' gradient. A place of the ring
// is filled again when the row's warp and all columns' warps are done with it.
#ifndef ZK_KERNELS_CUDA_RMSNORM_BACKWARD_RING_CUH
#define ZK_KERNELS_CUDA_RMSNORM_BACKWARD_RING_CUH

#include "kernels/cuda/rmsnorm_backward.cuh"
#include "kernels/cuda/tma.cuh"

enum {
  ZK_RMS_RING_ROW_WARPS = 4,
  ZK_RMS_RING_COLUMN_WARPS = 4,
  ZK_RMS_RING_THREADS = 32 * (ZK_RMS_RING_ROW_WARPS + ZK_RMS_RING_COLUMN_WARPS + 1),
  ZK_RMS_RING_PLACES = 16, // at most
  ZK_RMS_RING_BYTES = 108 * 1024 // so that two blocks share a multiprocessor
};

// Dynamic shared memory: the ring, then its barriers. Each warp of rows has places of its own: in another's it could take the row before, which it has
// not seen come, for its own, which takes its place. Rows are of 4096 at most, so that there are four.
static inline int zk_rms_ring_places(const zk_rms_backward &b) {
  const int places = ZK_RMS_RING_BYTES / ((b.addend != NULL ? 3 : 2) * b.width * (int)sizeof(zk_bf16)) / ZK_RMS_RING_ROW_WARPS * ZK_RMS_RING_ROW_WARPS;
  return places < ZK_RMS_RING_PLACES ? places : ZK_RMS_RING_PLACES;
}
static inline int zk_rms_ring_shared(const zk_rms_backward &b) {
  return zk_rms_ring_places(b) * ((b.addend != NULL ? 3 : 2) * b.width * (int)sizeof(zk_bf16) + 2 * (int)sizeof(uint64_t));
}

struct zk_rms_ring {
  const zk_bf16 *rows; // [places][dy, x, addend][width]
  uint64_t *full, *empty;
  int places, arrays, place;
  uint32_t phase;

  __device__ __forceinline__ void skip(int rows_of_others) {
    place += rows_of_others;
    while (place >= places) place -= places, phase ^= 1;
  }
  __device__ __forceinline__ const zk_bf16 *wait(int32_t width) {
    zk_mbar_wait(full + place, phase);
    return rows + (int64_t)place * arrays * width;
  }
  __device__ __forceinline__ void release() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) zk_mbar_arrive(empty + place);
  }
};

static __device__ __forceinline__ void zk_rms_ring_fill(const zk_rms_backward &b, zk_rms_ring ring, int64_t first, int count) {
  const uint32_t bytes = (uint32_t)b.width * (uint32_t)sizeof(zk_bf16);
  for (int i = 0; i < count; i++, ring.skip(1)) {
    const int64_t at = (first + i) * b.width;
    zk_bf16 *to = (zk_bf16 *)ring.rows + (int64_t)ring.place * ring.arrays * b.width;
    uint64_t *full = ring.full + ring.place;
    zk_mbar_wait(ring.empty + ring.place, ring.phase ^ 1);
    zk_mbar_arrive_expect(full, (uint32_t)ring.arrays * bytes);
    zk_tma_load(to, b.dy + at, bytes, full);
    zk_tma_load(to + b.width, b.x + at, bytes, full);
    if (ring.arrays == 3) zk_tma_load(to + 2 * b.width, b.addend + at, bytes, full);
  }
}

// Rows `warp`, warp + ZK_RMS_RING_ROW_WARPS, ... WHOLE: all STEPS of them, so that no branch keeps one step's reads behind the sums of the one
// before. Registers hold a row of up to 16 steps, and of up to 8 the weights too.
template <int STEPS, bool WHOLE>
static __device__ __forceinline__ void zk_rms_ring_rows(const zk_rms_backward &b, zk_rms_ring ring, int64_t first, int count, int warp) {
  constexpr bool KEEPS_ROW = WHOLE && STEPS <= 16, KEEPS_WEIGHT = WHOLE && STEPS <= 8;
  const int32_t column = (int32_t)(threadIdx.x % 32) * 4;
  auto is_inside = [&](int s) { return WHOLE || s * ZK_LANES + column < b.width; };
  auto piece = [&](const zk_bf16 *p, int s) { return *(const zk_rms_piece *)(p + s * ZK_LANES); };
  zk_rms_piece kept_dy[KEEPS_ROW ? STEPS : 1], kept_x[KEEPS_ROW ? STEPS : 1], kept_weight[KEEPS_WEIGHT ? STEPS : 1];
  const zk_bf16 *weight = b.weight + column;
#pragma unroll
  for (int s = 0; KEEPS_WEIGHT && s < STEPS; s++) kept_weight[s] = piece(weight, s);
  float next_scale = warp < count ? b.rstd[first + warp] : 0.0f;
  ring.skip(warp);
  for (int i = warp; i < count; i += ZK_RMS_RING_ROW_WARPS, ring.skip(ZK_RMS_RING_ROW_WARPS)) {
    const float scale = next_scale;
    if (i + ZK_RMS_RING_ROW_WARPS < count) next_scale = b.rstd[first + i + ZK_RMS_RING_ROW_WARPS];
    const zk_bf16 *dy = ring.wait(b.width) + column, *x = dy + b.width, *addend = x + b.width;
    float lane[4] = {};
#pragma unroll
    for (int s = 0; KEEPS_ROW && s < STEPS; s++) kept_dy[s] = piece(dy, s), kept_x[s] = piece(x, s);
#pragma unroll
    for (int s = 0; s < STEPS; s++)
      if (is_inside(s)) {
        float d[4], v[4], w[4];
        zk_rms_widen(KEEPS_ROW ? kept_dy[s] : piece(dy, s), d), zk_rms_widen(KEEPS_ROW ? kept_x[s] : piece(x, s), v);
        zk_rms_widen(KEEPS_WEIGHT ? kept_weight[s] : piece(weight, s), w);
#pragma unroll
        for (int e = 0; e < 4; e++) lane[e] = fmaf(d[e] * w[e], v[e], lane[e]);
      }
    const float k = (((zk_lanes_finish(lane) * scale) * scale) * scale) / (float)b.width;
    zk_bf16 *dx = b.dx + (first + i) * b.width + column;
#pragma unroll
    for (int s = 0; s < STEPS; s++)
      if (is_inside(s)) {
        float d[4], v[4], w[4];
        zk_rms_widen(KEEPS_ROW ? kept_dy[s] : piece(dy, s), d), zk_rms_widen(KEEPS_ROW ? kept_x[s] : piece(x, s), v);
        zk_rms_widen(KEEPS_WEIGHT ? kept_weight[s] : piece(weight, s), w);
#pragma unroll
        for (int e = 0; e < 4; e++) v[e] = fmaf(-k, v[e], (d[e] * w[e]) * scale);
        if (ring.arrays == 3) {
          zk_rms_widen(piece(addend, s), d);
#pragma unroll
          for (int e = 0; e < 4; e++) v[e] = v[e] + d[e];
        }
        *(zk_rms_piece *)(dx + s * ZK_LANES) = {zk_pack_bf16(v[0], v[1]), zk_pack_bf16(v[2], v[3])};
      }
    ring.release();
  }
}

// Thread t of the columns' has columns 4 t .. 4 t + 3 of every stretch of 4 x all of them.
template <int STEPS, bool WHOLE>
static __device__ __forceinline__ void zk_rms_ring_columns(const zk_rms_backward &b, zk_rms_ring ring, int64_t first, int count, int32_t group,
                                                           int thread) {
  constexpr int STRETCH = ZK_RMS_RING_COLUMN_WARPS * ZK_LANES, SETS = (STEPS * ZK_LANES + STRETCH - 1) / STRETCH;
  constexpr bool FULL = WHOLE && SETS * STRETCH == STEPS * ZK_LANES;
  const int lane = thread % 32;
  float sum[SETS][4] = {}, scales[2];
  for (int h = 0; h < 2; h++) scales[h] = lane + 32 * h < count ? b.rstd[first + lane + 32 * h] : 0.0f;
  for (int i = 0; i < count; i++, ring.skip(1)) {
    const float scale = __shfl_sync(0xffffffffu, i < 32 ? scales[0] : scales[1], i % 32);
    const zk_bf16 *dy = ring.wait(b.width);
#pragma unroll
    for (int set = 0; set < SETS; set++) {
      const int32_t column = set * STRETCH + 4 * thread;
      if (!FULL && column >= b.width) break;
      float d[4], v[4];
      zk_rms_widen(*(const zk_rms_piece *)(dy + column), d), zk_rms_widen(*(const zk_rms_piece *)(dy + b.width + column), v);
#pragma unroll
      for (int e = 0; e < 4; e++) sum[set][e] = fmaf(d[e], v[e] * scale, sum[set][e]);
    }
    ring.release();
  }
#pragma unroll
  for (int set = 0; set < SETS; set++) {
    const int32_t column = set * STRETCH + 4 * thread;
    if (column >= b.width) break;
    *(float4 *)(b.sums.partials + (int64_t)group * b.width + column) = make_float4(sum[set][0], sum[set][1], sum[set][2], sum[set][3]);
  }
}

template <int STEPS, bool WHOLE>
__global__ void __launch_bounds__(ZK_RMS_RING_THREADS, 2) zk_rmsnorm_backward_ring_kernel(const __grid_constant__ zk_rms_backward b, int places) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int warp = (int)threadIdx.x / 32, arrays = b.addend != NULL ? 3 : 2;
  const int32_t group = (int32_t)blockIdx.x, c = zk_chunk_of_group(b.groups, group);
  const int64_t first = b.groups.first_row[c] + (int64_t)(group - b.groups.first_group[c]) * ZK_GRAD_BLOCK_ROWS;
  const int64_t left = b.groups.first_row[c + 1] - first;
  const int count = left < ZK_GRAD_BLOCK_ROWS ? (int)left : ZK_GRAD_BLOCK_ROWS;
  uint64_t *full = (uint64_t *)(shared + (int64_t)places * arrays * b.width * (int)sizeof(zk_bf16));
  const zk_rms_ring ring = {(const zk_bf16 *)shared, full, full + places, places, arrays, 0, 0};
  if (threadIdx.x == 0) {
    for (int i = 0; i < places; i++) zk_mbar_init(ring.full + i, 1), zk_mbar_init(ring.empty + i, ZK_RMS_RING_COLUMN_WARPS + 1);
    zk_mbar_init_done();
  }
  __syncthreads();
  zk_wait_for_previous();
  zk_let_next_start();
  if (warp < ZK_RMS_RING_ROW_WARPS) zk_rms_ring_rows<STEPS, WHOLE>(b, ring, first, count, warp);
  else if (warp < ZK_RMS_RING_ROW_WARPS + ZK_RMS_RING_COLUMN_WARPS)
    zk_rms_ring_columns<STEPS, WHOLE>(b, ring, first, count, group, (int)threadIdx.x - 32 * ZK_RMS_RING_ROW_WARPS);
  else if (threadIdx.x % 32 == 0) zk_rms_ring_fill(b, ring, first, count);
}

// Behind it: a strip of columns a block, the partials' tree chunk by chunk.
static __global__ void __launch_bounds__(ZK_RMS_BACK_THREADS) zk_rmsnorm_partials_kernel(const __grid_constant__ zk_rms_backward b) {
  zk_wait_for_previous();
  zk_let_next_start();
  zk_sums_finish<ZK_RMS_BACK_COLUMNS / 2>(b.groups, b.sums, b.width, (int32_t)blockIdx.x * ZK_RMS_BACK_COLUMNS);
}

#endif
