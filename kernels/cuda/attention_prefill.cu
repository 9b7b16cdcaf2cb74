// Prefill on Hopper, the side that computes: bf16 attention forward of many rows, head_dim 64 and 128. Each of two
// warpgroups has 64 flat rows of a KV head; scores and values are wgmma steps, K and V tiles come through rings that
// other warps fill (attention_prefill.cuh).
//
// Tile j of a warpgroup: S = Q K(j)^T is queued, behind it O += P V(j - 1), and while the second runs the softmax of S
// makes the next P. The warpgroups take turns at queueing, so that one's softmax runs beside the other's products. From
// piece to piece of work it goes on: behind a piece's last values the first scores of the next are queued, and while they
// run its rows are merged, divided and stored.
//
// Why the bits are the contract's: a wgmma step is its step, S's chain runs over d and O's over the tile's keys, each
// ascending on one accumulator; a split's first O starts without an accumulator, which is +0; the scale by a comes
// between two tiles, on the same thread's registers, and where a is 1 for all rows of a warp it is left out; splits are
// merged ascending, the merged part of a thread waiting in shared memory; scores that are made again are the same
// chains. Steps of keys behind a row's last have weight +0 and V of the sequence, or zeros behind the last key.
#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/attention_prefill.cuh"

#include "kernels/cuda/attention_prefill_softmax.cuh"
#include "kernels/cuda/attention_prefill_store.cuh"
#include "kernels/cuda/wgmma.cuh"

#define KEYS ZK_PREFILL_KEYS
#define COMPUTING ZK_PREFILL_COMPUTING

// Named barriers: of a warpgroup alone, and of whose turn it is to queue products.
#define OWN_BARRIER(group) (1 + (group))
#define TURN_BARRIER(group) (3 + (group))

// s = the chain over d of the warpgroup's rows with the tile's keys.
template <int D>
static __device__ __forceinline__ void queue_scores(const zk_prefill_shared<D> *sm, int32_t stage, int32_t group,
                                                    float (&s)[64]) {
  zk_wgmma_begin();
#pragma unroll
  for (int h = 0; h < D / 64; ++h) {
    const uint64_t q = zk_wgmma_inner(sm->q[h][64 * group]), k = zk_wgmma_inner(sm->k[stage][h][0]);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      zk_wgmma<false, false>(s, zk_wgmma_step<false>(q, i), zk_wgmma_step<false>(k, i), h + i > 0);
  }
  zk_wgmma_commit();
}

// The chain of o goes on over the tile's keys; `fresh`: it begins, from +0.
template <int D>
static __device__ __forceinline__ void queue_values(const zk_prefill_shared<D> *sm, int32_t stage,
                                                    const uint32_t (&p)[32], bool fresh, float (&o)[D / 2]) {
  zk_wgmma_begin();
  const uint64_t v = zk_wgmma_outer(sm->v[stage][0][0], KEYS * 128);
#pragma unroll
  for (int i = 0; i < KEYS / 16; ++i) zk_wgmma_ra<true>(o, p + 4 * i, zk_wgmma_step<true>(v, i), i > 0 || !fresh);
  zk_wgmma_commit();
}

// V of the tile's keys [keys, KEYS) becomes zeros. Both warpgroups do it, each before its own products.
template <int D>
static __device__ __forceinline__ void clear_values(zk_prefill_shared<D> *sm, int32_t stage, int32_t keys,
                                                    int32_t group) {
  for (int32_t i = (int32_t)threadIdx.x % 128; i < (KEYS - keys) * (D / 8); i += 128)
    *(zk_vec16 *)&sm->v[stage][i % (D / 8) / 8][keys + i / (D / 8)][i % 8 * 8] = {{0, 0, 0, 0}};
  zk_fence_async();
  zk_barrier(OWN_BARRIER(group), 128);
}

// All pieces of work of a warpgroup.
template <int D>
static __device__ __forceinline__ void compute(const zk_attn &at, const zk_attn_exp_bf16 &weight,
                                               const zk_attn_partials &partials, int32_t group,
                                               zk_prefill_shared<D> *sm, zk_bf16 *out, float *lse) {
  // Whether there are registers for a tile's scores beside its weights. If not, weights take the scores' place, K stays
  // until they stand, and the rare tile that needs its scores again has them made again by the whole warpgroup.
  constexpr bool KEEPS = D == 64;
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, split_tiles = at.split_keys / KEYS;
  zk_float4 *total = &sm->total[0][threadIdx.x];
  zk_prefill_ring found = {0, 0}, ring = {0, 0}, *const k = &ring;
  uint32_t q_parity = 0;

  float s[64], o[D / 2], a[2];
  uint32_t p[32], w[32]; // the weights that products are using, and the next
#pragma unroll
  for (int i = 0; i < 32; ++i) p[i] = 0;
  const uint32_t zero = (uint32_t)at.page_tokens >> 31; // for zk_wgmma_replace
  const auto is_more = [&]() {
    zk_mbar_wait(&sm->work_full[found.at], found.parity);
    return __shfl_sync(0xffffffffu, sm->work[found.at].num_tiles, 0) > 0;
  };
  // The scores of the next piece's first tile.
  const auto queue_first = [&]() {
    zk_mbar_wait(&sm->q_full, q_parity);
    q_parity ^= 1;
    zk_mbar_wait(&sm->k_full[k->at], k->parity);
    zk_barrier(TURN_BARRIER(group), COMPUTING);
    queue_scores<D>(sm, k->at, group, s);
    zk_barrier_arrive(TURN_BARRIER(group ^ 1), COMPUTING);
  };
  if (!is_more()) return;
  queue_first();
  zk_wgmma_wait<0>();
  zk_wgmma_settle(s);
#pragma unroll 1
  for (;;) {
    const zk_prefill_work work = zk_prefill_read(sm, &found);
    const zk_attn_block &block = work.block;
    const int32_t num_tiles = __shfl_sync(0xffffffffu, work.num_tiles, 0); // all lanes': for the compiler, too
    const int32_t first_row = block.begin + 64 * group;
    int32_t flat[2], keys_seen[2]; // keys 0..p; none for a row past the end
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      flat[r] = block.begin + 16 * warp + lane / 4 + 8 * r;
      keys_seen[r] = flat[r] < block.end ? zk_attn_pos(at, block, flat[r]) + 1 : 0;
    }
    // Keys that all rows of the warpgroup see; none if a row is past the end.
    const int32_t all_see = first_row + 63 < block.end ? zk_attn_pos(at, block, first_row) + 1 : 0;
    zk_softmax_state state = zk_softmax_begin();
    zk_prefill_merged rows = zk_prefill_merge_none();
    int32_t in_split = 0; // tile j of its split
    zk_wgmma_forget(o);
#pragma unroll 1
    for (int32_t j = 0;; ++j) {
      const int32_t tile = (work.first_tile + j) * KEYS, stage = k->at;
      const bool last = j + 1 == num_tiles;
      zk_wgmma_settle(s);
      const auto scores_read = [&]() {
        if (lane == 0) {
          zk_mbar_arrive(&sm->k_empty[stage]);
          if (last) zk_mbar_arrive(&sm->q_empty);
        }
      };
      // Of the last tile the largest score is always looked for: then nothing makes its scores again, and the next
      // piece's queries come while its weights are made.
      const bool known = in_split == 0 || (!KEEPS && last), read = KEEPS || last;
      if (read) scores_read();
      const int32_t high[2] = {zk_attn_clamp(keys_seen[0] - tile, 0, KEYS),
                               zk_attn_clamp(keys_seen[1] - tile, 0, KEYS)};
      const auto agree = [&](bool holds) {
        return KEEPS ? (bool)__all_sync(0xffffffffu, holds) : zk_barrier_all(OWN_BARRIER(group), 128, holds);
      };
      const auto again = [&]() {
        if (KEEPS) return;
        zk_wgmma_wait<0>();
        queue_scores<D>(sm, stage, group, s);
        zk_wgmma_wait<0>();
        zk_wgmma_settle(s);
      };
      const bool moved = zk_prefill_softmax<KEEPS>(weight, all_see >= tile + KEYS, high, in_split == 0, known, agree,
                                                   again, s, &state, w, a);
      if (!read) scores_read();
      zk_wgmma_wait<0>();
      zk_wgmma_settle(o);
      if (j > 0 && lane == 0) zk_mbar_arrive(&sm->v_empty[stage ^ 1]);
      if (j > 0 && in_split == 0) { // o is of the split before
        zk_prefill_merge_values<COMPUTING>(rows, total, o);
#pragma unroll
        for (int i = 0; i < D / 8; ++i) total[i * COMPUTING] = {{o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]}};
      } else if (moved) {
#pragma unroll
        for (int i = 0; i < D / 2; ++i) o[i] = o[i] * a[i / 2 % 2];
      }
      zk_wgmma_replace(p, w, zero);
      zk_mbar_wait(&sm->v_full[stage], k->parity);
      zk_prefill_next(k);
      if (last) break;
      zk_mbar_wait(&sm->k_full[k->at], k->parity);
      zk_barrier(TURN_BARRIER(group), COMPUTING);
      queue_scores<D>(sm, k->at, group, s);
      queue_values<D>(sm, stage, p, in_split == 0, o);
      zk_barrier_arrive(TURN_BARRIER(group ^ 1), COMPUTING);
      in_split = in_split + 1 == split_tiles ? 0 : in_split + 1;
      if (in_split == 0) {
        zk_prefill_merge(weight, state, &rows);
        state = zk_softmax_begin();
      }
      zk_wgmma_wait<1>();
    }

    const int32_t stage = k->at ^ 1, last_tile = work.first_tile + num_tiles - 1,
                  keys = work.num_keys - last_tile * KEYS;
    if (keys < KEYS) clear_values<D>(sm, stage, keys, group);
    const auto join = [&]() { // the last split's sums; its values follow in `finish`
      const zk_prefill_merged before = rows;
      zk_prefill_merge(weight, state, &rows);
      // A row that ends before the last split keeps its total; what follows adds +0 to it anyway.
#pragma unroll
      for (int r = 0; r < 2; ++r)
        if (keys_seen[r] <= last_tile / split_tiles * at.split_keys)
          rows.M[r] = before.M[r], rows.L[r] = before.L[r], rows.A[r] = 1.0f, rows.B[r] = 0.0f, rows.copy[r] = false;
    };
    const auto finish = [&]() {
      zk_wgmma_settle(o);
      if (lane == 0) zk_mbar_arrive(&sm->v_empty[stage]);
      zk_prefill_merge_values<COMPUTING>(rows, total, o);
      if (partials.o == NULL) zk_prefill_divide(weight, rows.L, o);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const size_t row = zk_attn_row(at, block, work.kv_head, flat[r]);
        const bool there = keys_seen[r] > work.first_tile * KEYS;
        if (partials.o == NULL) zk_prefill_store<D>(weight, row, there, r, rows, o, out, lse);
        else zk_prefill_store_split<D>(partials, row, work.first_tile / split_tiles, there, r, rows, o);
      }
    };
    if (!is_more()) { // each branch queues its own: the compiler follows products through no branch
      queue_values<D>(sm, stage, p, in_split == 0, o);
      zk_wgmma_wait<0>();
      join();
      finish();
      return;
    }
    queue_values<D>(sm, stage, p, in_split == 0, o);
    queue_first();
    join();
    zk_wgmma_wait<1>();
    finish();
    zk_wgmma_wait<0>();
    zk_wgmma_settle(s);
  }
}

template <int D>
static __global__ void __launch_bounds__(ZK_PREFILL_THREADS, 1)
    prefill(zk_attn at, zk_attn_exp_bf16 weight, const __grid_constant__ zk_prefill_maps maps, const zk_bf16 *q,
            zk_attn_partials partials, uint32_t *drawn, zk_bf16 *out, float *lse) {
  ZK_DYNAMIC_SHARED(zk_prefill_shared<D>, sm);
  if (threadIdx.x == 0) zk_prefill_init(sm);
  if (threadIdx.x == 32) zk_tma_prefetch_map(&maps.k), zk_tma_prefetch_map(&maps.v);
  __syncthreads();
  const int32_t role = __shfl_sync(0xffffffffu, (int32_t)threadIdx.x / 128, 0);
  if (role == COMPUTING / 128) {
    zk_registers_give<40>();
    const int32_t warp = __shfl_sync(0xffffffffu, (int32_t)threadIdx.x / 32, 0) % 4;
    if (warp == 0) zk_prefill_keys<D>(at, partials, maps, drawn, sm);
    else if (warp == 1) zk_prefill_values<D>(at, maps, sm);
    else if (maps.by_box) zk_prefill_queries_by_box<D>(at, maps, sm);
    else zk_prefill_queries<D>(at, q, sm);
  } else {
    zk_registers_take<232>();
    if (role == 1) zk_barrier_arrive(TURN_BARRIER(0), COMPUTING); // the first turn is warpgroup 0's
    compute<D>(at, weight, partials, role, sm, out, lse);
  }
}

template <int D>
static zk_status launch(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const zk_bf16 *q,
                        const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse) {
  zk_prefill_maps maps = {};
  maps.box_keys = 16;
  while (maps.box_keys < KEYS && a.page_tokens % (2 * maps.box_keys) == 0) maps.box_keys *= 2;
  // How many rows a cache has is not known here: the kernel asks for none but those of the page table.
  ZK_TRY(zk_tma_map_2d(ZK_BF16, k_cache, INT32_MAX, D, D, maps.box_keys, 64, ZK_TMA_SWIZZLE_128, &maps.k));
  ZK_TRY(zk_tma_map_2d(ZK_BF16, v_cache, INT32_MAX, D, D, maps.box_keys, 64, ZK_TMA_SWIZZLE_128, &maps.v));
  maps.by_box = ZK_PREFILL_ROWS % a.group == 0;
  if (maps.by_box) {
    const uint64_t row_bytes = (uint64_t)D * sizeof(zk_bf16),
                   strides[] = {row_bytes, (uint64_t)a.num_heads * row_bytes},
                   dims[] = {(uint64_t)D, (uint64_t)a.num_heads, (uint64_t)plan.num_rows};
    const uint32_t box[] = {64, (uint32_t)a.group, (uint32_t)(ZK_PREFILL_ROWS / a.group)};
    ZK_TRY(zk_tma_map(ZK_BF16, 3, q, dims, strides, box, ZK_TMA_SWIZZLE_128, &maps.q));
  }
  const int64_t most =
      (int64_t)plan.num_blocks * a.num_kv_heads * (plan.partials.o != NULL ? plan.partials.num_splits : 1);
  const int64_t num_sms = zk_cuda_num_sms(zk_stream_device(stream));
  ZK_LAUNCH((prefill<D>), (unsigned)(most < num_sms ? most : num_sms), ZK_PREFILL_THREADS, sizeof(zk_prefill_shared<D>),
            stream, a, zk_attn_exp_of(a), maps, q, plan.partials, zk_cuda_arrivals(stream), out, lse);
  return zk_attn_merge_splits(stream, a, plan, zk_attn_exp_of(a), out, lse);
}

bool zk_attn_prefill_valid(const zk_attn &a) {
  return (a.dim == 64 || a.dim == 128) && a.scale > 0.0f && a.split_keys % KEYS == 0;
}

zk_status zk_attn_prefill(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const zk_bf16 *q,
                          const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse) {
  return (a.dim == 64 ? launch<64> : launch<128>)(stream, a, plan, q, k_cache, v_cache, out, lse);
}
