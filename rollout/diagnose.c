// Where did it go wrong? A sample whose logits are not finite has its last row computed once more, alone, and looked at behind every layer.
// Its keys and values are in the cache, so one row is all it takes; that row writes its own again, with the same bits.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "rollout/engine_impl.h"

// What one row needs, besides the cache: memory of its own, so that nothing of a step is disturbed.
typedef struct {
  int32_t *ints;
  void *memory, *host;
  zk_layer_activations activations;
  zk_decoder_batch batch;
} probe;

static zk_status open_probe(zk_engine *e, const zk_sequence *seq, probe *p) {
  const zk_policy *policy = e->policy;
  const int32_t last = seq->num_tokens - 1, head[] = {seq->tokens[last], last, 0, 1, last}; // token; position; row starts; first position
  const size_t num_ints = sizeof head / sizeof *head + (size_t)seq->num_pages;
  ZK_TRY(zk_device_alloc(policy->device, num_ints * sizeof(int32_t), "a row to look at", (void **)&p->ints));
  ZK_TRY(zk_device_alloc(policy->device, zk_layer_activations_bytes(policy, 1, false), "a row to look at", &p->memory));
  p->host = malloc((size_t)policy->config.hidden * sizeof(float));
  if (!p->host) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a row");
  zk_layer_activations_place(policy, 1, false, p->memory, &p->activations);
  int32_t *pages = p->ints + sizeof head / sizeof *head;
  p->batch = (zk_decoder_batch){{1, 1, seq->num_pages, p->ints + 2, p->ints + 4, pages}, p->ints + 1};
  ZK_TRY(zk_copy_to_device(e->stream, p->ints, head, sizeof head));
  ZK_TRY(zk_copy_to_device(e->stream, pages, seq->pages, (size_t)seq->num_pages * sizeof(int32_t)));
  return zk_stream_wait(e->stream);
}

static void close_probe(zk_engine *e, probe *p) {
  zk_device_free(e->policy->device, p->ints);
  zk_device_free(e->policy->device, p->memory);
  free(p->host);
}

static zk_status is_finite(zk_engine *e, probe *p, bool *finite) {
  const size_t width = (size_t)e->policy->config.hidden, bytes = zk_numerics_bytes(e->policy->numerics);
  ZK_TRY(zk_copy_to_host(e->stream, p->host, p->activations.x, width * bytes));
  ZK_TRY(zk_stream_wait(e->stream));
  *finite = true;
  for (size_t i = 0; i < width; i++) {
    float value;
    if (bytes == sizeof value) memcpy(&value, (const char *)p->host + i * bytes, bytes);
    else value = zk_bf16_to_float(((const zk_bf16 *)p->host)[i]);
    *finite &= isfinite(value) != 0;
  }
  return ZK_OK;
}

static zk_status look(zk_engine *e, probe *p, int32_t *detail) {
  const zk_policy *policy = e->policy;
  bool finite;
  ZK_TRY(zk_decoder_embed(policy, e->stream, p->ints, 1, p->activations.x));
  ZK_TRY(is_finite(e, p, &finite));
  *detail = ZK_FINISH_DETAIL_EMBEDDING;
  for (int l = 0; finite && l < policy->config.num_layers; l++) {
    *detail = ZK_FINISH_DETAIL_LAYER + l;
    ZK_TRY(zk_decoder_layer_forward(policy, e->stream, l, e->options.page_tokens, &p->batch, &p->activations, e->k_cache[l], e->v_cache[l],
                                    p->activations.x));
    ZK_TRY(is_finite(e, p, &finite));
  }
  if (finite) *detail = ZK_FINISH_DETAIL_LAYER + policy->config.num_layers;
  return ZK_OK;
}

zk_status zk_engine_find_not_finite(zk_engine *e, const zk_sequence *seq, int32_t *detail) {
  probe p = {0};
  zk_status st = open_probe(e, seq, &p);
  if (st == ZK_OK) st = look(e, &p, detail);
  close_probe(e, &p);
  return st;
}
