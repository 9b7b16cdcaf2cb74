// Head norms, RoPE and the cache's writing as one call: the device's single pass, or the operations one by one.
#include "kernels/rope_cache.h"

#include "kernels/backend.h"

static zk_status one_by_one(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                            const zk_rope_cache_io *io) {
  const zk_attention_desc *a = &desc->attention;
  const int64_t rows = batch->num_rows;
  if (desc->q_weight != NULL) {
    const zk_rmsnorm_desc q = {a->numerics, rows, a->num_heads, a->head_dim, desc->eps},
                          k = {a->numerics, rows, a->num_kv_heads, a->head_dim, desc->eps};
    ZK_TRY(zk_rmsnorm_forward(stream, &q, io->q_raw, desc->q_weight, io->q, io->rstd_q));
    ZK_TRY(zk_rmsnorm_forward(stream, &k, io->k_raw, desc->k_weight, io->k, io->rstd_k));
  }
  const zk_rope_desc q = {a->numerics, rows, a->num_heads, a->head_dim},
                     k = {a->numerics, rows, a->num_kv_heads, a->head_dim};
  ZK_TRY(zk_rope_forward(stream, &q, desc->positions, desc->cos_table, desc->sin_table, io->q));
  ZK_TRY(zk_rope_forward(stream, &k, desc->positions, desc->cos_table, desc->sin_table, io->k));
  return zk_kv_write(stream, a, batch, io->k, io->v, io->k_cache, io->v_cache);
}

zk_status zk_rope_cache(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                        const zk_rope_cache_io *io) {
  bool done = false;
  if (desc->q_weight == NULL && (io->q != io->q_raw || io->k != io->k_raw))
    return ZK_FAIL(ZK_INTERNAL, "rope_cache: without head norms q and k are turned in place");
  if (!zk_stream_is_faulty(stream, ZK_OP_RMSNORM) && !zk_stream_is_faulty(stream, ZK_OP_ROPE) &&
      !zk_stream_is_faulty(stream, ZK_OP_KV_WRITE))
    ZK_TRY(stream->device->kernels->rope_cache_fused(stream, desc, batch, io, &done));
  if (!done) return one_by_one(stream, desc, batch, io);
  for (int i = 0; i < 2; i++) {
    if (desc->q_weight != NULL) zk_stream_count(stream, ZK_OP_RMSNORM);
    zk_stream_count(stream, ZK_OP_ROPE);
  }
  zk_stream_count(stream, ZK_OP_KV_WRITE);
  return ZK_OK;
}
