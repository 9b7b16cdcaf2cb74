// Writing keys and values to their pages.
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_bf16.h"
#include "kernels/cpu/parallel.h"

#define PARALLEL_FLOATS 32768 // below this a parallel region costs more than it saves

// One token's K and V of one head, at position pos of its sequence.
static void write_token(const zk_attn_shape *s, const int32_t *pages, int32_t pos, int32_t kv_head, const float *k, const float *v,
                        float *k_cache, float *v_cache) {
  const size_t offset = zk_kv_block_offset(s, pages, kv_head, pos / ZK_KV_BLOCK), in_block = (size_t)(pos % ZK_KV_BLOCK);
  float *k_lane = k_cache + offset + in_block;
  for (int32_t d = 0; d < s->dim; ++d) k_lane[(size_t)d * ZK_KV_BLOCK] = k[d];
  memcpy(v_cache + offset + in_block * (size_t)s->padded_dim, v, (size_t)s->dim * sizeof(float));
}

size_t zk_cpu_kv_cache_bytes(const zk_device *device, const zk_attention_desc *desc, int32_t num_pages) {
  if (desc->numerics != ZK_F32) return zk_cpu_bf16_kv_cache_bytes(desc, num_pages);
  const zk_attn_shape s = zk_attn_shape_of(desc);
  size_t bytes = sizeof(float);
  const int32_t factors[] = {num_pages, desc->num_kv_heads, desc->page_tokens, s.padded_dim};
  for (int i = 0; i < 4; ++i)
    if (__builtin_mul_overflow(bytes, (size_t)factors[i], &bytes)) return SIZE_MAX; // no allocation succeeds
  return bytes;
}

zk_status zk_cpu_kv_copy_page(zk_stream *stream, const zk_attention_desc *desc, int32_t src, int32_t dst, void *k_cache, void *v_cache) {
  const size_t bytes = zk_cpu_kv_cache_bytes(zk_stream_device(stream), desc, 1);
  memcpy((char *)k_cache + (size_t)dst * bytes, (char *)k_cache + (size_t)src * bytes, bytes);
  memcpy((char *)v_cache + (size_t)dst * bytes, (char *)v_cache + (size_t)src * bytes, bytes);
  return ZK_OK;
}

zk_status zk_cpu_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *k, const void *v,
                          void *k_cache, void *v_cache) {
  if (desc->numerics != ZK_F32) return zk_cpu_bf16_kv_write(stream, desc, batch, k, v, k_cache, v_cache);
  const zk_attn_shape s = zk_attn_shape_of(desc);
  const int64_t row_floats = (int64_t)s.num_kv_heads * s.dim;
  const int threads = batch->num_rows * row_floats < PARALLEL_FLOATS ? 1 : zk_device_threads(zk_stream_device(stream));
  for (int32_t seq = 0; seq < batch->num_seqs; ++seq) {
    const int32_t begin = batch->seq_row_start[seq], end = batch->seq_row_start[seq + 1];
    const int32_t *pages = batch->page_table + (size_t)seq * (size_t)batch->max_pages;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int32_t row = begin; row < end; ++row)
      for (int32_t g = 0; g < s.num_kv_heads; ++g) {
        const int64_t at = row * row_floats + (int64_t)g * s.dim;
        write_token(&s, pages, batch->seq_first_pos[seq] + row - begin, g, (const float *)k + at, (const float *)v + at, k_cache, v_cache);
      }
  }
  return ZK_OK;
}
