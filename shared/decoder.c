// One decoder layer, operation by operation.
#include "shared/decoder.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/embedding.h"
#include "kernels/linear_parts.h"
#include "kernels/reduce.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope_attention.h"
#include "kernels/swiglu.h"

// Hands out 64-byte aligned pieces; with base NULL it only counts.
typedef struct {
  char *base;
  size_t used;
} arena;

static void *take(arena *a, size_t bytes) {
  void *at = a->base ? a->base + a->used : NULL;
  a->used += (bytes + 63) & ~(size_t)63;
  return at;
}

static size_t place(const zk_policy *p, int64_t capacity, bool keep, void *memory, zk_layer_activations *out) {
  const zk_model_config *c = &p->config;
  size_t t = (size_t)capacity, e = zk_numerics_bytes(p->numerics);
  size_t hidden = t * (size_t)c->hidden * e, inner = t * (size_t)c->intermediate * e;
  size_t q = t * (size_t)c->num_heads * (size_t)c->head_dim * e, kv = t * (size_t)c->num_kv_heads * (size_t)c->head_dim * e;
  size_t row = t * sizeof(float);
  arena a = {memory, 0};
  zk_layer_activations l = {0};
  l.x = take(&a, hidden), l.h1 = take(&a, hidden), l.h2 = keep ? take(&a, hidden) : l.h1;
  l.q = take(&a, q), l.k = take(&a, kv), l.v = take(&a, kv), l.a = take(&a, q);
  l.gate = take(&a, inner), l.up = take(&a, inner), l.act = keep ? take(&a, inner) : l.gate;
  l.q_raw = l.q, l.k_raw = l.k, l.y = l.x;
  const size_t factor = t * (size_t)p->adapter.lora.rank * e;
  static const size_t inputs[] = {3, 1, 2, 1}; // targets of each
  for (int i = 0; i < 4 && factor; i++) l.lora[i] = keep || i == 0 ? take(&a, inputs[i] * factor) : l.lora[0];
  if (keep) {
    l.y = take(&a, hidden);
    l.rstd1 = take(&a, row), l.rstd2 = take(&a, row);
    l.lse = take(&a, row * (size_t)c->num_heads);
    if (c->qk_norm) {
      l.q_raw = take(&a, q), l.k_raw = take(&a, kv);
      l.rstd_q = take(&a, row * (size_t)c->num_heads), l.rstd_k = take(&a, row * (size_t)c->num_kv_heads);
    }
  }
  if (out) *out = l;
  return a.used;
}

size_t zk_layer_activations_bytes(const zk_policy *policy, int64_t capacity, bool keep) { return place(policy, capacity, keep, NULL, NULL); }

void zk_layer_activations_place(const zk_policy *policy, int64_t capacity, bool keep, void *memory, zk_layer_activations *out) {
  place(policy, capacity, keep, memory, out);
}

zk_attention_desc zk_decoder_attention_desc(const zk_policy *policy, int32_t page_tokens) {
  const zk_model_config *c = &policy->config;
  return (zk_attention_desc){policy->numerics, c->num_heads, c->num_kv_heads, c->head_dim, page_tokens, (float)(1.0 / sqrt((double)c->head_dim))};
}

// y = x W^T + addend with the weights of (kind, layer).
static zk_status linear(const zk_policy *p, zk_stream *s, zk_param_kind kind, int layer, int64_t rows, const void *x, const void *addend,
                        void *y) {
  const zk_param *w = &p->params.params[zk_params_index(&p->params, kind, layer)];
  zk_linear_desc desc = {p->numerics, rows, (int32_t)w->cols, (int32_t)w->rows};
  return zk_linear_forward(s, &desc, x, zk_policy_weight(p, kind, layer), zk_policy_packed(p, kind, layer), NULL, addend, y);
}

// The part of a call of several layers that (kind, layer) is.
static zk_linear_part part(const zk_policy *p, zk_param_kind kind, int bias_kind, int layer, void *y) {
  const zk_param *w = &p->params.params[zk_params_index(&p->params, kind, layer)];
  const void *bias = bias_kind < 0 ? NULL : zk_policy_weight(p, (zk_param_kind)bias_kind, layer);
  return (zk_linear_part){(int32_t)w->rows, zk_policy_weight(p, kind, layer), zk_policy_packed(p, kind, layer), bias, y};
}

static zk_status norm(const zk_policy *p, zk_stream *s, zk_param_kind kind, int layer, int64_t rows, int per_token, int width, const void *x,
                      void *y, float *rstd) {
  zk_rmsnorm_desc desc = {p->numerics, rows, per_token, width, p->config.rms_eps};
  return zk_rmsnorm_forward(s, &desc, x, zk_policy_weight(p, kind, layer), y, rstd);
}

void *zk_layer_scaled_factors(const zk_policy *p, const zk_layer_activations *l, zk_lora_target target, int64_t rows) {
  static const struct {
    int input;
    zk_lora_target first; // of that input
  } places[ZK_LORA_NUM_TARGETS] = {{0, ZK_LORA_Q}, {0, ZK_LORA_Q}, {0, ZK_LORA_Q}, {1, ZK_LORA_O}, {2, ZK_LORA_GATE}, {2, ZK_LORA_GATE}, {3, ZK_LORA_DOWN}};
  size_t before = 0;
  for (zk_lora_target t = places[target].first; t < target; t++) before += zk_adapter_has(&p->adapter, t);
  return (char *)l->lora[places[target].input] + before * (size_t)rows * (size_t)p->adapter.lora.rank * zk_numerics_bytes(p->numerics);
}

// A layer and where its output lies.
typedef struct {
  zk_lora_target target;
  void *y;
} adapted;

static zk_linear_part factor_a(const zk_policy *p, zk_lora_target target, int layer, void *t) {
  const zk_adapter *a = &p->adapter;
  const zk_param_kind kind = (zk_param_kind)(ZK_PARAM_LORA_A + target);
  return (zk_linear_part){a->lora.rank, zk_adapter_weight(a, p->numerics, kind, layer), zk_adapter_packed(a, kind, layer), NULL, t};
}

// y = s B^T + y.
static zk_status add_factors(const zk_policy *p, zk_stream *s, const adapted *to, int layer, int64_t rows, const void *scaled) {
  const zk_adapter *a = &p->adapter;
  const zk_param_kind kind = (zk_param_kind)(ZK_PARAM_LORA_B + to->target);
  const zk_param *w = &p->params.params[zk_params_index(&p->params, zk_lora_target_weight(to->target), layer)];
  const zk_linear_desc desc = {p->numerics, rows, a->lora.rank, (int32_t)w->rows};
  return zk_linear_forward(s, &desc, scaled, zk_adapter_weight(a, p->numerics, kind, layer), zk_adapter_packed(a, kind, layer), NULL, to->y, to->y);
}

// What the factors of layers of one input x, of `in` features, add to their outputs: the same operations for whatever device, batch and side.
static zk_status adapt(const zk_policy *p, zk_stream *s, int layer, int64_t rows, const zk_layer_activations *l, const void *x, int32_t in, int num,
                       const adapted *layers) {
  const zk_adapter *a = &p->adapter;
  zk_linear_parts parts = {.numerics = p->numerics, .num_rows = rows, .in_features = in};
  for (int i = 0; i < num; i++)
    if (zk_adapter_has(a, layers[i].target))
      parts.parts[parts.num_parts++] = factor_a(p, layers[i].target, layer, zk_layer_scaled_factors(p, l, layers[i].target, rows));
  if (parts.num_parts == 0) return ZK_OK;
  ZK_TRY(zk_linear_parts_forward(s, &parts, x));
  void *t = parts.parts[0].y;
  if (a->scaling != 1) ZK_TRY(zk_scale(s, p->numerics, rows * a->lora.rank * parts.num_parts, t, a->scaling, t));
  for (int i = 0; i < num; i++)
    if (zk_adapter_has(a, layers[i].target)) ZK_TRY(add_factors(p, s, &layers[i], layer, rows, zk_layer_scaled_factors(p, l, layers[i].target, rows)));
  return ZK_OK;
}

// A layer that keeps its activations keeps the norms' outputs, gate and up: there the norms are operations of their own.
static bool keeps(const zk_layer_activations *l) { return l->act != l->gate; }
// With an adapter, too: its factors read them.
static bool adapts(const zk_policy *p) { return p->adapter.lora.rank > 0; }

static zk_status qkv(const zk_policy *p, zk_stream *s, int layer, int64_t rows, const zk_layer_activations *l) {
  zk_linear_parts parts = {.numerics = p->numerics, .num_rows = rows, .in_features = p->config.hidden, .num_parts = 3,
                           .parts = {part(p, ZK_PARAM_Q_W, ZK_PARAM_Q_B, layer, l->q_raw), part(p, ZK_PARAM_K_W, ZK_PARAM_K_B, layer, l->k_raw),
                                     part(p, ZK_PARAM_V_W, ZK_PARAM_V_B, layer, l->v)},
                           .norm = {zk_policy_weight(p, ZK_PARAM_ATTN_NORM, layer), p->config.rms_eps, l->h1}};
  if (!keeps(l) && !adapts(p)) return zk_linear_parts_forward(s, &parts, l->x);
  ZK_TRY(norm(p, s, ZK_PARAM_ATTN_NORM, layer, rows, 1, p->config.hidden, l->x, l->h1, l->rstd1));
  parts.norm = (zk_linear_norm){0};
  ZK_TRY(zk_linear_parts_forward(s, &parts, l->h1));
  return adapt(p, s, layer, rows, l, l->h1, p->config.hidden, 3, (adapted[]){{ZK_LORA_Q, l->q_raw}, {ZK_LORA_K, l->k_raw}, {ZK_LORA_V, l->v}});
}

// Gate and up are whole before SwiGLU takes them.
static zk_status gate_up_adapted(const zk_policy *p, zk_stream *s, int layer, int64_t rows, const zk_linear_parts *parts, const zk_layer_activations *l) {
  ZK_TRY(zk_linear_parts_forward(s, parts, l->h2));
  ZK_TRY(adapt(p, s, layer, rows, l, l->h2, p->config.hidden, 2, (adapted[]){{ZK_LORA_GATE, l->gate}, {ZK_LORA_UP, l->up}}));
  return zk_swiglu_forward(s, p->numerics, rows * p->config.intermediate, l->gate, l->up, l->act);
}

static zk_status gate_up(const zk_policy *p, zk_stream *s, int layer, int64_t rows, const zk_layer_activations *l) {
  zk_linear_parts parts = {.numerics = p->numerics, .num_rows = rows, .in_features = p->config.hidden, .num_parts = 2,
                           .parts = {part(p, ZK_PARAM_GATE, -1, layer, l->gate), part(p, ZK_PARAM_UP, -1, layer, l->up)},
                           .norm = {zk_policy_weight(p, ZK_PARAM_MLP_NORM, layer), p->config.rms_eps, l->h2}, .keeps = keeps(l)};
  if (!keeps(l) && !adapts(p)) return zk_linear_parts_swiglu(s, &parts, l->y, l->act);
  ZK_TRY(norm(p, s, ZK_PARAM_MLP_NORM, layer, rows, 1, p->config.hidden, l->y, l->h2, l->rstd2));
  parts.norm = (zk_linear_norm){0};
  return adapts(p) ? gate_up_adapted(p, s, layer, rows, &parts, l) : zk_linear_parts_swiglu(s, &parts, l->h2, l->act);
}

static zk_status attend(const zk_policy *p, zk_stream *s, int layer, const zk_attention_desc *attn, const zk_decoder_batch *batch,
                        const zk_layer_activations *l, void *k_cache, void *v_cache) {
  const bool norms = p->config.qk_norm;
  const zk_rope_cache_desc desc = {*attn, norms ? zk_policy_weight(p, ZK_PARAM_Q_NORM, layer) : NULL,
                                   norms ? zk_policy_weight(p, ZK_PARAM_K_NORM, layer) : NULL, p->config.rms_eps,
                                   batch->positions, p->cos_table, p->sin_table};
  const zk_rope_cache_io io = {l->q_raw, l->k_raw, l->v, l->q, l->k, l->rstd_q, l->rstd_k, k_cache, v_cache};
  if (!keeps(l)) return zk_rope_attention(s, &desc, &batch->attention, &io, l->a, l->lse);
  ZK_TRY(zk_rope_cache(s, &desc, &batch->attention, &io));
  return zk_attention_forward(s, attn, &batch->attention, l->q, k_cache, v_cache, l->a, l->lse);
}

zk_status zk_decoder_layer_forward(const zk_policy *p, zk_stream *s, int layer, int32_t page_tokens, const zk_decoder_batch *batch,
                                   const zk_layer_activations *l, void *k_cache, void *v_cache, void *x_out) {
  const int64_t t = batch->attention.num_rows;
  zk_attention_desc attn = zk_decoder_attention_desc(p, page_tokens);

  ZK_TRY(qkv(p, s, layer, t, l));
  ZK_TRY(attend(p, s, layer, &attn, batch, l, k_cache, v_cache));
  ZK_TRY(linear(p, s, ZK_PARAM_O_W, layer, t, l->a, l->x, l->y));
  ZK_TRY(adapt(p, s, layer, t, l, l->a, p->config.num_heads * p->config.head_dim, 1, &(adapted){ZK_LORA_O, l->y}));
  ZK_TRY(gate_up(p, s, layer, t, l));
  ZK_TRY(linear(p, s, ZK_PARAM_DOWN, layer, t, l->act, l->y, x_out));
  return adapt(p, s, layer, t, l, l->act, p->config.intermediate, 1, &(adapted){ZK_LORA_DOWN, x_out});
}

static zk_resident_layer_memory layer_memory(const zk_policy *p, int l, void *k_cache, void *v_cache) {
  const bool norms = p->config.qk_norm;
  return (zk_resident_layer_memory){.attn_norm = zk_policy_weight(p, ZK_PARAM_ATTN_NORM, l), .q = zk_policy_weight(p, ZK_PARAM_Q_W, l),
                                    .k = zk_policy_weight(p, ZK_PARAM_K_W, l), .v = zk_policy_weight(p, ZK_PARAM_V_W, l),
                                    .q_norm = norms ? zk_policy_weight(p, ZK_PARAM_Q_NORM, l) : NULL,
                                    .k_norm = norms ? zk_policy_weight(p, ZK_PARAM_K_NORM, l) : NULL, .o = zk_policy_weight(p, ZK_PARAM_O_W, l),
                                    .mlp_norm = zk_policy_weight(p, ZK_PARAM_MLP_NORM, l), .gate = zk_policy_weight(p, ZK_PARAM_GATE, l),
                                    .up = zk_policy_weight(p, ZK_PARAM_UP, l), .down = zk_policy_weight(p, ZK_PARAM_DOWN, l),
                                    .k_cache = k_cache, .v_cache = v_cache};
}

zk_status zk_decoder_resident_open(const zk_policy *p, zk_stream *s, int32_t page_tokens, int32_t max_tokens, void *const *k_cache,
                                   void *const *v_cache, zk_resident **out) {
  const zk_model_config *c = &p->config;
  *out = NULL;
  if (c->qkv_bias || adapts(p)) return ZK_OK;
  zk_resident_layer_memory *layers = malloc((size_t)c->num_layers * sizeof *layers);
  if (layers == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a table of %d layers", c->num_layers);
  for (int l = 0; l < c->num_layers; l++) layers[l] = layer_memory(p, l, k_cache[l], v_cache[l]);
  const zk_resident_desc desc = {.attention = zk_decoder_attention_desc(p, page_tokens), .num_layers = c->num_layers, .hidden = c->hidden,
                                 .intermediate = c->intermediate, .max_tokens = max_tokens, .eps = c->rms_eps,
                                 .cos_table = p->cos_table, .sin_table = p->sin_table};
  const zk_status st = zk_resident_open(s, &desc, layers, out);
  free(layers);
  return st;
}

zk_status zk_decoder_embed(const zk_policy *p, zk_stream *s, const int32_t *tokens, int64_t num_rows, void *x) {
  zk_embedding_desc desc = {p->numerics, num_rows, p->config.hidden, p->config.vocab};
  return zk_embedding_forward(s, &desc, tokens, zk_policy_weight(p, ZK_PARAM_EMBED, 0), x);
}

zk_status zk_decoder_gather_norm(const zk_policy *p, zk_stream *s, const void *x, int64_t num_x, const int32_t *rows, int64_t n, void *gathered,
                                 void *normed, float *rstd) {
  zk_embedding_desc gather = {p->numerics, n, p->config.hidden, (int32_t)num_x}; // a gather is an embedding look-up in x
  ZK_TRY(zk_embedding_forward(s, &gather, rows, x, gathered));
  return norm(p, s, ZK_PARAM_FINAL_NORM, 0, n, 1, p->config.hidden, gathered, normed, rstd);
}

zk_lmhead_desc zk_decoder_lmhead_desc(const zk_policy *p, int64_t n, double temperature, int32_t top_k, double top_p) {
  return (zk_lmhead_desc){p->numerics, n, p->config.hidden, p->config.vocab, temperature, top_k, top_p};
}
