// Hashes of bits: checks the element size, counts the call, and hands over to the device.
#include "kernels/backend.h"

zk_status zk_hash_elements(zk_stream *stream, int32_t element_bytes, int64_t num_elements, uint64_t first_index, const void *data,
                           uint64_t *sum) {
  if (element_bytes != 4 && element_bytes != 2)
    return ZK_FAIL(ZK_INTERNAL, "weights_hash: elements of %d bytes; 4 or 2", element_bytes);
  zk_stream_count(stream, ZK_OP_WEIGHTS_HASH);
  ZK_TRY(stream->device->kernels->hash_elements(stream, element_bytes, num_elements, first_index, data, sum));
  if (zk_stream_is_faulty(stream, ZK_OP_WEIGHTS_HASH)) *sum ^= 1u;
  return ZK_OK;
}
