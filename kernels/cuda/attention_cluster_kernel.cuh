// Decoding attention by clusters, bf16: the kernel (attention_cluster.cuh, attention_cluster_tile.cuh), and the merge of splits.
#ifndef ZK_KERNELS_CUDA_ATTENTION_CLUSTER_KERNEL_CUH
#define ZK_KERNELS_CUDA_ATTENTION_CLUSTER_KERNEL_CUH

#include "kernels/cuda/attention_cluster_tile.cuh"
#include "kernels/cuda/attention_factors.cuh"
#include "kernels/cuda/words.cuh"

// The splits of row `row` merged, ascending, by a warp: a lane has one of the block's columns. Lane i also computes the
// factors of split 16 j + i; all lanes then walk the splits.
template <int DIM>
static __device__ __forceinline__ void zk_cluster_merge(const zk_attn_exp_bf16 &weight, const zk_cluster_outputs &to,
                                                        size_t row, int32_t num_splits, int32_t rank) {
  constexpr int BLOCKS = DIM / ZK_CLUSTER_COLUMNS, AT_ONCE = 16;
  const int32_t lane = (int32_t)threadIdx.x % 32;
  const size_t column = (size_t)(ZK_CLUSTER_COLUMNS * rank + lane);
  float B = INFINITY, L = 0.0f, O = 0.0f;
  for (int32_t begin = 0; begin < num_splits; begin += AT_ONCE) {
    const int32_t count = zk_attn_min(num_splits - begin, AT_ONCE);
    const size_t part = row * (size_t)to.num_splits + (size_t)begin;
    float2 bl = make_float2(INFINITY, 0.0f);
    if (lane < count) bl = __ldcg(to.bl + (part + (size_t)lane) * BLOCKS + (size_t)rank);
    float o[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i)
      if (i < count) o[i] = __ldcg(to.o + (part + (size_t)i) * DIM + column);
    const zk_merge_factors factors = zk_merge_scan<AT_ONCE, 32>(weight, bl.x, bl.y, B);
    B = __shfl_sync(0xffffffffu, factors.n, count - 1);
#pragma unroll
    for (int i = 0; i < AT_ONCE; ++i) {
      if (i >= count) break;
      const zk_merge_factors f = zk_merge_factors_at<32>(factors, i);
      L = zk_merge_sum(f, L, f.l);
      O = zk_merge_sum(f, O, o[i]);
    }
  }
  to.out[row * DIM + column] = zk_float_to_bf16(weight.out(O, L));
  if (column == 0 && to.lse != NULL) to.lse[row] = weight.lse(B, L);
}

// The item's results, by the computing threads. A row of one split is finished on the spot; of others, each split leaves
// (b, l, o) in scratch memory, and the last block to do so merges. Warps 0 to 3 have o of row g, threads 8 r from warp 4
// on l of row r.
template <int DIM>
static __device__ __forceinline__ void
zk_cluster_end(const zk_cluster_item &item, const zk_cluster_row &row, int32_t rank, const zk_attn_exp_bf16 &weight,
               const float o[4], const zk_cluster_outputs &to, uint32_t *counter, zk_cluster_shared<DIM> *shared) {
  constexpr int BLOCKS = zk_cluster_shared<DIM>::BLOCKS;
  const int32_t thread = (int32_t)threadIdx.x, lane = thread % 32, warp = thread / 32, r = (thread - 128) / 8;
  const size_t column = (size_t)(ZK_CLUSTER_COLUMNS * rank + 8 * warp + lane % 4 * 2);
  if (warp < 4) {
    const size_t part = (size_t)row.index * (size_t)to.num_splits + (size_t)item.split;
    if (row.seen > 0 && row.all > ZK_CLUSTER_KEYS) *(float2 *)(to.o + part * DIM + column) = make_float2(o[0], o[1]);
  } else if (warp < 6) {
    const int32_t seen = __shfl_sync(0xffffffffu, row.seen, 4 * r), all = __shfl_sync(0xffffffffu, row.all, 4 * r);
    const size_t index = (size_t)__shfl_sync(0xffffffffu, row.index, 4 * r),
                 part = index * (size_t)to.num_splits + (size_t)item.split;
    if (lane % 8 == 0 && seen > 0) {
      if (all > ZK_CLUSTER_KEYS) to.bl[part * BLOCKS + (size_t)rank] = make_float2(shared->b[r], shared->l[r]);
      else if (rank == 0 && to.lse != NULL) to.lse[index] = weight.lse(shared->b[r], shared->l[r]);
    }
  }
  zk_barrier(1, ZK_CLUSTER_THREADS); // all is stored, and l of all rows is there
  if (warp < 4 && row.seen > 0 && row.all <= ZK_CLUSTER_KEYS) {
    const float l = shared->l[lane / 4];
    *(uint32_t *)(to.out + (size_t)row.index * DIM + column) = zk_pack_bf16(weight.out(o[0], l), weight.out(o[1], l));
  }
  if (item.num_splits == 1) return;
  if (thread == 0) {
    shared->is_last = zk_word_add_acq_rel(counter, 1) + 1 == (uint32_t)item.num_splits;
    if (shared->is_last) *counter = 0;
  }
  zk_barrier(1, ZK_CLUSTER_THREADS);
  if (!shared->is_last) return;
  const int32_t all = __shfl_sync(0xffffffffu, row.all, 4 * warp),
                index = __shfl_sync(0xffffffffu, row.index, 4 * warp);
  if (all > ZK_CLUSTER_KEYS) zk_cluster_merge<DIM>(weight, to, (size_t)index, (all - 1) / ZK_CLUSTER_KEYS + 1, rank);
}

// The cluster's next item from number *i on, num_rows 0 at the end. All warps of all its blocks find the same.
static __device__ __forceinline__ zk_cluster_item zk_cluster_next(const zk_attn &a, const zk_cluster_batch &batch,
                                                                  int32_t num_clusters, int32_t *i) {
  zk_cluster_item item = {};
  for (; *i < batch.num_items * a.num_kv_heads && item.num_rows == 0; *i += num_clusters)
    item = zk_cluster_find(a, batch, *i);
  return item;
}

// An item, between blocks: scores and their maxima are stored into all blocks of the cluster, each of which waits for its
// s_full; a barrier of the cluster says that they have been read. The last warp, which has no part in the product with V, asks
// for the next item's K while that goes on, and for its V at the end.
template <int DIM>
static __global__ void __cluster_dims__(DIM / ZK_CLUSTER_COLUMNS, 1, 1) __launch_bounds__(ZK_CLUSTER_THREADS, 2)
    zk_cluster_decode(zk_attn a, zk_attn_exp_bf16 weight, const zk_bf16 *q,
                      const __grid_constant__ zk_cluster_maps maps, zk_cluster_outputs to) {
  constexpr int BLOCKS = zk_cluster_shared<DIM>::BLOCKS;
  ZK_DYNAMIC_SHARED(zk_cluster_shared<DIM>, shared);
  const int32_t warp = (int32_t)threadIdx.x / 32, rank = (int32_t)zk_block_in_cluster();
  const int32_t num_clusters = (int32_t)gridDim.x / BLOCKS;
  int32_t i = (int32_t)blockIdx.x / BLOCKS;
  const bool loads = warp == ZK_CLUSTER_WARPS - 1;
  zk_let_next_start();
  if (loads) {
    if (threadIdx.x % 32 == 0) {
      zk_mbar_init(&shared->k_full, 1), zk_mbar_init(&shared->v_full, 1), zk_mbar_init(&shared->v_free, 4);
      zk_mbar_init(&shared->s_full, 1);
      zk_mbar_init_done();
    }
    __syncwarp();
  }
  zk_cluster_arrive(); // all blocks of the cluster run and have barriers, before one stores into another
  const zk_cluster_batch batch = zk_cluster_read(a);
  zk_cluster_item item = zk_cluster_next(a, batch, num_clusters, &i);
  zk_cluster_loader<DIM> loader = {a, maps, shared, rank};
  if (loads && item.num_rows > 0) {
    loader.begin(item);
    loader.expect_k(), loader.expect_v(), loader.expect_s(item.num_rows);
    loader.ask_k(true), loader.ask_v(true);
  }
  zk_cluster_row row = zk_cluster_row_of(a, item);
  zk_cluster_wait();
  if (item.num_rows == 0) {                           // the whole cluster
    if (batch.num_items == 0) zk_wait_for_previous(); // a kernel that has ended says that those before it have, too
    return;
  }
  zk_wait_for_previous();
  if (loads) loader.ask_k(false), loader.ask_v(false);
  uint32_t words[DIM / 16][2];
  zk_cluster_load_q<DIM>(row, q, words);
  for (uint32_t parity = 0;; parity ^= 1) {
    const zk_cluster_item next = zk_cluster_next(a, batch, num_clusters, &i);
    const zk_cluster_row next_row = zk_cluster_row_of(a, next);
    const int32_t num_keys = zk_attn_min(item.num_keys - item.split * ZK_CLUSTER_KEYS, ZK_CLUSTER_KEYS);
    zk_mbar_wait(&shared->k_full, parity);
    zk_cluster_scores<DIM>(num_keys, row, rank, words, shared);
    zk_mbar_wait(&shared->s_full, parity);
    zk_cluster_weigh<DIM>(item.num_rows, row, weight, shared);
    if (next.num_rows > 0) zk_cluster_arrive();
    zk_barrier(1, ZK_CLUSTER_THREADS); // weights are there
    float o[4];
    if (warp < 4) {
      zk_mbar_wait(&shared->v_full, parity);
      zk_cluster_values<DIM>(num_keys, shared, o);
      __syncwarp();
      if (threadIdx.x % 32 == 0) zk_mbar_arrive(&shared->v_free);
    } else if (warp < 6) {
      zk_cluster_sum<DIM>(num_keys, item.num_rows, shared);
    } else if (loads && next.num_rows > 0) {
      loader.begin(next);
      loader.expect_s(next.num_rows), loader.expect_k(), loader.ask_k(true), loader.ask_k(false);
      zk_mbar_wait(&shared->v_free, parity);
      loader.expect_v(), loader.ask_v(true), loader.ask_v(false);
    }
    if (next.num_rows > 0) zk_cluster_load_q<DIM>(next_row, q, words);
    zk_cluster_end<DIM>(item, row, rank, weight, o, to,
                        &to.counters[(item.block * a.num_kv_heads + item.kv_head) * BLOCKS + rank], shared);
    if (next.num_rows == 0) break;
    item = next, row = next_row;
    zk_cluster_wait();
  }
}

#endif
