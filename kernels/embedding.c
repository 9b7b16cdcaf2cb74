// Token embedding: checks a description, counts the call, and hands over to the device.
#include "kernels/backend.h"

static zk_status check(const zk_embedding_desc *desc, zk_op op) {
  if (desc->num_rows < 0 || desc->width < 1 || desc->vocab < 1)
    return ZK_FAIL(ZK_INTERNAL, "%s: %lld rows of width %d over %d ids", zk_op_name(op), (long long)desc->num_rows, desc->width, desc->vocab);
  return ZK_OK;
}

zk_status zk_embedding_forward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *table, void *x) {
  ZK_TRY(check(desc, ZK_OP_EMBEDDING));
  zk_stream_count(stream, ZK_OP_EMBEDDING);
  ZK_TRY(stream->device->kernels->embedding_forward(stream, desc, tokens, table, x));
  return zk_stream_fault(stream, ZK_OP_EMBEDDING, desc->numerics, x, (size_t)desc->num_rows * (size_t)desc->width);
}

zk_status zk_embedding_backward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *dx, float *dtable) {
  ZK_TRY(check(desc, ZK_OP_EMBEDDING_BACKWARD));
  zk_stream_count(stream, ZK_OP_EMBEDDING_BACKWARD);
  ZK_TRY(stream->device->kernels->embedding_backward(stream, desc, tokens, dx, dtable));
  if (!zk_stream_is_faulty(stream, ZK_OP_EMBEDDING_BACKWARD) || desc->num_rows == 0) return ZK_OK;
  int32_t first; // the middle of the table is rarely touched: a fault goes to the row of the first token, on which all others depend
  ZK_TRY(zk_copy_to_host(stream, &first, tokens, sizeof first));
  ZK_TRY(zk_stream_wait(stream));
  return zk_stream_fault(stream, ZK_OP_EMBEDDING_BACKWARD, ZK_F32, dtable + (int64_t)first * desc->width, (size_t)desc->width);
}

zk_status zk_tokens_follow(zk_stream *stream, int64_t n, const int32_t *drawn, int32_t *tokens) {
  return n > 0 ? stream->device->kernels->tokens_follow(stream, n, drawn, tokens) : ZK_OK;
}
