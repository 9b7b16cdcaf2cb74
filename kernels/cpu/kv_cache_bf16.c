// The KV cache of numerics bf16: rows as they come, page by page.
#include <string.h>

#include "kernels/cpu/attention_bf16.h"

size_t zk_cpu_bf16_kv_cache_bytes(const zk_attention_desc *desc, int32_t num_pages) {
  size_t bytes = sizeof(zk_bf16);
  const int32_t factors[] = {num_pages, desc->num_kv_heads, desc->page_tokens, desc->head_dim};
  for (int i = 0; i < 4; ++i)
    if (__builtin_mul_overflow(bytes, (size_t)factors[i], &bytes)) return SIZE_MAX;
  return bytes;
}

zk_status zk_cpu_bf16_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch,
                               const zk_bf16 *k, const zk_bf16 *v, zk_bf16 *k_cache, zk_bf16 *v_cache) {
  const zk_attn_bf16_shape s = zk_attn_bf16_shape_of(desc);
  const size_t bytes = (size_t)s.dim * sizeof(zk_bf16);
  for (int32_t seq = 0; seq < batch->num_seqs; ++seq) {
    const int32_t *pages = batch->page_table + (size_t)seq * (size_t)batch->max_pages;
    const int32_t begin = batch->seq_row_start[seq], end = batch->seq_row_start[seq + 1];
    for (int32_t row = begin; row < end; ++row)
      for (int32_t g = 0; g < s.num_kv_heads; ++g) {
        const size_t from = ((size_t)row * (size_t)s.num_kv_heads + (size_t)g) * (size_t)s.dim;
        const size_t to = zk_kv_bf16_offset(&s, pages, g, batch->seq_first_pos[seq] + row - begin);
        memcpy(k_cache + to, k + from, bytes);
        memcpy(v_cache + to, v + from, bytes);
      }
  }
  return ZK_OK;
}

void zk_kv_bf16_gather(const zk_attn_bf16_shape *s, const int32_t *pages, int32_t kv_head, int32_t pos, int32_t num,
                       int32_t padded, const zk_bf16 *cache, zk_bf16 *out) {
  const size_t dim = (size_t)s->dim;
  for (int32_t done = 0; done < num;) {
    const int32_t in_page = s->page_tokens - (pos + done) % s->page_tokens,
                  rows = in_page < num - done ? in_page : num - done;
    memcpy(out + (size_t)done * dim, cache + zk_kv_bf16_offset(s, pages, kv_head, pos + done),
           (size_t)rows * dim * sizeof *out);
    done += rows;
  }
  memset(out + (size_t)num * dim, 0, (size_t)(padded - num) * dim * sizeof *out);
}
