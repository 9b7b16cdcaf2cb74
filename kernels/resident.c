// All layers of a one-token step as one call: what a device has for it, counted as the operations that it stands for.
#include "kernels/resident.h"

#include <stdlib.h>

#include "kernels/backend.h"

struct zk_resident {
  zk_stream *stream;
  void *state; // the device's
  int32_t num_layers;
  bool head_norms;
};

zk_status zk_resident_open(zk_stream *stream, const zk_resident_desc *desc, const zk_resident_layer_memory *layers,
                           zk_resident **out) {
  *out = NULL;
  ZK_TRY(zk_attention_require(&desc->attention));
  if (desc->num_layers < 1 || desc->hidden < 1 || desc->intermediate < 1 || desc->max_tokens < 1)
    return ZK_FAIL(ZK_INTERNAL, "resident: bad shape, layers %d, hidden %d, intermediate %d", desc->num_layers,
                   desc->hidden, desc->intermediate);
  void *state = NULL;
  ZK_TRY(stream->device->kernels->resident_make(stream, desc, layers, &state));
  if (state == NULL) return ZK_OK;
  zk_resident *r = malloc(sizeof *r);
  if (r == NULL) {
    stream->device->kernels->resident_free(stream, state);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a decode step");
  }
  *r = (zk_resident){stream, state, desc->num_layers, layers[0].q_norm != NULL};
  *out = r;
  return ZK_OK;
}

void zk_resident_close(zk_resident *r) {
  if (r == NULL) return;
  r->stream->device->kernels->resident_free(r->stream, r->state);
  free(r);
}

// Of a layer: how often each operation would have been called.
static const struct {
  zk_op op;
  int32_t times, with_head_norms;
} of_a_layer[] = {{ZK_OP_RMSNORM, 2, 2},  {ZK_OP_LINEAR, 7, 0},    {ZK_OP_ROPE, 2, 0},
                  {ZK_OP_KV_WRITE, 1, 0}, {ZK_OP_ATTENTION, 1, 0}, {ZK_OP_SWIGLU, 1, 0}};
enum { NUM_OPS = sizeof of_a_layer / sizeof of_a_layer[0] };

zk_status zk_resident_run(zk_resident *r, const zk_attention_batch *batch, const int32_t *position, void *x,
                          bool *done) {
  *done = false;
  if (batch->num_rows != 1 || batch->num_seqs != 1)
    return ZK_FAIL(ZK_INTERNAL, "resident: a batch of %d rows of %d sequences", batch->num_rows, batch->num_seqs);
  for (int i = 0; i < NUM_OPS; i++)
    if (zk_stream_is_faulty(r->stream, of_a_layer[i].op)) return ZK_OK;
  ZK_TRY(r->stream->device->kernels->resident_step(r->stream, r->state, batch, position, x));
  for (int i = 0; i < NUM_OPS; i++) {
    const int32_t calls = r->num_layers * (of_a_layer[i].times + (r->head_norms ? of_a_layer[i].with_head_norms : 0));
    for (int32_t c = 0; c < calls; c++) zk_stream_count(r->stream, of_a_layer[i].op);
  }
  *done = true;
  return ZK_OK;
}
