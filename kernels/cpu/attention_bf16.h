// What the CPU's bf16 attention shares among its files: how the KV cache lies in memory, and the tasks that threads take.
//
// Cache of one layer, K or V: [page][kv_head][page_tokens][D]. A task copies a tile of 128 keys from wherever its pages are, so page size
// changes no bit; slots that hold no key of the sequence become zeros there, so what a page holds behind the last key is never read.
#ifndef ZK_KERNELS_CPU_ATTENTION_BF16_H
#define ZK_KERNELS_CPU_ATTENTION_BF16_H

#include "kernels/attention.h"
#include "kernels/bf16.h"
#include "kernels/cpu/isa.h"

typedef struct {
  int32_t num_heads, num_kv_heads, group, dim; // Hq, Hkv, Hq / Hkv, D
  int32_t page_tokens;
  float scale, c; // c: scale * log2(e), what exponents are multiplied by
} zk_attn_bf16_shape;

static inline zk_attn_bf16_shape zk_attn_bf16_shape_of(const zk_attention_desc *desc) {
  return (zk_attn_bf16_shape){.num_heads = desc->num_heads,
                              .num_kv_heads = desc->num_kv_heads,
                              .group = desc->num_heads / desc->num_kv_heads,
                              .dim = desc->head_dim,
                              .page_tokens = desc->page_tokens,
                              .scale = desc->scale,
                              .c = (float)((double)desc->scale * 1.4426950408889634)};
}

// Elements from the start of a cache to the key at position `pos` of a sequence with these pages.
static inline size_t zk_kv_bf16_offset(const zk_attn_bf16_shape *s, const int32_t *pages, int32_t kv_head,
                                       int32_t pos) {
  const size_t row =
      ((size_t)pages[pos / s->page_tokens] * (size_t)s->num_kv_heads + (size_t)kv_head) * (size_t)s->page_tokens;
  return (row + (size_t)(pos % s->page_tokens)) * (size_t)s->dim;
}

// Keys or values of positions [pos, pos + num) to out[num][D], then zeros up to padded rows.
void zk_kv_bf16_gather(const zk_attn_bf16_shape *s, const int32_t *pages, int32_t kv_head, int32_t pos, int32_t num,
                       int32_t padded, const zk_bf16 *cache, zk_bf16 *out);

// Forward. A task is one KV head and a few neighbouring query rows of one sequence with all heads of the group. Its rows are called
// micro-rows, in (query row, head of the group) order: positions never fall.
typedef struct {
  zk_attn_bf16_shape shape;
  const zk_bf16 *q, *k_cache, *v_cache;
  zk_bf16 *out;
  float *lse; // may be NULL
} zk_attn_bf16_forward;

typedef struct {
  const int32_t *pages;                   // of the sequence
  int32_t kv_head;                        // g
  int32_t first_row, first_pos, num_rows; // query rows: in the batch, in the sequence
} zk_attn_bf16_task;

// Backward. A task takes one KV head of one whole sequence. For each query head of the group it walks (block of 128 query rows, key tile)
// pairs, both ascending: the order of dq's tiles and of dk's and dv's chains alike, which wait in fp32 between blocks.
typedef struct {
  zk_attn_bf16_shape shape;
  const zk_bf16 *q, *k_cache, *v_cache, *out, *dout;
  const float *lse;
  zk_bf16 *dq, *dk, *dv;
} zk_attn_bf16_backward;

// Bytes of 64-byte aligned scratch of a task with so many query rows; the task.
ZK_ISA_DECLARE(size_t, zk_attn_bf16_forward_bytes, (const zk_attn_bf16_shape *shape, int32_t num_rows));
ZK_ISA_DECLARE(void, zk_attn_bf16_forward_task,
               (const zk_attn_bf16_forward *forward, const zk_attn_bf16_task *task, void *scratch));
ZK_ISA_DECLARE(size_t, zk_attn_bf16_backward_bytes, (const zk_attn_bf16_shape *shape, int32_t num_rows));
ZK_ISA_DECLARE(void, zk_attn_bf16_backward_task,
               (const zk_attn_bf16_backward *backward, const zk_attn_bf16_task *task, void *scratch));

// What kernels/cpu/attention.c and its neighbours hand over in numerics bf16.
size_t zk_cpu_bf16_kv_cache_bytes(const zk_attention_desc *desc, int32_t num_pages); // SIZE_MAX: too many to count
zk_status zk_cpu_bf16_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch,
                               const zk_bf16 *k, const zk_bf16 *v, zk_bf16 *k_cache, zk_bf16 *v_cache);
zk_status zk_cpu_bf16_attention_forward(zk_stream *stream, const zk_attention_desc *desc,
                                        const zk_attention_batch *batch, const zk_bf16 *q, const zk_bf16 *k_cache,
                                        const zk_bf16 *v_cache, zk_bf16 *out, float *lse);
zk_status zk_cpu_bf16_attention_backward(zk_stream *stream, const zk_attention_desc *desc,
                                         const zk_attention_batch *batch, const zk_bf16 *q, const zk_bf16 *k_cache,
                                         const zk_bf16 *v_cache, const zk_bf16 *out, const zk_bf16 *dout,
                                         const float *lse, zk_bf16 *dq, zk_bf16 *dk, zk_bf16 *dv);

#endif
