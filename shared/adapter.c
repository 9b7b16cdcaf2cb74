// Memory, packing and first values of an adapter.
#include "shared/adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/linear.h"
#include "kernels/reduce.h"
#include "kernels/rng.h"

zk_lora zk_lora_of_config(const zk_config *c) {
  zk_lora lora = {c->lora.rank, c->lora.alpha, 0};
  for (int t = 0; t < ZK_LORA_NUM_TARGETS; t++)
    for (int i = 0; i < c->lora.target_modules.num; i++)
      if (!strcmp(c->lora.target_modules.text[i], zk_lora_target_name((zk_lora_target)t))) lora.targets |= 1u << t;
  if (c->lora.target_modules.num == 0) lora.targets = (1u << ZK_LORA_NUM_TARGETS) - 1;
  return lora;
}

zk_status zk_lora_params(const zk_lora *lora, const zk_model_config *config, zk_params *out) {
  return zk_params_create_adapter(config, lora->rank, lora->targets, out);
}

static size_t packed_bytes(const zk_device *device, zk_numerics numerics, const zk_param *p) {
  return (zk_linear_packed_bytes(device, numerics, (int32_t)p->cols, (int32_t)p->rows) + 63) & ~(size_t)63;
}

void zk_adapter_bytes(const zk_device *device, zk_numerics numerics, const zk_params *params, size_t *weights, size_t *packed) {
  *weights = (size_t)params->num_elements * zk_numerics_bytes(numerics);
  *packed = 0;
  for (int i = 0; i < params->num_params; i++) *packed += packed_bytes(device, numerics, &params->params[i]);
}

zk_status zk_adapter_open(zk_device *device, zk_numerics numerics, const zk_model_config *config, const zk_lora *lora, zk_adapter *out) {
  size_t weights, packed, at = 0;
  *out = (zk_adapter){.lora = *lora, .scaling = (float)((double)lora->alpha / (double)lora->rank)};
  ZK_TRY(zk_lora_params(lora, config, &out->params));
  out->packed_at = malloc((size_t)out->params.num_params * sizeof *out->packed_at);
  if (!out->packed_at) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a table of %d tensors", out->params.num_params);
  for (int i = 0; i < out->params.num_params; i++) {
    const size_t bytes = packed_bytes(device, numerics, &out->params.params[i]);
    out->packed_at[i] = bytes ? at : SIZE_MAX;
    at += bytes;
  }
  zk_adapter_bytes(device, numerics, &out->params, &weights, &packed);
  ZK_TRY(zk_device_alloc(device, weights, "adapter", &out->weights));
  return packed ? zk_device_alloc(device, packed, "packed adapter", &out->packed) : ZK_OK;
}

void zk_adapter_close(zk_device *device, zk_adapter *a) {
  zk_device_free(device, a->weights);
  zk_device_free(device, a->packed);
  free(a->packed_at);
  zk_params_destroy(&a->params);
  memset(a, 0, sizeof *a);
}

static const void *weight_at(const zk_adapter *a, zk_numerics numerics, int idx) {
  return (const char *)a->weights + (size_t)a->params.params[idx].first * zk_numerics_bytes(numerics);
}

zk_status zk_adapter_pack(const zk_adapter *a, zk_numerics numerics, zk_stream *stream) {
  for (int i = 0; i < a->params.num_params; i++) {
    const zk_param *p = &a->params.params[i];
    const zk_linear_desc desc = {numerics, 0, (int32_t)p->cols, (int32_t)p->rows};
    if (a->packed_at[i] != SIZE_MAX) ZK_TRY(zk_linear_pack(stream, &desc, weight_at(a, numerics, i), (char *)a->packed + a->packed_at[i]));
  }
  return ZK_OK;
}

const void *zk_adapter_weight(const zk_adapter *a, zk_numerics numerics, zk_param_kind kind, int layer) {
  const int i = zk_params_index(&a->params, kind, layer);
  return i < 0 ? NULL : weight_at(a, numerics, i);
}

const void *zk_adapter_packed(const zk_adapter *a, zk_param_kind kind, int layer) {
  const int i = zk_params_index(&a->params, kind, layer);
  return i < 0 || a->packed_at[i] == SIZE_MAX ? NULL : (const char *)a->packed + a->packed_at[i];
}

bool zk_adapter_has(const zk_adapter *a, zk_lora_target target) { return a->lora.rank > 0 && (a->lora.targets >> target & 1); }

uint64_t zk_adapter_first_index(int64_t num_base) { return ((uint64_t)num_base + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS * ZK_BLOCK_ELEMENTS; }

// Element `at` of A: its block of four random numbers is found by its place in the tensor.
static float first_value(const zk_param *p, uint64_t seed, int64_t at, float bound) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, target = (uint32_t)p->kind - ZK_PARAM_LORA_A;
  const uint32_t counter[4] = {(uint32_t)ZK_RNG_ADAPTER << 24 | target, (uint32_t)(at / 4), (uint32_t)((uint64_t)at / 4 >> 32), (uint32_t)p->layer};
  uint32_t r[4];
  zk_philox4x32(counter, key, r);
  return bound * (2.0f * zk_uniform(r[at % 4]) - 1.0f);
}

void zk_adapter_init_range(const zk_params *params, uint64_t seed, int64_t first, int64_t count, float *out) {
  for (int i = count > 0 ? zk_params_of_element(params, first) : 0; count > 0; i++) {
    const zk_param *p = &params->params[i];
    const int64_t at = first - p->first, left = p->num_elements - at, n = left < count ? left : count;
    const bool is_b = p->kind >= ZK_PARAM_LORA_B;
    const float bound = (float)(1.0 / sqrt((double)p->cols));
    for (int64_t k = 0; k < n; k++) out[k] = is_b ? 0.0f : first_value(p, seed, at + k, bound);
    first += n, out += n, count -= n;
  }
}
