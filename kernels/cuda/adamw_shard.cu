// AdamW of a shard and the hashes of what it leaves, in one pass over memory: a block has a stretch of neighbouring tiles, a thread four
// elements of each, fetched while those of the tile before are worked on; the stretches without weight decay are few, and few tiles meet one.
//
// The hash is work for the integer units, longer than memory needs for the rest, and most of it shifts and logic; so sums go by the
// multiplier. Master weight and working weight have one index, mixed once; and the indices of many tiles one behind the other differ in their
// low words only, so that the first third of their mixing is done once for all.
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
  uint32_t one;             // 1, which the compiler cannot see
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

// A sum modulo 2^64 of two words each.
struct hash_sum {
  uint64_t low; // of the low words
  uint32_t high;
  __device__ __forceinline__ void add(uint64_t x, uint32_t one) { // one: 1, and the sum of low words goes by the multiplier
#ifdef ZK_SIMT
    low += (uint64_t)(uint32_t)x * one;
#else
    asm("mad.wide.u32 %0, %1, %2, %0;" : "+l"(low) : "r"((uint32_t)x), "r"(one));
#endif
    high += (uint32_t)(x >> 32);
  }
  __device__ __forceinline__ unsigned long long value() const { return low + ((uint64_t)high << 32); }
};
struct hashes {
  hash_sum working, state;
};

static __device__ __forceinline__ uint64_t mixed(uint64_t index) { return zk_mix64_step(index + 0x9e3779b97f4a7c15ull); }

// Neighbouring indices all of whose sums with the mix's constant agree from bit 30 on.
struct near_indices {
  uint32_t low, other, high; // of the sum of the next tile's first: its low word; what mixing turns its words into, of the high one times the multiplier
  // From index `first` on; how many tiles of them.
  __device__ int begin(uint64_t first) {
    const uint64_t z = first + 0x9e3779b97f4a7c15ull, parts = z >> 30;
    low = (uint32_t)z, other = (uint32_t)parts, high = ((uint32_t)(z >> 32) ^ (uint32_t)(parts >> 32)) * 0x1ce4e5b9u;
    return (int)(((1ull << 30) - (z & ((1ull << 30) - 1))) / TILE);
  }
  // mixed() of the tile's first index + at.
  __device__ __forceinline__ uint64_t mixed_at(uint32_t at) const {
    const uint32_t word = (low + at) ^ other;
    uint64_t z = (uint64_t)word * 0x1ce4e5b9u + ((uint64_t)(word * 0xbf58476du + high) << 32);
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
};
// Of an element's three places.
struct near_places {
  near_indices own, m, v;
  int left; // tiles
  __device__ void begin(const shard &s, int64_t tile) {
    const uint64_t first = (uint64_t)(s.first + tile * TILE), total = (uint64_t)s.total;
    const int of_own = own.begin(first), of_m = m.begin(first + total), of_v = v.begin(first + 2 * total);
    left = of_own < of_m ? of_own : of_m;
    left = left < of_v ? left : of_v;
  }
  __device__ __forceinline__ void next() { own.low += TILE, m.low += TILE, v.low += TILE, left--; }
};

static __device__ __forceinline__ uint32_t bits_of(const float *, float x) { return zk_float_bits(x); }
static __device__ __forceinline__ uint32_t bits_of(const zk_bf16 *, float x) { return zk_float_to_bf16(x).bits; }

// A thread's elements.
struct group {
  float w[N], m[N], v[N], grad[N];
};

// Adds an element's hashes; own, of_m, of_v: its mixed indices.
template <typename T>
static __device__ __forceinline__ void add_hashes(uint64_t own, uint64_t of_m, uint64_t of_v, const group &g, int j, uint32_t one, hashes &sum) {
  sum.working.add(zk_mix64_step(own + bits_of((const T *)NULL, g.w[j])), one);
  sum.state.add(zk_mix64_step(own + zk_float_bits(g.w[j])), one);
  sum.state.add(zk_mix64_step(of_m + zk_float_bits(g.m[j])), one);
  sum.state.add(zk_mix64_step(of_v + zk_float_bits(g.v[j])), one);
}
// From its index in the shard on.
template <typename T>
static __device__ __forceinline__ void hash_element(const shard &s, int64_t i, const group &g, int j, hashes &sum) {
  const uint64_t index = (uint64_t)(s.first + i + j), total = (uint64_t)s.total;
  add_hashes<T>(mixed(index), mixed(index + total), mixed(index + 2 * total), g, j, s.one, sum);
}
template <typename T>
static __device__ __forceinline__ void hash_group(const shard &s, int64_t tile, const near_places &near, const group &g, hashes &sum) {
  const uint32_t at = threadIdx.x * N;
  if (near.left > 0) {
#pragma unroll
    for (int j = 0; j < N; j++) add_hashes<T>(near.own.mixed_at(at + j), near.m.mixed_at(at + j), near.v.mixed_at(at + j), g, j, s.one, sum);
  } else {
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

// A thread's places in a tile, and in those behind it.
template <typename T> struct places {
  float *master, *m, *v;
  const float *grad;
  T *working;
  __device__ __forceinline__ places(const shard &s, int64_t i) : master(s.master + i), m(s.m + i), v(s.v + i), grad(s.grad + i), working((T *)s.working + i) {}
  __device__ __forceinline__ void next() { master += TILE, m += TILE, v += TILE, grad += TILE, working += TILE; }
  __device__ __forceinline__ void fetch(int tiles_on, group &g) const {
    const int on = tiles_on * TILE;
    load(master + on, g.w), load(m + on, g.m), load(v + on, g.v), load(grad + on, g.grad);
  }
  __device__ __forceinline__ void put(const group &g) const { store(master, g.w), store(m, g.m), store(v, g.v), store(working, g.w); }
};

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
  const int64_t tiles = zk_ceil_div(s.count, TILE), first = (int64_t)blockIdx.x * s.tiles_a_block,
                end = first + s.tiles_a_block < tiles ? first + s.tiles_a_block : tiles, end_whole = s.count / TILE < end ? s.count / TILE : end;
  const int num = (int)(end - first), whole = (int)(end_whole - first); // a block's tiles count from its first
  hashes sum = {};
  places<T> at(s, first * TILE + (int64_t)threadIdx.x * N);
  near_places near;
  near.begin(s, first);
  group next;
  if (whole > 0) at.fetch(0, next);
  int32_t range = range_from(s, s.first + first * TILE);
  // The tiles up to here are whole, and no element of theirs is without weight decay.
  auto plain_up_to = [&]() {
    const int64_t up_to = range < s.num_fixed ? (s.fixed[range].first - s.first) / TILE - first : whole;
    return (int)(up_to < whole ? up_to : whole);
  };
  int plain = plain_up_to();
  for (int tile = 0; tile < num; tile++) {
    group g = next;
    if (tile + 1 < whole) at.fetch(1, next);
    if (near.left == 0) near.begin(s, first + tile);
    if (tile < plain) {
      zk_adamw_elements(s.a, g.grad, g.w, g.m, g.v);
      at.put(g);
      hash_group<T>(s, first + tile, near, g, sum);
    } else {
      step_elements<T>(s, (first + tile) * TILE + (int64_t)threadIdx.x * N, range, sum);
      while (range < s.num_fixed && s.fixed[range].end <= s.first + (first + tile + 1) * TILE) range++;
      plain = plain_up_to();
    }
    at.next();
    if (near.left > 0) near.next();
  }
  unsigned long long working = sum.working.value(), state = sum.state.value();
  for (int away = 16; away >= 1; away /= 2) {
    working += __shfl_xor_sync(0xffffffffu, working, away);
    state += __shfl_xor_sync(0xffffffffu, state, away);
  }
  if (threadIdx.x % 32 == 0) atomicAdd(s.sums, working), atomicAdd(s.sums + 1, state);
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
             d->num_fixed, d->master, d->m, d->v, d->grad, d->working, (unsigned long long *)scratch, 1};
  const unsigned blocks = (unsigned)zk_ceil_div(tiles, s.tiles_a_block);
  if (d->numerics == ZK_F32) ZK_LAUNCH(adamw_shard_kernel<float>, blocks, THREADS, 0, stream, s);
  else ZK_LAUNCH(adamw_shard_kernel<zk_bf16>, blocks, THREADS, 0, stream, s);
  ZK_TRY(zk_copy_to_host(stream, sums, scratch, sizeof sums));
  ZK_TRY(zk_stream_wait(stream));
  *hashes = (zk_adamw_hashes){sums[0], sums[1]};
  return ZK_OK;
}
