// Allocation, loading and packing of the one set of weights.
#include "shared/policy.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/hash.h"
#include "shared/log.h"

// Linear layers and the LM head are read through packed panels; norms, biases and an untied embedding are not.
static bool is_packed(const zk_model_config *config, const zk_param *p) {
  if (p->num_dims != 2) return false;
  return p->kind != ZK_PARAM_EMBED || config->tie_embeddings;
}

static size_t packed_bytes(const zk_device *device, zk_numerics numerics, const zk_param *p) {
  return (zk_linear_packed_bytes(device, numerics, (int32_t)p->cols, (int32_t)p->rows) + 63) & ~(size_t)63;
}

size_t zk_policy_bytes(const zk_device *device, zk_numerics numerics, const zk_model_config *config, const zk_params *params,
                       int32_t num_positions) {
  size_t bytes = (size_t)params->num_elements * zk_numerics_bytes(numerics);
  for (int i = 0; i < params->num_params; i++)
    if (is_packed(config, &params->params[i])) bytes += packed_bytes(device, numerics, &params->params[i]);
  return bytes + (size_t)num_positions * (size_t)config->head_dim * sizeof(float);
}

static zk_status build_rope(zk_policy *p) {
  size_t n = (size_t)p->num_positions * (size_t)(p->config.head_dim / 2) * sizeof(float);
  ZK_TRY(zk_device_alloc(p->device, n, "RoPE table", (void **)&p->cos_table));
  ZK_TRY(zk_device_alloc(p->device, n, "RoPE table", (void **)&p->sin_table));
  float *host = malloc(2 * n);
  if (!host) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the RoPE tables of %d positions", p->num_positions);
  float *sin_host = host + n / sizeof(float);
  zk_rope_build_tables(&p->config.rope, p->config.head_dim, p->num_positions, host, sin_host);
  zk_stream *stream = NULL;
  zk_status st = zk_stream_open(p->device, ZK_SIDE_NONE, &stream);
  if (st == ZK_OK) st = zk_copy_to_device(stream, p->cos_table, host, n);
  if (st == ZK_OK) st = zk_copy_to_device(stream, p->sin_table, sin_host, n);
  if (st == ZK_OK) st = zk_stream_wait(stream);
  zk_stream_close(stream);
  free(host);
  return st;
}

zk_status zk_policy_open(zk_device *device, zk_numerics numerics, const zk_model_config *config, int32_t num_positions, zk_policy *out) {
  *out = (zk_policy){.device = device, .numerics = numerics, .config = *config, .num_positions = num_positions};
  ZK_TRY(zk_params_create(config, &out->params));
  out->packed_at = malloc((size_t)out->params.num_params * sizeof *out->packed_at);
  if (!out->packed_at) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a table of %d tensors", out->params.num_params);
  size_t packed = 0;
  for (int i = 0; i < out->params.num_params; i++) {
    size_t bytes = is_packed(config, &out->params.params[i]) ? packed_bytes(device, numerics, &out->params.params[i]) : 0;
    out->packed_at[i] = bytes ? packed : SIZE_MAX;
    packed += bytes;
  }
  ZK_TRY(zk_device_alloc(device, (size_t)out->params.num_elements * zk_numerics_bytes(numerics), "weights", &out->weights));
  if (packed) ZK_TRY(zk_device_alloc(device, packed, "packed weights", &out->packed));
  return build_rope(out);
}

zk_status zk_policy_add_adapter(zk_policy *policy, const zk_lora *lora) {
  return zk_adapter_open(policy->device, policy->numerics, &policy->config, lora, &policy->adapter);
}

void zk_policy_close(zk_policy *policy) {
  if (!policy->device) return;
  zk_adapter_close(policy->device, &policy->adapter);
  zk_device_free(policy->device, policy->weights);
  zk_device_free(policy->device, policy->packed);
  zk_device_free(policy->device, policy->cos_table);
  zk_device_free(policy->device, policy->sin_table);
  free(policy->packed_at);
  zk_params_destroy(&policy->params);
  memset(policy, 0, sizeof *policy);
}

static bool has_adapter(const zk_policy *policy) { return policy->adapter.lora.rank > 0; }

zk_trained zk_policy_trained(const zk_policy *p) {
  if (!has_adapter(p)) return (zk_trained){&p->params, p->weights, 0, 0};
  return (zk_trained){&p->adapter.params, p->adapter.weights, zk_adapter_first_index(p->params.num_elements), p->frozen_hash};
}

static zk_status pack_weights(zk_policy *policy, zk_stream *stream) {
  for (int i = 0; i < policy->params.num_params; i++) {
    if (policy->packed_at[i] == SIZE_MAX) continue;
    const zk_param *p = &policy->params.params[i];
    zk_linear_desc desc = {policy->numerics, 0, (int32_t)p->cols, (int32_t)p->rows};
    const char *weight = (const char *)policy->weights + (size_t)p->first * zk_numerics_bytes(policy->numerics);
    ZK_TRY(zk_linear_pack(stream, &desc, weight, (char *)policy->packed + policy->packed_at[i]));
  }
  return ZK_OK;
}

// The weights are new: whoever reads them on a stream of its own finds them, and a follower has them too.
static zk_status tell(zk_policy *policy, zk_stream *stream) {
  ZK_TRY(zk_stream_wait(stream));
  return policy->follower ? zk_policy_copy_weights(policy, stream, policy->follower) : ZK_OK;
}

zk_status zk_policy_changed(zk_policy *policy, zk_stream *stream) {
  policy->version++;
  ZK_TRY(has_adapter(policy) ? zk_adapter_pack(&policy->adapter, policy->numerics, stream) : pack_weights(policy, stream));
  return tell(policy, stream);
}

// After `weights` were filled.
static zk_status filled(zk_policy *policy, zk_stream *stream) {
  const size_t bytes = zk_numerics_bytes(policy->numerics);
  policy->version++;
  if (has_adapter(policy)) ZK_TRY(zk_hash_elements(stream, (int32_t)bytes, policy->params.num_elements, 0, policy->weights, &policy->frozen_hash));
  ZK_TRY(pack_weights(policy, stream));
  return tell(policy, stream);
}

zk_status zk_policy_set_weights(zk_policy *policy, zk_stream *stream, const float *flat) {
  const size_t n = (size_t)policy->params.num_elements, bytes = n * zk_numerics_bytes(policy->numerics);
  void *host = malloc(bytes);
  if (!host) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu weights", n);
  zk_weights_round(policy->numerics, flat, (int64_t)n, host);
  zk_status st = zk_copy_to_device(stream, policy->weights, host, bytes);
  if (st == ZK_OK) st = zk_stream_wait(stream);
  free(host);
  return st == ZK_OK ? filled(policy, stream) : st;
}

zk_status zk_policy_fill(zk_policy *policy, zk_stream *stream, const zk_weight_source *source) {
  ZK_TRY(zk_weight_source_copy(source, stream, policy->numerics, 0, policy->params.num_elements, policy->weights));
  return filled(policy, stream);
}

zk_status zk_policy_fill_adapter(zk_policy *policy, zk_stream *stream, const zk_weight_source *source) {
  ZK_TRY(zk_weight_source_copy(source, stream, policy->numerics, 0, policy->adapter.params.num_elements, policy->adapter.weights));
  return zk_policy_changed(policy, stream);
}

zk_status zk_policy_load_weights(zk_policy *policy, zk_stream *stream, const char *dir) {
  zk_weight_source source;
  ZK_TRY(zk_weight_source_open(dir, &policy->config, &policy->params, 0, &source));
  zk_status st = zk_policy_fill(policy, stream, &source);
  zk_weight_source_close(&source);
  return st;
}

const void *zk_policy_weight(const zk_policy *policy, zk_param_kind kind, int layer) {
  int i = zk_params_index(&policy->params, kind, layer);
  return i < 0 ? NULL : (const char *)policy->weights + (size_t)policy->params.params[i].first * zk_numerics_bytes(policy->numerics);
}

const void *zk_policy_packed(const zk_policy *policy, zk_param_kind kind, int layer) {
  int i = zk_params_index(&policy->params, kind, layer);
  return i < 0 || policy->packed_at[i] == SIZE_MAX ? NULL : (const char *)policy->packed + policy->packed_at[i];
}

zk_status zk_policy_hash(const zk_policy *policy, zk_stream *stream, int64_t first, int64_t count, uint64_t *sum) {
  const size_t bytes = zk_numerics_bytes(policy->numerics);
  const zk_trained t = zk_policy_trained(policy);
  return zk_hash_elements(stream, (int32_t)bytes, count, t.first_index + (uint64_t)first, (const char *)t.weights + (size_t)first * bytes, sum);
}

zk_status zk_policy_weights_hash(const zk_policy *policy, zk_stream *stream, uint64_t *sum) {
  const zk_trained t = zk_policy_trained(policy);
  ZK_TRY(zk_policy_hash(policy, stream, 0, t.params->num_elements, sum));
  *sum += t.frozen_hash;
  return ZK_OK;
}
