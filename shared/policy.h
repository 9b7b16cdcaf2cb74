// The policy: one set of working weights on one device, read by sampler and trainer alike, so there is nothing to synchronise
// between them and nothing to go stale.
#ifndef ZK_SHARED_POLICY_H
#define ZK_SHARED_POLICY_H

#include "kernels/device.h"
#include "kernels/linear.h"
#include "shared/model_config.h"
#include "shared/adapter.h"
#include "shared/params.h"
#include "shared/weight_source.h"

typedef struct zk_policy {
  zk_device *device;
  zk_numerics numerics;
  zk_model_config config;
  zk_params params;
  int32_t num_positions;          // rows of the RoPE tables: the longest sequence
  float *cos_table, *sin_table;   // device [num_positions, head_dim / 2]
  void *weights;                  // device, working weights in global element order: f32, which are the master weights too, or else
                                  // bf16, rounded from the fp32 master weights that only a trainer has (trainer/optimizer.h)
  void *packed;                   // device, the kernels' private form of the linear weights (one update behind until _changed)
  uint64_t version;               // raised by every change of the weights: what was computed with another version is stale
  size_t *packed_at;              // [num_params] byte offset in `packed`, SIZE_MAX for tensors that have none
  struct zk_policy *follower;     // NULL, or a policy whose weights are always these in its own numerics (zk_policy_lead); borrowed
  int weight_bits;                // of a follower: what its weights are rounded to, 0: all bits
  zk_adapter adapter;             // with one, `weights` are frozen, and it is what training changes
  uint64_t frozen_hash;           // with one: of `weights`, which never change once they are filled
} zk_policy;

// The flat vector that training changes: all weights, or the adapter's.
typedef struct {
  const zk_params *params;
  void *weights;        // device, as working weights are stored
  uint64_t first_index; // the global element index of its element 0, in weights/hash and state/hash
  uint64_t frozen_hash; // what weights/hash has besides
} zk_trained;
zk_trained zk_policy_trained(const zk_policy *policy);

// Bytes the policy will take on the device; for the memory plan.
size_t zk_policy_bytes(const zk_device *device, zk_numerics numerics, const zk_model_config *config, const zk_params *params,
                       int32_t num_positions);
// Allocates everything; weights are zero until loaded. `device` must outlive the policy.
zk_status zk_policy_open(zk_device *device, zk_numerics numerics, const zk_model_config *config, int32_t num_positions, zk_policy *out);
// Gives an open policy an adapter, all zero until it is filled. Before its weights are filled.
zk_status zk_policy_add_adapter(zk_policy *policy, const zk_lora *lora);
void zk_policy_close(zk_policy *policy); // a zeroed policy is fine
// Copies host weights flat[num_elements] (fp32, global order; rounded to working weights) to the device, and packs them.
zk_status zk_policy_set_weights(zk_policy *policy, zk_stream *stream, const float *flat);
// Fills the working weights from a source, and packs them.
zk_status zk_policy_fill(zk_policy *policy, zk_stream *stream, const zk_weight_source *source);
// The adapter's, likewise, from a source of its table.
zk_status zk_policy_fill_adapter(zk_policy *policy, zk_stream *stream, const zk_weight_source *source);
// The same from a Hugging Face folder.
zk_status zk_policy_load_weights(zk_policy *policy, zk_stream *stream, const char *dir);
// To be called after what is trained changed in place (an optimiser step): remakes its packed form, raises the version, and gives a follower
// the new weights.
zk_status zk_policy_changed(zk_policy *policy, zk_stream *stream);

// From now on every change of `policy`'s weights is one of `follower`'s too: a policy of the same model on the same device, whose weights are rounded to its
// numerics, or widened exactly; neither has an adapter. weight_bits: 0, or of 1 to 6 each is rounded to so many bits behind the leading one, halves to even (a
// subnormal's bits count from the format's leading one). `follower` must outlive `policy` or its last change. For control experiments (rollout.numerics,
// rollout.weight_bits).
void zk_policy_lead(zk_policy *policy, zk_policy *follower, int weight_bits);
// Copies weights from one to the other, by way of the host where the formats differ or `to` has coarser weights, and packs them. Waits.
zk_status zk_policy_copy_weights(const zk_policy *from, zk_stream *stream, zk_policy *to);

// The device address of a tensor's weights (NULL when the model has none of that kind), and of its packed form.
const void *zk_policy_weight(const zk_policy *policy, zk_param_kind kind, int layer);
const void *zk_policy_packed(const zk_policy *policy, zk_param_kind kind, int layer);
// Hash of elements [first, first + count) of what is trained, by global element index (kernels/hash.h).
zk_status zk_policy_hash(const zk_policy *policy, zk_stream *stream, int64_t first, int64_t count, uint64_t *sum);
// weights/hash: of all working weights, frozen ones too.
zk_status zk_policy_weights_hash(const zk_policy *policy, zk_stream *stream, uint64_t *sum);

#endif
