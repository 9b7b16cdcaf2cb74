// Decoding attention, bf16, when there is little work: a split of the keys is spread over a cluster of D / 32 blocks, so
// that all of its K and V is asked for at once and its two products are shared out.
//
// An item is one split of the keys, for one KV head and up to 8 flat rows (attention.cuh) of a sequence. In a cluster of
// BLOCKS, block i has
//   K of its 512 / BLOCKS keys, all of D       it computes their scores and writes them to every block of the cluster
//   V of all 512 keys, 32 columns of D         it computes these columns of o
// and every block computes all weights and l for itself: they are few, and a second exchange would cost more.
//
// The order is the contract's: a score is one chain over d, in one warp; a column of o is one chain over the split's
// keys, in one warp; each of the 8 lanes of l is the sum of one thread. A tile's largest score is the same however it is
// found. References and factors of the split's four tiles are a short recurrence that every warp repeats.
//
// Where kernels overlap, a block asks for K and V before it waits for the kernel ahead, but for keys of the batch's own
// rows: arrays of the batch and keys before its rows have been there since before the step's first kernel, which starts
// when all ahead of it has ended. Memory then works while q is still being made.
//
// Block i of the cluster that is the last to end among a row block's splits merges their columns i, ascending. Which one
// that is changes no bit; a counter in device memory tells, and is 0 again for the next launch.
#ifndef ZK_KERNELS_CUDA_ATTENTION_CLUSTER_CUH
#define ZK_KERNELS_CUDA_ATTENTION_CLUSTER_CUH

#include "kernels/cuda/attention_bf16.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/ldmatrix.cuh"
#include "kernels/cuda/tma.cuh"

// Where it is valid; and whether it suits a batch of so many rows, by the longest that its sequences may be.
bool zk_attn_cluster_valid(const zk_attn &a, int32_t num_rows);
bool zk_attn_cluster_suits(const zk_attn &a, int32_t num_rows, int num_sms);
zk_status zk_attn_cluster(zk_stream *stream, const zk_attn &a, int32_t num_rows, const zk_bf16 *q,
                          const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse);

#define ZK_CLUSTER_ROWS 8
#define ZK_CLUSTER_KEYS ZK_ATTN_SPLIT_BF16
#define ZK_CLUSTER_TILES (ZK_CLUSTER_KEYS / ZK_BF16_KEYS) // of a split
#define ZK_CLUSTER_COLUMNS 32                             // of V, of a block
#define ZK_CLUSTER_WARPS 8
#define ZK_CLUSTER_THREADS (32 * ZK_CLUSTER_WARPS)
#define ZK_CLUSTER_MOST_SEQS 32 // of a launch: a warp's lane has one

// K or V of a layer as the copy engine sees it: rows of D elements, one for each token of each head of each page. Whole
// tiles come in boxes of box_rows keys, which divide a page's and a tile's; a sequence's last tile in boxes of 16.
struct zk_cluster_maps {
  CUtensorMap k, v, k_end, v_end; // boxes of 64 columns of K, of 32 of V
  int32_t box_rows;
};

struct zk_cluster_outputs {
  float *o;           // [row of [T, Hq]][split][D]
  float2 *bl;         // (b, l), once for each block of the cluster: [row][split][BLOCKS]
  int32_t num_splits; // at most
  uint32_t *counters; // [block of rows][Hkv][BLOCKS]: splits that have ended
  zk_bf16 *out;
  float *lse;
};

template <int DIM> struct zk_cluster_shared {
  static constexpr int BLOCKS = DIM / ZK_CLUSTER_COLUMNS, KEYS = ZK_CLUSTER_KEYS / BLOCKS;
  zk_bf16 k[DIM / 64][KEYS][64]; // this block's keys; swizzled: 16-byte piece c of a row at c ^ (key % 8)
  zk_bf16 v[ZK_CLUSTER_KEYS][ZK_CLUSTER_COLUMNS];         // this block's columns; piece c at c ^ (key / 2 % 4)
  float s[ZK_CLUSTER_ROWS][ZK_CLUSTER_KEYS + 8];          // scores, from all blocks
  zk_bf16 p[ZK_CLUSTER_ROWS][ZK_CLUSTER_KEYS + 8];        // weights
  float most[ZK_CLUSTER_ROWS][ZK_CLUSTER_WARPS * BLOCKS]; // largest score of each warp's keys, from all blocks
  float a[ZK_CLUSTER_ROWS][ZK_CLUSTER_TILES], b[ZK_CLUSTER_ROWS], l[ZK_CLUSTER_ROWS];
  uint64_t k_full, v_full, v_free, s_full;
  int32_t is_last;
};

// ---- the work

// The batch, in a warp's registers: lane i has sequence i.
struct zk_cluster_batch {
  int32_t row_start, num_rows, first_pos;
  int32_t blocks, first_block;   // of rows: its own, and those of the sequences before it
  int32_t first_item, num_items; // without heads: those of the sequences before it; in all
};

static __device__ __forceinline__ zk_cluster_batch zk_cluster_read(const zk_attn &a) {
  const int32_t lane = (int32_t)threadIdx.x % 32;
  zk_cluster_batch b = {};
  if (lane < a.num_seqs) {
    b.row_start = a.seq_row_start[lane];
    b.num_rows = a.seq_row_start[lane + 1] - b.row_start;
    b.first_pos = a.seq_first_pos[lane];
  }
  b.blocks = (b.num_rows * a.group + ZK_CLUSTER_ROWS - 1) / ZK_CLUSTER_ROWS;
  const int32_t items = b.num_rows > 0 ? b.blocks * ((b.first_pos + b.num_rows - 1) / ZK_CLUSTER_KEYS + 1) : 0;
  int32_t block_sum = b.blocks, item_sum = items;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int32_t blocks = __shfl_up_sync(0xffffffffu, block_sum, (unsigned)distance),
                  more = __shfl_up_sync(0xffffffffu, item_sum, (unsigned)distance);
    if (lane >= distance) block_sum += blocks, item_sum += more;
  }
  b.first_block = block_sum - b.blocks;
  b.first_item = item_sum - items;
  b.num_items = __shfl_sync(0xffffffffu, item_sum, 31);
  return b;
}

struct zk_cluster_item {
  int32_t seq, kv_head, split;
  int32_t row_start, first_pos, block; // of the sequence; block of rows, of the batch
  int32_t begin, num_rows;             // flat rows
  int32_t num_keys, num_splits;        // that its last row sees
};

// Item `i`, with heads, by a whole warp. The heads of a split's rows lie side by side. num_rows is 0 when only later
// blocks of rows see the split.
static __device__ __forceinline__ zk_cluster_item zk_cluster_find(const zk_attn &a, const zk_cluster_batch &b,
                                                                  int32_t i) {
  const int32_t place = i / a.num_kv_heads;
  const int32_t s =
      31 - __clz((int)__ballot_sync(0xffffffffu, (int32_t)threadIdx.x % 32 < a.num_seqs && b.first_item <= place));
  const int32_t blocks = __shfl_sync(0xffffffffu, b.blocks, s),
                local = place - __shfl_sync(0xffffffffu, b.first_item, s);
  const int32_t flat = __shfl_sync(0xffffffffu, b.num_rows, s) * a.group;
  zk_cluster_item item;
  item.seq = s, item.kv_head = i % a.num_kv_heads, item.split = local / blocks;
  item.row_start = __shfl_sync(0xffffffffu, b.row_start, s);
  item.first_pos = __shfl_sync(0xffffffffu, b.first_pos, s);
  item.block = __shfl_sync(0xffffffffu, b.first_block, s) + local % blocks;
  item.begin = local % blocks * ZK_CLUSTER_ROWS;
  item.num_rows = zk_attn_min(ZK_CLUSTER_ROWS, flat - item.begin);
  item.num_keys = item.first_pos + (item.begin + item.num_rows - 1) / a.group + 1;
  item.num_splits = (item.num_keys - 1) / ZK_CLUSTER_KEYS + 1;
  if (item.split >= item.num_splits) item.num_rows = 0;
  return item;
}

// Flat row g = lane / 4 of an item, in every lane of every warp: its index in [T, Hq] arrays, and the keys of the split
// that it sees; none past the item's rows. `all` are those it sees in all splits.
struct zk_cluster_row {
  int32_t index, seen, all;
};
static __device__ __forceinline__ zk_cluster_row zk_cluster_row_of(const zk_attn &a, const zk_cluster_item &item) {
  const int32_t g = (int32_t)threadIdx.x % 32 / 4, token = (item.begin + g) / a.group;
  zk_cluster_row row;
  row.index = (item.row_start + token) * a.num_heads + item.kv_head * a.group + (item.begin + g) % a.group;
  row.all = g < item.num_rows ? item.first_pos + token + 1 : 0;
  row.seen = zk_attn_clamp(row.all - item.split * ZK_CLUSTER_KEYS, 0, ZK_CLUSTER_KEYS);
  return row;
}

// ---- loads, by one warp. Its lane i has the keys 16 i .. 16 i + 15 of a split.

template <int DIM> struct zk_cluster_loader {
  using shared_t = zk_cluster_shared<DIM>;
  const zk_attn &a;
  const zk_cluster_maps &maps;
  shared_t *shared;
  int32_t rank; // of the block in its cluster
  int32_t num_keys, box_rows, row,
      key; // of the item, in its split; of this lane: rows of its box, its row of the maps (-1: no box), its first key
  bool is_old; // the box's keys were there before the last kernel

  // Which box this lane asks for, if any.
  __device__ __forceinline__ void begin(const zk_cluster_item &item) {
    const int32_t lane = (int32_t)threadIdx.x % 32, first = item.split * ZK_CLUSTER_KEYS;
    key = lane * 16;
    num_keys = zk_attn_min(item.num_keys - first, ZK_CLUSTER_KEYS);
    box_rows = key / ZK_BF16_KEYS * ZK_BF16_KEYS + ZK_BF16_KEYS <= num_keys ? maps.box_rows : 16;
    row = -1;
    if (key >= num_keys || key % box_rows != 0) return;
    const int32_t page = a.page_table[(size_t)item.seq * (size_t)a.max_pages + (size_t)((first + key) / a.page_tokens)];
    row = (page * a.num_kv_heads + item.kv_head) * a.page_tokens + (first + key) % a.page_tokens;
    is_old = first + key + box_rows <= item.first_pos;
  }
  // Asks for the boxes that are old, or that are not.
  __device__ __forceinline__ void ask_k(bool old) {
    if (row >= 0 && is_old == old && key / shared_t::KEYS == rank) {
#pragma unroll
      for (int i = 0; i < DIM / 64; ++i)
        zk_tma_load_2d(shared->k[i][key % shared_t::KEYS], box_rows == 16 ? &maps.k_end : &maps.k, &shared->k_full,
                       64 * i, row);
    }
    __syncwarp();
  }
  __device__ __forceinline__ void ask_v(bool old) {
    if (row >= 0 && is_old == old)
      zk_tma_load_2d(shared->v[key], box_rows == 16 ? &maps.v_end : &maps.v, &shared->v_full, ZK_CLUSTER_COLUMNS * rank,
                     row);
    __syncwarp();
  }
  __device__ __forceinline__ void expect(uint64_t *bar, int32_t keys, int32_t columns) {
    if ((int32_t)threadIdx.x % 32 == 0) zk_mbar_arrive_expect(bar, (uint32_t)((keys + 15) / 16 * 16 * columns * 2));
    __syncwarp();
  }
  __device__ __forceinline__ void expect_k() {
    expect(&shared->k_full, zk_attn_clamp(num_keys - rank * shared_t::KEYS, 0, shared_t::KEYS), DIM);
  }
  // Scores of all of the cluster's blocks, and their maxima.
  __device__ __forceinline__ void expect_s(int32_t num_rows) {
    if ((int32_t)threadIdx.x % 32 == 0)
      zk_mbar_arrive_expect(&shared->s_full,
                            (uint32_t)(num_rows * (ZK_CLUSTER_KEYS + shared_t::BLOCKS * ZK_CLUSTER_WARPS) * 4));
    __syncwarp();
  }
  __device__ __forceinline__ void expect_v() { expect(&shared->v_full, num_keys, ZK_CLUSTER_COLUMNS); }
};

#endif
