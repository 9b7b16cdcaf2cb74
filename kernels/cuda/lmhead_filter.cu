// Top-k and top-p without sorting: where the kept prefix ends in the order (logit descending, id ascending), found
// digit by digit with exact integer sums, which any order of atomic additions gives alike (kernels/lmhead.h).
//
// A place in the order is one integer, larger for earlier: 32 bits that ascend with the logit, then 26 that descend
// with the id.
#include "kernels/cuda/lmhead_tile.cuh"

enum { THREADS = 512, DIGIT = 11, BUCKETS = 1 << DIGIT, OWN = BUCKETS / THREADS, ID_BITS = 26, LEVELS = 6 };
typedef unsigned long long u64;

struct filter_state {
  u64 bucket[BUCKETS];  // weight of the ids whose next digit it is
  u64 scan[2][THREADS]; // prefix sums over the threads' buckets, two copies in turn
  float most[THREADS];
  int bad[THREADS];
  u64 found, need, total;
};

struct filter_row {
  const float *logit;
  int32_t vocab;
  zk_lmhead_dist dist;
  float zmax;
};

static __device__ __forceinline__ u64 place_of(const filter_row &r, int32_t id) {
  const uint32_t u = zk_float_bits(r.logit[id] + 0.0f); // -0 becomes +0
  const uint32_t key = u & 0x80000000u ? ~u : u | 0x80000000u;
  return (u64)key << ID_BITS | (u64)((1 << ID_BITS) - 1 - id);
}
static __device__ __forceinline__ int32_t id_of(u64 place) {
  return (1 << ID_BITS) - 1 - (int32_t)(place & ((1u << ID_BITS) - 1));
}

// 1 while counting; else floor(exp(z - zmax) * 2^40), the product exact before it is cut.
static __device__ __forceinline__ u64 weight_of(const filter_row &r, int32_t id, bool count) {
  if (count) return 1;
  return (u64)(long long)(zk_expf(zk_lmhead_z(r.dist, r.logit[id]) - r.zmax) * 0x1p40f);
}

// The largest bucket whose weight, with all larger ones, reaches s->need; what the larger ones weigh is taken off
// s->need.
static __device__ void find_bucket(filter_state *s) {
  const int tid = (int)threadIdx.x;
  const u64 need = s->need;
  u64 own = 0;
  for (int i = 0; i < OWN; i++) own += s->bucket[BUCKETS - 1 - tid * OWN - i];
  int from = 0;
  s->scan[0][tid] = own;
  for (int distance = 1; distance < THREADS; distance *= 2, from ^= 1) {
    __syncthreads();
    s->scan[from ^ 1][tid] = s->scan[from][tid] + (tid >= distance ? s->scan[from][tid - distance] : 0);
  }
  __syncthreads();
  u64 before = s->scan[from][tid] - own;
  if (before < need && need <= before + own) {
    int bucket = BUCKETS - 1 - tid * OWN;
    while (before + s->bucket[bucket] < need) before += s->bucket[bucket--];
    s->found = (u64)bucket;
    s->need = need - before;
  }
  __syncthreads();
}

// The last place of the shortest prefix of the places from `last` up whose weights sum to at least `need`, 1 <= need <=
// total.
static __device__ u64 prefix_end(const filter_row &r, filter_state *s, u64 last, u64 need, bool count) {
  const int tid = (int)threadIdx.x;
  const int shifts[LEVELS + 1] = {58, 47, 36, 25, 14, 3, 0};
  u64 place = 0; // its digits so far
  if (tid == 0) s->need = need;
  for (int level = 1; level <= LEVELS; level++) {
    const int shift = shifts[level];
    for (int i = tid; i < BUCKETS; i += THREADS) s->bucket[i] = 0;
    __syncthreads();
    for (int32_t v = tid; v < r.vocab; v += THREADS) {
      const u64 p = place_of(r, v);
      if (p < last || p >> shifts[level - 1] != place) continue;
      const u64 weight = weight_of(r, v, count);
      if (weight != 0) atomicAdd(&s->bucket[(p >> shift) & ((1u << (shifts[level - 1] - shift)) - 1)], weight);
    }
    __syncthreads();
    find_bucket(s);
    place = place << (shifts[level - 1] - shift) | s->found;
  }
  return place;
}

// The largest logit; *bad when the row has no distribution: a z is NaN or +inf, or all are -inf.
static __device__ float largest(const filter_row &r, filter_state *s, bool *bad) {
  const int tid = (int)threadIdx.x;
  float most = -INFINITY;
  int spoilt = 0;
  for (int32_t v = tid; v < r.vocab; v += THREADS) {
    most = r.logit[v] > most ? r.logit[v] : most;
    spoilt |= !(zk_lmhead_z(r.dist, r.logit[v]) <= FLT_MAX);
  }
  s->most[tid] = most, s->bad[tid] = spoilt;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (tid >= half) continue;
    s->most[tid] = s->most[tid + half] > s->most[tid] ? s->most[tid + half] : s->most[tid];
    s->bad[tid] |= s->bad[tid + half];
  }
  __syncthreads();
  *bad = s->bad[0] || zk_lmhead_z(r.dist, s->most[0]) == -INFINITY;
  return s->most[0];
}

// Sum of the weights of the places from `last` up.
static __device__ u64 total_weight(const filter_row &r, filter_state *s, u64 last) {
  u64 own = 0;
  if (threadIdx.x == 0) s->total = 0;
  __syncthreads();
  for (int32_t v = (int32_t)threadIdx.x; v < r.vocab; v += THREADS)
    if (place_of(r, v) >= last) own += weight_of(r, v, false);
  atomicAdd(&s->total, own);
  __syncthreads();
  return s->total;
}

// A block a row.
static __global__ void __launch_bounds__(THREADS) filter_kernel(zk_lmhead_block b) {
  ZK_DYNAMIC_SHARED(filter_state, s);
  const int64_t row = blockIdx.x;
  filter_row r = {b.logits + row * b.num_tiles * ZK_VOCAB_TILE, b.vocab, b.dist, 0.0f};
  bool bad;
  const float most = largest(r, s, &bad);
  float kept_logit = INFINITY; // nothing is kept
  int32_t kept_id = -1;
  if (!bad) {
    u64 last = 0; // everything is kept so far
    r.zmax = zk_lmhead_z(r.dist, most);
    const u64 top_k = r.dist.top_k > 0 && r.dist.top_k < r.vocab ? (u64)r.dist.top_k : (u64)r.vocab;
    last = prefix_end(r, s, last, top_k, true);
    if (r.dist.top_p < (u64)1 << 32) { // the smallest integer `need` with need * 2^32 >= top_p * total
      const u64 total = total_weight(r, s, last), low = r.dist.top_p * (total & 0xffffffffu);
      const u64 need = r.dist.top_p * (total >> 32) + (low >> 32) + ((low & 0xffffffffu) != 0);
      last = prefix_end(r, s, last, need > 0 ? need : 1, false);
    }
    kept_id = id_of(last);
    kept_logit = r.logit[kept_id];
  }
  if (threadIdx.x != 0) return;
  b.kept_logit[row] = kept_logit, b.kept_id[row] = kept_id;
  if (b.out.kept_logit != NULL) b.out.kept_logit[row] = kept_logit;
  if (b.out.kept_id != NULL) b.out.kept_id[row] = kept_id;
}

zk_status zk_lmhead_filter(zk_stream *stream, const zk_lmhead_block *block) {
  ZK_LAUNCH(filter_kernel, dim3((unsigned)block->num_rows), THREADS, sizeof(filter_state), stream, *block);
  return ZK_OK;
}
