// RMSNorm: checks a description, counts the call, and hands over to the device.
#include "kernels/backend.h"

static zk_status check(const zk_rmsnorm_desc *desc, zk_op op) {
  if (desc->num_rows < 0 || desc->rows_per_token < 1 || desc->width < 1)
    return ZK_FAIL(ZK_INTERNAL, "%s: %lld tokens of %d rows of width %d", zk_op_name(op), (long long)desc->num_rows, desc->rows_per_token,
                   desc->width);
  return ZK_OK;
}

static size_t num_elements(const zk_rmsnorm_desc *desc) { return (size_t)desc->num_rows * (size_t)desc->rows_per_token * (size_t)desc->width; }

zk_status zk_rmsnorm_forward(zk_stream *stream, const zk_rmsnorm_desc *desc, const void *x, const void *weight, void *y, float *rstd) {
  ZK_TRY(check(desc, ZK_OP_RMSNORM));
  zk_stream_count(stream, ZK_OP_RMSNORM);
  ZK_TRY(stream->device->kernels->rmsnorm_forward(stream, desc, x, weight, y, rstd));
  return zk_stream_fault(stream, ZK_OP_RMSNORM, desc->numerics, y, num_elements(desc));
}

zk_status zk_rmsnorm_backward(zk_stream *stream, const zk_rmsnorm_desc *desc, const zk_chunks *chunks, const void *dy, const void *x,
                              const void *weight, const float *rstd, const void *addend, void *dx, float *dweight) {
  ZK_TRY(check(desc, ZK_OP_RMSNORM_BACKWARD));
  ZK_TRY(zk_chunks_validate(chunks, desc->num_rows));
  zk_stream_count(stream, ZK_OP_RMSNORM_BACKWARD);
  ZK_TRY(stream->device->kernels->rmsnorm_backward(stream, desc, chunks, dy, x, weight, rstd, addend, dx, dweight));
  return zk_stream_fault(stream, ZK_OP_RMSNORM_BACKWARD, desc->numerics, dx, num_elements(desc));
}
