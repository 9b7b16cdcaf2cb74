// Sharded AdamW.
#include "trainer/optimizer.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/hash.h"
#include "kernels/math.h"
#include "kernels/reduce.h"

void zk_shard_starts(int64_t num_elements, int num_ranks, int64_t *starts) {
  int64_t blocks = (num_elements + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS;
  for (int r = 0; r <= num_ranks; r++) {
    int64_t at = blocks * r / num_ranks * ZK_BLOCK_ELEMENTS;
    starts[r] = at < num_elements ? at : num_elements;
  }
}

double zk_learning_rate(const zk_config *c, int64_t step) {
  double lr = c->optimizer.lr;
  int64_t warmup = c->optimizer.warmup_steps, last = c->run.steps;
  if (step <= warmup) return lr * (double)step / (double)warmup;
  if (c->optimizer.schedule == ZK_CONFIG_LR_CONSTANT || last <= warmup) return lr;
  double done = (double)(step - warmup) / (double)(last - warmup), floor_ratio = c->optimizer.min_lr_ratio;
  if (done > 1) done = 1;
  double shape = c->optimizer.schedule == ZK_CONFIG_LR_LINEAR ? 1 - done : 0.5 * (1 + zk_cos(3.14159265358979323846 * done));
  return lr * (floor_ratio + (1 - floor_ratio) * shape);
}

// The ranges of tensors that weight decay leaves alone.
static zk_status find_fixed(zk_optimizer *o) {
  const zk_params *params = o->trained.params;
  o->fixed = malloc((size_t)(params->num_params + 1) * sizeof *o->fixed);
  if (!o->fixed) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the table of weight decay");
  for (int i = 0; i < params->num_params; i++) {
    const zk_param *p = &params->params[i];
    if (p->decay) continue;
    zk_adamw_range *last = o->num_fixed ? &o->fixed[o->num_fixed - 1] : NULL;
    if (last && last->end == p->first) last->end += p->num_elements;
    else o->fixed[o->num_fixed++] = (zk_adamw_range){p->first, p->first + p->num_elements};
  }
  return ZK_OK;
}

zk_status zk_optimizer_open(zk_policy *policy, zk_comm *comm, zk_optimizer *out) {
  *out = (zk_optimizer){.policy = policy, .comm = comm, .trained = zk_policy_trained(policy)};
  out->starts = calloc((size_t)zk_comm_size(comm) + 1, sizeof *out->starts);
  if (!out->starts) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the shard table");
  ZK_TRY(find_fixed(out));
  zk_shard_starts(out->trained.params->num_elements, zk_comm_size(comm), out->starts);
  out->first = out->starts[zk_comm_rank(comm)];
  out->count = out->starts[zk_comm_rank(comm) + 1] - out->first;
  size_t bytes = (size_t)(out->count ? out->count : 1) * sizeof(float);
  out->master = (float *)out->trained.weights + out->first;
  if (policy->numerics != ZK_F32) {
    out->master = NULL;
    ZK_TRY(zk_device_alloc(policy->device, bytes, "master weights", (void **)&out->master));
  }
  ZK_TRY(zk_comm_device_open(comm, policy->device, &out->link));
  ZK_TRY(zk_device_alloc(policy->device, bytes, "optimiser state", (void **)&out->m));
  ZK_TRY(zk_device_alloc(policy->device, bytes, "optimiser state", (void **)&out->v));
  const size_t sums_bytes = (bytes / sizeof(float) / ZK_BLOCK_ELEMENTS + 2) * sizeof(float); // and their sum
  ZK_TRY(zk_device_alloc(policy->device, sums_bytes, "norm blocks", (void **)&out->block_sums));
  ZK_TRY(zk_host_alloc(policy->device, sums_bytes, "norm blocks", (void **)&out->host_sums));
  return zk_side_alloc(policy->device, ZK_SIDE_TRAINER, bytes, "gradient shard", (void **)&out->grad);
}

void zk_optimizer_close(zk_optimizer *o) {
  if (!o->policy) return;
  if (o->policy->numerics != ZK_F32) zk_device_free(o->policy->device, o->master);
  zk_comm_device_close(o->link);
  zk_device_free(o->policy->device, o->m);
  zk_device_free(o->policy->device, o->v);
  zk_device_free(o->policy->device, o->grad);
  zk_device_free(o->policy->device, o->block_sums);
  zk_host_free(o->policy->device, o->host_sums);
  free(o->starts);
  free(o->fixed);
  memset(o, 0, sizeof *o);
}

zk_optimizer_sizes zk_optimizer_bytes(zk_numerics numerics, int64_t num_elements, int num_ranks) {
  int64_t blocks = (num_elements + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS;
  size_t shard = (size_t)((blocks + num_ranks - 1) / num_ranks) * ZK_BLOCK_ELEMENTS * sizeof(float);
  return (zk_optimizer_sizes){.master = numerics == ZK_F32 ? 0 : shard, .moments = 2 * shard, .grad = shard};
}

zk_status zk_optimizer_fill_master(zk_optimizer *o, zk_stream *stream, const zk_weight_source *source) {
  return o->policy->numerics == ZK_F32 ? ZK_OK : zk_weight_source_copy(source, stream, ZK_F32, o->first, o->count, o->master);
}

// The tree over all 4,096-element blocks of the flat vector: blocks are computed by their owners and gathered in order. Alone, a rank has its device
// make the tree: the host would read many values while the device waits.
static zk_status global_norm(const zk_optimizer *o, zk_stream *stream, float *norm) {
  const int64_t blocks = (o->count + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS;
  const bool is_alone = zk_comm_size(o->comm) == 1;
  const size_t bytes = (size_t)(is_alone ? 1 : blocks) * sizeof(float);
  size_t *offsets = NULL;
  void *all = NULL;
  zk_status st = blocks ? zk_sum_squares(stream, o->count, o->grad, o->block_sums) : ZK_OK;
  if (st == ZK_OK && is_alone) st = zk_sum_tree(stream, blocks, o->block_sums, o->block_sums + blocks);
  if (st == ZK_OK) st = zk_copy_to_host(stream, o->host_sums, o->block_sums + (is_alone ? blocks : 0), bytes);
  if (st == ZK_OK) st = zk_stream_wait(stream);
  st = zk_comm_agree(o->comm, st);
  if (is_alone) {
    if (st == ZK_OK) *norm = sqrtf(o->host_sums[0]);
    return st;
  }
  if (st == ZK_OK) st = zk_comm_all_gather(o->comm, o->host_sums, bytes, &all, &offsets);
  if (st == ZK_OK) *norm = sqrtf(zk_reduce_tree(all, (int64_t)(offsets[zk_comm_size(o->comm)] / sizeof(float))));
  free(all);
  free(offsets);
  return st;
}

// AdamW over the shard; this rank's part of both hashes.
static zk_status step_shard(zk_optimizer *o, zk_stream *stream, const zk_adamw_params *scalars, zk_adamw_hashes *hashes) {
  const zk_numerics numerics = o->policy->numerics;
  const int64_t first_index = (int64_t)o->trained.first_index;
  const zk_adamw_shard_desc desc = {numerics, first_index + o->first, o->count, first_index + o->trained.params->num_elements, o->fixed, o->num_fixed,
                                    o->master, o->m, o->v, o->grad, (char *)o->trained.weights + (size_t)o->first * zk_numerics_bytes(numerics)};
  return zk_adamw_shard(stream, scalars, &desc, hashes);
}

zk_status zk_optimizer_update(zk_optimizer *o, zk_stream *stream, const zk_config *c, double lr, zk_update_result *out) {
  ZK_TRY(global_norm(o, stream, &out->grad_norm));
  if (!(out->grad_norm <= 3.4e38f))
    return ZK_FAIL(ZK_NOT_FINITE, "the gradient of update %lld is not finite: lower optimizer.lr or set optimizer.grad_clip; the last checkpoint is intact",
                   (long long)(o->step + 1));
  zk_adamw_params scalars;
  zk_adamw_scalars(lr, c->optimizer.beta1, c->optimizer.beta2, c->optimizer.eps, c->optimizer.weight_decay, o->step + 1, out->grad_norm,
                   c->optimizer.grad_clip, &scalars);
  zk_adamw_hashes hashes = {0, 0};
  const zk_status st = step_shard(o, stream, &scalars, &hashes);
  o->step++;
  ZK_TRY(zk_comm_device_all_gather_shards(o->link, stream, o->trained.weights, o->starts, zk_numerics_bytes(o->policy->numerics), st));
  uint64_t sums[2] = {hashes.working, hashes.state};
  ZK_TRY(zk_comm_sum_u64(o->comm, sums, 2));
  out->weights_hash = sums[0] + o->trained.frozen_hash, out->state_hash = sums[1];
  return ZK_OK;
}

zk_status zk_optimizer_finish(zk_optimizer *o, zk_stream *stream) {
  ZK_TRY(zk_comm_device_finish(o->link, stream, ZK_OK));
  return zk_comm_agree(o->comm, zk_policy_changed(o->policy, stream));
}

zk_status zk_optimizer_hashes(const zk_optimizer *o, zk_stream *stream, uint64_t *weights_hash, uint64_t *state_hash) {
  const uint64_t index = o->trained.first_index + (uint64_t)o->first, total = o->trained.first_index + (uint64_t)o->trained.params->num_elements;
  uint64_t sums[4] = {0};
  ZK_TRY(zk_policy_hash(o->policy, stream, o->first, o->count, &sums[0]));
  // State: one index space for master weights, then both moments.
  ZK_TRY(zk_hash_elements(stream, 4, o->count, index, o->master, &sums[1]));
  ZK_TRY(zk_hash_elements(stream, 4, o->count, total + index, o->m, &sums[2]));
  ZK_TRY(zk_hash_elements(stream, 4, o->count, 2 * total + index, o->v, &sums[3]));
  ZK_TRY(zk_comm_sum_u64(o->comm, sums, 4));
  *weights_hash = sums[0] + o->trained.frozen_hash;
  *state_hash = sums[1] + sums[2] + sums[3];
  return ZK_OK;
}
