// Decoding attention, bf16: which tiles of keys a block computes, and how they reach its shared memory.
//
// An item of work is one split of the keys, for one KV head and one block of 16 flat rows (attention.cuh) of a
// sequence. Items are numbered sequence by sequence, then by split, block of rows and head, so that the heads of a page
// are read side by side. A resident thread block takes items from a queue, its first by its number, and sees them as one
// stream of tiles of 128 keys. Which block computes an item changes no bit. K and V tiles of the stream fill two rings of STAGES slots; the last warp, the loader, keeps both full:
// while a tile is computed the copy engine fetches the next STAGES - 1, across the ends of items, so that memory is
// never idle for the sake of arithmetic. Three barriers for each stage carry the stream: k_full and v_full, which count
// the bytes that the loader asked for, and free, on which the computing warps say that the tile's K, its Q and the V of
// the tile before it are done with. What a tile is stands beside it in shared memory, ordered by k_full.
//
// How many splits each sequence has is known to the device only: each thread block adds them up for itself.
//
// Gangs. Neighbouring sequences of one row each that share their first pages are computed together, as far as all of
// them share whole splits: their rows lie side by side in one block of 16, and their keys are read once. Rows do not
// meet in any sum, so that a row's company changes no bit. A gang lies within `most` sequences from a multiple of
// `most`, the largest power of two of them that fits into 16 flat rows. Its first sequence has the gang's items.
#ifndef ZK_KERNELS_CUDA_ATTENTION_DECODE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_DECODE_CUH

#include "kernels/cuda/attention_bf16.cuh"
#include "kernels/cuda/tma.cuh"

#define ZK_DECODE_ROWS 16
#define ZK_DECODE_MOST_SEQS 512 // of one launch

// K or V of a layer as the copy engine sees it: rows of D elements, one for each token of each head of each page, in
// boxes of some rows and 64 elements. A box lies within one page and one tile: its rows divide those of both.
struct zk_decode_maps {
  CUtensorMap k, v, k_end, v_end; // whole tiles in large boxes; a sequence's last tile in small ones
  int32_t box_rows, end_box_rows;
};

// One tile of the stream, in shared memory.
struct zk_decode_tile {
  int32_t num_rows;          // flat rows of the block; 0: the stream has ended
  int32_t num_seqs, seq;     // sequences they are of, and the first of them; if they are several, they have a row each
  int32_t row_start, begin;  // the sequence's first row in the batch; the block's first flat row
  int32_t kv_head, split;
  int32_t key, num_keys;     // the tile's first key; keys that the item's rows see
  int32_t is_first, is_last; // of its item
};

// A ring slot holds 128 keys as [D / 64][128][64], each row of 128 bytes swizzled by the copy engine: its 16-byte piece
// c lies at c ^ (row % 8). So neither ldmatrix meets a bank conflict.
template <int DIM, int STAGES> struct zk_decode_shared {
  static constexpr int WARPS = DIM / 16, TILES = STAGES + 2;
  zk_bf16 k[STAGES][ZK_BF16_KEYS * DIM], v[STAGES][ZK_BF16_KEYS * DIM];
  zk_bf16 q[STAGES][ZK_DECODE_ROWS][DIM + 8];  // of items whose first tile is in the slot; rows past the end are anything
  zk_bf16 p[ZK_DECODE_ROWS][ZK_BF16_KEYS + 8]; // bf(w), an A operand
  float w[ZK_DECODE_ROWS][ZK_BF16_KEYS + 8];
  float most[ZK_DECODE_ROWS][WARPS]; // largest score of each warp's keys
  float a[ZK_DECODE_ROWS], l[ZK_DECODE_ROWS];
  uint64_t k_full[STAGES], v_full[STAGES], free[STAGES];
  zk_decode_tile tile[TILES];
  int32_t item_start[ZK_DECODE_MOST_SEQS + 1]; // items of the sequences before s, without heads
  int32_t row_start[ZK_DECODE_MOST_SEQS + 1], first_pos[ZK_DECODE_MOST_SEQS]; // copies of the batch's
  int32_t warp_sum[32];
};

// Flat row r of a tile's block: its index in [T, Hq] arrays, and the keys that it sees; 0 past the end.
static __device__ __forceinline__ size_t zk_decode_row(const zk_attn &a, const zk_decode_tile &tile, int32_t r) {
  const int32_t flat = tile.begin + r;
  return (size_t)(tile.row_start + flat / a.group) * (size_t)a.num_heads +
         (size_t)(tile.kv_head * a.group + flat % a.group);
}
static __device__ __forceinline__ int32_t zk_decode_keys(const zk_attn &a, const int32_t *first_pos,
                                                         const zk_decode_tile &tile, int32_t r) {
  const int32_t token = (tile.begin + r) / a.group;
  if (r >= tile.num_rows) return 0;
  return 1 + (tile.num_seqs > 1 ? first_pos[tile.seq + token] : first_pos[tile.seq] + token);
}

// Address of the 16-byte piece `piece` (8 elements) of a key in a slot.
static __device__ __forceinline__ const zk_bf16 *zk_decode_piece(const zk_bf16 *slot, int key, int piece) {
  return slot + (piece / 8 * ZK_BF16_KEYS + key) * 64 + (piece % 8 ^ key % 8) * 8;
}

static __device__ __forceinline__ void zk_decode_prefetch(const zk_decode_maps *maps) { // by one warp
  const int32_t lane = (int32_t)threadIdx.x % 32;
  if (lane < 4) zk_tma_prefetch_map(lane == 0 ? &maps->k : lane == 1 ? &maps->v : lane == 2 ? &maps->k_end : &maps->v_end);
}

// ---- the stream of tiles

struct zk_decode_gang {
  int32_t first, num_seqs, num_splits; // that they share; the first sequence computes these for all
};

// The gang of sequence s. All lanes of the warp call it, lane i for a sequence i after a multiple of 32.
static __device__ __forceinline__ zk_decode_gang zk_decode_find_gang(const zk_attn &a, const int32_t *row_start,
                                                                     const int32_t *first_pos, int32_t s) {
  if (a.seq_shared_pages == NULL || a.group > ZK_DECODE_ROWS / 2) return {s, 1, 0};
  const int32_t lane = (int32_t)threadIdx.x % 32;
  int32_t most = 2;
  while (2 * most * a.group <= ZK_DECODE_ROWS) most *= 2;
  int32_t shared = 0; // whole splits that s and the sequence before it have in common
  if (s % most != 0 && s < a.num_seqs && row_start[s + 1] - row_start[s - 1] == 2 &&
      row_start[s] - row_start[s - 1] == 1) {
    const int32_t seen = zk_attn_min(first_pos[s - 1], first_pos[s]) + 1;
    shared = zk_attn_min(a.seq_shared_pages[s] * a.page_tokens, seen) / a.split_keys;
  }
  const uint32_t firsts = __ballot_sync(0xffffffffu, shared == 0), above = firsts & ~((2u << lane) - 1u);
  const int32_t first = 31 - __clz((int)(firsts & ((2u << lane) - 1u))), end = above != 0 ? __ffs((int)above) - 1 : 32;
  int32_t splits = INT32_MAX; // shared by all from first to end
  for (int32_t i = 1; i < most; ++i) {
    const int32_t x = __shfl_sync(0xffffffffu, shared, (first + i) % 32);
    if (first + i < end) splits = zk_attn_min(splits, x);
  }
  return {s - lane + first, end - first, end - first > 1 ? splits : 0};
}

// The batch's rows, and the items of sequences before each, to shared memory, by all threads of the block (whole warps).
template <class Shared> static __device__ void zk_decode_count(const zk_attn &a, int num_threads, Shared *shared) {
  const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32, num_warps = num_threads / 32;
  for (int32_t s = thread; s <= a.num_seqs; s += num_threads) {
    shared->row_start[s] = a.seq_row_start[s];
    if (s < a.num_seqs) shared->first_pos[s] = a.seq_first_pos[s];
  }
  __syncthreads();
  int32_t before = 0; // items of the sequences of earlier rounds
  for (int32_t begin = 0; begin < a.num_seqs; begin += num_threads) {
    const int32_t s = begin + thread;
    const zk_decode_gang gang = zk_decode_find_gang(a, shared->row_start, shared->first_pos, s);
    int32_t mine = 0;
    if (s < a.num_seqs) {
      const int32_t rows = shared->row_start[s + 1] - shared->row_start[s];
      const int32_t blocks = (rows * a.group + ZK_DECODE_ROWS - 1) / ZK_DECODE_ROWS;
      mine = rows > 0 ? blocks * ((shared->first_pos[s] + rows - 1) / a.split_keys + 1) : 0;
      if (s != gang.first) mine -= gang.num_splits;
    }
    int32_t sum = mine;
    for (int distance = 1; distance < 32; distance *= 2) {
      const int32_t left = __shfl_up_sync(0xffffffffu, sum, (unsigned)distance);
      if (lane >= distance) sum += left;
    }
    if (lane == 31) shared->warp_sum[warp] = sum;
    __syncthreads();
    int32_t start = before + sum - mine;
    for (int i = 0; i < num_warps; i++) {
      if (i < warp) start += shared->warp_sum[i];
      before += shared->warp_sum[i];
    }
    if (s < a.num_seqs) shared->item_start[s] = start;
    __syncthreads();
  }
  if (thread == 0) shared->item_start[a.num_seqs] = before;
  __syncthreads();
}

#endif
