// The policy: one set of working weights on one device, read by sampler and trainer alike, so there is nothing to synchronise
// between them and nothing to go stale.
#ifndef ZK_SHARED_POLICY_H
#define ZK_SHARED_POLICY_H

#include "kernels/device.h"
#include "kernels/linear.h"
#include "shared/model_config.h"
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
} zk_policy;

// Bytes the policy will take on the device; for the memory plan.
size_t zk_policy_bytes(const zk_device *device, zk_numerics numerics, const zk_model_config *config, const zk_params *params,
                       int32_t num_positions);
// Allocates everything; weights are zero until loaded. `device` must outlive the policy.
zk_status zk_policy_open(zk_device *device, zk_numerics numerics, const zk_model_config *config, int32_t num_positions, zk_policy *out);
void zk_policy_close(zk_policy *policy); // a zeroed policy is fine
// Copies host weights flat[num_elements] (fp32, global order; rounded to working weights) to the device, and packs them.
zk_status zk_policy_set_weights(zk_policy *policy, zk_stream *stream, const float *flat);
// Fills the working weights from a source, and packs them.
zk_status zk_policy_fill(zk_policy *policy, zk_stream *stream, const zk_weight_source *source);
// The same from a Hugging Face folder.
zk_status zk_policy_load_weights(zk_policy *policy, zk_stream *stream, const char *dir);
// To be called after the working weights changed in place (an optimiser step): remakes the packed form, raises the version, and gives a follower
// the new weights.
zk_status zk_policy_changed(zk_policy *policy, zk_stream *stream);

// From now on every change of `policy`'s weights is one of `follower`'s too: a policy of the same model on the same device, in other numerics, whose
// weights are rounded to bf16, or widened exactly. `follower` must outlive `policy` or its last change. For control experiments (rollout.numerics).
void zk_policy_lead(zk_policy *policy, zk_policy *follower);
// Copies weights from one to the other, by way of the host where the formats differ, and packs them. Waits.
zk_status zk_policy_copy_weights(const zk_policy *from, zk_stream *stream, zk_policy *to);

// The device address of a tensor's weights (NULL when the model has none of that kind), and of its packed form.
const void *zk_policy_weight(const zk_policy *policy, zk_param_kind kind, int layer);
const void *zk_policy_packed(const zk_policy *policy, zk_param_kind kind, int layer);
// Hash of working weights [first, first + count) by global element index (kernels/hash.h).
zk_status zk_policy_hash(const zk_policy *policy, zk_stream *stream, int64_t first, int64_t count, uint64_t *sum);

#endif
