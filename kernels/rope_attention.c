// Head norms, RoPE, cache and attention as one call: the device's single pass, or what stands before attention and attention.
#include "kernels/rope_attention.h"

#include "kernels/backend.h"

zk_status zk_rope_attention(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                            const zk_rope_cache_io *io, void *out, float *lse) {
  static const zk_op ops[] = {ZK_OP_RMSNORM, ZK_OP_ROPE, ZK_OP_KV_WRITE, ZK_OP_ATTENTION};
  bool done = false, faulty = false;
  ZK_TRY(zk_attention_require(&desc->attention));
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) faulty |= zk_stream_is_faulty(stream, ops[i]);
  if (!faulty) ZK_TRY(stream->device->kernels->rope_attention_fused(stream, desc, batch, io, out, lse, &done));
  if (!done) {
    ZK_TRY(zk_rope_cache(stream, desc, batch, io));
    return zk_attention_forward(stream, &desc->attention, batch, io->q, io->k_cache, io->v_cache, out, lse);
  }
  for (int i = 0; i < 2; i++) {
    if (desc->q_weight != NULL) zk_stream_count(stream, ZK_OP_RMSNORM);
    zk_stream_count(stream, ZK_OP_ROPE);
  }
  zk_stream_count(stream, ZK_OP_KV_WRITE);
  zk_stream_count(stream, ZK_OP_ATTENTION);
  return ZK_OK;
}
