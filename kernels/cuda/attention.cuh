// What the attention kernels of this folder share: the shape of a call, how the KV cache lies in memory, and how a
// block finds its rows.
//
// Cache of one layer, K or V: [page][kv_head][token of the page][D], so that a tile of keys of one head is contiguous
// within a page.
//
// Flat rows. Query rows of one sequence that share a KV head are numbered flat = token * G + (head in the group), G =
// Hq / Hkv, and cut into blocks of M: prefill reuses a K/V tile for M rows, decode packs the group's heads side by
// side, and nothing else tells them apart. Where the cuts fall changes no bit: a row's arithmetic depends on its
// position alone.
//
// The rows of each sequence are known to the device only. A planning kernel counts the blocks of each sequence
// (block_start, ascending sums); a grid has as many blocks as there may be, and each finds its sequence by bisection or
// leaves.
#ifndef ZK_KERNELS_CUDA_ATTENTION_CUH
#define ZK_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/attention.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/math.h"

#define ZK_ATTN_MAX_DIM 256

// A description and a batch, by value for kernels.
struct zk_attn {
  int32_t num_heads, num_kv_heads, group, dim, page_tokens;
  float scale;
  int32_t num_seqs, max_pages;
  int32_t split_keys; // of a split of the forward pass: the contract's, or in numerics vendor what suits the load
  const int32_t *seq_row_start, *seq_first_pos, *page_table, *seq_shared_pages;
  const int32_t *block_start; // [num_seqs + 1] from the plan
};

static inline zk_attn zk_attn_of(const zk_attention_desc *d, const zk_attention_batch *b) {
  return {d->num_heads,
          d->num_kv_heads,
          d->num_heads / d->num_kv_heads,
          d->head_dim,
          d->page_tokens,
          d->scale,
          b->num_seqs,
          b->max_pages,
          ZK_ATTN_SPLIT,
          b->seq_row_start,
          b->seq_first_pos,
          b->page_table,
          b->seq_shared_pages,
          NULL};
}

// 16 bytes that are loaded and stored at once.
struct alignas(16) zk_vec16 {
  uint32_t word[4];
};
struct alignas(16) zk_float4 {
  float at[4];
};

static __host__ __device__ __forceinline__ int32_t zk_attn_min(int32_t a, int32_t b) { return a < b ? a : b; }
static __device__ __forceinline__ int32_t zk_attn_clamp(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}

// The s in [0, n) with start[s] <= i < start[s + 1], for an i below start[n]: the last s with start[s] <= i.
static __device__ __forceinline__ int32_t zk_attn_bisect(const int32_t *start, int32_t n, int32_t i) {
  int32_t low = 0, high = n;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (start[middle] <= i) low = middle;
    else high = middle;
  }
  return low;
}

// A run of units (flat rows, or keys) of one sequence.
struct zk_attn_block {
  int32_t row_start, num_rows; // the sequence's rows in the batch
  int32_t first_pos;           // position of the first of them
  int32_t begin, end;          // units
  const int32_t *pages;        // of the sequence
};

// Block `item` of the plan, `units` long, where each row of a sequence is `factor` units. Those with the most keys come
// first in each sequence if `last_first`. False when the plan has no such block.
static __device__ __forceinline__ bool zk_attn_find(const zk_attn &a, int32_t item, int32_t factor, int32_t units,
                                                    bool last_first, zk_attn_block *out) {
  if (item >= a.block_start[a.num_seqs]) return false;
  const int32_t s = zk_attn_bisect(a.block_start, a.num_seqs, item);
  const int32_t index = last_first ? a.block_start[s + 1] - 1 - item : item - a.block_start[s];
  out->row_start = a.seq_row_start[s];
  out->num_rows = a.seq_row_start[s + 1] - out->row_start;
  out->first_pos = a.seq_first_pos[s];
  out->begin = index * units;
  out->end = zk_attn_min(out->begin + units, out->num_rows * factor);
  out->pages = a.page_table + (size_t)s * (size_t)a.max_pages;
  return true;
}

// Elements from the start of a cache to key j of a sequence with these pages.
static __device__ __forceinline__ size_t zk_attn_key(const zk_attn &a, const int32_t *pages, int32_t kv_head,
                                                     int32_t j) {
  const size_t page = (size_t)pages[j / a.page_tokens] * (size_t)a.num_kv_heads + (size_t)kv_head;
  return (page * (size_t)a.page_tokens + (size_t)(j % a.page_tokens)) * (size_t)a.dim;
}

// Index of flat row `flat` of a block's sequence in [T, Hq] arrays, and the row's position.
static __device__ __forceinline__ size_t zk_attn_row(const zk_attn &a, const zk_attn_block &b, int32_t kv_head,
                                                     int32_t flat) {
  return (size_t)(b.row_start + flat / a.group) * (size_t)a.num_heads + (size_t)(kv_head * a.group + flat % a.group);
}
static __device__ __forceinline__ int32_t zk_attn_pos(const zk_attn &a, const zk_attn_block &b, int32_t flat) {
  return b.first_pos + flat / a.group;
}

// What a row's weights are relative to: the largest score so far, m. The weight of a score x, which is the factor of a
// sum that was relative to x, too; what two sums are merged relative to; and a row's results from its merged sums.
struct zk_attn_exp_f32 {
  static __device__ __forceinline__ float none() { return -INFINITY; }
  static __device__ __forceinline__ float join(float M, float m) { return m > M ? m : M; }
  __device__ __forceinline__ float operator()(float x, float m) const { return zk_expf(x - m); }
  __device__ __forceinline__ float out(float o, float l) const { return o / l; }
  __device__ __forceinline__ float lse(float m, float l) const { return m + zk_logf(l); }
};

// Partial results of splits computed by different blocks: of row i (of T * Hq) and split s, o at [(i * num_splits + s)
// * D], (m, l) at [(i * num_splits + s) * 2]. NULL: each block walks all its splits.
struct zk_attn_partials {
  float *o, *ml;
  int32_t num_splits;
};

// Device memory of one forward call besides its tensors.
struct zk_attn_forward_plan {
  int32_t num_rows;   // query tokens, T
  int32_t num_blocks; // of flat rows, at most
  int32_t few_rows;   // blocks of 16 flat rows (decode), else of as many as the kernel likes
  zk_attn_partials partials;
};

// What backward reads. delta[T,Hq]: sum over d of dout * out.
template <class T> struct zk_attn_gradient {
  const T *q, *k_cache, *v_cache, *out, *dout;
  const float *lse, *delta;
};

// ---- the host's side of a call (attention.cu)

// Blocks that a plan may hold at most: every sequence may end in a partial one.
static inline int32_t zk_attn_most_blocks(const zk_attention_batch *b, int32_t factor, int32_t units) {
  const int64_t seqs = b->num_seqs < b->num_rows ? b->num_seqs : b->num_rows;
  return (int32_t)(((int64_t)b->num_rows * factor + seqs * (units - 1)) / units);
}
static inline size_t zk_attn_rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }
static inline size_t zk_attn_plan_bytes(const zk_attention_batch *b) {
  return zk_attn_rounded((size_t)(b->num_seqs + 1) * sizeof(int32_t));
}
// Fills block_start, which is device memory of _plan_bytes, for blocks of `units`, and sets a's.
zk_status zk_attn_make_plan(zk_stream *stream, zk_attn *a, int32_t factor, int32_t units, void *block_start);
zk_status zk_attn_check(const zk_attention_desc *desc);

// How each numerics cuts its blocks: flat rows of a forward block, flat rows of a dq block, keys of a dk, dv block.
template <class T> struct zk_attn_units;
template <> struct zk_attn_units<float> {
  static int32_t forward(int32_t dim, bool few_rows) { return few_rows ? 16 : query(dim); }
  static int32_t query(int32_t dim) { return dim > 128 ? 32 : 64; }
  static int32_t key(int32_t dim) { return dim > 128 ? 32 : 64; }
};
template <> struct zk_attn_units<zk_bf16> {
  static int32_t forward(int32_t dim, bool few_rows) { return few_rows ? 16 : 64; }
  static int32_t query(int32_t dim) { return 64; }
  static int32_t key(int32_t dim) { return ZK_ATTN_TILE_BF16; }
};

// fp32 sums [T,Hkv,D] that bf16's dk and dv wait in: of a query head's earlier parts, and of the group's earlier heads.
// NULL where there are none. (f32's wait in registers, and in dk and dv.)
struct zk_attn_sums {
  float *part_dk, *part_dv, *heads_dk, *heads_dv;
};

// The kernels of each numerics (attention_forward_f32.cu, ..). a.block_start is the plan of the blocks above, and
// num_blocks what it may hold at most.
zk_status zk_attn_forward(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const float *q,
                          const float *k_cache, const float *v_cache, float *out, float *lse);
zk_status zk_attn_forward(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const zk_bf16 *q,
                          const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse);
// Forward of many rows (attention_prefill.cu), where it is valid: it finds its blocks itself, plan.num_blocks of
// ZK_ATTN_PREFILL_UNITS flat rows at most.
#define ZK_ATTN_PREFILL_UNITS 128
bool zk_attn_prefill_valid(const zk_attn &a);
zk_status zk_attn_prefill(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const zk_bf16 *q,
                          const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse);
// Forward for few rows a sequence (attention_decode.cu), where it is valid: it needs no plan.
bool zk_attn_decode_valid(const zk_attn &a, int32_t num_rows);
zk_status zk_attn_decode(zk_stream *stream, const zk_attn &a, int32_t num_rows, const zk_bf16 *q,
                         const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse);
// All of bf16's backward, where it is valid (attention_backward_fused.cu). The plan is of `num_tiles` tiles of
// ZK_ATTN_TILE_BF16 keys at most; scratch is _bytes of memory, from a multiple of 64. It makes delta itself.
bool zk_attn_backward_fused_valid(const zk_attn &a, int32_t num_rows, int32_t num_tiles);
size_t zk_attn_backward_fused_bytes(const zk_attn &a, int32_t num_rows, int32_t num_tiles);
zk_status zk_attn_backward_fused(zk_stream *stream, const zk_attn &a, int32_t num_rows, int32_t num_tiles,
                                 const zk_attn_gradient<zk_bf16> &in, void *scratch, zk_bf16 *dq, zk_bf16 *dk,
                                 zk_bf16 *dv);
zk_status zk_attn_backward_query(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                                 const zk_attn_gradient<float> &in, float *dq);
zk_status zk_attn_backward_query(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                                 const zk_attn_gradient<zk_bf16> &in, zk_bf16 *dq);
zk_status zk_attn_backward_key(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                               const zk_attn_gradient<float> &in, float *dk, float *dv);
zk_status zk_attn_backward_key(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                               const zk_attn_gradient<zk_bf16> &in, const zk_attn_sums &sums, zk_bf16 *dk, zk_bf16 *dv);

#endif
