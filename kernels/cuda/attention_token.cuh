// Attention of one token, bf16, with what stands before it in a layer: head norms, RoPE and the cache's new row
// (kernels/rope_attention.h). In a decode step of one sequence only the time from q, k and v being there to the output's
// being there counts.
//
// A cluster of blocks has a KV head and all splits of its keys, two blocks a split. Block i of the two has
//   K of 256 keys of the split, all of D       it computes their scores and writes them to both blocks
//   V of the split's 512 keys, half of D       it computes these columns of o
// and both compute all weights and l. The blocks of the first split get (b, l, o) of the others through shared memory and
// merge them. Nothing goes through device memory between q, k, v and the output.
//
// Keys before the token's, and all else that no kernel of the step writes, are read before the kernel ahead has ended. The
// token's own k and v are then put into the tiles by the threads that make them, and into the cache for later steps; the
// copies have brought whatever lay there.
//
// The order is the contract's: a score is one chain over d in one warp; a column of o one chain over the split's keys in one
// warp; each of the 8 lanes of l one thread's sum; splits are merged ascending by one thread for each output. Norms and
// rotation are those of rope_rows.cuh, each result rounded where the separate operations would store it.
#ifndef ZK_KERNELS_CUDA_ATTENTION_TOKEN_CUH
#define ZK_KERNELS_CUDA_ATTENTION_TOKEN_CUH

#include "kernels/cuda/attention_bf16.cuh"
#include "kernels/cuda/attention_merge.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/ldmatrix.cuh"
#include "kernels/cuda/rope_rows.cuh"
#include "kernels/cuda/tma.cuh"

// Whether it can be: one row, heads of 128, as many splits as a cluster holds; and whether this GPU has room for such a
// cluster, which one cut into parts may not. Queues it.
bool zk_attn_token_valid(const zk_attn &a, int32_t num_rows, const zk_rope_rows &r);
zk_status zk_attn_token_fits(const zk_attn &a, bool *fits);
zk_status zk_attn_token(zk_stream *stream, const zk_attn &a, const zk_rope_rows &r, zk_bf16 *out, float *lse);

enum {
  ZK_TOKEN_DIM = 128,
  ZK_TOKEN_ROWS = 4, // query heads of a KV head, at most
  ZK_TOKEN_KEYS = ZK_ATTN_SPLIT_BF16,
  ZK_TOKEN_TILES = ZK_TOKEN_KEYS / ZK_BF16_KEYS,
  ZK_TOKEN_BLOCKS = 2, // of a split
  ZK_TOKEN_COLUMNS = ZK_TOKEN_DIM / ZK_TOKEN_BLOCKS,
  ZK_TOKEN_MINE = ZK_TOKEN_KEYS / ZK_TOKEN_BLOCKS, // keys whose scores a block computes
  ZK_TOKEN_MOST_SPLITS = 4,                        // of a cluster: 8 blocks are as large as one may always be
  ZK_TOKEN_WARPS = 8,                              // that compute; another asks for K and V, and sums l
  ZK_TOKEN_THREADS = 32 * ZK_TOKEN_WARPS + 32
};

struct zk_token_shared {
  zk_bf16 k[2][ZK_TOKEN_MINE][64];  // halves of D; swizzled: 16-byte piece c of a row at c ^ (key % 8)
  zk_bf16 v[ZK_TOKEN_KEYS][64];     // this block's columns, likewise
  zk_bf16 q[8][ZK_TOKEN_DIM + 8];   // rows behind the last are zeros
  float s[ZK_TOKEN_ROWS][ZK_TOKEN_KEYS + 8];   // scores, of both blocks
  zk_bf16 p[ZK_TOKEN_ROWS][ZK_TOKEN_KEYS + 8]; // weights
  float most[ZK_TOKEN_ROWS][ZK_TOKEN_BLOCKS * ZK_TOKEN_WARPS]; // largest score of each warp's 32 keys
  float a[ZK_TOKEN_ROWS][ZK_TOKEN_TILES], b[ZK_TOKEN_ROWS];    // by what l and o are scaled before a tile; at last
  float2 bl[ZK_TOKEN_MOST_SPLITS][ZK_TOKEN_ROWS];                     // of the splits: the first block's own, and others'
  float o[ZK_TOKEN_MOST_SPLITS][ZK_TOKEN_ROWS][ZK_TOKEN_COLUMNS + 8]; // likewise
  uint64_t k_full, v_full, s_full, merge_full;
};

// K and V of a layer as the copy engine sees them: rows of D elements, one for each token of each head of each page. Whole
// tiles come in boxes of box_rows keys, which divide a page's and a tile's; the last tile in boxes of 16.
struct zk_token_maps {
  CUtensorMap k, v, k_end, v_end; // boxes of 64 columns
  int32_t box_rows;
};

// What a thread computes from.
struct zk_token_work {
  int32_t kv_head, split, half; // half: which of the split's blocks
  int32_t pos;                  // the token's; it sees keys 0 .. pos
  int32_t num_splits, num_keys; // of the token; of the split
  bool is_last;                 // the split has the token's own key
};

// Asks for the split's K and V, by a warp: its lane i has the keys 16 i .. 16 i + 15.
static __device__ __forceinline__ void zk_token_ask(const zk_attn &a, const zk_token_maps &maps, const zk_token_work &w,
                                                    zk_token_shared *shared) {
  const int32_t lane = (int32_t)threadIdx.x % 32, key = 16 * lane, first = w.split * ZK_TOKEN_KEYS;
  if (lane == 0) {
    const int32_t mine = zk_attn_clamp(w.num_keys - w.half * ZK_TOKEN_MINE, 0, ZK_TOKEN_MINE);
    zk_mbar_arrive_expect(&shared->k_full, (uint32_t)((mine + 15) / 16 * 16 * ZK_TOKEN_DIM * 2));
    zk_mbar_arrive_expect(&shared->v_full, (uint32_t)((w.num_keys + 15) / 16 * 16 * ZK_TOKEN_COLUMNS * 2));
  }
  __syncwarp();
  const bool whole = key / ZK_BF16_KEYS * ZK_BF16_KEYS + ZK_BF16_KEYS <= w.num_keys;
  const int32_t rows = whole ? maps.box_rows : 16;
  if (key >= w.num_keys || key % rows != 0) return;
  const int32_t page = a.page_table[(first + key) / a.page_tokens];
  const int32_t row = (page * a.num_kv_heads + w.kv_head) * a.page_tokens + (first + key) % a.page_tokens;
  if (key / ZK_TOKEN_MINE == w.half)
#pragma unroll
    for (int i = 0; i < 2; ++i)
      zk_tma_load_2d(shared->k[i][key % ZK_TOKEN_MINE], whole ? &maps.k : &maps.k_end, &shared->k_full, 64 * i, row);
  zk_tma_load_2d(shared->v[key], whole ? &maps.v : &maps.v_end, &shared->v_full, 64 * w.half, row);
}

// ---- q, k and v

// What a lane of the warps that make q and k needs besides their raw values: piece lane % 8 of the norm's weight, and angles.
struct zk_token_turn {
  zk_head_piece weight;
  float c[8], s[8];
};
static __device__ __forceinline__ zk_token_turn zk_token_turn_of(const zk_rope_rows &r, const zk_bf16 *weight) {
  const int32_t piece = (int32_t)threadIdx.x % 8;
  zk_token_turn t = {};
  if (weight != NULL) t.weight = zk_load_head<ZK_TOKEN_DIM>(weight, piece);
  const int64_t angle = (int64_t)r.positions[0] * (ZK_TOKEN_DIM / 2) + piece * 8;
#pragma unroll
  for (int i = 0; i < 8; ++i) t.c[i] = r.cos_table[angle + i], t.s[i] = r.sin_table[angle + i];
  return t;
}
// A piece of a head as the kernel ahead left it, not through L1; zeros if it is not there.
static __device__ __forceinline__ zk_head_piece zk_token_take(const zk_bf16 *head, bool there) {
  const uint4 *at = (const uint4 *)(head + (int32_t)threadIdx.x % 8 * 8);
  uint4 low = make_uint4(0, 0, 0, 0), high = low;
  if (there) low = __ldcg(at), high = __ldcg(at + ZK_TOKEN_DIM / 16);
  return {{{low.x, low.y, low.z, low.w}}, {{high.x, high.y, high.z, high.w}}};
}
static __device__ __forceinline__ void zk_token_turn_head(const zk_rope_rows &r, const zk_token_turn &t,
                                                          const zk_bf16 *weight, zk_head_piece &x) {
  if (weight != NULL) zk_head_norm<ZK_TOKEN_DIM>(x, t.weight, r.eps, NULL);
  zk_rotate(x, t.c, t.s);
}

#endif
