// Head norms, RoPE, cache and attention in one call give what rope_cache and attention give one after the other: every byte of
// the output, of lse and of both caches. Tokens that decode stand behind keys on either side of every tile, split and page; the
// caches hold NaN where no key has been written. It runs where no fault reaches: a fault is named by its own operation.
#include <string.h>

#include "kernels/check_case.h"
#include "kernels/math.h"
#include "kernels/rope_attention.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

typedef struct {
  int32_t heads, kv_heads, dim, page_tokens;
  bool norms;
} shape;
static const shape shapes[] = {{16, 8, 128, 64, true}, {4, 1, 128, 16, true}, {3, 1, 128, 48, false}, {8, 8, 128, 128, true},
                               {8, 1, 128, 16, true},  {9, 3, 64, 32, false}};
// Keys before the token, and how many the page table has room for.
static const struct {
  int32_t before, room;
} places[] = {{0, 512},     {15, 512},    {127, 512},   {128, 2048},  {255, 512},   {256, 1024},  {511, 512},   {512, 1024},
              {700, 2048},  {1023, 1024}, {1024, 2048}, {1151, 1536}, {1500, 1536}, {1535, 2048}, {1792, 2048}, {2047, 2048},
              {2047, 2304}, {40, 4096}};

typedef struct {
  void *q_raw, *k_raw, *q, *k, *k_cache, *v_cache, *out;
  float *lse;
} tensors;

typedef struct {
  zk_rope_cache_desc desc;
  zk_attention_batch before, batch; // the keys before the rows; the rows
  void *k_before, *v_before, *q, *k, *v; // raw
  int64_t num_q, num_k;
  size_t cache_bytes;
} problem;

// One sequence of `rows` rows behind `before` keys, on pages in descending order.
static zk_status make_batches(zk_check *check, problem *p, int32_t before, int32_t rows, int32_t room) {
  const int32_t page = p->desc.attention.page_tokens, pages = (room + page - 1) / page;
  int32_t *ints, *ints_d;
  ZK_TRY(zk_check_host(check, (size_t)(6 + pages + rows) * sizeof *ints, (void **)&ints));
  ints[1] = before, ints[3] = rows, ints[5] = before; // [start, start], [start, start], first positions 0 and `before`
  for (int32_t i = 0; i < pages; i++) ints[6 + i] = pages - 1 - i;
  for (int32_t i = 0; i < rows; i++) ints[6 + pages + i] = before + i;
  ZK_TRY(zk_check_upload(check, ints, (size_t)(6 + pages + rows) * sizeof *ints, (void **)&ints_d));
  p->before = (zk_attention_batch){before, 1, pages, ints_d, ints_d + 4, ints_d + 6, NULL};
  p->batch = (zk_attention_batch){rows, 1, pages, ints_d + 2, ints_d + 5, ints_d + 6, NULL};
  p->desc.positions = ints_d + 6 + pages;
  p->cache_bytes = zk_kv_cache_bytes(check->device, &p->desc.attention, pages);
  return ZK_OK;
}

static zk_status make_problem(zk_check *check, const shape *s, problem *p, int32_t before, int32_t rows, int32_t room) {
  // scores of some thousands, so that what weights are relative to moves between tiles, or of some units
  const float scale = before % 3 == 0 ? 0.2f : 1.0f / sqrtf((float)s->dim);
  const int64_t angles = (int64_t)(before + rows) * s->dim / 2, old = (int64_t)before * s->kv_heads * s->dim;
  *p = (problem){.desc = {.attention = {check->numerics, s->heads, s->kv_heads, s->dim, s->page_tokens, scale}, .eps = 1e-6f}};
  p->num_q = (int64_t)rows * s->heads * s->dim, p->num_k = (int64_t)rows * s->kv_heads * s->dim;
  ZK_TRY(make_batches(check, p, before, rows, room));
  float *x;
  void *table, *weight;
  struct {
    int64_t n;
    void **out;
  } const inputs[] = {{old, &p->k_before}, {old, &p->v_before}, {p->num_q, &p->q}, {p->num_k, &p->k}, {p->num_k, &p->v}, {2 * s->dim, &weight}};
  for (int i = 0; i < NUM(inputs); i++) {
    ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, inputs[i].n + 1, &x));
    ZK_TRY(zk_check_upload_elements(check, x, inputs[i].n + 1, inputs[i].out));
  }
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, 2 * angles, &x));
  ZK_TRY(zk_check_upload(check, x, (size_t)(2 * angles) * sizeof *x, &table));
  p->desc.cos_table = table, p->desc.sin_table = (float *)table + angles;
  if (s->norms) p->desc.q_weight = weight, p->desc.k_weight = (char *)weight + (size_t)s->dim * zk_numerics_bytes(check->numerics);
  return ZK_OK;
}

static zk_status copy_of(zk_check *check, const void *from, int64_t n, void **out) {
  ZK_TRY(zk_check_device_elements(check, n, out));
  return zk_copy_on_device(check->helper, *out, from, (size_t)n * zk_numerics_bytes(check->numerics));
}

// Caches with the keys before the rows and NaN elsewhere, and outputs that are nowhere what they should become.
static zk_status make_tensors(zk_check *check, const problem *p, tensors *t) {
  char *dirt;
  const size_t bytes = p->cache_bytes, out_bytes = (size_t)p->num_q * zk_numerics_bytes(check->numerics),
               lse_bytes = (size_t)p->num_q / (size_t)p->desc.attention.head_dim * sizeof(float);
  ZK_TRY(copy_of(check, p->q, p->num_q, &t->q_raw));
  ZK_TRY(copy_of(check, p->k, p->num_k, &t->k_raw));
  t->q = t->q_raw, t->k = t->k_raw;
  ZK_TRY(zk_check_host(check, bytes + out_bytes + lse_bytes, (void **)&dirt));
  memset(dirt, 0xff, bytes + out_bytes + lse_bytes);
  ZK_TRY(zk_check_upload(check, dirt, bytes, &t->k_cache));
  ZK_TRY(zk_check_upload(check, dirt, bytes, &t->v_cache));
  ZK_TRY(zk_check_upload(check, dirt, out_bytes, &t->out));
  ZK_TRY(zk_check_upload(check, dirt, lse_bytes, (void **)&t->lse));
  return p->before.num_rows > 0
             ? zk_kv_write(check->helper, &p->desc.attention, &p->before, p->k_before, p->v_before, t->k_cache, t->v_cache)
             : ZK_OK;
}

static zk_status run_case(zk_check *check, const shape *s, int32_t before, int32_t rows, int32_t room) {
  problem p;
  tensors got, want;
  zk_check_case(check, "rows %d behind %d keys of %d, heads %d/%d, head_dim %d, pages of %d, %s", rows, before, room, s->heads,
                s->kv_heads, s->dim, s->page_tokens, s->norms ? "head norms" : "no head norms");
  ZK_TRY(make_problem(check, s, &p, before, rows, room));
  ZK_TRY(make_tensors(check, &p, &got));
  ZK_TRY(make_tensors(check, &p, &want));
  const zk_rope_cache_io fused = {got.q_raw, got.k_raw, p.v, got.q, got.k, NULL, NULL, got.k_cache, got.v_cache},
                         parts = {want.q_raw, want.k_raw, p.v, want.q, want.k, NULL, NULL, want.k_cache, want.v_cache};
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(zk_rope_attention(check->fused, &p.desc, &p.batch, &fused, got.out, got.lse));
  ZK_TRY(zk_rope_cache(check->helper, &p.desc, &p.batch, &parts));
  ZK_TRY(zk_attention_forward(check->helper, &p.desc.attention, &p.batch, want.q, want.k_cache, want.v_cache, want.out, want.lse));
  const size_t out_bytes = (size_t)p.num_q * zk_numerics_bytes(check->numerics);
  ZK_TRY(zk_check_compare_devices(check, "out", got.out, want.out, out_bytes));
  ZK_TRY(zk_check_compare_devices(check, "lse", got.lse, want.lse, (size_t)(p.num_q / s->dim) * sizeof(float)));
  ZK_TRY(zk_check_compare_devices(check, "k_cache", got.k_cache, want.k_cache, p.cache_bytes));
  return zk_check_compare_devices(check, "v_cache", got.v_cache, want.v_cache, p.cache_bytes);
}

zk_status zk_check_rope_attention(zk_check *check) {
  const bool is_cpu = zk_device_get_kind(check->device) == ZK_DEVICE_CPU; // where one call is its parts
  const int few = check->quick && is_cpu ? 2 : 4;
  for (int s = 0; s < (check->quick ? 1 : NUM(shapes)); s++)
    for (int i = 0; i < (check->quick || is_cpu ? few : NUM(places)); i++)
      ZK_TRY(run_case(check, &shapes[s], places[i].before, 1, places[i].room));
  return check->quick ? ZK_OK : run_case(check, &shapes[0], 500, 20, 1024);
}
