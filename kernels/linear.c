// Linear layers: checks a description, counts the call, and hands over to the device.
#include "kernels/backend.h"

static zk_status check(const zk_linear_desc *desc) {
  if (desc->num_rows < 0 || desc->in_features < 1 || desc->out_features < 1)
    return ZK_FAIL(ZK_INTERNAL, "linear: bad shape, rows %lld, in %d, out %d", (long long)desc->num_rows, desc->in_features,
                   desc->out_features);
  return ZK_OK;
}

size_t zk_linear_packed_bytes(const zk_device *device, zk_numerics numerics, int32_t in_features, int32_t out_features) {
  return device->kernels->linear_packed_bytes(device, numerics, in_features, out_features);
}

zk_status zk_linear_pack(zk_stream *stream, const zk_linear_desc *desc, const void *weight, void *packed) {
  ZK_TRY(check(desc));
  return stream->device->kernels->linear_pack(stream, desc, weight, packed);
}

zk_status zk_linear_forward(zk_stream *stream, const zk_linear_desc *desc, const void *x, const void *weight, const void *packed,
                            const void *bias, const void *addend, void *y) {
  ZK_TRY(check(desc));
  zk_stream_count(stream, ZK_OP_LINEAR);
  ZK_TRY(stream->device->kernels->linear_forward(stream, desc, x, weight, packed, bias, addend, y));
  return zk_stream_fault(stream, ZK_OP_LINEAR, desc->numerics, y, (size_t)desc->num_rows * (size_t)desc->out_features);
}

zk_status zk_linear_backward_input(zk_stream *stream, const zk_linear_desc *desc, const void *dy, const void *weight, const void *addend,
                                   void *dx) {
  ZK_TRY(check(desc));
  zk_stream_count(stream, ZK_OP_LINEAR_BACKWARD_INPUT);
  ZK_TRY(stream->device->kernels->linear_backward_input(stream, desc, dy, weight, addend, dx));
  return zk_stream_fault(stream, ZK_OP_LINEAR_BACKWARD_INPUT, desc->numerics, dx, (size_t)desc->num_rows * (size_t)desc->in_features);
}

zk_status zk_linear_backward_weight(zk_stream *stream, const zk_linear_desc *desc, const zk_chunks *chunks, const void *dy, const void *x,
                                    float *dweight, float *dbias) {
  ZK_TRY(check(desc));
  ZK_TRY(zk_chunks_validate(chunks, desc->num_rows));
  zk_stream_count(stream, ZK_OP_LINEAR_BACKWARD_WEIGHT);
  ZK_TRY(stream->device->kernels->linear_backward_weight(stream, desc, chunks, dy, x, dweight, dbias));
  return zk_stream_fault(stream, ZK_OP_LINEAR_BACKWARD_WEIGHT, ZK_F32, dweight, (size_t)desc->in_features * (size_t)desc->out_features);
}
