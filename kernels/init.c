// Random weights: counts the call and hands over to the device.
#include "kernels/init.h"

#include "kernels/backend.h"

zk_status zk_init_normal(zk_stream *stream, zk_numerics numerics, uint64_t seed, int64_t first, int64_t n, double scale, void *out) {
  zk_stream_count(stream, ZK_OP_INIT_NORMAL);
  ZK_TRY(stream->device->kernels->init_normal(stream, numerics, seed, first, n, scale, out));
  return zk_stream_fault(stream, ZK_OP_INIT_NORMAL, numerics, out, (size_t)n);
}
