// Attention in the one-kernel decode step, its second half: values by weights, a split as a whole (resident_attention.cuh), and
// the merge of a head's splits.
#ifndef ZK_KERNELS_CUDA_RESIDENT_VALUES_CUH
#define ZK_KERNELS_CUDA_RESIDENT_VALUES_CUH

#include "kernels/cuda/resident_attention.cuh"

#ifndef ZK_SIMT

// Operands of warps 0 to 3 for half a slot: V's columns 32 warp + 16 i as rows, weights as columns. What lies behind the last
// key is not looked at.
struct zk_resident_values {
  uint32_t v[2][2][4], p[2][2];

  template <int GROUP>
  __device__ __forceinline__ void load(const zk_resident_attention<GROUP> *shared, char *slot, int32_t half,
                                       int32_t first, int32_t num_keys) {
    const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, t = lane % 4;
    first += 32 * half;
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
      for (int i = 0; i < 2; i++)
        zk_ldmatrix<true>(
            zk_resident_piece(slot, 32 * half + 16 * k + lane / 16 * 8 + lane % 8, 4 * warp + 2 * i + lane / 8 % 2),
            v[k][i]);
    zk_ldmatrix<false>(&shared->p[zk_attn_min(lane % 8, GROUP - 1)][first + lane / 8 * 8], p[0]);
    if (first + 32 <= num_keys) return;
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int32_t there = num_keys - (first + 16 * k + e / 2 * 8 + 2 * t); // keys from this word's on
          v[k][i][e] = there >= 2 ? v[k][i][e] : there == 1 ? v[k][i][e] & 0xffffu : 0u;
        }
  }
  __device__ __forceinline__ void multiply(float (&o)[2][4]) const {
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
      for (int i = 0; i < 2; i++) zk_mma_bf16(o[i], v[k][i], p[k]);
  }
};

// Waits for a slot of V. The token's own value is not in the cache yet: each warp puts its columns there.
template <int GROUP, class Ring>
static __device__ __forceinline__ void zk_resident_wait_values(const zk_resident_item &item, const Ring &ring,
                                                               int32_t first,
                                                               const zk_resident_attention<GROUP> *shared) {
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32;
  ring.wait();
  if (item.own < first || item.own >= first + ZK_RESIDENT_KEYS) return;
  if (lane < 4) {
    *(zk_words<4> *)zk_resident_piece(ring.at(), item.own - first, 4 * warp + lane) =
        *(const zk_words<4> *)&shared->v[32 * warp + 8 * lane];
    zk_fence_async();
  }
  __syncwarp();
}

// Warps 0 to 3: o, in mail. Operands of half a slot are loaded while the steps of the half before run.
template <int GROUP, class Ring>
static __device__ __forceinline__ void zk_resident_columns(const zk_resident_plan &p, const zk_resident_item &item,
                                                           Ring ring, uint32_t epoch,
                                                           zk_resident_attention<GROUP> *shared) {
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, g = lane / 4, t = lane % 4;
  float o[2][4] = {};
  zk_resident_values even, odd;
  zk_resident_wait_values(item, ring, 0, shared);
  even.load(shared, ring.at(), 0, 0, item.num_keys);
#pragma unroll 1
  for (int32_t first = 0; first < item.num_keys; first += ZK_RESIDENT_KEYS) {
    if (first > 0 && first % ZK_BF16_KEYS == 0) {
      const int32_t tile = first / ZK_BF16_KEYS;
      const float a = shared->a[zk_attn_min(2 * t, GROUP - 1)][tile],
                  b = shared->a[zk_attn_min(2 * t + 1, GROUP - 1)][tile];
#pragma unroll
      for (int i = 0; i < 2; i++)
        o[i][0] = o[i][0] * a, o[i][1] = o[i][1] * b, o[i][2] = o[i][2] * a, o[i][3] = o[i][3] * b;
    }
    odd.load(shared, ring.at(), 1, first, item.num_keys);
    even.multiply(o);
    ring.pass(2);
    ring.next();
    if (first + ZK_RESIDENT_KEYS < item.num_keys) {
      zk_resident_wait_values(item, ring, first + ZK_RESIDENT_KEYS, shared);
      even.load(shared, ring.at(), 0, first + ZK_RESIDENT_KEYS, item.num_keys);
    }
    odd.multiply(o);
  }
#pragma unroll
  for (int e = 0; e < 4; e++) {
    const int32_t row = 2 * t + e % 2;
    if (row >= GROUP) continue;
    uint64_t *to = p.part_mail +
                   ((int64_t)(item.kv_head * GROUP + row) * p.most_splits + item.split) * ZK_RESIDENT_DIM + 32 * warp +
                   g + e / 2 * 8;
#pragma unroll
    for (int i = 0; i < 2; i++) zk_mail_put(to + 16 * i, o[i][e], epoch);
  }
}

// Warps 4 and 5: a thread has lane i % 8 of l of head i / 8, i its number from warp 4 on; b and l, in mail.
template <int GROUP>
static __device__ __forceinline__ void zk_resident_sum(const zk_resident_plan &p, const zk_resident_item &item,
                                                       uint32_t epoch, const zk_resident_attention<GROUP> *shared) {
  const int32_t i = (int32_t)threadIdx.x - 128, row = i / 8;
  float l = 0.0f;
  if (row < GROUP)
    for (int32_t tile = 0; tile * ZK_BF16_KEYS < item.num_keys; tile++) {
      const zk_bf16 *w = &shared->p[row][tile * ZK_BF16_KEYS + i % 8];
      l = l * shared->a[row][tile];
#pragma unroll
      for (int k = 0; k < ZK_BF16_KEYS; k += 8) l = l + zk_bf16_to_float(w[k]);
    }
#pragma unroll
  for (int away = 1; away <= 4; away *= 2) l = l + __shfl_xor_sync(0xffffffffu, l, away);
  if (row >= GROUP || i % 8 != 0) return;
  ulonglong2 *to = p.bl_mail + (int64_t)(item.kv_head * GROUP + row) * p.most_splits + item.split;
  const uint64_t e = (uint64_t)epoch << 32, b_word = zk_float_bits(shared->b[row]) | e, l_word = zk_float_bits(l) | e;
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(b_word), "l"(l_word) : "memory");
}

// An item, from `ring` on.
template <class Shape, class Ring>
static __device__ __forceinline__ void
zk_resident_attend(const zk_resident_plan &p, const zk_resident_vectors &layer, const zk_resident_item &item,
                   int32_t position, uint32_t epoch, Ring &ring, zk_resident_attention<Shape::GROUP> *shared) {
  const int32_t warp = (int32_t)threadIdx.x / 32, slots = (item.num_keys + ZK_RESIDENT_KEYS - 1) / ZK_RESIDENT_KEYS;
  if (warp == 0) zk_resident_heads<Shape>(p, layer, item, position, epoch, ring, shared);
  zk_resident_meet();
  zk_resident_scores(item, ring, shared);
  zk_resident_meet();
  zk_resident_weigh(p, item, shared);
  ring.skip(slots);
  zk_resident_meet();
  if (warp < 4) zk_resident_columns(p, item, ring, epoch, shared);
  else if (warp < 6) zk_resident_sum(p, item, epoch, shared);
  ring.skip(slots);
  zk_resident_meet(); // before the next item's queries
}

// The splits of the heads of one KV head, merged, ascending: a thread has a column of a head. Out, in mail.
template <class Shape>
static __device__ __forceinline__ void zk_resident_merge(const zk_resident_plan &p, int32_t kv_head, int32_t num_splits,
                                                         uint32_t epoch) {
  constexpr int AT_ONCE = 4;
  static_assert(Shape::GROUP * ZK_RESIDENT_DIM == ZK_RESIDENT_THREADS, "a column a thread");
  const int32_t i = (int32_t)threadIdx.x, head = kv_head * Shape::GROUP + i / ZK_RESIDENT_DIM, d = i % ZK_RESIDENT_DIM;
  const uint64_t *o_mail = p.part_mail + (int64_t)head * p.most_splits * ZK_RESIDENT_DIM + d;
  const ulonglong2 *bl_mail = p.bl_mail + (int64_t)head * p.most_splits;
  float B = INFINITY, L = 0.0f, O = 0.0f;
  for (int32_t first = 0; first < num_splits; first += AT_ONCE) {
    uint64_t o[AT_ONCE];
    ulonglong2 bl[AT_ONCE];
    bool there;
    zk_mail_spin spin;
    do {
      there = true;
#pragma unroll
      for (int s = 0; s < AT_ONCE; s++)
        if (first + s < num_splits)
          o[s] = zk_mail_peek(o_mail + (first + s) * ZK_RESIDENT_DIM), bl[s] = zk_mail_peek(bl_mail + first + s);
#pragma unroll
      for (int s = 0; s < AT_ONCE; s++)
        if (first + s < num_splits)
          there = there && (uint32_t)(o[s] >> 32) == epoch && (uint32_t)(bl[s].x >> 32) == epoch &&
                  (uint32_t)(bl[s].y >> 32) == epoch;
      spin.turn();
    } while (!there);
#pragma unroll
    for (int s = 0; s < AT_ONCE; s++)
      if (first + s < num_splits) {
        const float b = zk_mail_value(bl[s].x), l = zk_mail_value(bl[s].y), x = zk_mail_value(o[s]);
        const bool copy = B == INFINITY;
        const float n = p.weight.join(B, b), A = p.weight(B, n), a = p.weight(b, n);
        L = copy ? l : fmaf(L, A, l * a), O = copy ? x : fmaf(O, A, x * a), B = copy ? b : n;
      }
  }
  const float out = p.weight.out(O, L);
#pragma unroll
  for (int c = 0; c < ZK_RESIDENT_COPIES; c++)
    zk_mail_put(p.a_mail + c * Shape::Q_ROWS + head * ZK_RESIDENT_DIM + d, out, epoch);
}

#endif
#endif
