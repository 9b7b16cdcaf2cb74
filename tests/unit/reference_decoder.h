// A Qwen3 decoder made of the reference operations alone, one whole sequence at a time, no cache: what a completion must be, token by token
// and bit by bit. It shares with the engine the weights, the RoPE tables and nothing else.
#ifndef ZK_TESTS_REFERENCE_DECODER_H
#define ZK_TESTS_REFERENCE_DECODER_H

#include "engine_fixture.h"

#include "kernels/attention.h"
#include "kernels/bf16.h"
#include "kernels/reference/attention_reference.h"
#include "kernels/reference/linear_reference.h"
#include "kernels/reference/lmhead_reference.h"
#include "kernels/reference/rows_reference.h"
#include "shared/decoder.h"

static inline float *reference_weight(const zk_policy *p, zk_param_kind kind, int layer) {
  const zk_param *param = &p->params.params[zk_params_index(&p->params, kind, layer)];
  float *w = malloc((size_t)param->num_elements * sizeof *w);
  const void *from = zk_policy_weight(p, kind, layer); // on a CPU, device memory is memory
  for (int64_t i = 0; i < param->num_elements; i++) w[i] = p->numerics == ZK_F32 ? ((const float *)from)[i] : zk_bf16_to_float(((const zk_bf16 *)from)[i]);
  return w;
}

// What is stored of f32 results.
static inline void reference_store(const zk_policy *p, float *x, int64_t n) {
  for (int64_t i = 0; p->numerics == ZK_BF16 && i < n; i++) x[i] = zk_bf16_to_float(zk_float_to_bf16(x[i]));
}
static inline zk_bf16 *reference_narrow(const float *x, int64_t n) {
  zk_bf16 *y = malloc((size_t)n * sizeof *y);
  for (int64_t i = 0; i < n; i++) y[i] = zk_float_to_bf16(x[i]);
  return y;
}

static inline void reference_norm(const zk_policy *p, zk_param_kind kind, int layer, int64_t rows, int64_t width, const float *x, float *y) {
  float *w = reference_weight(p, kind, layer), *rstd = malloc((size_t)rows * sizeof *rstd), *copy = malloc((size_t)(rows * width) * sizeof *copy);
  memcpy(copy, x, (size_t)(rows * width) * sizeof *copy);
  zk_reference_rmsnorm_forward(rows, width, p->config.rms_eps, copy, w, y, rstd);
  reference_store(p, y, rows * width);
  free(w), free(rstd), free(copy);
}

static inline void reference_linear(const zk_policy *p, zk_param_kind kind, int layer, int64_t rows, int32_t in, int32_t out, const float *x,
                                    const float *addend, float *y) {
  float *w = reference_weight(p, kind, layer);
  zk_linear_reference_forward(p->numerics, rows, in, out, x, w, NULL, addend, y);
  free(w);
}

static inline void reference_attention(const zk_policy *p, int32_t rows, const float *q, const float *k, const float *v, float *out) {
  const zk_model_config *c = &p->config;
  const bool bf16 = p->numerics == ZK_BF16;
  const zk_attention_desc engine = zk_decoder_attention_desc(p, 64);
  zk_attention_reference desc = {rows, 0, c->num_heads, c->num_kv_heads, c->head_dim, engine.scale, bf16 ? ZK_ATTN_TILE_BF16 : ZK_ATTN_TILE,
                                 bf16 ? ZK_ATTN_SPLIT_BF16 : ZK_ATTN_SPLIT, ZK_ATTN_PART};
  float *lse = malloc((size_t)rows * (size_t)c->num_heads * sizeof *lse);
  if (bf16) {
    const int64_t nq = (int64_t)rows * c->num_heads * c->head_dim, nk = (int64_t)rows * c->num_kv_heads * c->head_dim;
    zk_bf16 *q16 = reference_narrow(q, nq), *k16 = reference_narrow(k, nk), *v16 = reference_narrow(v, nk), *o16 = malloc((size_t)nq * sizeof *o16);
    zk_attention_reference_bf16_forward(&desc, q16, k16, v16, o16, lse);
    for (int64_t i = 0; i < nq; i++) out[i] = zk_bf16_to_float(o16[i]);
    free(q16), free(k16), free(v16), free(o16);
  } else zk_attention_reference_forward(&desc, q, k, v, out, lse);
  free(lse);
}

// x[rows, hidden] through one layer, in place.
static inline void reference_layer(const zk_policy *p, int layer, int32_t rows, const int32_t *positions, float *x) {
  const zk_model_config *c = &p->config;
  const int32_t nq = c->num_heads * c->head_dim, nk = c->num_kv_heads * c->head_dim;
  const size_t t = (size_t)rows;
  float *h = malloc(t * (size_t)c->hidden * sizeof *h), *q = malloc(t * (size_t)nq * sizeof *q), *k = malloc(t * (size_t)nk * sizeof *k);
  float *v = malloc(t * (size_t)nk * sizeof *v), *a = malloc(t * (size_t)nq * sizeof *a), *y = malloc(t * (size_t)c->hidden * sizeof *y);
  float *gate = malloc(t * (size_t)c->intermediate * sizeof *gate), *up = malloc(t * (size_t)c->intermediate * sizeof *up);
  float *act = malloc(t * (size_t)c->intermediate * sizeof *act);
  reference_norm(p, ZK_PARAM_ATTN_NORM, layer, rows, c->hidden, x, h);
  reference_linear(p, ZK_PARAM_Q_W, layer, rows, c->hidden, nq, h, NULL, q);
  reference_linear(p, ZK_PARAM_K_W, layer, rows, c->hidden, nk, h, NULL, k);
  reference_linear(p, ZK_PARAM_V_W, layer, rows, c->hidden, nk, h, NULL, v);
  reference_norm(p, ZK_PARAM_Q_NORM, layer, (int64_t)rows * c->num_heads, c->head_dim, q, q);
  reference_norm(p, ZK_PARAM_K_NORM, layer, (int64_t)rows * c->num_kv_heads, c->head_dim, k, k);
  zk_reference_rope(0, rows, c->num_heads, c->head_dim, positions, p->cos_table, p->sin_table, q);
  zk_reference_rope(0, rows, c->num_kv_heads, c->head_dim, positions, p->cos_table, p->sin_table, k);
  reference_store(p, q, (int64_t)rows * nq), reference_store(p, k, (int64_t)rows * nk);
  reference_attention(p, rows, q, k, v, a);
  reference_linear(p, ZK_PARAM_O_W, layer, rows, nq, c->hidden, a, x, y);
  reference_norm(p, ZK_PARAM_MLP_NORM, layer, rows, c->hidden, y, h);
  reference_linear(p, ZK_PARAM_GATE, layer, rows, c->hidden, c->intermediate, h, NULL, gate);
  reference_linear(p, ZK_PARAM_UP, layer, rows, c->hidden, c->intermediate, h, NULL, up);
  zk_reference_swiglu_forward((int64_t)rows * c->intermediate, gate, up, act);
  reference_store(p, act, (int64_t)rows * c->intermediate);
  reference_linear(p, ZK_PARAM_DOWN, layer, rows, c->intermediate, c->hidden, act, y, x);
  free(h), free(q), free(k), free(v), free(a), free(y), free(gate), free(up), free(act);
}

// Draws every token of a completion of `number` again, each from the sequence before it, and compares token, log-probability and hash of logits.
static inline void assert_is_reference(const zk_policy *p, const zk_engine_options *o, int number, const zk_completion *done) {
  const zk_model_config *c = &p->config;
  const tiny_prompt prompt = tiny_prompt_make(number);
  const int32_t rows = prompt.num_prompt + done->num_tokens - 1;
  int32_t tokens[256], positions[256];
  memcpy(tokens, prompt.prompt, (size_t)prompt.num_prompt * sizeof *tokens);
  memcpy(tokens + prompt.num_prompt, done->tokens, (size_t)done->num_tokens * sizeof *tokens);
  for (int32_t i = 0; i < rows; i++) positions[i] = i;
  float *table = reference_weight(p, ZK_PARAM_EMBED, 0), *x = malloc((size_t)rows * (size_t)c->hidden * sizeof *x);
  float *head = reference_weight(p, ZK_PARAM_LM_HEAD, 0), *logit = malloc((size_t)c->vocab * sizeof *logit);
  zk_reference_embedding_forward(rows, c->hidden, tokens, table, x);
  for (int l = 0; l < c->num_layers; l++) reference_layer(p, l, rows, positions, x);
  reference_norm(p, ZK_PARAM_FINAL_NORM, 0, rows, c->hidden, x, x);
  for (int32_t i = 0; i < done->num_tokens; i++) {
    const float *row = x + (size_t)(prompt.num_prompt - 1 + i) * (size_t)c->hidden;
    if (p->numerics == ZK_BF16) {
      zk_bf16 *row16 = reference_narrow(row, c->hidden), *head16 = reference_narrow(head, (int64_t)c->vocab * c->hidden);
      zk_lmhead_reference_bf16_logits(c->hidden, c->vocab, row16, head16, logit);
      free(row16), free(head16);
    } else zk_lmhead_reference_logits(c->hidden, c->vocab, row, head, logit);
    const zk_lmhead_desc desc = {p->numerics, 1, c->hidden, c->vocab, o->temperature, o->top_k, o->top_p};
    zk_lmhead_reference_row want;
    assert_true(zk_lmhead_reference_read(&desc, logit, -1, o->seed, 3, 100 + (uint32_t)number, (uint32_t)done->sample,
                                         (uint32_t)(prompt.num_prompt + i), &want));
    assert_int_equal(done->tokens[i], want.token);
    assert_memory_equal(&done->logprob[i], &want.logprob, sizeof want.logprob);
    assert_memory_equal(&done->logits_hash[i], &want.logits_hash, sizeof want.logits_hash);
  }
  free(table), free(x), free(head), free(logit);
}

#endif
