// The decoder layer's backward pass, in the order of shared/decoder.h read from its end.
#ifndef ZK_TRAINER_DECODER_BACKWARD_H
#define ZK_TRAINER_DECODER_BACKWARD_H

#include "kernels/chunks.h"
#include "shared/decoder.h"

// Gradients of activations, for up to `capacity` rows, on the device.
typedef struct {
  void *dh;                  // [T, H]
  void *dq, *dk, *dv, *da;   // as q, k, v, a
  void *dgate, *dup, *dact;  // [T, I]
  void *dlora;               // [T, rank], of an adapter
  void *unwanted;            // [2, D] f32, beside an adapter: gradients of frozen head norms, which one kernel forms with the rest; nobody
                             // zeroes or reads them
} zk_layer_gradients;

// Bytes for `capacity` rows, and the layout of that much memory.
size_t zk_layer_gradients_bytes(const zk_policy *policy, int64_t capacity);
void zk_layer_gradients_place(const zk_policy *policy, int64_t capacity, void *memory, zk_layer_gradients *out);

// dx [T, H]: in, the gradient of the layer's output; out, of its input. Adds the layer's weight gradients to grad (the vector that is trained,
// zk_policy_trained: with an adapter its factors', and no others); with
// `first` sets those of its products' weights (zk_decoder_layer_sets) instead, as if they had been 0.
zk_status zk_decoder_layer_backward(const zk_policy *policy, zk_stream *stream, int layer, int32_t page_tokens, const zk_decoder_batch *batch,
                                    const zk_chunks *chunks, const zk_layer_activations *acts, const void *k_cache, const void *v_cache,
                                    const zk_layer_gradients *work, void *dx, bool first, float *grad);
// Whether a first pass sets the gradients of such a parameter.
bool zk_decoder_layer_sets(zk_param_kind kind);

#endif
