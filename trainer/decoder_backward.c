// One decoder layer backwards, operation by operation. Where several products meet in one gradient, the order of the additions is
// the order of the lines: gate after up; k after q, v after k; an adapter's part after its layer's.
#include "trainer/decoder_backward.h"

#include "kernels/linear_parts.h"
#include "kernels/reduce.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope_cache.h"
#include "kernels/swiglu.h"

static size_t place(const zk_policy *p, int64_t capacity, char *base, zk_layer_gradients *out) {
  const zk_model_config *c = &p->config;
  size_t t = (size_t)capacity * zk_numerics_bytes(p->numerics), used = 0;
  const size_t q = t * (size_t)c->num_heads * (size_t)c->head_dim, kv = t * (size_t)c->num_kv_heads * (size_t)c->head_dim;
  const size_t inner = t * (size_t)c->intermediate;
  zk_layer_gradients g;
  void **const members[] = {&g.dh, &g.dq, &g.dk, &g.dv, &g.da, &g.dgate, &g.dup, &g.dact, &g.dlora, &g.unwanted};
  const size_t sizes[] = {t * (size_t)c->hidden, q, kv, kv, q, inner, inner, inner, t * (size_t)p->adapter.lora.rank,
                          p->adapter.lora.rank ? 2 * (size_t)c->head_dim * sizeof(float) : 0};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    *members[i] = base ? base + used : NULL;
    used += (sizes[i] + 63) & ~(size_t)63;
  }
  if (out) *out = g;
  return used;
}

size_t zk_layer_gradients_bytes(const zk_policy *policy, int64_t capacity) { return place(policy, capacity, NULL, NULL); }
void zk_layer_gradients_place(const zk_policy *policy, int64_t capacity, void *memory, zk_layer_gradients *out) {
  place(policy, capacity, memory, out);
}

typedef struct {
  const zk_policy *p;
  zk_stream *s;
  const zk_chunks *chunks;
  int layer;
  int64_t rows;
  bool first;
  float *grad;
} pass;

static float *grad_of(const pass *b, zk_param_kind kind) {
  const zk_params *trained = zk_policy_trained(b->p).params;
  int i = zk_params_index(trained, kind, b->layer);
  return i < 0 ? NULL : b->grad + trained->params[i].first;
}

// A layer's part of a call of several.
static zk_linear_back_part part(const pass *b, zk_param_kind kind, int bias_kind, const void *dy) {
  const zk_param *w = &b->p->params.params[zk_params_index(&b->p->params, kind, b->layer)];
  return (zk_linear_back_part){(int32_t)w->rows, dy, zk_policy_weight(b->p, kind, b->layer), grad_of(b, kind),
                               bias_kind < 0 ? NULL : grad_of(b, (zk_param_kind)bias_kind)};
}

static zk_status norm_backward(const pass *b, zk_param_kind kind, const void *dy, const void *x, const float *rstd, const void *addend, void *dx) {
  zk_rmsnorm_desc desc = {b->p->numerics, b->rows, 1, b->p->config.hidden, b->p->config.rms_eps};
  return zk_rmsnorm_backward(b->s, &desc, b->chunks, dy, x, zk_policy_weight(b->p, kind, b->layer), rstd, addend, dx, grad_of(b, kind));
}

// Through RoPE and, where the model has them, head norms, of q and k.
static zk_status heads_backward(const pass *b, const zk_attention_desc *attn, const int32_t *positions, const zk_layer_activations *l,
                                const zk_layer_gradients *w) {
  const zk_policy *p = b->p;
  const bool norms = p->config.qk_norm;
  const zk_rope_cache_desc desc = {*attn, norms ? zk_policy_weight(p, ZK_PARAM_Q_NORM, b->layer) : NULL,
                                   norms ? zk_policy_weight(p, ZK_PARAM_K_NORM, b->layer) : NULL, p->config.rms_eps, positions, p->cos_table, p->sin_table};
  zk_rope_norm_gradients g = {l->q_raw, l->k_raw, l->rstd_q, l->rstd_k, w->dq, w->dk, grad_of(b, ZK_PARAM_Q_NORM), grad_of(b, ZK_PARAM_K_NORM)};
  if (p->adapter.lora.rank) g.dq_weight = w->unwanted, g.dk_weight = g.dq_weight + p->config.head_dim;
  return zk_rope_norm_backward(b->s, &desc, b->rows, b->chunks, &g);
}

// What a target's factors add to dx, and their gradients: y = s B^T + ..., s = scaling * t, t = x A^T.
static zk_status adapter_backward(const pass *b, zk_lora_target target, int32_t in, int32_t out, const void *dy, const void *x, const void *scaled, void *ds,
                                  void *dx) {
  const zk_adapter *a = &b->p->adapter;
  const zk_numerics numerics = b->p->numerics;
  const zk_param_kind kind_a = (zk_param_kind)(ZK_PARAM_LORA_A + target), kind_b = (zk_param_kind)(ZK_PARAM_LORA_B + target);
  const zk_linear_desc down = {numerics, b->rows, in, a->lora.rank}, up = {numerics, b->rows, a->lora.rank, out};
  if (!zk_adapter_has(a, target)) return ZK_OK;
  ZK_TRY(zk_linear_backward_input(b->s, &up, dy, zk_adapter_weight(a, numerics, kind_b, b->layer), NULL, ds));
  ZK_TRY(zk_linear_backward_weight(b->s, &up, b->chunks, dy, scaled, grad_of(b, kind_b), NULL));
  if (a->scaling != 1) ZK_TRY(zk_scale(b->s, numerics, b->rows * a->lora.rank, ds, a->scaling, ds)); // dt
  ZK_TRY(zk_linear_backward_weight(b->s, &down, b->chunks, ds, x, grad_of(b, kind_a), NULL));
  return zk_linear_backward_input(b->s, &down, ds, zk_adapter_weight(a, numerics, kind_a, b->layer), dx, dx);
}

// A frozen layer and its factors after the other: dx of the first, + those of the following.
static zk_status frozen_backward(const pass *b, int32_t in, int num, const zk_linear_back_part *layers, const zk_lora_target *targets, const void *x,
                                 const zk_layer_activations *l, const zk_layer_gradients *w, void *dx) {
  for (int i = 0; i < num; i++) {
    const zk_linear_desc desc = {b->p->numerics, b->rows, in, layers[i].out_features};
    ZK_TRY(zk_linear_backward_input(b->s, &desc, layers[i].dy, layers[i].weight, i > 0 ? dx : NULL, dx));
    ZK_TRY(adapter_backward(b, targets[i], in, layers[i].out_features, layers[i].dy, x,
                            zk_layer_scaled_factors(b->p, l, targets[i], b->rows), w->dlora, dx));
  }
  return ZK_OK;
}

// Through the layers of one input x, of `in` features: dx and the gradients of what is trained of them.
static zk_status layers_backward(const pass *b, int32_t in, int num, const zk_linear_back_part *layers, const zk_lora_target *targets, const void *x,
                                 const zk_layer_activations *l, const zk_layer_gradients *w, void *dx) {
  if (b->p->adapter.lora.rank) return frozen_backward(b, in, num, layers, targets, x, l, w, dx);
  zk_linear_back_parts parts = {b->p->numerics, b->rows, in, num, .first = b->first};
  for (int i = 0; i < num; i++) parts.parts[i] = layers[i];
  return zk_linear_parts_backward(b->s, &parts, b->chunks, x, dx);
}

bool zk_decoder_layer_sets(zk_param_kind kind) {
  return kind == ZK_PARAM_Q_W || kind == ZK_PARAM_K_W || kind == ZK_PARAM_V_W || kind == ZK_PARAM_O_W || kind == ZK_PARAM_GATE || kind == ZK_PARAM_UP ||
         kind == ZK_PARAM_DOWN;
}

zk_status zk_decoder_layer_backward(const zk_policy *p, zk_stream *s, int layer, int32_t page_tokens, const zk_decoder_batch *batch,
                                    const zk_chunks *chunks, const zk_layer_activations *l, const void *k_cache, const void *v_cache,
                                    const zk_layer_gradients *w, void *dx, bool first, float *grad) {
  const zk_model_config *c = &p->config;
  const int64_t t = batch->attention.num_rows;
  const pass b = {p, s, chunks, layer, t, first, grad};
  zk_attention_desc attn = zk_decoder_attention_desc(p, page_tokens);

  // x' = act Wd^T + y
  const zk_linear_back_part down = part(&b, ZK_PARAM_DOWN, -1, dx);
  ZK_TRY(layers_backward(&b, c->intermediate, 1, &down, (zk_lora_target[]){ZK_LORA_DOWN}, l->act, l, w, w->dact));
  ZK_TRY(zk_swiglu_backward(s, p->numerics, t * c->intermediate, l->gate, l->up, w->dact, w->dgate, w->dup));
  const zk_linear_back_part up_gate[] = {part(&b, ZK_PARAM_UP, -1, w->dup), part(&b, ZK_PARAM_GATE, -1, w->dgate)};
  ZK_TRY(layers_backward(&b, c->hidden, 2, up_gate, (zk_lora_target[]){ZK_LORA_UP, ZK_LORA_GATE}, l->h2, l, w, w->dh));
  ZK_TRY(norm_backward(&b, ZK_PARAM_MLP_NORM, w->dh, l->y, l->rstd2, dx, dx));

  // y = a Wo^T + x
  const zk_linear_back_part o = part(&b, ZK_PARAM_O_W, -1, dx);
  ZK_TRY(layers_backward(&b, c->num_heads * c->head_dim, 1, &o, (zk_lora_target[]){ZK_LORA_O}, l->a, l, w, w->da));
  ZK_TRY(zk_attention_backward(s, &attn, &batch->attention, l->q, k_cache, v_cache, l->a, w->da, l->lse, w->dq, w->dk, w->dv));
  ZK_TRY(heads_backward(&b, &attn, batch->positions, l, w));
  const zk_linear_back_part qkv[] = {part(&b, ZK_PARAM_Q_W, ZK_PARAM_Q_B, w->dq), part(&b, ZK_PARAM_K_W, ZK_PARAM_K_B, w->dk),
                                     part(&b, ZK_PARAM_V_W, ZK_PARAM_V_B, w->dv)};
  ZK_TRY(layers_backward(&b, c->hidden, 3, qkv, (zk_lora_target[]){ZK_LORA_Q, ZK_LORA_K, ZK_LORA_V}, l->h1, l, w, w->dh));
  return norm_backward(&b, ZK_PARAM_ATTN_NORM, w->dh, l->x, l->rstd1, dx, dx);
}
