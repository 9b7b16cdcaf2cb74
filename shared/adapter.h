// A LoRA adapter (Hu et al. 2021): for each target layer y = x W^T two factors, A [rank, in] and B [out, rank], whose product times
// alpha / rank is added to what the frozen weights give. Sampler and trainer run the same factored products:
//
//   t = x A^T;  s = (alpha / rank) * t;  y = s B^T + y        (kernels/README.md, LoRA: each line's order and rounding)
//
// An adapter is a flat vector of its own (shared/params.h), which gradients, optimiser, shards and checkpoints are of. In weights/hash and
// state/hash its elements come behind the base's: zk_adapter_first_index.
#ifndef ZK_SHARED_ADAPTER_H
#define ZK_SHARED_ADAPTER_H

#include "kernels/device.h"
#include "shared/config.h"
#include "shared/params.h"

typedef struct {
  int32_t rank;     // 0: no adapter
  int32_t alpha;
  uint32_t targets; // bit t: zk_lora_target t has factors
} zk_lora;

zk_lora zk_lora_of_config(const zk_config *config);

typedef struct {
  zk_lora lora;
  float scaling;      // alpha / rank, the quotient in double, rounded
  zk_params params;   // no tensors without an adapter
  void *weights;      // device, [params.num_elements] as working weights are stored
  void *packed;       // device, the kernels' private form (kernels/linear.h)
  size_t *packed_at;  // [num_params]
} zk_adapter;

// The table that an adapter of `lora` for such a model has; the caller destroys it.
zk_status zk_lora_params(const zk_lora *lora, const zk_model_config *config, zk_params *out);
// Allocates it, weights zero; lora->rank is at least 1. The caller closes it, also after a failure.
zk_status zk_adapter_open(zk_device *device, zk_numerics numerics, const zk_model_config *config, const zk_lora *lora, zk_adapter *out);
void zk_adapter_close(zk_device *device, zk_adapter *adapter);
// Bytes of its weights, and of their packed form, on a device.
void zk_adapter_bytes(const zk_device *device, zk_numerics numerics, const zk_params *params, size_t *weights, size_t *packed);
// Remakes the packed form after the weights changed.
zk_status zk_adapter_pack(const zk_adapter *adapter, zk_numerics numerics, zk_stream *stream);
// A tensor's weights and their packed form; NULL where the target has no factors.
const void *zk_adapter_weight(const zk_adapter *adapter, zk_numerics numerics, zk_param_kind kind, int layer);
const void *zk_adapter_packed(const zk_adapter *adapter, zk_param_kind kind, int layer);
bool zk_adapter_has(const zk_adapter *adapter, zk_lora_target target);
// The global element index of an adapter's element 0, beside a base of num_base elements: the next multiple of 4,096.
uint64_t zk_adapter_first_index(int64_t num_base);

// Initial factors, as in the paper and in PEFT: A uniform in (-1/sqrt(in), 1/sqrt(in)), which is Kaiming's with a = sqrt(5); B zero. Elements
// [first, first + count) of the vector into out. An element of A is a function of seed, layer, target and its place in A, whatever rank and
// other targets are (kernels/README.md, Randomness).
void zk_adapter_init_range(const zk_params *params, uint64_t seed, int64_t first, int64_t count, float *out);

#endif
