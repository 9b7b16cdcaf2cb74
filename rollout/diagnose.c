// Where did it go wrong? A sample whose logits are not finite is computed once more from its tokens, alone and layer by layer, until its last
// row is not finite. It needs one layer's cache at a time and shares no memory with the engine's steps.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "rollout/engine_impl.h"

typedef struct {
  const zk_policy *policy;
  zk_stream *stream;
  int32_t num_rows, chunk, num_chunks, num_pages, page_tokens;
  int32_t *host, *ints; // tokens, positions, pages, then row starts (2) and first position of each chunk
  size_t num_ints, row_bytes;
  char *x; // [num_rows, hidden]
  void *activations_memory, *k_cache, *v_cache, *last;
  zk_layer_activations activations;
} probe;

static zk_status fill_ints(probe *p, const int32_t *tokens) {
  p->num_ints = 2 * (size_t)p->num_rows + (size_t)p->num_pages + 3 * (size_t)p->num_chunks;
  p->host = malloc(p->num_ints * sizeof *p->host);
  if (!p->host) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to look at a sequence of %d tokens", p->num_rows);
  int32_t *at = p->host;
  for (int32_t i = 0; i < p->num_rows; i++) *at++ = tokens[i];
  for (int32_t i = 0; i < p->num_rows; i++) *at++ = i;
  for (int32_t i = 0; i < p->num_pages; i++) *at++ = i;
  for (int32_t c = 0; c < p->num_chunks; c++) {
    const int32_t first = c * p->chunk, rest = p->num_rows - first;
    *at++ = 0, *at++ = rest < p->chunk ? rest : p->chunk, *at++ = first;
  }
  ZK_TRY(zk_device_alloc(p->policy->device, p->num_ints * sizeof *p->ints, "a sequence to look at", (void **)&p->ints));
  return zk_copy_to_device(p->stream, p->ints, p->host, p->num_ints * sizeof *p->ints);
}

static zk_status open_probe(probe *p, const int32_t *tokens) {
  zk_device *d = p->policy->device;
  const zk_attention_desc desc = zk_decoder_attention_desc(p->policy, p->page_tokens);
  const size_t cache = zk_kv_cache_bytes(d, &desc, p->num_pages);
  ZK_TRY(fill_ints(p, tokens));
  ZK_TRY(zk_device_alloc(d, (size_t)p->num_rows * p->row_bytes, "a sequence to look at", (void **)&p->x));
  ZK_TRY(zk_device_alloc(d, cache, "a sequence to look at", &p->k_cache));
  ZK_TRY(zk_device_alloc(d, cache, "a sequence to look at", &p->v_cache));
  ZK_TRY(zk_device_alloc(d, zk_layer_activations_bytes(p->policy, p->chunk, false), "a sequence to look at", &p->activations_memory));
  zk_layer_activations_place(p->policy, p->chunk, false, p->activations_memory, &p->activations);
  p->last = malloc(p->row_bytes);
  return p->last ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a row");
}

static void close_probe(probe *p) {
  void *const memory[] = {p->ints, p->x, p->k_cache, p->v_cache, p->activations_memory};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) zk_device_free(p->policy->device, memory[i]);
  free(p->host);
  free(p->last);
}

static zk_status run_layer(probe *p, int layer) {
  const int32_t *positions = p->ints + p->num_rows, *pages = positions + p->num_rows, *chunk = pages + p->num_pages;
  for (int32_t c = 0; c < p->num_chunks; c++, chunk += 3) {
    const int32_t first = c * p->chunk, rest = p->num_rows - first;
    const zk_decoder_batch batch = {{rest < p->chunk ? rest : p->chunk, 1, p->num_pages, chunk, chunk + 2, pages, NULL}, positions + first};
    zk_layer_activations a = p->activations;
    a.x = a.y = p->x + (size_t)first * p->row_bytes;
    ZK_TRY(zk_decoder_layer_forward(p->policy, p->stream, layer, p->page_tokens, &batch, &a, p->k_cache, p->v_cache, a.x));
  }
  return ZK_OK;
}

static zk_status last_is_finite(probe *p, bool *finite) {
  const size_t bytes = zk_numerics_bytes(p->policy->numerics), width = (size_t)p->policy->config.hidden;
  ZK_TRY(zk_copy_to_host(p->stream, p->last, p->x + (size_t)(p->num_rows - 1) * p->row_bytes, p->row_bytes));
  ZK_TRY(zk_stream_wait(p->stream));
  *finite = true;
  for (size_t i = 0; i < width; i++)
    *finite &= isfinite(bytes == sizeof(float) ? ((const float *)p->last)[i] : zk_bf16_to_float(((const zk_bf16 *)p->last)[i])) != 0;
  return ZK_OK;
}

static zk_status look(probe *p, int32_t *detail) {
  const int num_layers = p->policy->config.num_layers;
  bool finite;
  *detail = ZK_FINISH_DETAIL_EMBEDDING;
  ZK_TRY(zk_decoder_embed(p->policy, p->stream, p->ints, p->num_rows, p->x));
  ZK_TRY(last_is_finite(p, &finite));
  for (int l = 0; finite && l < num_layers; l++) {
    *detail = ZK_FINISH_DETAIL_LAYER + l;
    ZK_TRY(run_layer(p, l));
    ZK_TRY(last_is_finite(p, &finite));
  }
  if (finite) *detail = ZK_FINISH_DETAIL_LAYER + num_layers; // what comes behind the layers
  return ZK_OK;
}

zk_status zk_engine_find_not_finite(zk_engine *e, const int32_t *tokens, int32_t num_tokens, int32_t *detail) {
  const zk_engine_options *o = &e->options;
  const int32_t chunk = num_tokens < o->prefill_chunk ? num_tokens : o->prefill_chunk;
  probe p = {.policy = e->policy, .stream = e->stream, .num_rows = num_tokens, .chunk = chunk, .num_chunks = (num_tokens + chunk - 1) / chunk,
             .num_pages = (num_tokens + o->page_tokens - 1) / o->page_tokens, .page_tokens = o->page_tokens,
             .row_bytes = (size_t)e->policy->config.hidden * zk_numerics_bytes(e->policy->numerics)};
  zk_status st = open_probe(&p, tokens);
  if (st == ZK_OK) st = look(&p, detail);
  close_probe(&p);
  return st;
}
