// Listing a config's tensors, sorting them by name, and cutting the flat vector into them.
#include "shared/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const suffixes[ZK_PARAM_LORA_A] = {
#define X(id, suffix) suffix,
    ZK_PARAM_KINDS(X)
#undef X
};

static int is_per_layer(zk_param_kind kind) {
  return kind != ZK_PARAM_EMBED && kind != ZK_PARAM_FINAL_NORM && kind != ZK_PARAM_LM_HEAD;
}

// clang-format off
static int is_present(const zk_model_config *c, zk_param_kind kind) {
  switch (kind) {
  case ZK_PARAM_Q_B: case ZK_PARAM_K_B: case ZK_PARAM_V_B: return c->qkv_bias;
  case ZK_PARAM_Q_NORM: case ZK_PARAM_K_NORM: return c->qk_norm;
  case ZK_PARAM_LM_HEAD: return !c->tie_embeddings;
  default: return 1;
  }
}

// Shape of a kind; rows = 0 marks a vector of `cols` elements.
static void shape_of(const zk_model_config *c, zk_param_kind kind, int64_t *rows, int64_t *cols) {
  int64_t q = (int64_t)c->num_heads * c->head_dim, kv = (int64_t)c->num_kv_heads * c->head_dim;
  *rows = 0;
  switch (kind) {
  case ZK_PARAM_EMBED: case ZK_PARAM_LM_HEAD: *rows = c->vocab, *cols = c->hidden; return;
  case ZK_PARAM_Q_W: *rows = q, *cols = c->hidden; return;
  case ZK_PARAM_K_W: case ZK_PARAM_V_W: *rows = kv, *cols = c->hidden; return;
  case ZK_PARAM_O_W: *rows = c->hidden, *cols = q; return;
  case ZK_PARAM_GATE: case ZK_PARAM_UP: *rows = c->intermediate, *cols = c->hidden; return;
  case ZK_PARAM_DOWN: *rows = c->hidden, *cols = c->intermediate; return;
  case ZK_PARAM_Q_B: *cols = q; return;
  case ZK_PARAM_K_B: case ZK_PARAM_V_B: *cols = kv; return;
  case ZK_PARAM_Q_NORM: case ZK_PARAM_K_NORM: *cols = c->head_dim; return;
  default: *cols = c->hidden; return;
  }
}
// clang-format on

static const struct {
  const char *parent, *name;
  zk_param_kind weight;
} targets[] = {
#define X(id, weight, parent, name) {parent, name, ZK_PARAM_##weight},
    ZK_LORA_TARGET_LIST(X)
#undef X
};

const char *zk_lora_target_name(zk_lora_target target) { return targets[target].name; }
zk_param_kind zk_lora_target_weight(zk_lora_target target) { return targets[target].weight; }

// Factor A [rank, in] or B [out, rank] of a target.
static zk_param make_factor(const zk_model_config *c, bool is_b, zk_lora_target target, int layer, int32_t rank) {
  zk_param p = {.kind = (zk_param_kind)((is_b ? ZK_PARAM_LORA_B : ZK_PARAM_LORA_A) + (int)target), .layer = layer, .num_dims = 2, .decay = 1};
  snprintf(p.name, sizeof p.name, "base_model.model.model.layers.%d.%s.%s.lora_%c.weight", layer, targets[target].parent, targets[target].name,
           is_b ? 'B' : 'A');
  shape_of(c, targets[target].weight, &p.rows, &p.cols);
  *(is_b ? &p.cols : &p.rows) = rank;
  p.num_elements = p.rows * p.cols;
  return p;
}

static zk_param make_param(const zk_model_config *c, zk_param_kind kind, int layer) {
  zk_param p = {.kind = kind, .layer = layer};
  if (is_per_layer(kind)) snprintf(p.name, sizeof p.name, "model.layers.%d.%s", layer, suffixes[kind]);
  else snprintf(p.name, sizeof p.name, "%s", suffixes[kind]);
  shape_of(c, kind, &p.rows, &p.cols);
  p.num_dims = p.decay = 1;
  if (p.rows) p.num_dims = 2;
  else p.rows = 1, p.decay = 0;
  p.num_elements = p.rows * p.cols;
  return p;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const zk_param *)a)->name, ((const zk_param *)b)->name);
}

static size_t capacity_of(int num_layers) { return (size_t)ZK_NUM_PARAM_KINDS * (size_t)num_layers; }

static zk_status begin(int num_layers, zk_params *out) {
  *out = (zk_params){.num_layers = num_layers};
  out->params = malloc(capacity_of(num_layers) * sizeof *out->params);
  out->lookup = malloc(capacity_of(num_layers) * sizeof *out->lookup);
  if (out->params && out->lookup) return ZK_OK;
  zk_params_destroy(out);
  return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot hold the parameter table of %d layers", num_layers);
}

// Puts the tensors in order, side by side.
static void finish(zk_params *out) {
  qsort(out->params, (size_t)out->num_params, sizeof *out->params, by_name);
  for (size_t i = 0; i < capacity_of(out->num_layers); i++) out->lookup[i] = -1;
  for (int i = 0; i < out->num_params; i++) {
    zk_param *p = &out->params[i];
    p->first = out->num_elements;
    out->num_elements += p->num_elements; // zk_model_config_check bounds the sum
    out->lookup[(int)p->kind * out->num_layers + p->layer] = i;
  }
}

zk_status zk_params_create(const zk_model_config *config, zk_params *out) {
  ZK_TRY(begin(config->num_layers, out));
  for (int kind = 0; kind < ZK_PARAM_LORA_A; kind++) {
    if (!is_present(config, (zk_param_kind)kind)) continue;
    int count = is_per_layer((zk_param_kind)kind) ? config->num_layers : 1;
    for (int layer = 0; layer < count; layer++)
      out->params[out->num_params++] = make_param(config, (zk_param_kind)kind, layer);
  }
  finish(out);
  if (config->tie_embeddings)
    out->lookup[ZK_PARAM_LM_HEAD * out->num_layers] = out->lookup[ZK_PARAM_EMBED * out->num_layers];
  return ZK_OK;
}

zk_status zk_params_create_adapter(const zk_model_config *config, int32_t rank, uint32_t targets_wanted, zk_params *out) {
  ZK_TRY(begin(config->num_layers, out));
  for (int t = 0; t < ZK_LORA_NUM_TARGETS; t++)
    for (int layer = 0; layer < config->num_layers && targets_wanted >> t & 1; layer++) {
      out->params[out->num_params++] = make_factor(config, false, (zk_lora_target)t, layer, rank);
      out->params[out->num_params++] = make_factor(config, true, (zk_lora_target)t, layer, rank);
    }
  finish(out);
  return ZK_OK;
}

bool zk_params_is_adapter(const zk_params *params) { return params->num_params > 0 && params->params[0].kind >= ZK_PARAM_LORA_A; }

void zk_params_destroy(zk_params *params) {
  free(params->params);
  free(params->lookup);
  *params = (zk_params){0};
}

int zk_params_index(const zk_params *params, zk_param_kind kind, int layer) {
  if (!is_per_layer(kind)) layer = 0;
  if (layer < 0 || layer >= params->num_layers) return -1;
  return params->lookup[(int)kind * params->num_layers + layer];
}

int zk_params_find(const zk_params *params, const char *name) {
  int lo = 0, hi = params->num_params;
  while (lo < hi) {
    int mid = lo + (hi - lo) / 2, order = strcmp(params->params[mid].name, name);
    if (order == 0) return mid;
    if (order < 0) lo = mid + 1;
    else hi = mid;
  }
  return -1;
}

int zk_params_of_element(const zk_params *params, int64_t element) {
  if (element < 0 || element >= params->num_elements) return -1;
  int lo = 0, hi = params->num_params; // params[lo].first <= element < params[hi].first
  while (hi - lo > 1) {
    int mid = lo + (hi - lo) / 2;
    if (params->params[mid].first <= element) lo = mid;
    else hi = mid;
  }
  return lo;
}
