// Head norms, RoPE and cache in one call give what the operations give one by one: every byte of q, of both caches
// (dirty before) and of the norms' rstd. It runs where no fault reaches: a fault is named by its own operation.
#include <string.h>

#include "kernels/check_case.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/rope_cache.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

typedef struct {
  int32_t heads, kv_heads, dim, page_tokens, rows, seqs;
  bool norms, in_place;
} shape;
static const shape shapes[] = {{16, 8, 128, 16, 3, 3, true, true},   {9, 3, 64, 48, 70, 1, false, true},
                               {5, 1, 128, 32, 40, 37, true, false}, {32, 8, 128, 16, 9, 2, false, true},
                               {7, 7, 64, 32, 65, 40, true, false},  {4, 2, 32, 16, 20, 5, true, true},
                               {3, 1, 256, 16, 11, 2, true, false},   {16, 16, 128, 64, 521, 9, false, true},
                               {64, 16, 64, 16, 515, 3, false, true}, {32, 8, 128, 64, 1601, 3, true, true},
                               {24, 4, 128, 16, 2310, 7, true, false}, {44, 2, 64, 16, 3130, 5, true, true},
                               {64, 8, 64, 32, 1999, 1, false, true}};

// More than any sequence has.
static int32_t num_positions(const shape *s) { return s->rows < 10 ? 128 : s->rows < 600 ? 700 : s->rows + 100; }

typedef struct {
  void *q_raw, *k_raw, *q, *k, *k_cache, *v_cache;
  float *rstd_q, *rstd_k;
} tensors;

// Raw q and k, and outputs that are nowhere what they should become.
static zk_status make_tensors(zk_check *check, const shape *s, const float *q, const float *k, size_t cache_bytes,
                              tensors *t) {
  const int64_t num_q = (int64_t)s->rows * s->heads, num_k = (int64_t)s->rows * s->kv_heads;
  void *dirt;
  ZK_TRY(zk_check_upload_elements(check, q, num_q * s->dim, &t->q_raw));
  ZK_TRY(zk_check_upload_elements(check, k, num_k * s->dim, &t->k_raw));
  t->q = t->q_raw, t->k = t->k_raw;
  if (!s->in_place) {
    ZK_TRY(zk_check_device_elements(check, num_q * s->dim, &t->q));
    ZK_TRY(zk_check_device_elements(check, num_k * s->dim, &t->k));
  }
  ZK_TRY(zk_check_device(check, (size_t)num_q * sizeof(float), (void **)&t->rstd_q));
  ZK_TRY(zk_check_device(check, (size_t)num_k * sizeof(float), (void **)&t->rstd_k));
  ZK_TRY(zk_check_host(check, cache_bytes, &dirt));
  memset(dirt, 0xff, cache_bytes);
  ZK_TRY(zk_check_upload(check, dirt, cache_bytes, &t->k_cache));
  return zk_check_upload(check, dirt, cache_bytes, &t->v_cache);
}

static zk_status one_by_one(zk_stream *stream, const zk_rope_cache_desc *d, const zk_attention_batch *batch,
                            const tensors *t, const void *v) {
  const zk_attention_desc *a = &d->attention;
  for (int i = 0; i < 2; i++) {
    const int32_t heads = i == 0 ? a->num_heads : a->num_kv_heads;
    const zk_rmsnorm_desc norm = {a->numerics, batch->num_rows, heads, a->head_dim, d->eps};
    const zk_rope_desc rope = {a->numerics, batch->num_rows, heads, a->head_dim};
    void *x = i == 0 ? t->q : t->k;
    if (d->q_weight != NULL)
      ZK_TRY(zk_rmsnorm_forward(stream, &norm, i == 0 ? t->q_raw : t->k_raw, i == 0 ? d->q_weight : d->k_weight, x,
                                i == 0 ? t->rstd_q : t->rstd_k));
    ZK_TRY(zk_rope_forward(stream, &rope, d->positions, d->cos_table, d->sin_table, x));
  }
  return zk_kv_write(stream, a, batch, t->k, v, t->k_cache, t->v_cache);
}

// Rows dealt to sequences as evenly as they go, each from a position of its own on; pages in descending order.
static zk_status make_batch(zk_check *check, const shape *s, zk_attention_batch *batch, int32_t **positions) {
  const int32_t pages = (num_positions(s) + s->page_tokens - 1) / s->page_tokens, num_pages = pages * s->seqs;
  int32_t *ints;
  ZK_TRY(zk_check_host(check, (size_t)(2 * s->seqs + 1 + s->rows + num_pages) * sizeof *ints, (void **)&ints));
  int32_t *start = ints, *first = start + s->seqs + 1, *pos = first + s->seqs, *table = pos + s->rows, *start_d,
          *first_d, *table_d;
  for (int32_t i = 0; i < s->seqs; i++) {
    start[i + 1] = (int32_t)((int64_t)s->rows * (i + 1) / s->seqs), first[i] = i * 53 % (num_positions(s) - s->rows);
    for (int32_t r = start[i]; r < start[i + 1]; r++) pos[r] = first[i] + r - start[i];
  }
  for (int32_t i = 0; i < num_pages; i++) table[i] = num_pages - 1 - i;
  ZK_TRY(zk_check_upload(check, start, (size_t)(s->seqs + 1) * sizeof *ints, (void **)&start_d));
  ZK_TRY(zk_check_upload(check, first, (size_t)s->seqs * sizeof *ints, (void **)&first_d));
  ZK_TRY(zk_check_upload(check, pos, (size_t)s->rows * sizeof *ints, (void **)positions));
  ZK_TRY(zk_check_upload(check, table, (size_t)num_pages * sizeof *ints, (void **)&table_d));
  *batch = (zk_attention_batch){s->rows, s->seqs, pages, start_d, first_d, table_d, NULL};
  return ZK_OK;
}

static zk_status run_case(zk_check *check, const shape *s) {
  zk_check_case(check, "rows %d of %d sequences, heads %d/%d, head_dim %d, %s", s->rows, s->seqs, s->heads, s->kv_heads,
                s->dim, s->norms ? "head norms" : "no head norms");
  zk_rope_cache_desc d = {.attention = {check->numerics, s->heads, s->kv_heads, s->dim, s->page_tokens, 0.1f},
                          .eps = 1e-6f};
  const int64_t num_q = (int64_t)s->rows * s->heads * s->dim, num_k = (int64_t)s->rows * s->kv_heads * s->dim,
                angles = (int64_t)num_positions(s) * s->dim / 2;
  zk_attention_batch batch;
  tensors got, want;
  float *q, *k, *v, *weight, *table;
  void *v_d, *cosines, *sines;
  int32_t *positions;
  ZK_TRY(make_batch(check, s, &batch, &positions));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, num_q, &q));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_WIDE, num_k, &k));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, num_k, &v));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, 2 * s->dim, &weight));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, 2 * angles, &table));
  ZK_TRY(zk_check_upload_elements(check, v, num_k, &v_d));
  ZK_TRY(zk_check_upload(check, table, (size_t)angles * sizeof(float), &cosines));
  ZK_TRY(zk_check_upload(check, table + angles, (size_t)angles * sizeof(float), &sines));
  d.positions = positions, d.cos_table = cosines, d.sin_table = sines;
  if (s->norms) {
    void *q_weight, *k_weight;
    ZK_TRY(zk_check_upload_elements(check, weight, s->dim, &q_weight));
    ZK_TRY(zk_check_upload_elements(check, weight + s->dim, s->dim, &k_weight));
    d.q_weight = q_weight, d.k_weight = k_weight;
  } else if (!s->in_place) {
    return ZK_FAIL(ZK_INTERNAL, "check: without head norms q and k are turned in place");
  }
  const size_t cache_bytes = zk_kv_cache_bytes(check->device, &d.attention, batch.max_pages * s->seqs);
  ZK_TRY(make_tensors(check, s, q, k, cache_bytes, &got));
  ZK_TRY(make_tensors(check, s, q, k, cache_bytes, &want));
  const zk_rope_cache_io io = {got.q_raw,  got.k_raw,  v_d,         got.q,      got.k,
                               got.rstd_q, got.rstd_k, got.k_cache, got.v_cache};
  ZK_TRY(zk_rope_cache(check->fused, &d, &batch, &io));
  ZK_TRY(one_by_one(check->helper, &d, &batch, &want, v_d));
  ZK_TRY(zk_check_compare_devices(check, "q", got.q, want.q, (size_t)num_q * zk_numerics_bytes(check->numerics)));
  ZK_TRY(zk_check_compare_devices(check, "k_cache", got.k_cache, want.k_cache, cache_bytes));
  ZK_TRY(zk_check_compare_devices(check, "v_cache", got.v_cache, want.v_cache, cache_bytes));
  ZK_TRY(zk_check_compare_devices(check, "rstd_q", got.rstd_q, want.rstd_q, (size_t)s->rows * (size_t)s->heads * sizeof(float)));
  return zk_check_compare_devices(check, "rstd_k", got.rstd_k, want.rstd_k, (size_t)s->rows * (size_t)s->kv_heads * sizeof(float));
}

zk_status zk_check_rope_cache(zk_check *check) {
  const bool is_cpu = zk_device_get_kind(check->device) == ZK_DEVICE_CPU; // where one call is its parts: not the last four shapes, large ones
  for (int i = 0; i < (check->quick ? 2 : NUM(shapes) - 4 * is_cpu); i++) ZK_TRY(run_case(check, &shapes[i]));
  return ZK_OK;
}
