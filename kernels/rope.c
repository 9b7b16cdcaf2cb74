// Rotary position embedding: checks a description, counts the call, and hands over to the device.
#include "kernels/backend.h"

static zk_status check(const zk_rope_desc *desc, zk_op op) {
  if (desc->num_rows < 0 || desc->num_heads < 1 || desc->head_dim < 2 || desc->head_dim % 2 != 0)
    return ZK_FAIL(ZK_INTERNAL, "%s: %lld rows of %d heads of dimension %d", zk_op_name(op), (long long)desc->num_rows, desc->num_heads,
                   desc->head_dim);
  return ZK_OK;
}

static size_t num_elements(const zk_rope_desc *desc) { return (size_t)desc->num_rows * (size_t)desc->num_heads * (size_t)desc->head_dim; }

zk_status zk_rope_forward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions, const float *cos_table,
                          const float *sin_table, void *x) {
  ZK_TRY(check(desc, ZK_OP_ROPE));
  zk_stream_count(stream, ZK_OP_ROPE);
  ZK_TRY(stream->device->kernels->rope_forward(stream, desc, positions, cos_table, sin_table, x));
  return zk_stream_fault(stream, ZK_OP_ROPE, desc->numerics, x, num_elements(desc));
}

zk_status zk_rope_backward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions, const float *cos_table,
                           const float *sin_table, void *dx) {
  ZK_TRY(check(desc, ZK_OP_ROPE_BACKWARD));
  zk_stream_count(stream, ZK_OP_ROPE_BACKWARD);
  ZK_TRY(stream->device->kernels->rope_backward(stream, desc, positions, cos_table, sin_table, dx));
  return zk_stream_fault(stream, ZK_OP_ROPE_BACKWARD, desc->numerics, dx, num_elements(desc));
}
