// Attention in the one-kernel decode step (resident.cuh): one split of the keys for the query heads of one KV head, by
// a block's eight computing warps. Here its first half, up to the weights; resident_values.cuh has the second.
//
// Two blocks have a split: each all of its scores, and half of V's columns. So a split is at most 8 slots of 64 keys of
// K, then 4 of 128 keys of V, which the ring holds before the queries are there. The last warp, which had no rows of
// them to multiply, turns the queries; warp w computes the scores of slot w, keys being mma.sync's 16 rows and query
// heads its columns; then a warp takes a tile of a head and makes weights of its scores; then warps 0 to 3 walk the
// chains of 16 columns of o each, columns being the rows of mma.sync, while warps 4 and 5 sum the weights. The token's
// own key and value come by mail, not from the cache: the last warp leaves them beside the queries, who reads a slot
// puts them into it when it has landed, and one of the last split's two blocks writes the cache.
#ifndef ZK_KERNELS_CUDA_RESIDENT_ATTENTION_CUH
#define ZK_KERNELS_CUDA_RESIDENT_ATTENTION_CUH

#include "kernels/cuda/ldmatrix.cuh"
#include "kernels/cuda/resident.cuh"
#include "kernels/cuda/rope_rows.cuh"

// Of a block, for the heads of one KV head.
template <int GROUP> struct zk_resident_attention {
  zk_bf16 q[GROUP][ZK_RESIDENT_DIM + 8];
  zk_bf16 p[GROUP][ZK_RESIDENT_SPLIT + 8]; // weights
  zk_bf16 k[ZK_RESIDENT_DIM], v[ZK_RESIDENT_DIM]; // the token's own
  float s[GROUP][ZK_RESIDENT_SPLIT + 8];   // scores
  float most[GROUP][8];                    // largest score of each slot
  float a[GROUP][4], b[GROUP];
};

// A split of the keys for one KV head, and half of V's columns.
struct zk_resident_item {
  int32_t kv_head, half, split, num_keys, num_splits; // keys of the split
  int32_t own;                                        // the token's own key in it; -1: in another split
};

template <class Shape>
static __device__ __forceinline__ zk_resident_item zk_resident_find(int32_t position, int32_t i) {
  zk_resident_item item;
  item.kv_head = i / 2 % Shape::KV_HEADS, item.half = i % 2, item.split = i / (2 * Shape::KV_HEADS);
  item.num_splits = position / ZK_RESIDENT_SPLIT + 1;
  const int32_t left = position + 1 - item.split * ZK_RESIDENT_SPLIT;
  item.num_keys = zk_attn_min(left, ZK_RESIDENT_SPLIT);
  item.own = item.split + 1 == item.num_splits ? left - 1 : -1;
  return item;
}

static __device__ __forceinline__ int32_t zk_resident_k_slots(const zk_resident_item &item) {
  return (item.num_keys + ZK_RESIDENT_KEYS - 1) / ZK_RESIDENT_KEYS;
}
static __device__ __forceinline__ int32_t zk_resident_v_slots(const zk_resident_item &item) {
  return (item.num_keys + ZK_BF16_KEYS - 1) / ZK_BF16_KEYS;
}

// 16-byte piece `piece` of a key in a slot of K; of V.
static __device__ __forceinline__ char *zk_resident_piece(char *slot, int32_t key, int32_t piece) {
  return slot + piece / 8 * (ZK_RESIDENT_SLOT / 2) + key * 128 + (piece % 8 ^ key % 8) * 16;
}
static __device__ __forceinline__ char *zk_resident_v_piece(char *slot, int32_t key, int32_t piece) {
  return slot + key * 128 + (piece ^ key % 8) * 16;
}

// A thread's share of a head, as it comes.
static __device__ __forceinline__ zk_head_piece zk_mail_take_head(const uint32_t *mail, uint32_t epoch) {
  uint4 v[4];
  zk_mail_spin spin;
  do {
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = zk_word_get4(mail + i % 2 * 4 + i / 2 * (ZK_RESIDENT_DIM / 2));
  } while ((zk_mail_differs(v[0], epoch) | zk_mail_differs(v[1], epoch) | zk_mail_differs(v[2], epoch) |
            zk_mail_differs(v[3], epoch)) > 0xffffu &&
           spin.again());
  const zk_words<2> a = zk_mail_values(v[0]), b = zk_mail_values(v[1]), c = zk_mail_values(v[2]),
                    d = zk_mail_values(v[3]);
  return {{{a.w[0], a.w[1], b.w[0], b.w[1]}}, {{c.w[0], c.w[1], d.w[0], d.w[1]}}};
}

// The item's heads, by one warp, 8 threads a head: two queries, then the token's key and value, if they are of this
// split.
template <class Shape>
static __device__ __forceinline__ void zk_resident_heads(const zk_resident_plan &p, const zk_resident_vectors &layer,
                                                         const zk_resident_item &item, int32_t position, uint32_t epoch,
                                                         zk_resident_attention<Shape::GROUP> *shared) {
  constexpr int GROUP = Shape::GROUP;
  const int32_t piece = (int32_t)threadIdx.x % 8, head = (int32_t)threadIdx.x % 32 / 8;
  const int64_t angle = (int64_t)position * (ZK_RESIDENT_DIM / 2) + piece * 8;
  float c[8], s[8]; // the same in every layer
  zk_load_angles(p.cos_table + angle, p.sin_table + angle, 1.0f, c, s);
  zk_head_piece w = {}, x = {};
  if (layer.q_norm != NULL) w = zk_load_head<ZK_RESIDENT_DIM>(head == GROUP ? layer.k_norm : layer.q_norm, piece);
  if (head < GROUP || item.own >= 0) {
    const int32_t of = head < GROUP    ? item.kv_head * GROUP + head
                       : head == GROUP ? Shape::HEADS + item.kv_head
                                       : Shape::HEADS + Shape::KV_HEADS + item.kv_head;
    x = zk_mail_take_head(p.qkv_mail + of * ZK_RESIDENT_DIM + piece * 8, epoch);
  }
  zk_head_piece turned = x;
  if (layer.q_norm != NULL) zk_head_norm<ZK_RESIDENT_DIM>(turned, w, p.eps, NULL);
  zk_rotate(turned, c, s);
  if (head < GROUP) zk_store_head<ZK_RESIDENT_DIM>(shared->q[head], piece, turned);
  if (head < GROUP || item.own < 0) return;
  const int32_t page = p.page_table[position / p.page_tokens];
  const int64_t slot =
      (((int64_t)page * Shape::KV_HEADS + item.kv_head) * p.page_tokens + position % p.page_tokens) * ZK_RESIDENT_DIM;
  if (head > GROUP) {
    zk_store_head<ZK_RESIDENT_DIM>(shared->v, piece, x);
    if (item.half == 0) zk_store_head<ZK_RESIDENT_DIM>(layer.v_cache + slot, piece, x);
    return;
  }
  zk_store_head<ZK_RESIDENT_DIM>(shared->k, piece, turned);
  if (item.half == 0) zk_store_head<ZK_RESIDENT_DIM>(layer.k_cache + slot, piece, turned);
}

// Waits for a slot of K, the split's keys from `first` on, and puts the token's own key there, if it is one of them. For
// all warps, which have met since they read slots of the product before: a slot's phase means the copy that is looked
// for only to whom knows that the one before has landed.
template <int GROUP, class Ring>
static __device__ __forceinline__ void zk_resident_wait_keys(const zk_resident_item &item, const Ring &ring,
                                                             int32_t first,
                                                             const zk_resident_attention<GROUP> *shared) {
  const int32_t lane = (int32_t)threadIdx.x % 32, key = item.own - first;
  ring.wait();
  if (key < 0 || key >= ZK_RESIDENT_KEYS) return;
  if (lane < ZK_RESIDENT_DIM / 8) {
    *(zk_words<4> *)zk_resident_piece(ring.at(), key, lane) = *(const zk_words<4> *)&shared->k[8 * lane];
    zk_fence_async();
  }
  __syncwarp();
}

// Scores of the warp's slot, and the largest of each head's.
template <int GROUP, class Ring>
static __device__ __forceinline__ void zk_resident_scores(const zk_resident_item &item, Ring ring,
                                                          zk_resident_attention<GROUP> *shared) {
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int32_t left = item.num_keys - warp * ZK_RESIDENT_KEYS;
  float most[2] = {-INFINITY, -INFINITY};
  if (left > 0) {
    uint32_t q[ZK_RESIDENT_DIM / 16][2];
#pragma unroll
    for (int k = 0; k < ZK_RESIDENT_DIM / 16; k += 2)
      zk_ldmatrix<false>(&shared->q[zk_attn_min(lane % 8, GROUP - 1)][k * 16 + lane / 8 * 8], q[k]);
    ring.skip(warp);
    zk_resident_wait_keys(item, ring, warp * ZK_RESIDENT_KEYS, shared);
    float s[ZK_RESIDENT_KEYS / 16][4] = {};
#pragma unroll
    for (int k = 0; k < ZK_RESIDENT_DIM / 16; k++)
#pragma unroll
      for (int i = 0; i < ZK_RESIDENT_KEYS / 16; i++) {
        uint32_t keys[4];
        zk_ldmatrix<false>(zk_resident_piece(ring.at(), 16 * i + lane % 16, 2 * k + lane / 16), keys);
        zk_mma_bf16(s[i], keys, q[k]);
      }
    ring.pass(ZK_RESIDENT_WARPS);
#pragma unroll
    for (int i = 0; i < ZK_RESIDENT_KEYS / 16; i++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int32_t key = 16 * i + g + e / 2 * 8;
        if (2 * t + e % 2 < GROUP) shared->s[2 * t + e % 2][warp * ZK_RESIDENT_KEYS + key] = s[i][e];
        if (key < left && s[i][e] > most[e % 2]) most[e % 2] = s[i][e];
      }
  }
#pragma unroll
  for (int e = 0; e < 2; e++) {
#pragma unroll
    for (int away = 4; away <= 16; away *= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, most[e], away);
      most[e] = other > most[e] ? other : most[e];
    }
    if (g == 0 && 2 * t + e < GROUP) shared->most[2 * t + e][warp] = most[e];
  }
}

// Scores to weights; a warp takes a tile of a head at a time. The warp that has a head's first tile also leaves its b,
// and by what l and o are scaled before each tile: 1 where b has not moved.
template <int GROUP>
static __device__ __forceinline__ void zk_resident_weigh(const zk_resident_plan &p, const zk_resident_item &item,
                                                         zk_resident_attention<GROUP> *shared) {
  constexpr int TILES = ZK_RESIDENT_SPLIT / ZK_BF16_KEYS;
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
  for (int32_t unit = warp; unit < GROUP * TILES; unit += ZK_RESIDENT_WARPS) {
    const int32_t row = unit / TILES, tile = unit % TILES, key = tile * ZK_BF16_KEYS + 4 * lane;
    const zk_float4 s = *(const zk_float4 *)&shared->s[row][key];
    float b[TILES], state = INFINITY;
#pragma unroll
    for (int i = 0; i < TILES; i++) {
      bool moved;
      const float next = p.weight.next(state, fmaxf(shared->most[row][2 * i], shared->most[row][2 * i + 1]), &moved);
      b[i] = state = i * ZK_BF16_KEYS < item.num_keys ? next : state;
    }
    const float mine = tile == 0 ? b[0] : tile == 1 ? b[1] : tile == 2 ? b[2] : b[3];
    uint32_t w[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      w[i] = zk_weights(fmaf(s.at[2 * i], p.weight.c, mine), fmaf(s.at[2 * i + 1], p.weight.c, mine));
      const int32_t left = item.num_keys - key - 2 * i;
      w[i] = left >= 2 ? w[i] : left == 1 ? w[i] & 0xffffu : 0u;
    }
    *(uint2 *)&shared->p[row][key] = make_uint2(w[0], w[1]);
    if (tile > 0 || lane >= TILES) continue;
    const float now = lane == 0   ? b[0]
                      : lane == 1 ? b[1]
                      : lane == 2 ? b[2]
                                  : b[3],
                before = lane == 0   ? INFINITY
                         : lane == 1 ? b[0]
                         : lane == 2 ? b[1]
                                     : b[2];
    shared->a[row][lane] = now != before ? p.weight(before, now) : 1.0f;
    if (lane == TILES - 1) shared->b[row] = now;
  }
}

#endif
