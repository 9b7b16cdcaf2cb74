// Microbatch by microbatch: pack the rows, run the layers forwards keeping what the backward pass reads, then backwards.
#include "trainer/gradient.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/embedding.h"
#include "kernels/reduce.h"
#include "kernels/rmsnorm.h"
#include "trainer/decoder_backward.h"
#include "trainer/leaf_stretches.h"
#include "trainer/recordings.h"

#define PAGE_TOKENS ZK_ATTN_TILE // the trainer's own cache: one page a tile

// A microbatch's targets on the host, page-locked, so that copies hold up nobody. [targets] each.
typedef struct {
  uint64_t *logits_hash; // the first: the others lie behind it
  float *logprob, *lse, *entropy, *dlogprob, *known_lse;
} host_targets;

// Device memory of all microbatches up to a size; rebuilt larger when one does not fit.
typedef struct {
  int64_t rows, targets, seqs, pages, max_pages;
  bool backward;
  int32_t *host, *ints; // page-locked and device: tokens, positions, row starts, first positions, page table, target rows, targets, targets of rows
  size_t num_ints;
  int32_t *tokens, *positions, *seq_row_start, *seq_first_pos, *page_table, *target_rows, *targets_dev;
  int32_t *target_of_row; // [rows] the target that a row predicts; num_targets where it predicts none
  void *layers_memory, *inputs_memory, *work_memory, *head_memory, *cache_memory;
  zk_layer_activations *layers; // [num_layers]; with recompute they differ in x alone
  void **k_cache, **v_cache;    // [num_layers]; one pair for all with recompute
  void *x_last, *dx;            // [rows, H]
  void *gathered, *normed, *dnormed; // [targets, H]; dnormed has one row more
  float *rstd, *logprob, *lse, *entropy, *kept_logit, *dlogprob, *known_lse, *dentropy;
  int32_t *kept_id;
  uint64_t *logits_hash;
  zk_layer_gradients work;
  host_targets at_host;
} buffers;

enum { LAYERS_FORWARD, HEAD_BACKWARD, LAYERS_BACKWARD }; // parts of a microbatch's work that are recorded

struct zk_gradient {
  const zk_policy *policy;
  zk_gradient_options options;
  zk_stream *stream;
  zk_phases *phases;
  zk_recordings *recordings; // NULL: none are wanted
  buffers b;
  float *embed_grad; // [V, H], for a tied head whose leaf has several passes
};

// Whether embedding and head are trained, in one tensor.
static bool is_tied(const zk_policy *p) { return p->config.tie_embeddings != 0 && p->adapter.lora.rank == 0; }

static size_t align64(size_t n) { return (n + 63) & ~(size_t)63; }

static int64_t cache_pages(int64_t rows, int64_t seqs) { return rows / PAGE_TOKENS + seqs; } // each sequence starts a page

typedef struct {
  size_t layers, inputs, work, head, cache;
} sizes;

static sizes count_bytes(const zk_policy *p, bool recompute, bool backward, int64_t rows, int64_t targets, int64_t pages) {
  size_t layers = (size_t)p->config.num_layers, kept = backward && !recompute ? layers : 1;
  size_t x = align64((size_t)rows * (size_t)p->config.hidden * zk_numerics_bytes(p->numerics));
  size_t head_row = (size_t)p->config.hidden * zk_numerics_bytes(p->numerics);
  zk_attention_desc desc = zk_decoder_attention_desc(p, PAGE_TOKENS);
  return (sizes){.layers = kept * align64(zk_layer_activations_bytes(p, rows, true)),
                 .inputs = (backward && recompute ? layers : 0) * x + 2 * x, // x_last and dx
                 .work = backward ? zk_layer_gradients_bytes(p, rows) : 0,
                 .head = 2 * align64((size_t)targets * head_row) + align64((size_t)(targets + 1) * head_row) + 10 * align64((size_t)targets * 8),
                 .cache = kept * 2 * align64(zk_kv_cache_bytes(p->device, &desc, (int32_t)pages))};
}

size_t zk_gradient_bytes(const zk_policy *policy, const zk_gradient_options *o, int64_t num_rows, int64_t num_targets, bool backward) {
  sizes s = count_bytes(policy, o->recompute, backward, num_rows, num_targets, cache_pages(num_rows, num_rows / 16 + 1));
  size_t tied = backward && is_tied(policy) ? (size_t)policy->config.vocab * (size_t)policy->config.hidden * sizeof(float) : 0;
  return s.layers + s.inputs + s.work + s.head + s.cache + tied;
}

static void free_buffers(zk_gradient *g) {
  zk_device *d = g->policy->device;
  if (g->recordings) zk_recordings_forget(g->recordings); // they keep the addresses
  void *const memory[] = {g->b.ints, g->b.layers_memory, g->b.inputs_memory, g->b.work_memory, g->b.head_memory, g->b.cache_memory};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) zk_device_free(d, memory[i]);
  zk_host_free(d, g->b.host);
  zk_host_free(d, g->b.at_host.logits_hash);
  free(g->b.layers);
  free(g->b.k_cache);
  free(g->b.v_cache);
  memset(&g->b, 0, sizeof g->b);
}

static zk_status allocate_host(zk_gradient *g) {
  host_targets *h = &g->b.at_host;
  const size_t n = (size_t)g->b.targets;
  ZK_TRY(zk_host_alloc(g->policy->device, n * (sizeof *h->logits_hash + 5 * sizeof *h->logprob), "microbatch targets", (void **)&h->logits_hash));
  h->logprob = (float *)(h->logits_hash + n);
  h->lse = h->logprob + n, h->entropy = h->lse + n, h->dlogprob = h->entropy + n, h->known_lse = h->dlogprob + n;
  return ZK_OK;
}

static zk_status allocate_ints(zk_gradient *g) {
  buffers *b = &g->b;
  const size_t rows = (size_t)b->rows, seqs = (size_t)b->seqs, targets = (size_t)b->targets;
  const size_t num[] = {rows, rows, seqs + 1, seqs, seqs * (size_t)b->max_pages, targets, targets, rows};
  int32_t **const members[] = {&b->tokens,     &b->positions,   &b->seq_row_start, &b->seq_first_pos,
                               &b->page_table, &b->target_rows, &b->targets_dev,   &b->target_of_row};
  for (size_t i = 0; i < sizeof num / sizeof *num; i++) b->num_ints += num[i];
  ZK_TRY(zk_host_alloc(g->policy->device, b->num_ints * sizeof(int32_t), "microbatch arrays", (void **)&b->host));
  ZK_TRY(zk_device_alloc(g->policy->device, b->num_ints * sizeof(int32_t), "microbatch arrays", (void **)&b->ints));
  int32_t *at = b->ints;
  for (size_t i = 0; i < sizeof num / sizeof *num; i++) {
    *members[i] = at;
    at += num[i];
  }
  return ZK_OK;
}

// Cuts the allocated blocks into layers, caches and the head's arrays.
static void place_buffers(zk_gradient *g) {
  const zk_policy *p = g->policy;
  buffers *b = &g->b;
  size_t x = align64((size_t)b->rows * (size_t)p->config.hidden * zk_numerics_bytes(p->numerics));
  size_t layer = align64(zk_layer_activations_bytes(p, b->rows, true));
  zk_attention_desc desc = zk_decoder_attention_desc(p, PAGE_TOKENS);
  size_t cache = align64(zk_kv_cache_bytes(p->device, &desc, (int32_t)b->pages));
  bool keep_all = b->backward && !g->options.recompute;
  char *inputs = b->inputs_memory;
  b->x_last = inputs, b->dx = inputs + x;
  for (int l = 0; l < p->config.num_layers; l++) {
    size_t slot = keep_all ? (size_t)l : 0;
    zk_layer_activations_place(p, b->rows, true, (char *)b->layers_memory + slot * layer, &b->layers[l]);
    b->k_cache[l] = (char *)b->cache_memory + 2 * slot * cache;
    b->v_cache[l] = (char *)b->k_cache[l] + cache;
    if (b->backward && g->options.recompute) b->layers[l].x = inputs + (size_t)(l + 2) * x;
  }
  char *head = b->head_memory;
  size_t width = (size_t)p->config.hidden * zk_numerics_bytes(p->numerics), row = align64((size_t)b->targets * width);
  size_t col = align64((size_t)b->targets * 8), columns = 2 * row + align64((size_t)(b->targets + 1) * width);
  b->gathered = head, b->normed = head + row, b->dnormed = head + 2 * row;
  void **const cols[] = {(void **)&b->rstd,     (void **)&b->logprob,    (void **)&b->lse,      (void **)&b->entropy,
                         (void **)&b->dlogprob, (void **)&b->kept_logit, (void **)&b->kept_id, (void **)&b->logits_hash,
                         (void **)&b->known_lse, (void **)&b->dentropy};
  for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) *cols[i] = head + columns + i * col;
  if (b->backward) zk_layer_gradients_place(p, b->rows, b->work_memory, &b->work);
}

static zk_status reserve(zk_gradient *g, int64_t rows, int64_t targets, int64_t seqs, int64_t longest, bool backward) {
  buffers *b = &g->b;
  int64_t max_pages = (longest + PAGE_TOKENS - 1) / PAGE_TOKENS;
  if (rows <= b->rows && targets <= b->targets && seqs <= b->seqs && max_pages <= b->max_pages && (b->backward || !backward)) return ZK_OK;
#define GROW(member, wanted) int64_t new_##member = b->member > (wanted) ? b->member : (wanted)
  GROW(rows, rows);
  GROW(targets, targets ? targets : 1);
  GROW(seqs, seqs);
  GROW(max_pages, max_pages);
#undef GROW
  bool new_backward = b->backward || backward;
  free_buffers(g);
  const zk_policy *p = g->policy;
  b->rows = new_rows, b->targets = new_targets, b->seqs = new_seqs, b->max_pages = new_max_pages, b->backward = new_backward;
  b->pages = cache_pages(b->rows, b->seqs);
  sizes s = count_bytes(p, g->options.recompute, b->backward, b->rows, b->targets, b->pages);
  size_t layers = (size_t)p->config.num_layers;
  b->layers = calloc(layers, sizeof *b->layers);
  b->k_cache = calloc(layers, sizeof *b->k_cache);
  b->v_cache = calloc(layers, sizeof *b->v_cache);
  if (!b->layers || !b->k_cache || !b->v_cache) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the trainer's tables");
  ZK_TRY(allocate_ints(g));
  ZK_TRY(allocate_host(g));
  ZK_TRY(zk_side_alloc(p->device, ZK_SIDE_TRAINER, s.layers, "trainer activations", &b->layers_memory));
  ZK_TRY(zk_side_alloc(p->device, ZK_SIDE_TRAINER, s.inputs, "trainer activations", &b->inputs_memory));
  ZK_TRY(zk_side_alloc(p->device, ZK_SIDE_TRAINER, s.cache, "trainer keys and values", &b->cache_memory));
  ZK_TRY(zk_side_alloc(p->device, ZK_SIDE_TRAINER, s.head, "trainer LM head", &b->head_memory));
  if (s.work) ZK_TRY(zk_side_alloc(p->device, ZK_SIDE_TRAINER, s.work, "gradients of activations", &b->work_memory));
  place_buffers(g);
  return ZK_OK;
}

static bool wants_recordings(const zk_gradient_options *o) {
  const char *graphs = getenv("ZK_GRAPHS");
  return !o->unrecorded && !(graphs && !strcmp(graphs, "0"));
}

zk_status zk_gradient_open(const zk_policy *policy, const zk_gradient_options *options, zk_gradient **out) {
  zk_gradient *g = calloc(1, sizeof *g);
  if (!g) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the trainer");
  g->policy = policy, g->options = *options;
  zk_status st = zk_stream_open(policy->device, ZK_SIDE_TRAINER, &g->stream);
  if (st == ZK_OK) st = zk_phases_open(g->stream, &g->phases);
  if (st == ZK_OK && wants_recordings(options)) st = zk_recordings_open(g->stream, &g->recordings);
  if (st != ZK_OK) {
    zk_gradient_close(g);
    return st;
  }
  *out = g;
  return ZK_OK;
}

void zk_gradient_close(zk_gradient *g) {
  if (!g) return;
  free_buffers(g);
  zk_device_free(g->policy->device, g->embed_grad);
  zk_phases_close(g->phases);
  zk_recordings_close(g->recordings);
  zk_stream_close(g->stream);
  free(g);
}

zk_stream *zk_gradient_stream(zk_gradient *g) { return g->stream; }
uint64_t zk_gradient_replays(const zk_gradient *g) { return g->recordings ? zk_recordings_replays(g->recordings) : 0; }
zk_phases *zk_gradient_phases(zk_gradient *g) { return g->phases; }

// Fills the int32 arrays of a microbatch and sends them.
static zk_status pack(zk_gradient *g, const zk_sequences *s, const zk_microbatch *m) {
  buffers *b = &g->b;
#define HOST(member) (b->host + (b->member - b->ints))
  int32_t row = 0, page = 0, n = 0;
  HOST(seq_row_start)[0] = 0;
  for (int64_t t = 0; t < m->num_rows; t++) HOST(target_of_row)[t] = (int32_t)m->num_targets;
  for (int64_t i = m->first_seq; i < m->last_seq; i++) {
    int64_t q = i - m->first_seq, length = s->offsets[i + 1] - s->offsets[i];
    const int32_t *tokens = s->tokens + s->offsets[i];
    for (int64_t j = 0; j < length; j++) {
      HOST(tokens)[row + j] = tokens[j];
      HOST(positions)[row + j] = (int32_t)j;
      if (j >= s->first_target[i]) {
        HOST(target_rows)[n] = row + (int32_t)j - 1;
        HOST(target_of_row)[row + j - 1] = n;
        HOST(targets_dev)[n++] = tokens[j];
      }
    }
    for (int64_t j = 0; j * PAGE_TOKENS < length; j++) HOST(page_table)[q * b->max_pages + j] = page++;
    HOST(seq_first_pos)[q] = 0;
    row += (int32_t)length;
    HOST(seq_row_start)[q + 1] = row;
  }
#undef HOST
  return zk_copy_to_device(g->stream, b->ints, b->host, b->num_ints * sizeof(int32_t));
}

static zk_decoder_batch batch_of(const zk_gradient *g, const zk_microbatch *m) {
  const buffers *b = &g->b;
  return (zk_decoder_batch){{(int32_t)m->num_rows, (int32_t)(m->last_seq - m->first_seq), (int32_t)b->max_pages, b->seq_row_start, b->seq_first_pos,
                             b->page_table, NULL}, b->positions};
}

static bool has_filter(const zk_gradient_options *o) { return o->top_k > 0 || o->top_p < 1; } // greedy too

static zk_lmhead_out head_out(const zk_gradient *g, bool want_hash) {
  const buffers *b = &g->b;
  bool filter = has_filter(&g->options);
  return (zk_lmhead_out){.logprob = b->logprob, .lse = b->lse, .entropy = b->entropy, .kept_logit = filter ? b->kept_logit : NULL,
                         .kept_id = filter ? b->kept_id : NULL, .logits_hash = want_hash ? b->logits_hash : NULL};
}

static zk_status layer_forward(zk_gradient *g, const zk_decoder_batch *batch, int l, void *x_out) {
  buffers *b = &g->b;
  return zk_decoder_layer_forward(g->policy, g->stream, l, PAGE_TOKENS, batch, &b->layers[l], b->k_cache[l], b->v_cache[l], x_out);
}

// Which of a leaf's backward passes it is.
typedef struct {
  bool first, alone;
  const zk_gradient_listener *listener; // of the last; NULL in the others
} which_pass;

// What a microbatch's operations are queued for.
typedef struct {
  zk_gradient *g;
  const zk_microbatch *m;
  bool is_known, want_hash, has_dentropy;
  float *grad;
  which_pass pass;
} work;

// Queues a part of a microbatch's work: what is queued depends on the key below, on the policy and on the buffers.
static zk_status run_part(const work *w, int part, zk_status (*queue)(const void *work)) {
  const zk_microbatch *m = w->m;
  enum { NUM = 12 };
  const size_t bounds = (size_t)m->num_chunks + 1, num = NUM + 2 * bounds;
  int64_t *key = w->g->recordings ? malloc(num * sizeof *key) : NULL;
  if (!key) return queue(w);
  const int64_t head[NUM] = {part, m->num_rows, m->num_targets, m->last_seq - m->first_seq, w->g->b.max_pages, m->num_chunks,
                             w->is_known, w->want_hash, w->has_dentropy, (int64_t)(intptr_t)w->grad, w->pass.first, w->pass.alone};
  memcpy(key, head, sizeof head);
  for (size_t i = 0; i < bounds; i++) key[NUM + 2 * i] = m->row_start[i], key[NUM + 2 * i + 1] = m->target_start[i];
  const zk_status st = zk_recordings_run(w->g->recordings, key, num, queue, w);
  free(key);
  return st;
}

static zk_status queue_layers(const void *context) {
  const work *w = context;
  zk_gradient *g = w->g;
  const zk_policy *p = g->policy;
  const buffers *b = &g->b;
  zk_decoder_batch batch = batch_of(g, w->m);
  int last = p->config.num_layers - 1;
  ZK_TRY(zk_decoder_embed(p, g->stream, b->tokens, w->m->num_rows, b->layers[0].x));
  for (int l = 0; l <= last; l++)
    // Without a backward pass all layers share one set, whose x is then the next layer's x too.
    ZK_TRY(layer_forward(g, &batch, l, l < last ? b->layers[l + 1].x : b->x_last));
  return ZK_OK;
}

// Up to the rows that the head reads.
static zk_status forward_layers(zk_gradient *g, const zk_microbatch *m) {
  const zk_policy *p = g->policy;
  const buffers *b = &g->b;
  ZK_TRY(zk_phases_begin(g->phases, ZK_PHASE_FORWARD));
  ZK_TRY(run_part(&(work){.g = g, .m = m}, LAYERS_FORWARD, queue_layers));
  ZK_TRY(zk_phases_begin(g->phases, ZK_PHASE_HEAD));
  if (!m->num_targets) return ZK_OK;
  return zk_decoder_gather_norm(p, g->stream, b->x_last, m->num_rows, b->target_rows, m->num_targets, b->gathered, b->normed, b->rstd);
}

static zk_status forward(zk_gradient *g, const zk_microbatch *m, bool want_hash) {
  const zk_policy *p = g->policy;
  const buffers *b = &g->b;
  ZK_TRY(forward_layers(g, m));
  if (!m->num_targets) return ZK_OK;
  zk_lmhead_desc desc = zk_decoder_lmhead_desc(p, m->num_targets, g->options.temperature, g->options.top_k, g->options.top_p);
  zk_lmhead_out out = head_out(g, want_hash);
  return zk_lmhead_logprob(g->stream, &desc, b->normed, zk_policy_weight(p, ZK_PARAM_LM_HEAD, 0), zk_policy_packed(p, ZK_PARAM_LM_HEAD, 0),
                           b->targets_dev, &out);
}

// Brings what the caller wants of the microbatch's targets to the host; `first` is the index of its first target. `also`: log-probabilities and
// entropies in any case, to b->at_host.
static zk_status fetch(zk_gradient *g, const zk_microbatch *m, int64_t first, const zk_gradient_outputs *out, bool also) {
  const size_t n = (size_t)m->num_targets;
  const buffers *b = &g->b;
  const host_targets *h = &b->at_host;
  if (out->logprob || also) ZK_TRY(zk_copy_to_host(g->stream, h->logprob, b->logprob, n * sizeof(float)));
  if (out->lse) ZK_TRY(zk_copy_to_host(g->stream, h->lse, b->lse, n * sizeof(float)));
  if (out->entropy || also) ZK_TRY(zk_copy_to_host(g->stream, h->entropy, b->entropy, n * sizeof(float)));
  if (out->logits_hash) ZK_TRY(zk_copy_to_host(g->stream, h->logits_hash, b->logits_hash, n * sizeof(uint64_t)));
  ZK_TRY(zk_stream_wait(g->stream));
  if (out->logprob) memcpy(out->logprob + first, h->logprob, n * sizeof(float));
  if (out->lse) memcpy(out->lse + first, h->lse, n * sizeof(float));
  if (out->entropy) memcpy(out->entropy + first, h->entropy, n * sizeof(float));
  if (out->logits_hash) memcpy(out->logits_hash + first, h->logits_hash, n * sizeof(uint64_t));
  return ZK_OK;
}

// Where the gradient of a tensor above or below the layers lies; NULL where it is frozen.
static float *grad_of(const zk_policy *p, zk_param_kind kind, float *grad) {
  const zk_params *trained = zk_policy_trained(p).params;
  const int i = zk_params_index(trained, kind, 0);
  return i < 0 ? NULL : grad + trained->params[i].first;
}

// The head's part of the backward pass leaves the gradient of the last layer's output in b->dx. Of known targets the head's forward pass is part of it.
static zk_status head_backward(const void *context) {
  const work *w = context;
  zk_gradient *g = w->g;
  const zk_microbatch *m = w->m;
  const zk_policy *p = g->policy;
  buffers *b = &g->b;
  zk_chunks chunks = {m->num_chunks, m->target_start};
  zk_lmhead_desc desc = zk_decoder_lmhead_desc(p, m->num_targets, g->options.temperature, g->options.top_k, g->options.top_p);
  desc.first = w->pass.first;
  zk_lmhead_out fwd = head_out(g, w->want_hash);
  const void *weight = zk_policy_weight(p, ZK_PARAM_LM_HEAD, 0), *packed = zk_policy_packed(p, ZK_PARAM_LM_HEAD, 0);
  float *dhead = grad_of(p, ZK_PARAM_LM_HEAD, w->grad);
  if (w->is_known)
    ZK_TRY(zk_lmhead_loss(g->stream, &desc, &chunks, b->normed, weight, packed, b->targets_dev, b->known_lse, b->dlogprob, &fwd, b->dnormed, dhead));
  else
    ZK_TRY(zk_lmhead_backward(g->stream, &desc, &chunks, b->normed, weight, packed, b->targets_dev, &fwd, b->dlogprob, w->has_dentropy ? b->dentropy : NULL,
                              b->dnormed, dhead));
  zk_rmsnorm_desc norm = {p->numerics, m->num_targets, 1, p->config.hidden, p->config.rms_eps};
  ZK_TRY(zk_rmsnorm_backward(g->stream, &norm, &chunks, b->dnormed, b->gathered, zk_policy_weight(p, ZK_PARAM_FINAL_NORM, 0), b->rstd, NULL,
                             b->dnormed, grad_of(p, ZK_PARAM_FINAL_NORM, w->grad)));
  // Each row that predicts a target gets that target's gradient, the others the row of zeros behind them: a look-up, which copies.
  size_t width = (size_t)p->config.hidden * zk_numerics_bytes(p->numerics);
  ZK_TRY(zk_fill_zero_each(g->stream, (char *)b->dnormed + (size_t)m->num_targets * width, width, width, 1));
  zk_embedding_desc scatter = {p->numerics, m->num_rows, p->config.hidden, (int32_t)m->num_targets + 1};
  return zk_embedding_forward(g->stream, &scatter, b->target_of_row, b->dnormed, b->dx);
}

static zk_status tell(const zk_gradient *g, const zk_gradient_listener *listener, int layer) {
  return listener ? listener->tell(listener->context, zk_stretches_done(zk_policy_trained(g->policy).params, layer)) : ZK_OK;
}

static zk_status queue_layers_backward(const void *context) {
  const work *w = context;
  zk_gradient *g = w->g;
  const zk_microbatch *m = w->m;
  const zk_policy *p = g->policy;
  buffers *b = &g->b;
  zk_decoder_batch batch = batch_of(g, m);
  zk_chunks chunks = {m->num_chunks, m->row_start};
  int last = p->config.num_layers - 1;
  for (int l = last; l >= 0; l--) {
    if (g->options.recompute && l < last) ZK_TRY(layer_forward(g, &batch, l, b->x_last)); // the output is known; only its parts are wanted
    ZK_TRY(zk_decoder_layer_backward(p, g->stream, l, PAGE_TOKENS, &batch, &chunks, &b->layers[l], b->k_cache[l], b->v_cache[l], &b->work, b->dx,
                                     w->pass.first, w->grad));
    ZK_TRY(tell(g, w->pass.listener, l));
  }
  // A tied head's gradient, then the embedding's added to it: here, or once all passes have added to the embedding's.
  const bool waits = is_tied(p) && !w->pass.alone;
  zk_embedding_desc embed = {p->numerics, m->num_rows, p->config.hidden, p->config.vocab, .apart = is_tied(p) && w->pass.alone};
  float *dtable = waits ? g->embed_grad : grad_of(p, ZK_PARAM_EMBED, w->grad);
  return dtable == NULL ? ZK_OK : zk_embedding_backward(g->stream, &embed, b->tokens, b->dx, dtable);
}

static zk_status backward(zk_gradient *g, const zk_sequences *s, const zk_microbatch *m, bool want_hash, float *grad, which_pass pass) {
  const work w = {g, m, s->known != NULL, s->known && want_hash, s->dentropy != NULL, grad, pass};
  ZK_TRY(run_part(&w, HEAD_BACKWARD, head_backward));
  ZK_TRY(tell(g, pass.listener, g->policy->config.num_layers));
  ZK_TRY(zk_phases_begin(g->phases, ZK_PHASE_BACKWARD));
  return pass.listener ? queue_layers_backward(&w) : run_part(&w, LAYERS_BACKWARD, queue_layers_backward); // which is told between the layers
}

static int64_t longest_of(const zk_sequences *s, int64_t first, int64_t last) {
  int64_t longest = 1;
  for (int64_t i = first; i < last; i++)
    if (s->offsets[i + 1] - s->offsets[i] > longest) longest = s->offsets[i + 1] - s->offsets[i];
  return longest;
}

zk_status zk_gradient_forward(zk_gradient *g, const zk_sequences *s, int64_t first, int64_t last, const zk_gradient_outputs *out) {
  zk_microbatch_plan plan;
  zk_status st = zk_microbatch_plan_create(s, first, last, g->options.microbatch_tokens, &plan);
  if (st == ZK_OK && plan.num) st = reserve(g, plan.max_rows, plan.max_targets, plan.max_seqs, longest_of(s, first, last), false);
  for (int32_t i = 0; i < plan.num && st == ZK_OK; i++) {
    const zk_microbatch *m = &plan.microbatches[i];
    st = pack(g, s, m);
    if (st == ZK_OK) st = forward(g, m, out->logits_hash != NULL);
    if (st == ZK_OK) st = fetch(g, m, s->target_offsets[m->first_seq], out, false);
  }
  if (st == ZK_OK) st = zk_phases_end(g->phases);
  zk_microbatch_plan_destroy(&plan);
  return st;
}

// dLoss/dlogprob of a microbatch's targets, and dLoss/d entropy, if any, to the device.
static zk_status slopes(zk_gradient *g, const zk_sequences *s, const zk_microbatch *m, zk_loss_fn loss, void *context, const float *logprob,
                        const float *entropy) {
  float *dlogprob = g->b.at_host.dlogprob;
  for (int64_t i = m->first_seq, at = 0; i < m->last_seq; i++) {
    int64_t n = s->target_offsets[i + 1] - s->target_offsets[i];
    ZK_TRY(loss(context, i, n, logprob + at, entropy ? entropy + at : NULL, dlogprob + at));
    at += n;
  }
  const size_t bytes = (size_t)m->num_targets * sizeof(float);
  if (s->dentropy) ZK_TRY(zk_copy_to_device(g->stream, g->b.dentropy, s->dentropy + s->target_offsets[m->first_seq], bytes));
  return zk_copy_to_device(g->stream, g->b.dlogprob, dlogprob, bytes);
}

// The same bits as below, of targets whose log-probabilities are known beforehand: so is the loss, and the head has one pass.
static zk_status run_known(zk_gradient *g, const zk_sequences *s, const zk_microbatch *m, zk_loss_fn loss, void *context, float *grad,
                           const zk_gradient_outputs *out, which_pass pass) {
  const int64_t first = s->target_offsets[m->first_seq];
  const size_t bytes = (size_t)m->num_targets * sizeof(float);
  zk_gradient_outputs found = *out;
  found.lse = s->known->found_lse;
  ZK_TRY(forward_layers(g, m));
  ZK_TRY(slopes(g, s, m, loss, context, s->known->logprob + first, NULL)); // while the layers run
  memcpy(g->b.at_host.known_lse, s->known->lse + first, bytes);
  ZK_TRY(zk_copy_to_device(g->stream, g->b.known_lse, g->b.at_host.known_lse, bytes));
  if (m->num_targets) ZK_TRY(backward(g, s, m, out->logits_hash != NULL, grad, pass));
  ZK_TRY(fetch(g, m, first, &found, false));
  if (out->lse) memcpy(out->lse + first, found.lse + first, bytes);
  return ZK_OK;
}

// Forward, loss, backward of one microbatch.
static zk_status run_microbatch(zk_gradient *g, const zk_sequences *s, const zk_microbatch *m, zk_loss_fn loss, void *context, float *grad,
                                const zk_gradient_outputs *out, which_pass pass) {
  ZK_TRY(pack(g, s, m));
  if (s->known) return run_known(g, s, m, loss, context, grad, out, pass);
  ZK_TRY(forward(g, m, out->logits_hash != NULL));
  ZK_TRY(fetch(g, m, s->target_offsets[m->first_seq], out, true));
  ZK_TRY(slopes(g, s, m, loss, context, g->b.at_host.logprob, g->b.at_host.entropy));
  if (!m->num_targets) return ZK_OK;
  ZK_TRY(backward(g, s, m, false, grad, pass));
  return zk_stream_wait(g->stream);
}

// The gradient of a tied embedding, of several passes, is added to the head's: one addition an element, once a leaf.
static zk_status join_tied(zk_gradient *g, float *grad) {
  const zk_param *embed = &g->policy->params.params[zk_params_index(&g->policy->params, ZK_PARAM_EMBED, 0)];
  float *head = grad + embed->first;
  return zk_add(g->stream, ZK_F32, embed->num_elements, head, g->embed_grad, head);
}

// The microbatches whose backward passes are the leaf's first and last; -1: none has any.
static void find_trained(const zk_microbatch_plan *plan, int32_t *first, int32_t *last) {
  *first = *last = -1;
  for (int32_t i = 0; i < plan->num; i++)
    if (plan->microbatches[i].num_targets) {
      if (*first < 0) *first = i;
      *last = i;
    }
}

// Whether the first of a leaf's backward passes sets the gradient.
static bool is_set_first(const zk_policy *p, zk_param_kind kind) {
  return zk_decoder_layer_sets(kind) || kind == (p->config.tie_embeddings ? ZK_PARAM_EMBED : ZK_PARAM_LM_HEAD);
}

static bool is_above_layers(zk_param_kind kind) { return kind == ZK_PARAM_EMBED || kind == ZK_PARAM_FINAL_NORM || kind == ZK_PARAM_LM_HEAD; }

// A leaf's gradient before its backward passes: 0 but where the first of them sets it. Layers lie side by side and are alike: a launch a kind of tensor.
static zk_status begin_gradient(zk_gradient *g, bool is_set, float *grad) {
  const zk_params *params = zk_policy_trained(g->policy).params;
  if (!is_set || zk_params_is_adapter(params)) return zk_fill_zero(g->stream, grad, (size_t)params->num_elements * sizeof *grad);
  int64_t layer = 0; // its elements
  for (int i = 0; i < params->num_params; i++)
    if (params->params[i].layer == 0 && !is_above_layers(params->params[i].kind)) layer += params->params[i].num_elements;
  for (int i = 0; i < params->num_params; i++) {
    const zk_param *p = &params->params[i];
    if (is_set_first(g->policy, p->kind) || p->layer > 0) continue;
    ZK_TRY(zk_fill_zero_each(g->stream, grad + p->first, (size_t)p->num_elements * sizeof *grad, (size_t)layer * sizeof *grad,
                             is_above_layers(p->kind) ? 1 : params->num_layers));
  }
  return ZK_OK;
}

// The same of a tied embedding's of several passes.
static zk_status begin_embedding(zk_gradient *g) {
  const zk_policy *p = g->policy;
  const size_t bytes = (size_t)p->config.vocab * (size_t)p->config.hidden * sizeof(float);
  if (!g->embed_grad) ZK_TRY(zk_side_alloc(p->device, ZK_SIDE_TRAINER, bytes, "embedding gradient", (void **)&g->embed_grad));
  return zk_fill_zero(g->stream, g->embed_grad, bytes);
}

zk_status zk_gradient_leaf(zk_gradient *g, const zk_sequences *s, int64_t first, int64_t last, zk_loss_fn loss, void *context, float *grad,
                           const zk_gradient_outputs *out, const zk_gradient_listener *listener) {
  const zk_policy *p = g->policy;
  zk_microbatch_plan plan;
  int32_t first_pass = -1, last_pass = -1;
  zk_status st = zk_microbatch_plan_create(s, first, last, g->options.microbatch_tokens, &plan);
  if (st == ZK_OK) find_trained(&plan, &first_pass, &last_pass);
  const bool joins = is_tied(p) && first_pass < last_pass;
  if (st == ZK_OK) st = begin_gradient(g, first_pass >= 0, grad);
  if (st == ZK_OK && joins) st = begin_embedding(g);
  if (st == ZK_OK && plan.num) st = reserve(g, plan.max_rows, plan.max_targets, plan.max_seqs, longest_of(s, first, last), true);
  for (int32_t i = 0; i < plan.num && st == ZK_OK; i++)
    st = run_microbatch(g, s, &plan.microbatches[i], loss, context, grad, out,
                        (which_pass){i == first_pass, first_pass == last_pass, i == last_pass ? listener : NULL});
  if (st == ZK_OK && joins) st = join_tied(g, grad);
  if (st == ZK_OK) st = zk_phases_end(g->phases);
  if (st == ZK_OK && listener) st = listener->tell(listener->context, zk_stretches_num(zk_policy_trained(p).params));
  if (st == ZK_OK) st = zk_stream_wait(g->stream);
  zk_microbatch_plan_destroy(&plan);
  return st;
}
