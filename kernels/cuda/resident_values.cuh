// Attention in the one-kernel decode step, its second half: values by weights, a split as a whole
// (resident_attention.cuh), and the merge of a head's splits.
#ifndef ZK_KERNELS_CUDA_RESIDENT_VALUES_CUH
#define ZK_KERNELS_CUDA_RESIDENT_VALUES_CUH

#include "kernels/cuda/resident_attention.cuh"

// Operands of warps 0 to 3 for half a slot: V's columns 16 warp .. of the item's half as rows, weights as columns. What
// lies behind the last key is not looked at.
struct zk_resident_values {
  uint32_t v[4][4], p[4][2];

  // Keys from `first` of the split on, which are the slot's from 64 part on.
  template <int GROUP>
  __device__ __forceinline__ void load(const zk_resident_attention<GROUP> *shared, char *slot, int32_t part,
                                       int32_t first, int32_t num_keys) {
    const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, t = lane % 4;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      zk_ldmatrix<true>(
          zk_resident_v_piece(slot, 64 * part + 16 * k + lane / 16 * 8 + lane % 8, 2 * warp + lane / 8 % 2), v[k]);
      if (k % 2 == 0)
        zk_ldmatrix<false>(&shared->p[zk_attn_min(lane % 8, GROUP - 1)][first + 16 * k + lane / 8 * 8], p[k]);
    }
    if (first + 64 <= num_keys) return;
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int32_t there = num_keys - (first + 16 * k + e / 2 * 8 + 2 * t); // keys from this word's on
        v[k][e] = there >= 2 ? v[k][e] : there == 1 ? v[k][e] & 0xffffu : 0u;
      }
  }
  __device__ __forceinline__ void multiply(float (&o)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; k++) zk_mma_bf16(o, v[k], p[k]);
  }
};

// Waits for a slot of V. The token's own value is not in the cache yet: each warp puts its columns there.
template <int GROUP, class Ring>
static __device__ __forceinline__ void zk_resident_wait_values(const zk_resident_item &item, const Ring &ring,
                                                               int32_t first,
                                                               const zk_resident_attention<GROUP> *shared) {
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32;
  ring.wait();
  if (item.own < first || item.own >= first + ZK_BF16_KEYS) return;
  if (lane < 2) {
    *(zk_words<4> *)zk_resident_v_piece(ring.at(), item.own - first, 2 * warp + lane) =
        *(const zk_words<4> *)&shared->v[64 * item.half + 16 * warp + 8 * lane];
    zk_fence_async();
  }
  __syncwarp();
}

// Warps 0 to 3: o, in mail; a slot is a tile. Operands of half a slot are loaded while the steps of the half before
// run.
template <int GROUP, class Ring>
static __device__ __forceinline__ void zk_resident_columns(const zk_resident_plan &p, const zk_resident_item &item,
                                                           Ring ring, uint32_t epoch,
                                                           zk_resident_attention<GROUP> *shared) {
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, g = lane / 4, t = lane % 4;
  float o[4] = {};
  zk_resident_values even, odd;
  zk_resident_wait_values(item, ring, 0, shared);
  even.load(shared, ring.at(), 0, 0, item.num_keys);
#pragma unroll 1
  for (int32_t first = 0; first < item.num_keys; first += ZK_BF16_KEYS) {
    if (first > 0) {
      const int32_t tile = first / ZK_BF16_KEYS;
      const float a = shared->a[zk_attn_min(2 * t, GROUP - 1)][tile],
                  b = shared->a[zk_attn_min(2 * t + 1, GROUP - 1)][tile];
      o[0] = o[0] * a, o[1] = o[1] * b, o[2] = o[2] * a, o[3] = o[3] * b;
    }
    odd.load(shared, ring.at(), 1, first + 64, item.num_keys);
    even.multiply(o);
    ring.pass(2);
    ring.next();
    if (first + ZK_BF16_KEYS < item.num_keys) {
      zk_resident_wait_values(item, ring, first + ZK_BF16_KEYS, shared);
      even.load(shared, ring.at(), 0, first + ZK_BF16_KEYS, item.num_keys);
    }
    odd.multiply(o);
  }
#pragma unroll
  for (int e = 0; e < 4; e++) {
    const int32_t row = 2 * t + e % 2;
    if (row < GROUP)
      zk_mail_put(p.part_mail + ((int64_t)(item.kv_head * GROUP + row) * p.most_splits + item.split) * ZK_RESIDENT_DIM +
                      64 * item.half + 16 * warp + g + e / 2 * 8,
                  o[e], epoch);
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
  if (row >= GROUP || i % 8 != 0 || item.half != 0) return;
  ulonglong2 *to = p.bl_mail + (int64_t)(item.kv_head * GROUP + row) * p.most_splits + item.split;
  const uint64_t e = (uint64_t)epoch << 32, b_word = zk_float_bits(shared->b[row]) | e, l_word = zk_float_bits(l) | e;
  zk_word_put(to, b_word, l_word);
}

// An item, from `ring` on.
template <class Shape, class Ring>
static __device__ __forceinline__ void
zk_resident_attend(const zk_resident_plan &p, const zk_resident_vectors &layer, const zk_resident_item &item,
                   int32_t position, uint32_t epoch, Ring &ring, zk_resident_attention<Shape::GROUP> *shared) {
  const int32_t warp = (int32_t)threadIdx.x / 32;
  if (warp == ZK_RESIDENT_WARPS - 1) zk_resident_heads<Shape>(p, layer, item, position, epoch, shared);
  zk_resident_meet();
  zk_resident_scores(item, ring, shared);
  zk_resident_meet();
  zk_resident_weigh(p, item, shared);
  ring.skip(zk_resident_k_slots(item));
  zk_resident_meet();
  if (warp < 4) zk_resident_columns(p, item, ring, epoch, shared);
  else if (warp < 6) zk_resident_sum(p, item, epoch, shared);
  ring.skip(zk_resident_v_slots(item));
  zk_resident_meet(); // before the next item's queries
}

// The splits of the heads of one KV head, merged, ascending: a thread has a column of a head, of the item's half. Out,
// in mail.
template <class Shape>
static __device__ __forceinline__ void zk_resident_merge(const zk_resident_plan &p, const zk_resident_item &item,
                                                         uint32_t epoch) {
  constexpr int AT_ONCE = 4, COLUMNS = ZK_RESIDENT_DIM / 2;
  const int32_t i = (int32_t)threadIdx.x, head = item.kv_head * Shape::GROUP + i / COLUMNS,
                d = item.half * COLUMNS + i % COLUMNS, num_splits = item.num_splits;
  if (i >= Shape::GROUP * COLUMNS) return;
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
          o[s] = zk_word_get(o_mail + (first + s) * ZK_RESIDENT_DIM), bl[s] = zk_word_get(bl_mail + first + s);
#pragma unroll
      for (int s = 0; s < AT_ONCE; s++)
        if (first + s < num_splits)
          there = there && (uint32_t)(o[s] >> 32) == epoch && (uint32_t)(bl[s].x >> 32) == epoch &&
                  (uint32_t)(bl[s].y >> 32) == epoch;
    } while (!there && spin.again());
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
