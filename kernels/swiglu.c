// SwiGLU: counts the call, and hands over to the device.
#include "kernels/backend.h"

zk_status zk_swiglu_forward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate, const void *up, void *out) {
  zk_stream_count(stream, ZK_OP_SWIGLU);
  ZK_TRY(stream->device->kernels->swiglu_forward(stream, numerics, num_elements, gate, up, out));
  return zk_stream_fault(stream, ZK_OP_SWIGLU, numerics, out, (size_t)num_elements);
}

zk_status zk_swiglu_backward(zk_stream *stream, zk_numerics numerics, int64_t num_elements, const void *gate, const void *up,
                             const void *dout, void *dgate, void *dup) {
  zk_stream_count(stream, ZK_OP_SWIGLU_BACKWARD);
  ZK_TRY(stream->device->kernels->swiglu_backward(stream, numerics, num_elements, gate, up, dout, dgate, dup));
  return zk_stream_fault(stream, ZK_OP_SWIGLU_BACKWARD, numerics, dgate, (size_t)num_elements);
}
