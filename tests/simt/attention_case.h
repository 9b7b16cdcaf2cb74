// Attention on the CPU and on the emulated GPU, of pages that are NaN until they are written: what tests of its kernels share.
#ifndef ZK_SIMT_ATTENTION_CASE_H
#define ZK_SIMT_ATTENTION_CASE_H

#include "tests/simt/order.h"
#include "tests/simt/place.h"

#include "kernels/attention.h"

#define MAX_SEQS 20

// Sequences of len[i] keys whose rows from first[i] on are the queries; sequence i has the first shared[i] pages of the one before. Backward runs when
// all rows are queries.
typedef struct {
  zk_numerics numerics;
  int32_t heads, kv_heads, dim, page_tokens, num_seqs, len[MAX_SEQS], first[MAX_SEQS], shared[MAX_SEQS];
} problem;

// Page i of sequence s is the (s * max_pages + i)-th from the cache's end; the first two pages are spare.
static int32_t *make_table(const problem *p, int32_t max_pages) {
  int32_t *table = malloc(sizeof *table * (size_t)(p->num_seqs * max_pages));
  for (int32_t i = 0; i < p->num_seqs * max_pages; i++) table[i] = p->num_seqs * max_pages + 1 - i;
  return table;
}

static zk_attention_batch make_batch(place *at, const problem *p, const int32_t *first, int32_t max_pages,
                                     const int32_t *table) {
  int32_t start[MAX_SEQS + 1] = {0};
  for (int i = 0; i < p->num_seqs; i++) start[i + 1] = start[i] + p->len[i] - first[i];
  return (zk_attention_batch){start[p->num_seqs],
                              p->num_seqs,
                              max_pages,
                              upload(at, start, sizeof start),
                              upload(at, first, sizeof(int32_t) * (size_t)p->num_seqs),
                              upload(at, table, sizeof *table * (size_t)(p->num_seqs * max_pages)),
                              NULL};
}

static void run_backward(place *at, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                         const void *k_cache, const void *v_cache, const void *out, const float *lse, char **result,
                         size_t *size) {
  const size_t element = zk_numerics_bytes(desc->numerics),
               nq = (size_t)(batch->num_rows * desc->num_heads * desc->head_dim),
               nkv = (size_t)(batch->num_rows * desc->num_kv_heads * desc->head_dim);
  void *dout = upload_random(at, desc->numerics, nq, 4), *dq = upload_nan(at, nq * element),
       *dk = upload_nan(at, nkv * element), *dv = upload_nan(at, nkv * element);
  OK(zk_attention_backward(at->stream, desc, batch, q, k_cache, v_cache, out, dout, lse, dq, dk, dv));
  keep(at, dq, nq * element, result, size);
  keep(at, dk, nkv * element, result, size);
  keep(at, dv, nkv * element, result, size);
}

// out, lse and, if all rows are there, dq, dk, dv, one after the other; the caller frees them.
static char *compute(zk_device_kind kind, const problem *p, float scale, size_t *size) {
  static const int32_t zeros[MAX_SEQS];
  const zk_attention_desc desc = {p->numerics, p->heads, p->kv_heads, p->dim, p->page_tokens, scale};
  const size_t element = zk_numerics_bytes(p->numerics);
  place here, *at = &here;
  open_place(kind, at);
  int32_t max_pages = 0;
  for (int i = 0; i < p->num_seqs; i++) {
    const int32_t pages = (p->len[i] + p->page_tokens - 1) / p->page_tokens;
    max_pages = pages > max_pages ? pages : max_pages;
  }
  const size_t cache_bytes = zk_kv_cache_bytes(at->device, &desc, p->num_seqs * max_pages + 2);
  void *k_cache = upload_nan(at, cache_bytes), *v_cache = upload_nan(at, cache_bytes);
  int32_t *table = make_table(p, max_pages);
  const zk_attention_batch all = make_batch(at, p, zeros, max_pages, table);
  const size_t nkv = (size_t)(all.num_rows * p->kv_heads * p->dim);
  OK(zk_kv_write(at->stream, &desc, &all, upload_random(at, p->numerics, nkv, 1),
                 upload_random(at, p->numerics, nkv, 2), k_cache, v_cache));
  OK(zk_kv_copy_page(at->stream, &desc, table[0], 0, k_cache,
                     v_cache)); // page 0 takes the place of the first, which becomes NaN
  OK(zk_kv_copy_page(at->stream, &desc, 1, table[0], k_cache, v_cache));
  table[0] = 0;

  bool shares = false;
  for (int i = 1; i < p->num_seqs; i++) {
    memcpy(table + i * max_pages, table + (i - 1) * max_pages, (size_t)p->shared[i] * sizeof *table);
    shares = shares || p->shared[i] > 0;
  }
  zk_attention_batch batch = make_batch(at, p, p->first, max_pages, table);
  if (shares) batch.seq_shared_pages = upload(at, p->shared, (size_t)p->num_seqs * sizeof *p->shared);
  const size_t nq = (size_t)(batch.num_rows * p->heads * p->dim),
               lse_bytes = (size_t)(batch.num_rows * p->heads) * sizeof(float);
  void *q = upload_random(at, p->numerics, nq, 3), *out = upload_nan(at, nq * element),
       *lse = upload_nan(at, lse_bytes);
  OK(zk_attention_forward(at->stream, &desc, &batch, q, k_cache, v_cache, out, lse));
  char *result = NULL;
  *size = 0;
  keep(at, out, nq * element, &result, size);
  keep(at, lse, lse_bytes, &result, size);
  if (batch.num_rows == all.num_rows) run_backward(at, &desc, &batch, q, k_cache, v_cache, out, lse, &result, size);
  free(table);
  close_place(at);
  return result;
}

// The devices agree, and see a scale that is larger by one part in 1,024 (bf16's weights are bf16 numbers: a few of them do not show one ulp).
static inline void devices_agree(problem p) {
  const float scale = 0x1p-3f;
  size_t bytes, same, other;
  char *want = compute(ZK_DEVICE_CPU, &p, scale, &bytes), *got = compute(ZK_DEVICE_CUDA, &p, scale, &same),
       *moved = compute(ZK_DEVICE_CPU, &p, scale * (1.0f + 0x1p-10f), &other);
  assert_int_equal(bytes, same);
  assert_bits_equal(got, want, bytes / 4, "numerics %s, heads %d/%d, head_dim %d", zk_numerics_name(p.numerics),
                    p.heads, p.kv_heads, p.dim);
  assert_memory_not_equal(want, moved, bytes);
  free(want), free(got), free(moved);
}

// In bf16, under the first `num_orders` orders (order.h) of what the emulated GPU may do in any: the CPU's bits in each. `kernel` is for the message.
static inline void agrees_in_orders(const char *kernel, problem p, uint64_t num_orders) {
  size_t bytes, same;
  p.numerics = ZK_BF16;
  char *want = compute(ZK_DEVICE_CPU, &p, 0x1p-3f, &bytes);
  for (uint64_t order = 0; order < num_orders; order++) {
    zk_simt_set_order(order);
    char *got = compute(ZK_DEVICE_CUDA, &p, 0x1p-3f, &same);
    assert_int_equal(bytes, same);
    assert_bits_equal(got, want, bytes / 4, "%s, order %d, heads %d/%d, head_dim %d", kernel, (int)order, p.heads, p.kv_heads, p.dim);
    free(got);
  }
  zk_simt_set_order(0);
  free(want);
}

#endif
