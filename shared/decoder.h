// The decoder's forward pass: Llama, Qwen2 and Qwen3 as one layer with flags. Sampler and trainer call the same function with other
// batches, other caches and other activation buffers; the operations under it give every row the same bits in any company.
//
//   h1 = norm(x); q, k, v = h1 W^T (+ bias); q, k = head norms (Qwen3); q, k = rope; cache <- k, v; a = attention(q, cache)
//   y = a Wo^T + x;  h2 = norm(y); x' = (silu(h2 Wg^T) * (h2 Wu^T)) Wd^T + y
//
// With an adapter every product with W that is a target, its bias and addend included, is followed by what its factors add (shared/adapter.h).
#ifndef ZK_SHARED_DECODER_H
#define ZK_SHARED_DECODER_H

#include "kernels/attention.h"
#include "kernels/lmhead.h"
#include "kernels/resident.h"
#include "shared/policy.h"

// One layer's activations for up to `capacity` rows, on the device. T rows, H hidden, D head_dim, I intermediate.
typedef struct zk_layer_activations {
  void *x;                // [T, H] residual stream that enters the layer
  void *h1;               // [T, H]
  float *rstd1;           // [T]
  void *q_raw, *k_raw;    // [T, heads x D], [T, kv_heads x D] before the head norms; the same as q, k when the model has none
  float *rstd_q, *rstd_k; // [T x heads], [T x kv_heads]; NULL without head norms
  void *q, *k, *v;        // what attention reads
  void *a;                // [T, heads x D]
  float *lse;             // [T, heads]; NULL on the sampler's side
  void *y;                // [T, H]
  void *h2;               // [T, H]
  float *rstd2;           // [T]
  void *gate, *up, *act;  // [T, I]
  void *lora[4];          // of an adapter, for each input of its targets (h1, a, h2, act): zk_layer_scaled_factors; NULL without
} zk_layer_activations;

// Bytes of one layer's activations. keep: for a backward pass (lse, rstd and raw values have their own memory, y is apart from x).
size_t zk_layer_activations_bytes(const zk_policy *policy, int64_t capacity, bool keep);
// Lays the activations out in `memory` (that many bytes). Without `keep`, y is x: the residual stream is updated in place.
void zk_layer_activations_place(const zk_policy *policy, int64_t capacity, bool keep, void *memory, zk_layer_activations *out);

// s [rows, rank] of a target of an adapter, in a step of so many rows: those of one input lie side by side, so that one call scales them.
void *zk_layer_scaled_factors(const zk_policy *policy, const zk_layer_activations *acts, zk_lora_target target, int64_t rows);

// The rows of one step besides what attention needs of them.
typedef struct {
  zk_attention_batch attention;
  const int32_t *positions; // [T] device
} zk_decoder_batch;

// The description of this policy's attention over pages of this size.
zk_attention_desc zk_decoder_attention_desc(const zk_policy *policy, int32_t page_tokens);

// acts->x -> x_out [T, H] through layer `layer`; k_cache, v_cache are this layer's. x_out may be acts->y.
zk_status zk_decoder_layer_forward(const zk_policy *policy, zk_stream *stream, int layer, int32_t page_tokens, const zk_decoder_batch *batch,
                                   const zk_layer_activations *acts, void *k_cache, void *v_cache, void *x_out);
// All layers of a step that decodes one token in one call, over these caches; *out is NULL where the device has none for
// this model (kernels/resident.h). The caller closes it, before the stream.
zk_status zk_decoder_resident_open(const zk_policy *policy, zk_stream *stream, int32_t page_tokens, int32_t max_tokens, void *const *k_cache,
                                   void *const *v_cache, zk_resident **out);
// x [T, H] from the embedding table.
zk_status zk_decoder_embed(const zk_policy *policy, zk_stream *stream, const int32_t *tokens, int64_t num_rows, void *x);
// Rows `rows[n]` (int32, device) of x[num_x, H] -> gathered [n, H] -> normed [n, H], rstd [n] (may be NULL).
zk_status zk_decoder_gather_norm(const zk_policy *policy, zk_stream *stream, const void *x, int64_t num_x, const int32_t *rows, int64_t n,
                                 void *gathered, void *normed, float *rstd);
// The LM head's weights of this policy (the embedding when tied) and the description for n rows.
zk_lmhead_desc zk_decoder_lmhead_desc(const zk_policy *policy, int64_t n, double temperature, int32_t top_k, double top_p);

#endif
