// In which order a backward pass finishes the gradient's elements: the final norm, a head of its own, the layers from the last to the first, the embedding;
// of an adapter, the layers alone.
// Every rank sends its gradient in this order.
#ifndef ZK_TRAINER_LEAF_STRETCHES_H
#define ZK_TRAINER_LEAF_STRETCHES_H

#include "shared/params.h"

// Elements [first, last) of the flat vector.
typedef struct {
  int64_t first, last;
} zk_stretch;

// Between files of trainer/: how many stretches a model's gradient has, and how many of them are final once layer `layer` is done (num_layers: only
// what stands above the layers).
int zk_stretches_num(const zk_params *params);
int zk_stretches_done(const zk_params *params, int layer);
// Fills out [zk_stretches_num]; together they are the whole vector, each element once.
void zk_stretches_fill(const zk_params *params, zk_stretch *out);

#endif
