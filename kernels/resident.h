// All layers of a step that decodes one token, as one call, for devices that gain by making one kernel of them.
//
// Order: that of a layer's operations one after the other (shared/decoder.h), each rounding what it would store; it
// counts as these operations, and their faults reach it.
#ifndef ZK_KERNELS_RESIDENT_H
#define ZK_KERNELS_RESIDENT_H

#include <stdbool.h>

#include "kernels/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

// One layer: weights as linear.h and rmsnorm.h have them, without biases; q_norm and k_norm are both NULL where there
// are no head norms.
typedef struct {
  const void *attn_norm, *q, *k, *v, *q_norm, *k_norm, *o, *mlp_norm, *gate, *up, *down;
  void *k_cache, *v_cache;
} zk_resident_layer_memory;

typedef struct {
  zk_attention_desc attention;
  int32_t num_layers, hidden, intermediate;
  int32_t max_tokens; // of a sequence
  float eps;
  const float *cos_table, *sin_table; // as zk_rope_forward
} zk_resident_desc;

typedef struct zk_resident zk_resident;

// Prepares it for one stream; weights and caches must stay where they are. *out is NULL where the device has
// none for this shape. The caller closes it, before the stream.
zk_status zk_resident_open(zk_stream *stream, const zk_resident_desc *desc, const zk_resident_layer_memory *layers,
                           zk_resident **out);
void zk_resident_close(zk_resident *resident); // NULL is fine
// x [hidden], the hidden state of the one row of the batch's one sequence, through all layers, in place; position [1],
// device. *done false: nothing is queued, for a fault is meant for one of the operations.
zk_status zk_resident_run(zk_resident *resident, const zk_attention_batch *batch, const int32_t *position, void *x,
                          bool *done);

// For kernels/ only: the device's part. *state NULL: none.
zk_status zk_resident_make(zk_stream *stream, const zk_resident_desc *desc, const zk_resident_layer_memory *layers,
                           void **state);
void zk_resident_free(zk_stream *stream, void *state);
zk_status zk_resident_step(zk_stream *stream, void *state, const zk_attention_batch *batch, const int32_t *position,
                           void *x);

#ifdef __cplusplus
}
#endif
#endif
