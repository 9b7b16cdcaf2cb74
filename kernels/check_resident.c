// All layers of a one-token step in one call give what the operations give one by one: every byte of the hidden state
// and of all layers' caches, which are dirty behind the token. It runs where no fault reaches: a fault is named by its
// own operation. Each case takes several steps at growing positions, as a sequence does.
#include <string.h>

#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/resident.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope_cache.h"
#include "kernels/swiglu.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

enum { MOST_LAYERS = 3, STEPS = 3, NUM_RANDOM = 1048573 }; // a prime: no row of weights is another

typedef struct {
  int32_t layers, hidden, heads, kv_heads, inner, page_tokens, position; // of the first step
  bool norms;
  zk_check_data data; // of the hidden state
} shape;
static const shape shapes[] = {
    {2, 1024, 16, 8, 3072, 64, 0, true, ZK_CHECK_NORMAL},
    {3, 1024, 16, 8, 3072, 64, 1023, true, ZK_CHECK_WIDE},
    {2, 1024, 16, 8, 3072, 128, 510, false, ZK_CHECK_CANCELLING},
    {1, 1024, 16, 8, 3072, 64, 9214, true, ZK_CHECK_NORMAL},
    {1, 2048, 16, 8, 6144, 64, 126, true, ZK_CHECK_NORMAL},
    {2, 2048, 16, 8, 6144, 192, 2046, false, ZK_CHECK_ZEROS},
};

// A layer's memory; norms' weights and the products' lie in one array.
typedef struct {
  zk_resident_layer_memory w;
  void *k_want, *v_want;
} layer;

static zk_status make_layer(zk_check *check, const shape *s, layer *l) {
  const int64_t q = (int64_t)s->heads * 128, kv = (int64_t)s->kv_heads * 128, h = s->hidden, i = s->inner;
  const int64_t sizes[] = {h, h, 128, 128, q * h, kv * h, kv * h, h * q, i * h, i * h, h * i};
  const void **const to[] = {&l->w.attn_norm, &l->w.mlp_norm, &l->w.q_norm, &l->w.k_norm, &l->w.q,   &l->w.k,
                             &l->w.v,         &l->w.o,        &l->w.gate,   &l->w.up,     &l->w.down};
  int64_t all = 0;
  for (int n = 0; n < NUM(sizes); n++) all += sizes[n];
  float *random, *values;
  void *memory;
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, NUM_RANDOM, &random));
  ZK_TRY(zk_check_host(check, (size_t)all * sizeof *values, (void **)&values));
  for (int64_t n = 0; n < all; n++) values[n] = n < 2 * h + 256 ? random[n] : 0.0625f * random[n % NUM_RANDOM];
  ZK_TRY(zk_check_upload_elements(check, values, all, &memory));
  size_t at = 0;
  for (int n = 0; n < NUM(sizes); n++) {
    *to[n] = (char *)memory + at;
    at += (size_t)sizes[n] * zk_numerics_bytes(check->numerics);
  }
  if (!s->norms) l->w.q_norm = l->w.k_norm = NULL;
  return ZK_OK;
}

// One sequence, its pages in descending order; `first`: its first row's position.
typedef struct {
  zk_attention_desc attention;
  int32_t pages, max_tokens;
  int32_t *row_start, *page_table; // device
  float *cosines, *sines;
} sequence;

static zk_status make_sequence(zk_check *check, const shape *s, sequence *out) {
  out->attention = (zk_attention_desc){check->numerics, s->heads, s->kv_heads, 128, s->page_tokens, 0.0625f};
  out->max_tokens = s->position + STEPS, out->pages = (out->max_tokens + s->page_tokens - 1) / s->page_tokens;
  const int64_t angles = (int64_t)out->max_tokens * 64;
  int32_t *table;
  float *random;
  ZK_TRY(zk_check_host(check, (size_t)out->pages * sizeof *table, (void **)&table));
  for (int32_t i = 0; i < out->pages; i++) table[i] = out->pages - 1 - i;
  ZK_TRY(zk_check_upload(check, table, (size_t)out->pages * sizeof *table, (void **)&out->page_table));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, 2 * angles, &random));
  ZK_TRY(zk_check_upload(check, random, (size_t)angles * sizeof *random, (void **)&out->cosines));
  return zk_check_upload(check, random + angles, (size_t)angles * sizeof *random, (void **)&out->sines);
}
static zk_status batch_at(zk_check *check, const sequence *s, int32_t first, int32_t rows, zk_attention_batch *out,
                          int32_t **position) {
  const int32_t start[] = {0, rows};
  int32_t *start_d;
  ZK_TRY(zk_check_upload(check, start, sizeof start, (void **)&start_d));
  ZK_TRY(zk_check_upload(check, &first, sizeof first, (void **)position));
  *out = (zk_attention_batch){rows, 1, s->pages, start_d, *position, s->page_table, NULL};
  return ZK_OK;
}

// Both pairs of caches: keys and values of the tokens before the first step, nothing but NaN elsewhere.
static zk_status make_caches(zk_check *check, const shape *s, const sequence *seq, layer *l) {
  const size_t bytes = zk_kv_cache_bytes(check->device, &seq->attention, seq->pages);
  const int64_t n = (int64_t)s->position * s->kv_heads * 128;
  void *dirt, *k_d, *v_d;
  float *k, *v;
  zk_attention_batch batch;
  int32_t *unused;
  ZK_TRY(zk_check_host(check, bytes, &dirt));
  memset(dirt, 0xff, bytes);
  void **const caches[] = {&l->w.k_cache, &l->w.v_cache, &l->k_want, &l->v_want};
  for (int i = 0; i < NUM(caches); i++) ZK_TRY(zk_check_upload(check, dirt, bytes, caches[i]));
  if (n == 0) return ZK_OK;
  ZK_TRY(batch_at(check, seq, 0, s->position, &batch, &unused));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &k));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &v));
  ZK_TRY(zk_check_upload_elements(check, k, n, &k_d));
  ZK_TRY(zk_check_upload_elements(check, v, n, &v_d));
  ZK_TRY(zk_kv_write(check->helper, &seq->attention, &batch, k_d, v_d, l->w.k_cache, l->w.v_cache));
  ZK_TRY(zk_kv_write(check->helper, &seq->attention, &batch, k_d, v_d, l->k_want, l->v_want));
  return zk_stream_wait(check->helper);
}

typedef struct {
  void *h, *q, *k, *v, *a, *gate, *up;
} activations;

static zk_status linear(zk_check *check, int32_t k, int32_t n, const void *x, const void *w, const void *addend,
                        void *y) {
  const zk_linear_desc d = {check->numerics, 1, k, n};
  return zk_linear_forward(check->helper, &d, x, w, NULL, NULL, addend, y);
}
static zk_status layer_one_by_one(zk_check *check, const shape *s, const sequence *seq, const layer *l,
                                  const zk_attention_batch *batch, const int32_t *position, const activations *t,
                                  void *x) {
  const zk_resident_layer_memory *w = &l->w;
  const int32_t q = s->heads * 128, kv = s->kv_heads * 128;
  const zk_rmsnorm_desc norm = {check->numerics, 1, 1, s->hidden, 1e-6f};
  const zk_rope_cache_desc rope = {seq->attention, w->q_norm, w->k_norm, 1e-6f, position, seq->cosines, seq->sines};
  const zk_rope_cache_io io = {t->q, t->k, t->v, t->q, t->k, NULL, NULL, l->k_want, l->v_want};
  ZK_TRY(zk_rmsnorm_forward(check->helper, &norm, x, w->attn_norm, t->h, NULL));
  ZK_TRY(linear(check, s->hidden, q, t->h, w->q, NULL, t->q));
  ZK_TRY(linear(check, s->hidden, kv, t->h, w->k, NULL, t->k));
  ZK_TRY(linear(check, s->hidden, kv, t->h, w->v, NULL, t->v));
  ZK_TRY(zk_rope_cache(check->helper, &rope, batch, &io));
  ZK_TRY(zk_attention_forward(check->helper, &seq->attention, batch, t->q, l->k_want, l->v_want, t->a, NULL));
  ZK_TRY(linear(check, q, s->hidden, t->a, w->o, x, x));
  ZK_TRY(zk_rmsnorm_forward(check->helper, &norm, x, w->mlp_norm, t->h, NULL));
  ZK_TRY(linear(check, s->hidden, s->inner, t->h, w->gate, NULL, t->gate));
  ZK_TRY(linear(check, s->hidden, s->inner, t->h, w->up, NULL, t->up));
  ZK_TRY(zk_swiglu_forward(check->helper, check->numerics, s->inner, t->gate, t->up, t->gate));
  return linear(check, s->inner, s->hidden, t->gate, w->down, x, x);
}

static zk_status run_step(zk_check *check, const shape *s, const sequence *seq, const layer *layers, zk_resident *r,
                          int32_t step) {
  const size_t bytes = (size_t)s->hidden * zk_numerics_bytes(check->numerics),
               cache = zk_kv_cache_bytes(check->device, &seq->attention, seq->pages);
  zk_attention_batch batch;
  int32_t *position;
  float *x;
  void *got, *want;
  activations t;
  ZK_TRY(batch_at(check, seq, s->position + step, 1, &batch, &position));
  ZK_TRY(zk_check_elements(check, s->data, s->hidden, &x));
  ZK_TRY(zk_check_upload_elements(check, x, s->hidden, &got));
  ZK_TRY(zk_check_upload_elements(check, x, s->hidden, &want));
  ZK_TRY(zk_check_device_elements(check, s->hidden, &t.h));
  void **const wide[] = {&t.q, &t.k, &t.v, &t.a};
  for (int i = 0; i < NUM(wide); i++) ZK_TRY(zk_check_device_elements(check, (int64_t)s->heads * 128, wide[i]));
  ZK_TRY(zk_check_device_elements(check, s->inner, &t.gate));
  ZK_TRY(zk_check_device_elements(check, s->inner, &t.up));
  bool done;
  ZK_TRY(zk_resident_run(r, &batch, position, got, &done));
  if (!done) return ZK_FAIL(ZK_INTERNAL, "resident: nothing is queued, and no fault is meant for it");
  for (int32_t l = 0; l < s->layers; l++)
    ZK_TRY(layer_one_by_one(check, s, seq, &layers[l], &batch, position, &t, want));
  ZK_TRY(zk_stream_wait(check->fused));
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(zk_check_compare_devices(check, "x", got, want, bytes));
  for (int32_t l = 0; l < s->layers; l++) {
    ZK_TRY(zk_check_compare_devices(check, "k_cache", layers[l].w.k_cache, layers[l].k_want, cache));
    ZK_TRY(zk_check_compare_devices(check, "v_cache", layers[l].w.v_cache, layers[l].v_want, cache));
  }
  return ZK_OK;
}

static zk_status run_case(zk_check *check, const shape *s) {
  zk_check_case(check, "layers %d, hidden %d, heads %d/%d, intermediate %d, position %d, %s, %s", s->layers, s->hidden,
                s->heads, s->kv_heads, s->inner, s->position, s->norms ? "head norms" : "no head norms",
                zk_check_data_name(s->data));
  sequence seq;
  layer layers[MOST_LAYERS];
  zk_resident_layer_memory memory[MOST_LAYERS];
  ZK_TRY(make_sequence(check, s, &seq));
  for (int32_t l = 0; l < s->layers; l++) {
    ZK_TRY(make_layer(check, s, &layers[l]));
    ZK_TRY(make_caches(check, s, &seq, &layers[l]));
    memory[l] = layers[l].w;
  }
  const zk_resident_desc desc = {seq.attention,  s->layers, s->hidden,   s->inner,
                                 seq.max_tokens, 1e-6f,     seq.cosines, seq.sines};
  zk_resident *r;
  ZK_TRY(zk_resident_open(check->fused, &desc, memory, &r));
  if (r == NULL) check->num_cases--; // the device has none
  zk_status st = ZK_OK;
  for (int32_t i = 0; r != NULL && st == ZK_OK && i < STEPS; i++) st = run_step(check, s, &seq, layers, r, i);
  zk_resident_close(r);
  return st;
}

zk_status zk_check_resident(zk_check *check) {
  if (zk_device_get_kind(check->device) == ZK_DEVICE_CPU) return ZK_OK; // it has none
  for (int i = 0; i < (check->quick ? 1 : NUM(shapes)); i++) ZK_TRY(run_case(check, &shapes[i]));
  return ZK_OK;
}
