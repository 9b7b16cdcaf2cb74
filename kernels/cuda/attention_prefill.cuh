// Prefill on Hopper, the side that computes nothing: how the work of a call is shared out among blocks of threads that
// stay, and the warps that fetch it into shared memory.
//
// A block of threads has two warpgroups that compute (attention_prefill.cu), 64 flat rows each, and four warps that
// fetch: one finds the next 128 flat rows and loads tiles of K, one loads tiles of V, two load queries. They meet at
// mbarriers: `full` when a buffer has been filled, `empty` when all who read it have.
//
// Tiles lie as wgmma wants them: rows of 64 elements (128 bytes), swizzled (tma.cuh). The copy engine moves boxes of
// keys; a box is a power of two that divides a page, so that it lies in one. Keys behind the last are not zeroed here.
#ifndef ZK_KERNELS_CUDA_ATTENTION_PREFILL_CUH
#define ZK_KERNELS_CUDA_ATTENTION_PREFILL_CUH

#include "kernels/cuda/attention_merge.cuh"
#include "kernels/cuda/tma.cuh"

#define ZK_PREFILL_ROWS ZK_ATTN_PREFILL_UNITS
#define ZK_PREFILL_KEYS ZK_ATTN_TILE_BF16
#define ZK_PREFILL_COMPUTING 256 // threads
#define ZK_PREFILL_THREADS 384

// 128 flat rows of a sequence and KV head, and the tiles of keys to walk: all, or those of one split.
struct zk_prefill_work {
  zk_attn_block block;
  int32_t kv_head, num_keys, first_tile, num_tiles; // num_tiles 0: there is no more work
};

struct zk_prefill_maps {
  CUtensorMap k, v, q;
  int32_t box_keys;
  bool by_box; // queries come by boxes of q, [token][head][D]
};

template <int D> struct zk_prefill_shared {
  zk_bf16 q[D / 64][ZK_PREFILL_ROWS][64];
  zk_bf16 k[2][D / 64][ZK_PREFILL_KEYS][64], v[2][D / 64][ZK_PREFILL_KEYS][64];
  zk_float4 total[D / 8][ZK_PREFILL_COMPUTING]; // merged splits: each thread's own
  zk_prefill_work work[2];
  uint64_t q_first, q_full, q_empty, k_full[2], k_empty[2], v_full[2], v_empty[2], work_full[2], work_empty[2];
};

static_assert(sizeof(zk_prefill_shared<128>) <= 227 * 1024, "a block has no more");

// Where a ring of two buffers is, and the parity of its phase: readers begin with 0, writers with 1.
struct zk_prefill_ring {
  int32_t at;
  uint32_t parity;
};
static __device__ __forceinline__ void zk_prefill_next(zk_prefill_ring *ring) {
  ring->at ^= 1;
  ring->parity ^= ring->at == 0;
}

template <int D> static __device__ __forceinline__ void zk_prefill_init(zk_prefill_shared<D> *sm) {
  zk_mbar_init(&sm->q_first, 64), zk_mbar_init(&sm->q_full, 64), zk_mbar_init(&sm->q_empty, ZK_PREFILL_COMPUTING / 32);
  for (int i = 0; i < 2; ++i) {
    zk_mbar_init(&sm->k_full[i], 1), zk_mbar_init(&sm->k_empty[i], ZK_PREFILL_COMPUTING / 32);
    zk_mbar_init(&sm->v_full[i], 1), zk_mbar_init(&sm->v_empty[i], ZK_PREFILL_COMPUTING / 32);
    zk_mbar_init(&sm->work_full[i], 1), zk_mbar_init(&sm->work_empty[i], ZK_PREFILL_COMPUTING / 32 + 3);
  }
  zk_mbar_init_done();
}

// A warp's place in the list of all blocks of all sequences: `before` blocks lie before sequence `seq`; `item` is the
// piece of work to find.
struct zk_prefill_place {
  int32_t seq, before, item;
};

// Block `item` of the list, at or behind the place; of a sequence the blocks with the most keys come first. A lane
// counts the blocks of one sequence. False: the list has no such block.
static __device__ __forceinline__ bool zk_prefill_block(const zk_attn &at, int32_t item, zk_prefill_place *place,
                                                        zk_attn_block *out) {
  const int32_t lane = (int32_t)threadIdx.x % 32;
  for (; place->seq < at.num_seqs; place->seq += 32) {
    const int32_t s = place->seq + lane;
    const bool there = s < at.num_seqs;
    const int32_t start = there ? at.seq_row_start[s] : 0, rows = there ? at.seq_row_start[s + 1] - start : 0,
                  first_pos = there ? at.seq_first_pos[s] : 0;
    int32_t sum = (rows * at.group + ZK_PREFILL_ROWS - 1) / ZK_PREFILL_ROWS;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const int32_t left = __shfl_up_sync(0xffffffffu, sum, distance);
      if (lane >= distance) sum += left;
    }
    const int32_t all = __shfl_sync(0xffffffffu, sum, 31);
    if (item < place->before + all) {
      const int32_t who = __ffs((int)__ballot_sync(0xffffffffu, item < place->before + sum)) - 1;
      out->row_start = __shfl_sync(0xffffffffu, start, who);
      out->num_rows = __shfl_sync(0xffffffffu, rows, who);
      out->first_pos = __shfl_sync(0xffffffffu, first_pos, who);
      out->begin = (place->before + __shfl_sync(0xffffffffu, sum, who) - 1 - item) * ZK_PREFILL_ROWS;
      out->end = zk_attn_min(out->begin + ZK_PREFILL_ROWS, out->num_rows * at.group);
      out->pages = at.page_table + (size_t)(place->seq + who) * (size_t)at.max_pages;
      return true;
    }
    place->before += all;
  }
  return false;
}

// This block of threads' next work; num_tiles 0 when there is none. Its first is its own number; who is nearly done draws
// the next from `drawn`: sequences lie one behind the other, each with its long blocks first, and equal shares of that list
// are unequal work. Who draws last sets the count back to 0: each of n pieces was drawn or was some block's first, and each
// block that had a first drew once in vain, n times in all.
static __device__ __forceinline__ void zk_prefill_find(const zk_attn &at, const zk_attn_partials &partials,
                                                       uint32_t *drawn, zk_prefill_place *place,
                                                       zk_prefill_work *work) {
  const int32_t num_splits = partials.o == NULL ? 1 : partials.num_splits,
                split_tiles = at.split_keys / ZK_PREFILL_KEYS, lane = (int32_t)threadIdx.x % 32;
  do {
    if (place->item < 0) {
      const uint32_t count = lane == 0 ? atomicAdd(drawn, 1u) : 0;
      place->item = (int32_t)(gridDim.x + __shfl_sync(0xffffffffu, count, 0));
    }
    const int32_t item = place->item, rest = item / at.num_kv_heads;
    work->num_tiles = 0;
    if (!zk_prefill_block(at, rest / num_splits, place, &work->block)) {
      const int32_t n = place->before * num_splits * at.num_kv_heads;
      if (lane == 0 && item - (int32_t)gridDim.x == n - 1) *drawn = 0;
      return;
    }
    place->item = -1;
    work->kv_head = item % at.num_kv_heads;
    work->num_keys = zk_attn_pos(at, work->block, work->block.end - 1) + 1;
    const zk_attn_splits splits = zk_attn_splits_of(partials, work->num_keys, at.split_keys, rest % num_splits);
    work->first_tile = splits.begin * split_tiles;
    work->num_tiles = zk_attn_min((work->num_keys + ZK_PREFILL_KEYS - 1) / ZK_PREFILL_KEYS, splits.end * split_tiles) -
                      work->first_tile;
  } while (work->num_tiles <= 0); // a split that these rows do not reach
}

// The tiles of one piece of work, of K or of V, by a whole warp: a lane for each box.
template <int D>
static __device__ __forceinline__ void
zk_prefill_load(const zk_attn &at, const zk_prefill_work &work, const CUtensorMap *map, int32_t box_keys,
                zk_bf16 (*tiles)[D / 64][ZK_PREFILL_KEYS][64], uint64_t *full, uint64_t *empty, zk_prefill_ring *ring) {
  const int32_t lane = (int32_t)threadIdx.x % 32, slot = lane * box_keys;
  for (int32_t j = 0; j < work.num_tiles; ++j) {
    const int32_t key = (work.first_tile + j) * ZK_PREFILL_KEYS + slot;
    const bool loads = slot < ZK_PREFILL_KEYS && key < work.num_keys;
    const int32_t row =
        loads ? (work.block.pages[key / at.page_tokens] * at.num_kv_heads + work.kv_head) * at.page_tokens +
                    key % at.page_tokens
              : 0;
    const int32_t num_boxes = __popc(__ballot_sync(0xffffffffu, loads));
    zk_mbar_wait(&empty[ring->at], ring->parity);
    if (lane == 0)
      zk_mbar_arrive_expect(&full[ring->at], (uint32_t)(num_boxes * box_keys * D) * (uint32_t)sizeof(zk_bf16));
    __syncwarp();
    if (loads)
#pragma unroll
      for (int h = 0; h < D / 64; ++h) zk_tma_load_2d(tiles[ring->at][h][slot], map, &full[ring->at], 64 * h, row);
    zk_prefill_next(ring);
  }
}

// Reads the next work; all lanes of a warp have done so when one of them says that it may be overwritten.
template <int D>
static __device__ __forceinline__ zk_prefill_work zk_prefill_read(zk_prefill_shared<D> *sm, zk_prefill_ring *ring) {
  zk_mbar_wait(&sm->work_full[ring->at], ring->parity);
  const zk_prefill_work work = sm->work[ring->at];
  __syncwarp();
  if (threadIdx.x % 32 == 0) zk_mbar_arrive(&sm->work_empty[ring->at]);
  zk_prefill_next(ring);
  return work;
}

// The warp that finds work, and loads its K.
template <int D>
static __device__ __forceinline__ void zk_prefill_keys(const zk_attn &at, const zk_attn_partials &partials,
                                                       const zk_prefill_maps &maps, uint32_t *drawn,
                                                       zk_prefill_shared<D> *sm) {
  zk_prefill_place place = {0, 0, (int32_t)blockIdx.x};
  zk_prefill_ring found = {0, 1}, ring = {0, 1};
  zk_prefill_work work;
  do {
    zk_prefill_find(at, partials, drawn, &place, &work);
    zk_mbar_wait(&sm->work_empty[found.at], found.parity);
    if (threadIdx.x % 32 == 0) {
      sm->work[found.at] = work;
      zk_mbar_arrive(&sm->work_full[found.at]);
    }
    zk_prefill_next(&found);
    zk_prefill_load<D>(at, work, &maps.k, maps.box_keys, sm->k, sm->k_full, sm->k_empty, &ring);
  } while (work.num_tiles > 0);
}

// The warp that loads V. At first it waits until queries have been asked for: they and K are needed before. q_first says so, once and for all: of
// q_full this warp could miss the first phase, as the second piece's queries want no V, and would then wait for a third that wants V.
template <int D>
static __device__ __forceinline__ void zk_prefill_values(const zk_attn &at, const zk_prefill_maps &maps,
                                                         zk_prefill_shared<D> *sm) {
  zk_prefill_ring found = {0, 0}, ring = {0, 1};
  for (bool first = true;; first = false) {
    const zk_prefill_work work = zk_prefill_read(sm, &found);
    if (work.num_tiles == 0) return;
    if (first) zk_mbar_wait(&sm->q_first, 0);
    zk_prefill_load<D>(at, work, &maps.v, maps.box_keys, sm->v, sm->v_full, sm->v_empty, &ring);
  }
}

// The two warps that load queries, 16 bytes a thread at a time; rows past the end are zeros. They begin as soon as the
// last product of scores has read the ones before.
template <int D>
static __device__ __forceinline__ void zk_prefill_queries(const zk_attn &at, const zk_bf16 *q,
                                                          zk_prefill_shared<D> *sm) {
  zk_prefill_ring found = {0, 0};
  bool first_piece = true;
  for (uint32_t parity = 1;; parity ^= 1, first_piece = false) {
    const zk_prefill_work work = zk_prefill_read(sm, &found);
    if (work.num_tiles == 0) return;
    zk_mbar_wait(&sm->q_empty, parity);
    // D / 8 lanes have a row; the row's token and head move on without a division.
    constexpr int32_t pieces = D / 8, rows_at_once = 64 / pieces;
    const int32_t piece = (int32_t)threadIdx.x % pieces, first = (int32_t)threadIdx.x % 64 / pieces;
    const int32_t flat = work.block.begin + first;
    int32_t head = flat % at.group;
    const zk_bf16 *from = q +
                          ((size_t)(work.block.row_start + flat / at.group) * (size_t)at.num_heads +
                           (size_t)(work.kv_head * at.group + head)) *
                              (size_t)D +
                          8 * piece;
    const int32_t skip =
        (at.num_heads - at.group) * D; // from a token's last head of the group to the next token's first
#pragma unroll 4
    for (int32_t r = first; r < ZK_PREFILL_ROWS; r += rows_at_once) {
      const bool there = work.block.begin + r < work.block.end;
      zk_copy_16_or_zero(&sm->q[piece / 8][r][(piece % 8 ^ r % 8) * 8], there ? from : q, there);
      from += rows_at_once * D;
      for (head += rows_at_once; head >= at.group; head -= at.group) from += skip;
    }
    zk_copy_wait();
    zk_fence_async();
    zk_mbar_arrive(&sm->q_full);
    if (first_piece) zk_mbar_arrive(&sm->q_first);
  }
}

// The same by the copy engine, for groups that divide a block's rows: a box is the heads of the group of some tokens.
// Rows past the end are other sequences' or zeros; nobody uses what comes of them.
template <int D>
static __device__ __forceinline__ void zk_prefill_queries_by_box(const zk_attn &at, const zk_prefill_maps &maps,
                                                                 zk_prefill_shared<D> *sm) {
  zk_prefill_ring found = {0, 0};
  bool first_piece = true;
  for (uint32_t parity = 1;; parity ^= 1, first_piece = false) {
    const zk_prefill_work work = zk_prefill_read(sm, &found);
    if (work.num_tiles == 0) return;
    zk_mbar_wait(&sm->q_empty, parity);
    if (threadIdx.x % 64 == 0) {
      zk_mbar_arrive_expect(&sm->q_full, (uint32_t)sizeof sm->q);
#pragma unroll
      for (int h = 0; h < D / 64; ++h)
        zk_tma_load_3d(sm->q[h], &maps.q, &sm->q_full, 64 * h, work.kv_head * at.group,
                       work.block.row_start + work.block.begin / at.group);
    } else {
      zk_mbar_arrive(&sm->q_full);
    }
    if (first_piece) zk_mbar_arrive(&sm->q_first);
  }
}

#endif
