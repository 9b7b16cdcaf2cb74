// RoPE and head norms backwards as one call: the device's single pass, or the operations one by one.
#include "kernels/backend.h"
#include "kernels/rope_cache.h"

static zk_status one_by_one(zk_stream *stream, const zk_rope_cache_desc *d, int64_t rows, const zk_chunks *chunks, const zk_rope_norm_gradients *g) {
  const zk_attention_desc *a = &d->attention;
  const zk_rope_desc rope_q = {a->numerics, rows, a->num_heads, a->head_dim}, rope_k = {a->numerics, rows, a->num_kv_heads, a->head_dim};
  ZK_TRY(zk_rope_backward(stream, &rope_q, d->positions, d->cos_table, d->sin_table, g->dq));
  ZK_TRY(zk_rope_backward(stream, &rope_k, d->positions, d->cos_table, d->sin_table, g->dk));
  if (d->q_weight == NULL) return ZK_OK;
  const zk_rmsnorm_desc q = {a->numerics, rows, a->num_heads, a->head_dim, d->eps}, k = {a->numerics, rows, a->num_kv_heads, a->head_dim, d->eps};
  ZK_TRY(zk_rmsnorm_backward(stream, &q, chunks, g->dq, g->q_raw, d->q_weight, g->rstd_q, NULL, g->dq, g->dq_weight));
  return zk_rmsnorm_backward(stream, &k, chunks, g->dk, g->k_raw, d->k_weight, g->rstd_k, NULL, g->dk, g->dk_weight);
}

zk_status zk_rope_norm_backward(zk_stream *stream, const zk_rope_cache_desc *desc, int64_t num_rows, const zk_chunks *chunks,
                                const zk_rope_norm_gradients *gradients) {
  bool done = false;
  ZK_TRY(zk_chunks_validate(chunks, num_rows));
  if (!zk_stream_is_faulty(stream, ZK_OP_RMSNORM_BACKWARD) && !zk_stream_is_faulty(stream, ZK_OP_ROPE_BACKWARD))
    ZK_TRY(stream->device->kernels->rope_norm_backward_fused(stream, desc, chunks, gradients, &done));
  if (!done) return one_by_one(stream, desc, num_rows, chunks, gradients);
  for (int i = 0; i < 2; i++) {
    zk_stream_count(stream, ZK_OP_ROPE_BACKWARD);
    zk_stream_count(stream, ZK_OP_RMSNORM_BACKWARD);
  }
  return ZK_OK;
}
