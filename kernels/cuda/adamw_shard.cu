// AdamW of a shard and the hashes of what it leaves, in one pass over memory: a block has a stretch of neighbouring tiles, a thread four
// elements of each, fetched while those of the tile before are worked on; the stretches without weight decay are few, and few tiles meet one.
//
// The hash is work for the integer units, longer than memory needs for the rest. Master weight and working weight have one index, mixed once;
// and the indices of a tile seldom differ in more than their low words, so that the first third of their mixing is done once a tile.
#include "kernels/adamw_shard.h"

#include "kernels/cuda/adamw_quick.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/hash.h"

enum { N = 4, THREADS = 256, TILE = N * THREADS, BLOCKS_A_SM = 3, WAVES = 8, MAX_FIXED = 8192 };

typedef struct {
  zk_adamw_quick a;
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

// Indices first + at of a tile, all of whose sums with the mix's constant agree from bit 30 on.
struct tile_indices {
  uint32_t low, other, high; // of the sum's first: its low word; what mixing it turns its words into, of the high one times the multiplier
};
static __device__ __forceinline__ bool are_near(uint64_t first, tile_indices &t) {
  const uint64_t z = first + 0x9e3779b97f4a7c15ull, other = z >> 30;
  t = {(uint32_t)z, (uint32_t)other, ((uint32_t)(z >> 32) ^ (uint32_t)(other >> 32)) * 0x1ce4e5b9u};
  return (z + TILE - 1) >> 30 == other;
}
// mixed(first + at)
static __device__ __forceinline__ uint64_t mixed_near(const tile_indices &t, uint32_t at) {
  const uint32_t low = (t.low + at) ^ t.other;
  uint64_t z = (uint64_t)low * 0x1ce4e5b9u + ((uint64_t)(low * 0xbf58476du + t.high) << 32);
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

static __device__ __forceinline__ uint32_t bits_of(const float *, float x) { return zk_float_bits(x); }
static __device__ __forceinline__ uint32_t bits_of(const zk_bf16 *, float x) { return zk_float_to_bf16(x).bits; }

// A thread's elements.
struct group {
  float w[N], m[N], v[N], grad[N];
};
struct hashes {
  unsigned long long working, state;
};

// Adds an element's hashes; own, of_m, of_v: its mixed indices.
template <typename T>
static __device__ __forceinline__ void add_hashes(uint64_t own, uint64_t of_m, uint64_t of_v, const group &g, int j, hashes &sum) {
  sum.working += zk_mix64_step(own + bits_of((const T *)NULL, g.w[j]));
  sum.state += zk_mix64_step(own + zk_float_bits(g.w[j])) + zk_mix64_step(of_m + zk_float_bits(g.m[j])) + zk_mix64_step(of_v + zk_float_bits(g.v[j]));
}
// From its index in the shard on.
template <typename T>
static __device__ __forceinline__ void hash_element(const shard &s, int64_t i, const group &g, int j, hashes &sum) {
  const uint64_t index = (uint64_t)(s.first + i + j), total = (uint64_t)s.total;
  add_hashes<T>(mixed(index), mixed(index + total), mixed(index + 2 * total), g, j, sum);
}
template <typename T> static __device__ __forceinline__ void hash_group(const shard &s, int64_t tile, const group &g, hashes &sum) {
  const uint64_t first = (uint64_t)(s.first + tile * TILE), total = (uint64_t)s.total;
  const uint32_t at = threadIdx.x * N;
  tile_indices own, of_m, of_v;
  if (are_near(first, own) & are_near(first + total, of_m) & are_near(first + 2 * total, of_v)) {
#pragma unroll
    for (int j = 0; j < N; j++) add_hashes<T>(mixed_near(own, at + j), mixed_near(of_m, at + j), mixed_near(of_v, at + j), g, j, sum);
  } else {
#pragma unroll
    for (int j = 0; j < N; j++) hash_element<T>(s, tile * TILE + at, g, j, sum);
  }
}

static __device__ __forceinline__ void load(const float *p, float (&x)[N]) {
  const float4 v = *(const float4 *)p;
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
static __device__ __forceinline__ void store(float *p, const float (&x)[N]) { *(float4 *)p = make_float4(x[0], x[1], x[2], x[3]); }
static __device__ __forceinline__ void store(zk_bf16 *p, const float (&x)[N]) {
  *(zk_words<2> *)p = {zk_pack_bf16(x[0], x[1]), zk_pack_bf16(x[2], x[3])};
}

static __device__ __forceinline__ void fetch(const shard &s, int64_t i, group &g) {
  load(s.master + i, g.w), load(s.m + i, g.m), load(s.v + i, g.v), load(s.grad + i, g.grad);
}
// A group of a whole tile in which weight decay applies to all.
template <typename T> static __device__ __forceinline__ void step_group(const shard &s, int64_t tile, group &g, hashes &sum) {
  const int64_t i = tile * TILE + (int64_t)threadIdx.x * N;
  zk_adamw_elements(s.a, g.grad, g.w, g.m, g.v);
  store(s.master + i, g.w), store(s.m + i, g.m), store(s.v + i, g.v), store((T *)s.working + i, g.w);
  hash_group<T>(s, tile, g, sum);
}

// Any other group, element by element; `range` is the first that may have one of them.
template <typename T> static __device__ void step_elements(const shard &s, int64_t i, int32_t range, hashes &sum) {
  for (int j = 0; j < N && i + j < s.count; j++) {
    const int64_t at = i + j;
    group g;
    g.w[0] = s.master[at], g.m[0] = s.m[at], g.v[0] = s.v[at];
    zk_adamw_element(s.a.q, is_fixed(s, range, s.first + at) ? 1.0f : s.a.q.decay, s.grad[at], g.w[0], g.m[0], g.v[0]);
    s.master[at] = g.w[0], s.m[at] = g.m[0], s.v[at] = g.v[0];
    zk_store((T *)s.working, at, g.w[0]);
    hash_element<T>(s, at, g, 0, sum);
  }
}

template <typename T> __global__ void __launch_bounds__(THREADS, BLOCKS_A_SM) adamw_shard_kernel(const __grid_constant__ shard s) {
  const int64_t tiles = zk_ceil_div(s.count, TILE), begin = (int64_t)blockIdx.x * s.tiles_a_block,
                end = begin + s.tiles_a_block < tiles ? begin + s.tiles_a_block : tiles, whole = s.count / TILE < end ? s.count / TILE : end;
  hashes sum = {0, 0};
  group next;
  if (begin < whole) fetch(s, begin * TILE + (int64_t)threadIdx.x * N, next);
  int32_t range = range_from(s, s.first + begin * TILE);
  int64_t next_fixed = range < s.num_fixed ? s.fixed[range].first : INT64_MAX; // no element before it is without weight decay
  for (int64_t tile = begin; tile < end; tile++) {
    const int64_t i = tile * TILE + (int64_t)threadIdx.x * N, last = s.first + (tile + 1) * TILE;
    group g = next;
    if (tile + 1 < whole) fetch(s, i + TILE, next);
    if (last <= next_fixed && tile < whole) {
      step_group<T>(s, tile, g, sum);
    } else {
      step_elements<T>(s, i, range, sum);
      while (range < s.num_fixed && s.fixed[range].end <= last) range++;
      next_fixed = range < s.num_fixed ? s.fixed[range].first : INT64_MAX;
    }
  }
  for (int away = 16; away >= 1; away /= 2) {
    sum.working += __shfl_xor_sync(0xffffffffu, sum.working, away);
    sum.state += __shfl_xor_sync(0xffffffffu, sum.state, away);
  }
  if (threadIdx.x % 32 == 0) atomicAdd(s.sums, sum.working), atomicAdd(s.sums + 1, sum.state);
}

zk_status zk_cuda_adamw_shard_fused(zk_stream *stream, const zk_adamw_params *params, const zk_adamw_shard_desc *d, zk_adamw_hashes *hashes,
                                    bool *done) {
  *done = d->num_fixed <= MAX_FIXED && ((uintptr_t)d->master | (uintptr_t)d->m | (uintptr_t)d->v | (uintptr_t)d->grad) % 16 == 0 &&
          (uintptr_t)d->working % (4 * zk_numerics_bytes(d->numerics)) == 0;
  if (!*done) return ZK_OK;
  const size_t sums_bytes = 64, fixed_bytes = (size_t)d->num_fixed * sizeof *d->fixed;
  char *scratch;
  uint64_t sums[2];
  ZK_TRY(zk_stream_scratch(stream, sums_bytes + fixed_bytes, (void **)&scratch));
  ZK_TRY(zk_fill_zero(stream, scratch, sums_bytes));
  ZK_TRY(zk_copy_to_device(stream, scratch + sums_bytes, d->fixed, fixed_bytes));
  const int64_t tiles = zk_ceil_div(d->count, TILE), most = (int64_t)zk_cuda_num_sms(zk_stream_device(stream)) * BLOCKS_A_SM * WAVES;
  shard s = {zk_adamw_quick_of(*params), d->first, d->count, d->total, zk_ceil_div(tiles, tiles < most ? tiles : most), (const zk_adamw_range *)(scratch + sums_bytes),
             d->num_fixed, d->master, d->m, d->v, d->grad, d->working, (unsigned long long *)scratch};
  const unsigned blocks = (unsigned)zk_ceil_div(tiles, s.tiles_a_block);
  if (d->numerics == ZK_F32) ZK_LAUNCH(adamw_shard_kernel<float>, blocks, THREADS, 0, stream, s);
  else ZK_LAUNCH(adamw_shard_kernel<zk_bf16>, blocks, THREADS, 0, stream, s);
  ZK_TRY(zk_copy_to_host(stream, sums, scratch, sizeof sums));
  ZK_TRY(zk_stream_wait(stream));
  *hashes = (zk_adamw_hashes){sums[0], sums[1]};
  return ZK_OK;
}
