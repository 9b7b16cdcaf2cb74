// AdamW of a shard and the hashes of what it leaves, in one pass over memory: a block has a stretch of neighbouring tiles, a thread four
// elements of each; the stretches without weight decay are few, and few tiles meet one.
//
// The hash is work for the integer units, about as long as memory needs for the rest. Master weight and working weight have one index,
// mixed once.
#include "kernels/adamw_shard.h"

#include <string.h>

#include "kernels/cuda/adamw_math.cuh"
#include "kernels/cuda/values.cuh"
#include "kernels/hash.h"

enum { N = 4, THREADS = 256, TILE = N * THREADS, BLOCKS_A_SM = 4, SUMS = 4, MAX_FIXED = 8192 };

typedef struct {
  zk_adamw_params q;
  int64_t first, count, total, tiles_a_block;
  const zk_adamw_range *fixed; // device
  int32_t num_fixed;
  float *master, *m, *v;
  const float *grad;
  void *working;
  unsigned long long *sums; // [2]: working, state
} shard;

// The first of the ranges that ends after `at`.
static __device__ int32_t range_from(const shard &s, int64_t at) {
  int32_t low = 0, high = s.num_fixed;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (s.fixed[middle].end > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

static __device__ bool is_fixed(const shard &s, int32_t range, int64_t at) {
  while (range < s.num_fixed && s.fixed[range].end <= at) range++;
  return range < s.num_fixed && s.fixed[range].first <= at;
}

static __device__ __forceinline__ uint64_t mixed(uint64_t index) { return zk_mix64_step(index + 0x9e3779b97f4a7c15ull); }

static __device__ __forceinline__ uint32_t bits_of(const float *, float x) { return zk_float_bits(x); }
static __device__ __forceinline__ uint32_t bits_of(const zk_bf16 *, float x) { return zk_float_to_bf16(x).bits; }

template <typename T> __global__ void __launch_bounds__(THREADS, BLOCKS_A_SM) adamw_shard_kernel(shard s) {
  T *working = (T *)s.working;
  const int64_t tiles = zk_ceil_div(s.count, TILE), begin = (int64_t)blockIdx.x * s.tiles_a_block,
                end = begin + s.tiles_a_block < tiles ? begin + s.tiles_a_block : tiles;
  unsigned long long of_working = 0, of_state = 0;
  int32_t range = range_from(s, s.first + begin * TILE);
  for (int64_t tile = begin; tile < end; tile++) {
    const int64_t i = tile * TILE + (int64_t)threadIdx.x * N, at = s.first + i;
    while (range < s.num_fixed && s.fixed[range].end <= s.first + tile * TILE) range++;
    const bool meets = range < s.num_fixed && s.fixed[range].first < s.first + (tile + 1) * TILE;
    if (i >= s.count) break;
    zk_values<N> w = zk_load_values<N>(s.master, i, s.count), m = zk_load_values<N>(s.m, i, s.count);
    zk_values<N> v = zk_load_values<N>(s.v, i, s.count);
    const zk_values<N> grad = zk_load_values<N>(s.grad, i, s.count);
#pragma unroll
    for (int j = 0; j < N; j++)
      zk_adamw_element(s.q, meets && is_fixed(s, range, at + j) ? 1.0f : s.q.decay, grad.at[j], w.at[j], m.at[j], v.at[j]);
    zk_store_values(s.m, i, s.count, m);
    zk_store_values(s.v, i, s.count, v);
    zk_store_values(s.master, i, s.count, w);
    zk_store_values(working, i, s.count, w);
#pragma unroll
    for (int j = 0; j < N; j++) {
      if (i + j >= s.count) break;
      const uint64_t index = (uint64_t)(at + j), own = mixed(index);
      of_working += zk_mix64_step(own + bits_of(working, w.at[j]));
      of_state += zk_mix64_step(own + zk_float_bits(w.at[j]));
      of_state += zk_mix64_step(mixed(index + (uint64_t)s.total) + zk_float_bits(m.at[j]));
      of_state += zk_mix64_step(mixed(index + 2 * (uint64_t)s.total) + zk_float_bits(v.at[j]));
    }
  }
  for (int away = 16; away >= 1; away /= 2) {
    of_working += __shfl_xor_sync(0xffffffffu, of_working, away);
    of_state += __shfl_xor_sync(0xffffffffu, of_state, away);
  }
  if (threadIdx.x % 32 == 0) atomicAdd(s.sums, of_working), atomicAdd(s.sums + 1, of_state);
}

zk_status zk_cuda_adamw_shard_fused(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *d, zk_adamw_hashes *hashes,
                                    bool *done) {
  *done = d->num_fixed <= MAX_FIXED;
  if (!*done) return ZK_OK;
  const size_t sums_bytes = 64, fixed_bytes = (size_t)d->num_fixed * sizeof *d->fixed;
  char *scratch;
  uint64_t sums[2];
  ZK_TRY(zk_stream_scratch(stream, sums_bytes + fixed_bytes, (void **)&scratch));
  ZK_TRY(zk_fill_zero(stream, scratch, sums_bytes));
  ZK_TRY(zk_copy_to_device(stream, scratch + sums_bytes, d->fixed, fixed_bytes));
  const int64_t tiles = zk_ceil_div(d->count, TILE), most = (int64_t)zk_cuda_num_sms(zk_stream_device(stream)) * BLOCKS_A_SM;
  shard s = {*params, d->first, d->count, d->total, zk_ceil_div(tiles, tiles < most ? tiles : most), (const zk_adamw_range *)(scratch + sums_bytes),
             d->num_fixed, d->master, d->m, d->v, d->grad, d->working, (unsigned long long *)scratch};
  const unsigned blocks = (unsigned)zk_ceil_div(tiles, s.tiles_a_block);
  if (d->numerics == ZK_F32) ZK_LAUNCH(adamw_shard_kernel<float>, blocks, THREADS, 0, stream, s);
  else ZK_LAUNCH(adamw_shard_kernel<zk_bf16>, blocks, THREADS, 0, stream, s);
  ZK_TRY(zk_copy_to_host(stream, sums, scratch, sizeof sums));
  ZK_TRY(zk_stream_wait(stream));
  *hashes = (zk_adamw_hashes){sums[0], sums[1]};
  return ZK_OK;
}
