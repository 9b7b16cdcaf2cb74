// On a CPU nothing waits between operations: layers are run one operation after the other.
#include "kernels/backend.h"

zk_status zk_cpu_resident_make(zk_stream *stream, const zk_resident_desc *desc, const zk_resident_layer_memory *layers,
                               void **state) {
  (void)stream, (void)desc, (void)layers;
  *state = NULL;
  return ZK_OK;
}

void zk_cpu_resident_free(zk_stream *stream, void *state) { (void)stream, (void)state; }

zk_status zk_cpu_resident_step(zk_stream *stream, void *state, const zk_attention_batch *batch, const int32_t *position,
                               void *x) {
  (void)stream, (void)state, (void)batch, (void)position, (void)x;
  return ZK_FAIL(ZK_INTERNAL, "resident: a CPU has none");
}
