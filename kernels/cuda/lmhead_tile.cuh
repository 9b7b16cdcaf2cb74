// A warp reads one row's tile of 128 logits (kernels/lmhead.h): log-sum-exp by lanes, the best id, the target's z, the
// hash.
#ifndef ZK_KERNELS_CUDA_LMHEAD_TILE_CUH
#define ZK_KERNELS_CUDA_LMHEAD_TILE_CUH

#include <float.h>

#include "kernels/cuda/lmhead.cuh"
#include "kernels/hash.h"
#include "kernels/rng.h"

#define ZK_WARP 0xffffffffu

__device__ __forceinline__ float zk_lmhead_z(const zk_lmhead_dist &dist, float logit) {
  return dist.scaled ? logit * dist.inv_t : logit;
}

// Whether an id belongs to the prefix that ends with (last, last_id).
__device__ __forceinline__ bool zk_lmhead_is_kept(float logit, int32_t id, float last, int32_t last_id) {
  return logit > last || (logit == last && id <= last_id);
}

// Lanes 64 and 32 are in each thread's four elements; then 16, 8, 4, 2, 1. A sum's two sides may stand either way
// round.
__device__ __forceinline__ float zk_lmhead_sum_lanes(const float x[4]) {
  float sum = (x[0] + x[2]) + (x[1] + x[3]);
  for (int half = 16; half > 0; half /= 2) sum = sum + __shfl_xor_sync(ZK_WARP, sum, half);
  return sum;
}

struct zk_lmhead_best {
  float value, z;
  int32_t id; // -1: none
};

// The larger value, ties to the lower id.
__device__ __forceinline__ void zk_lmhead_better(zk_lmhead_best &best, const zk_lmhead_best &other) {
  if (other.id >= 0 && (best.id < 0 || other.value > best.value || (other.value == best.value && other.id < best.id)))
    best = other;
}

// The best of a row's tiles so far, whichever blocks read them, is one integer: its upper word orders as values do (the
// two zeros as one), its lower one is larger for lower ids, and 0 when only a value is known that some id reaches.
__device__ __forceinline__ uint32_t zk_lmhead_ordered(float value) {
  const uint32_t u = zk_float_bits(value + 0.0f);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
__device__ __forceinline__ float zk_lmhead_value_of(uint32_t ordered) {
  return ordered == 0 ? -INFINITY : zk_bits_float(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}
__device__ __forceinline__ void zk_lmhead_keep(const zk_lmhead_block &b, int64_t row, int32_t tile,
                                               const zk_lmhead_best &best) {
  b.partial.z[row * b.num_tiles + tile] = best.z;
  atomicMax(b.row_best + row, (unsigned long long)zk_lmhead_ordered(best.value) << 32 | (uint32_t)~best.id);
}

// Philox numbers the ids by fours: thread `lane` takes ids first + 4 lane and the three after it.
__device__ __forceinline__ zk_lmhead_best zk_lmhead_pick(const zk_lmhead_block &b, int64_t row, const float *logit,
                                                         int count, int32_t first) {
  const int lane = (int)threadIdx.x % 32;
  uint32_t random[4] = {0, 0, 0, 0};
  if (b.pick == ZK_CUDA_PICK_GUMBEL) {
    const uint32_t key[2] = {(uint32_t)b.ids.seed, (uint32_t)(b.ids.seed >> 32)};
    const uint32_t counter[4] = {((uint32_t)ZK_RNG_SAMPLE << 24) + (uint32_t)(first / 4 + lane), b.ids.position[row],
                                 b.ids.prompt_id[row], b.ids.sample_idx[row] << 20 | b.ids.step[row]};
    zk_philox4x32(counter, key, random);
  }
  zk_lmhead_best best = {-INFINITY, -INFINITY, -1};
  for (int i = 0; i < 4; i++) {
    const int at = 4 * lane + i;
    if (at >= count) break;
    const float z = zk_lmhead_z(b.dist, logit[at]);
    if (z == -INFINITY ||
        (b.dist.filtered && !zk_lmhead_is_kept(logit[at], first + at, b.kept_logit[row], b.kept_id[row])))
      continue;
    const zk_lmhead_best mine = {b.pick == ZK_CUDA_PICK_GUMBEL ? z + zk_gumbel(random[i]) : z, z, first + at};
    zk_lmhead_better(best, mine);
  }
  for (int half = 16; half > 0; half /= 2) {
    zk_lmhead_best other;
    other.value = __shfl_xor_sync(ZK_WARP, best.value, half);
    other.z = __shfl_xor_sync(ZK_WARP, best.z, half);
    other.id = __shfl_xor_sync(ZK_WARP, best.id, half);
    zk_lmhead_better(best, other);
  }
  return best;
}

// By a whole warp. logit: `count` values of ids from `first` on, count <= 128.
__device__ __forceinline__ void zk_lmhead_read_tile(const zk_lmhead_block &b, int64_t row, int32_t tile,
                                                    const float *logit) {
  const int lane = (int)threadIdx.x % 32;
  const int32_t first = tile * ZK_VOCAB_TILE;
  const int count = b.vocab - first < ZK_VOCAB_TILE ? b.vocab - first : ZK_VOCAB_TILE;
  const int32_t target = b.pick == ZK_CUDA_PICK_NOTHING ? b.target[row] : -1;
  float z[4], m = -INFINITY;
  int bad = 0;
  unsigned long long hash = 0;
  for (int i = 0; i < 4; i++) { // thread `lane` holds lanes lane, lane + 32, + 64, + 96
    const int at = lane + 32 * i;
    z[i] = -INFINITY;
    if (at >= count) continue;
    hash += zk_mix64(zk_float_bits(logit[at]), (uint64_t)(first + at));
    z[i] = zk_lmhead_z(b.dist, logit[at]);
    bad |= !(z[i] <= FLT_MAX);
    if (b.dist.filtered && !zk_lmhead_is_kept(logit[at], first + at, b.kept_logit[row], b.kept_id[row]))
      z[i] = -INFINITY;
    m = z[i] > m ? z[i] : m;
    if (first + at == target) b.target_z[row] = z[i];
  }
  for (int half = 16; half > 0; half /= 2) {
    const float other = __shfl_xor_sync(ZK_WARP, m, half);
    m = other > m ? other : m;
    bad |= __shfl_xor_sync(ZK_WARP, bad, half);
    hash += __shfl_xor_sync(ZK_WARP, hash, half);
  }
  float e[4], ez[4];
  for (int i = 0; i < 4; i++) {
    e[i] = z[i] == -INFINITY ? 0.0f : zk_expf(z[i] - m);
    ez[i] = z[i] == -INFINITY ? 0.0f : fmaf(e[i], z[i], 0.0f);
  }
  const float l = zk_lmhead_sum_lanes(e), h = zk_lmhead_sum_lanes(ez);
  zk_lmhead_best best = {-INFINITY, -INFINITY, -1};
  if (b.pick != ZK_CUDA_PICK_NOTHING) best = zk_lmhead_pick(b, row, logit, count, first);
  if (lane != 0) return;
  const int64_t at = row * b.num_tiles + tile;
  b.partial.sum[at] = {bad ? zk_bits_float(0x7fc00000u) : m, l};
  if (b.partial.h != NULL) b.partial.h[at] = h;
  if (best.id >= 0) zk_lmhead_keep(b, row, tile, best);
  if (b.partial.hash != NULL) b.partial.hash[at] = hash;
}

#endif
