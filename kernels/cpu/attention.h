// What the CPU's attention shares among its files: how the KV cache lies in memory, and the tasks that threads take.
//
// Cache of one layer, K or V: [page][kv_head][page_tokens / 16][block], a block holding 16 keys in 16 * Dp floats, Dp = D rounded up
// to 16. A K block is [d][16 keys], so that a vector load is one d of 16 keys and scores vectorise over keys; a V block is
// [16 keys][Dp]. A tile of 64 keys is four block pointers wherever its pages are, so page size changes neither bits nor speed.
#ifndef ZK_KERNELS_CPU_ATTENTION_H
#define ZK_KERNELS_CPU_ATTENTION_H

#include "kernels/attention.h"
#include "kernels/cpu/isa.h"

#define ZK_KV_BLOCK 16                                      // keys in a block
#define ZK_ATTN_TILE_BLOCKS (ZK_ATTN_TILE / ZK_KV_BLOCK)    // blocks in a tile
#define ZK_ATTN_SPLIT_TILES (ZK_ATTN_SPLIT / ZK_ATTN_TILE)  // tiles in a split
#if defined(__SANITIZE_ADDRESS__)
#define ZK_ATTN_MICRO_ROWS 2 // rows of a register block: fewer to compile where each load is many instructions
#else
#define ZK_ATTN_MICRO_ROWS 6
#endif

// The description with what follows from it.
typedef struct {
  int32_t num_heads, num_kv_heads, group; // Hq, Hkv, G = Hq / Hkv
  int32_t dim, padded_dim;                // D, Dp
  int32_t blocks_per_page;
  float scale;
} zk_attn_shape;

static inline zk_attn_shape zk_attn_shape_of(const zk_attention_desc *desc) {
  return (zk_attn_shape){.num_heads = desc->num_heads,
                         .num_kv_heads = desc->num_kv_heads,
                         .group = desc->num_heads / desc->num_kv_heads,
                         .dim = desc->head_dim,
                         .padded_dim = (desc->head_dim + 15) / 16 * 16,
                         .blocks_per_page = desc->page_tokens / ZK_KV_BLOCK,
                         .scale = desc->scale};
}

// Floats from the start of a cache to block `block` (keys [16 * block, ...)) of a sequence with these pages.
static inline size_t zk_kv_block_offset(const zk_attn_shape *s, const int32_t *pages, int32_t kv_head, int32_t block) {
  const size_t page = (size_t)pages[block / s->blocks_per_page], in_page = (size_t)(block % s->blocks_per_page);
  return ((page * (size_t)s->num_kv_heads + (size_t)kv_head) * (size_t)s->blocks_per_page + in_page) * ZK_KV_BLOCK *
         (size_t)s->padded_dim;
}

// Forward. A task is one KV head and a few neighbouring query rows of one sequence with all heads of the group. Its rows are called
// micro-rows, in (query row, head of the group) order: positions never fall.
typedef struct {
  zk_attn_shape shape;
  const float *q, *k_cache, *v_cache;
  float *out, *lse; // lse may be NULL
} zk_attn_forward;

typedef struct {
  const int32_t *pages;           // of the sequence
  int32_t kv_head;                // g
  int32_t first_row, first_pos;   // of the task's first query row: in the batch, in the sequence
  int32_t num_rows;               // query rows
  int32_t split_begin, split_end; // splits to visit; all of them unless `partial`
  float *partial;                 // NULL: write out and lse. Else one split only: write its o, m, l to [num_rows * G][Dp + 2]
} zk_attn_task;

// Floats of scratch that a task with this many query rows works in.
static inline size_t zk_attn_forward_scratch(const zk_attn_shape *s, int32_t num_rows) {
  const size_t num_micro = (size_t)num_rows * (size_t)s->group;
  return 3 * num_micro * (size_t)s->padded_dim + ZK_ATTN_MICRO_ROWS * ZK_ATTN_TILE + 4 * ((num_micro + 15) / 16 * 16);
}
ZK_ISA_DECLARE(void, zk_attn_forward_task, (const zk_attn_forward *forward, const zk_attn_task *task, float *scratch));
// Merges the task's splits, partial[split_end][num_rows * G][Dp + 2], and writes its out and lse.
ZK_ISA_DECLARE(void, zk_attn_merge_task, (const zk_attn_forward *forward, const zk_attn_task *task, float *scratch));

// Backward. Keys and values of a sequence are packed once. A task takes one KV head of one sequence; for each query head of the group it
// walks (key tile, block of 64 query rows) pairs, key tiles ascending outside, row blocks ascending inside: the order of dq's chains
// and of dk's and dv's alike. Where such tasks are too few for the threads, dq and dk, dv are separate tasks over some blocks or tiles.
typedef struct {
  zk_attn_shape shape;
  const float *q, *k_cache, *v_cache, *out, *dout, *lse;
  float *dq, *dk, *dv;
  int32_t packed_rows;        // rows of a packed KV head: every sequence padded to 16
  float *packed_k, *packed_v; // [Hkv][packed_rows] as K rows [16][Dp] and V blocks [Dp][16]
} zk_attn_backward;

typedef struct {
  const int32_t *pages;           // of the sequence
  int32_t kv_head;                // g
  int32_t first_row, num_rows;    // of the sequence in the batch
  int32_t packed_row;             // of its first key in packed_k, packed_v
  int32_t tile_begin, tile_end;   // key tiles to visit
  int32_t block_begin, block_end; // blocks of query rows to visit, those before a tile's own excepted
  int want_dq, want_dkv;
} zk_attn_backward_task;

static inline size_t zk_attn_backward_scratch(const zk_attn_shape *s, int32_t num_rows) {
  return (3 * (size_t)num_rows + 4 * ZK_ATTN_TILE) * (size_t)s->padded_dim + 2 * ZK_ATTN_TILE * ZK_ATTN_TILE +
         ((size_t)num_rows + 15) / 16 * 16;
}
// Packs keys and values of the task's sequence and KV head.
ZK_ISA_DECLARE(void, zk_attn_backward_pack, (const zk_attn_backward *backward, const zk_attn_backward_task *task));
ZK_ISA_DECLARE(void, zk_attn_backward_run, (const zk_attn_backward *backward, const zk_attn_backward_task *task, float *scratch));

#endif
