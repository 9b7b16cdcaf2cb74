// Writing keys and values to their pages.
#include <string.h>

#include "kernels/cpu/attention.h"

#define PARALLEL_FLOATS 32768 // below this a parallel region costs more than it saves

// One token's K and V of one head, at position pos of its sequence.
static void write_token(const zk_attn_shape *s, const int32_t *pages, int32_t pos, int32_t kv_head, const float *k, const float *v,
                        float *k_cache, float *v_cache) {
  const size_t offset = zk_kv_block_offset(s, pages, kv_head, pos / ZK_KV_BLOCK), in_block = (size_t)(pos % ZK_KV_BLOCK);
  float *k_lane = k_cache + offset + in_block;
  for (int32_t d = 0; d < s->dim; ++d) k_lane[(size_t)d * ZK_KV_BLOCK] = k[d];
  memcpy(v_cache + offset + in_block * (size_t)s->padded_dim, v, (size_t)s->dim * sizeof(float));
}

void zk_cpu_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const float *k, const float *v,
                     float *k_cache, float *v_cache) {
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
        write_token(&s, pages, batch->seq_first_pos[seq] + row - begin, g, k + at, v + at, k_cache, v_cache);
      }
  }
}

void zk_cpu_kv_fault(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, float *v_cache) {
  const zk_attn_shape s = zk_attn_shape_of(desc);
  for (int32_t seq = 0; seq < batch->num_seqs; ++seq) {
    // The middle row: a sequence's last one may have no reader.
    const int32_t pos = batch->seq_first_pos[seq] + (batch->seq_row_start[seq + 1] - batch->seq_row_start[seq]) / 2;
    if (batch->seq_row_start[seq + 1] == batch->seq_row_start[seq]) continue;
    const int32_t *pages = batch->page_table + (size_t)seq * (size_t)batch->max_pages;
    float *row = v_cache + zk_kv_block_offset(&s, pages, 0, pos / ZK_KV_BLOCK) + (size_t)(pos % ZK_KV_BLOCK) * (size_t)s.padded_dim;
    for (int32_t d = 0; d < s.dim; ++d) zk_stream_fault(stream, ZK_OP_KV_WRITE, row + d, 1);
  }
}
