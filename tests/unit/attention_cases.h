// Attention test cases: sequences with plain K and V, the reference's answers, and a small engine that plays them through a paged
// cache whose unused memory is NaN.
#ifndef ZK_TESTS_ATTENTION_CASES_H
#define ZK_TESTS_ATTENTION_CASES_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/cpu/isa.h"
#include "kernels/reference/attention_reference.h"

static const zk_attention_reference contract_order = {.tile = ZK_ATTN_TILE, .split = ZK_ATTN_SPLIT, .part = ZK_ATTN_PART};

static uint64_t rng_state = 1;
static uint32_t rng_u32(void) {
  uint64_t z = (rng_state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (uint32_t)((z ^ (z >> 31)) >> 32);
}
static int32_t rng_below(int32_t n) { return (int32_t)(rng_u32() % (uint32_t)n); }
// About normal, unit variance: a sum of four uniforms.
static float rng_normal(void) {
  double sum = 0.0;
  for (int i = 0; i < 4; ++i) sum += (double)rng_u32() / 4294967296.0 - 0.5;
  return (float)(sum * 1.7320508);
}
static float *random_floats(size_t n) {
  float *x = malloc((n + 1) * sizeof *x);
  for (size_t i = 0; i < n; ++i) x[i] = rng_normal();
  return x;
}
static float *zero_floats(size_t n) { return calloc(n + 1, sizeof(float)); }
static size_t differing(const float *a, const float *b, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) count += memcmp(&a[i], &b[i], sizeof(float)) != 0;
  return count;
}

// A sequence: q[len,Hq,D], k, v[len,Hkv,D], and what the reference says.
typedef struct {
  int32_t len;
  float *q, *k, *v, *out, *lse;
} sequence;

static zk_attention_desc desc_of(int32_t heads, int32_t kv_heads, int32_t dim, int32_t page_tokens) {
  return (zk_attention_desc){.numerics = ZK_F32, .num_heads = heads, .num_kv_heads = kv_heads, .head_dim = dim,
                             .page_tokens = page_tokens, .scale = (float)(1.0 / sqrt((double)dim))};
}

static zk_attention_reference reference_of(const zk_attention_desc *d, int32_t len) {
  zk_attention_reference r = contract_order;
  r.num_rows = len, r.num_heads = d->num_heads, r.num_kv_heads = d->num_kv_heads, r.head_dim = d->head_dim, r.scale = d->scale;
  return r;
}

static sequence make_sequence(const zk_attention_desc *d, int32_t len) {
  const size_t rows = (size_t)len, nq = rows * (size_t)(d->num_heads * d->head_dim), nkv = rows * (size_t)(d->num_kv_heads * d->head_dim);
  sequence s = {len, random_floats(nq), random_floats(nkv), random_floats(nkv), zero_floats(nq), zero_floats(rows * (size_t)d->num_heads)};
  const zk_attention_reference r = reference_of(d, len);
  zk_attention_reference_forward(&r, s.q, s.k, s.v, s.out, s.lse);
  return s;
}

static void free_sequence(sequence *s) {
  free(s->q), free(s->k), free(s->v), free(s->out), free(s->lse);
}

// A cache with room for `num_seqs` sequences of at most `max_len`, page tables shuffled, everything NaN until written.
typedef struct {
  zk_device *device;
  zk_stream *stream;
  zk_attention_desc desc;
  int32_t num_seqs, max_pages, num_pages;
  int32_t *page_table, *done; // [num_seqs, max_pages], rows played of each sequence
  void *k_cache, *v_cache;
  size_t cache_bytes;
} player;

static player make_player(const zk_attention_desc *d, int32_t num_seqs, int32_t max_len, zk_cpu_isa isa, int threads) {
  player p = {.desc = *d, .num_seqs = num_seqs, .max_pages = (max_len + d->page_tokens - 1) / d->page_tokens};
  assert_int_equal(zk_device_open(ZK_DEVICE_CPU, 0, &p.device), ZK_OK);
  assert_int_equal(zk_device_set_isa(p.device, isa), ZK_OK);
  zk_device_set_threads(p.device, threads);
  assert_int_equal(zk_stream_open(p.device, ZK_SIDE_SAMPLER, &p.stream), ZK_OK);
  p.num_pages = num_seqs * p.max_pages + 3;
  p.page_table = calloc((size_t)p.num_pages, sizeof(int32_t));
  p.done = calloc((size_t)num_seqs, sizeof(int32_t));
  for (int32_t i = 0; i < p.num_pages; ++i) {
    const int32_t j = rng_below(i + 1);
    p.page_table[i] = p.page_table[j];
    p.page_table[j] = i;
  }
  p.cache_bytes = zk_kv_cache_bytes(p.device, d, p.num_pages);
  assert_int_equal(zk_device_alloc(p.device, p.cache_bytes, "K cache", &p.k_cache), ZK_OK);
  assert_int_equal(zk_device_alloc(p.device, p.cache_bytes, "V cache", &p.v_cache), ZK_OK);
  memset(p.k_cache, 0xff, p.cache_bytes); // NaN
  memset(p.v_cache, 0xff, p.cache_bytes);
  return p;
}

static void free_player(player *p) {
  zk_device_free(p->device, p->k_cache);
  zk_device_free(p->device, p->v_cache);
  zk_stream_close(p->stream);
  zk_device_close(p->device);
  free(p->page_table);
  free(p->done);
}

// One step: the next rows[i] rows of every sequence i. Returns how many values of out and lse differ from the sequences' own.
static size_t play_step(player *p, const sequence *seqs, const int32_t *rows) {
  const zk_attention_desc *d = &p->desc;
  const size_t q_row = (size_t)(d->num_heads * d->head_dim), kv_row = (size_t)(d->num_kv_heads * d->head_dim);
  int32_t start[65] = {0}, first_pos[64], table_seq[64], n = 0, total = 0;
  for (int32_t i = 0; i < p->num_seqs; ++i) total += rows[i];
  float *q = zero_floats((size_t)total * q_row), *k = zero_floats((size_t)total * kv_row), *v = zero_floats((size_t)total * kv_row);
  float *out = random_floats((size_t)total * q_row), *lse = random_floats((size_t)(total * d->num_heads));
  int32_t *table = calloc((size_t)(p->num_seqs * p->max_pages), sizeof(int32_t));
  for (int32_t i = 0; i < p->num_seqs; ++i) {
    if (rows[i] == 0) continue;
    const size_t at = (size_t)start[n], from = (size_t)p->done[i], count = (size_t)rows[i];
    memcpy(q + at * q_row, seqs[i].q + from * q_row, count * q_row * sizeof(float));
    memcpy(k + at * kv_row, seqs[i].k + from * kv_row, count * kv_row * sizeof(float));
    memcpy(v + at * kv_row, seqs[i].v + from * kv_row, count * kv_row * sizeof(float));
    memcpy(table + (size_t)(n * p->max_pages), p->page_table + (size_t)(i * p->max_pages), (size_t)p->max_pages * sizeof(int32_t));
    first_pos[n] = p->done[i], table_seq[n] = i;
    start[n + 1] = start[n] + rows[i], n++;
  }
  const zk_attention_batch batch = {total, n, p->max_pages, start, first_pos, table, NULL};
  assert_int_equal(zk_kv_write(p->stream, d, &batch, k, v, p->k_cache, p->v_cache), ZK_OK);
  assert_int_equal(zk_attention_forward(p->stream, d, &batch, q, p->k_cache, p->v_cache, out, lse), ZK_OK);
  size_t bad = 0;
  for (int32_t j = 0; j < n; ++j) {
    const sequence *s = &seqs[table_seq[j]];
    const size_t at = (size_t)start[j], from = (size_t)first_pos[j], count = (size_t)(start[j + 1] - start[j]);
    bad += differing(out + at * q_row, s->out + from * q_row, count * q_row);
    bad += differing(lse + at * (size_t)d->num_heads, s->lse + from * (size_t)d->num_heads, count * (size_t)d->num_heads);
    p->done[table_seq[j]] += rows[table_seq[j]];
  }
  free(q), free(k), free(v), free(out), free(lse), free(table);
  return bad;
}

// Plays everything in steps of random rows of random sequences, at most max_rows of one sequence a step. Returns values that differ.
static inline size_t play_all(player *p, const sequence *seqs, int32_t max_rows) {
  size_t bad = 0;
  for (;;) {
    int32_t rows[64] = {0}, left = 0;
    for (int32_t i = 0; i < p->num_seqs; ++i) {
      const int32_t remaining = seqs[i].len - p->done[i];
      left += remaining;
      rows[i] = p->num_seqs > 1 && rng_below(3) == 0 ? 0 : max_rows >= seqs[i].len ? max_rows : 1 + rng_below(max_rows);
      if (rows[i] > remaining) rows[i] = remaining;
    }
    if (left == 0) return bad;
    bad += play_step(p, seqs, rows);
  }
}

#define FOR_EACH_ISA_AND_THREADS(isa, threads)                                                                         \
  for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; ++isa)                                                     \
    for (int threads = 1; threads <= 3 && zk_cpu_isa_available(isa); ++threads)

#endif
