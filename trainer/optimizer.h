// AdamW over one rank's shard of the flat vector that is trained (all weights, or an adapter's): master weights and moments are sharded, working weights are whole on every
// rank. In f32 the shard of the working weights is the master; elsewhere the master is fp32 memory of its own, and working = bf16(master).
#ifndef ZK_TRAINER_OPTIMIZER_H
#define ZK_TRAINER_OPTIMIZER_H

#include "kernels/adamw_shard.h"
#include "shared/comm_device.h"
#include "shared/config.h"
#include "shared/policy.h"

// Shards: as even as 4,096-element blocks allow. starts [num_ranks + 1].
void zk_shard_starts(int64_t num_elements, int num_ranks, int64_t *starts);

// The learning rate of step `step` (from 1): linear warm-up over warmup_steps, then constant, or linear or cosine down to lr * min_lr_ratio
// at the last step. Double arithmetic and kernels/math.h only.
double zk_learning_rate(const zk_config *config, int64_t step);

typedef struct zk_optimizer {
  zk_policy *policy;
  zk_trained trained;    // of it; shards are of this vector
  zk_comm *comm;
  zk_comm_device *link;  // moves device memory between ranks
  int64_t *starts;       // [num_ranks + 1]
  int64_t first, count;  // this rank's shard
  int64_t step;          // updates done
  float *master;         // device [count]: memory of its own, or (f32) the shard of trained.weights
  float *m, *v, *grad;   // device [count]
  float *block_sums, *host_sums; // of the gradient's squares: device, host [blocks of 4,096 of the shard, and their sum]
  zk_adamw_range *fixed; // tensors without weight decay, neighbours joined
  int32_t num_fixed;
} zk_optimizer;

// The policy's weights are filled. Moments zero, no update done; master weights of their own are zero until filled. `policy` and `comm` must outlive it. Not collective.
// The caller closes it, also after a failure.
zk_status zk_optimizer_open(zk_policy *policy, zk_comm *comm, zk_optimizer *out);
void zk_optimizer_close(zk_optimizer *optimizer);
// Device bytes of master shard, of both moments, and of the gradient shard, for the memory plan.
typedef struct {
  size_t master, moments, grad;
} zk_optimizer_sizes;
zk_optimizer_sizes zk_optimizer_bytes(zk_numerics numerics, int64_t num_elements, int num_ranks);
// Fills this rank's master shard from what the policy was filled from (in f32 it is the policy's own: nothing to do). Not collective.
zk_status zk_optimizer_fill_master(zk_optimizer *optimizer, zk_stream *stream, const zk_weight_source *source);
// One update from the summed gradient in optimizer->grad: global norm, clipping, AdamW on the shard. Other ranks' weights are under way until
// zk_optimizer_finish: only the shard may be read. ZK_NOT_FINITE when the gradient is not. All ranks fail alike. Collective.
typedef struct {
  float grad_norm;                   // before clipping
  uint64_t weights_hash, state_hash; // after the update, as zk_optimizer_hashes would give them
} zk_update_result;
zk_status zk_optimizer_update(zk_optimizer *optimizer, zk_stream *stream, const zk_config *config, double lr, zk_update_result *out);
// Until every rank has all weights, and their panels are packed anew. Collective.
zk_status zk_optimizer_finish(zk_optimizer *optimizer, zk_stream *stream);
// weights/hash over working weights, state/hash over master weights and both moments: of the shards, which are there before the gather is done. Collective.
zk_status zk_optimizer_hashes(const zk_optimizer *optimizer, zk_stream *stream, uint64_t *weights_hash, uint64_t *state_hash);

#endif
