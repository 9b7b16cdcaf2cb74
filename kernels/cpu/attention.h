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
#define ZK_ATTN_MICRO_ROWS 6                                // rows that one register block holds

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
  float *partial;                 // NULL: write out and lse. Else one split only: write [num_rows * G][Dp + 2] = o, m, l of the split
} zk_attn_task;

size_t zk_attn_forward_scratch(const zk_attn_shape *shape, int32_t num_rows); // floats
ZK_ISA_DECLARE(void, zk_attn_forward_task, (const zk_attn_forward *forward, const zk_attn_task *task, float *scratch));
// Merges num_splits partials, [num_splits][num_rows * G][Dp + 2], and writes the task's out and lse.
ZK_ISA_DECLARE(void, zk_attn_merge_task,
               (const zk_attn_forward *forward, const zk_attn_task *task, int32_t num_splits, const float *partials, float *scratch));

// Backward. Everything of one sequence is first packed (see zk_attn_pack_task), then a task takes one query head, or a part of one.
typedef struct {
  zk_attn_shape shape;
  const float *q, *k_cache, *v_cache, *out, *dout, *lse;
  float *dq, *dk, *dv;
  float *packed_k, *packed_v; // per KV head: K rows [16-padded rows][Dp]; V blocks [block][Dp][16]
  float *head_dk, *head_dv;   // per query head [rows][Dp]
} zk_attn_backward;

#endif
