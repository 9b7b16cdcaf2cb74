// Attention of an 8B model on a GPU (32 query heads, 8 KV heads of 128), bf16: prefill, decode over a paged cache, backward. Its rival, cuDNN, is
// measured by experiments/bench/torch_rivals.py, which names the shapes as this file does.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/bench/gpu.h"

enum { HEADS = 32, KV_HEADS = 8, DIM = 128, PAGE = 64, GROUP = 16 };
static const char forward_group[] = "attention forward", decode_group[] = "attention decode",
                  backward_group[] = "attention backward", write_group[] = "kv write";
static const zk_attention_desc desc = {ZK_BF16, HEADS, KV_HEADS, DIM, PAGE, 0x1.6a09e6p-4f}; // 1 / sqrt(128)

typedef struct {
  zk_stream *stream;
  zk_attention_batch batch;
  int32_t copies, turn; // of the cache, each call the next one: a page table for each
  int32_t keys, least;  // of a sequence: at most, and, if not 0, at least
  int32_t shared;       // first keys that GROUP neighbours have in common
  int64_t total_keys;   // that a call reads, of all sequences; shared ones once
  const int32_t *tables;
  void *q, *k_cache, *v_cache, *out, *dout, *dq, *dk, *dv, *k, *v;
  float *lse;
} attention_arg;

static zk_status run_forward(void *arg) {
  attention_arg *a = arg;
  a->turn = (a->turn + 1) % a->copies;
  a->batch.page_table = a->tables + (size_t)a->turn * (size_t)(a->batch.num_seqs * a->batch.max_pages);
  return zk_attention_forward(a->stream, &desc, &a->batch, a->q, a->k_cache, a->v_cache, a->out, a->lse);
}
static zk_status run_backward(void *arg) {
  const attention_arg *a = arg;
  return zk_attention_backward(a->stream, &desc, &a->batch, a->q, a->k_cache, a->v_cache, a->out, a->dout, a->lse,
                               a->dq, a->dk, a->dv);
}
static zk_status run_write(void *arg) {
  const attention_arg *a = arg;
  return zk_kv_write(a->stream, &desc, &a->batch, a->k, a->v, a->k_cache, a->v_cache);
}

static uint64_t draw(uint64_t *state) { // xorshift64 (Marsaglia 2003)
  *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
  return *state;
}

// Page tables of every copy, in the order of a long run: scattered. Neighbours begin with the same pages.
static void scatter_pages(const attention_arg *a, int32_t num_seqs, int32_t max_pages, int32_t *table) {
  const int64_t pages = (int64_t)num_seqs * max_pages * a->copies;
  uint64_t state = 88172645463325252ull;
  for (int64_t i = 0; i < pages; i++) table[i] = (int32_t)i;
  for (int64_t i = pages - 1; i > 0; i--) {
    const int64_t j = (int64_t)(draw(&state) % (uint64_t)(i + 1));
    const int32_t swapped = table[i];
    table[i] = table[j], table[j] = swapped;
  }
  for (int64_t s = 0; s < (int64_t)num_seqs * a->copies; s++)
    if (s % num_seqs % GROUP != 0)
      memcpy(table + s * max_pages, table + (s - 1) * max_pages, (size_t)(a->shared / PAGE) * sizeof *table);
}

// num_seqs sequences, of which the last rows_each keys are queries.
static zk_status make_batch(zk_bench *bench, attention_arg *a, int32_t num_seqs, int32_t rows_each) {
  const int32_t max_pages = (a->keys + PAGE - 1) / PAGE;
  const int64_t pages = (int64_t)num_seqs * max_pages * a->copies;
  int32_t *table = malloc((size_t)pages * sizeof *table), *ints = calloc((size_t)num_seqs * 3 + 1, sizeof *ints);
  if (table == NULL || ints == NULL) return free(table), free(ints), ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a batch");
  scatter_pages(a, num_seqs, max_pages, table);
  int32_t *start = ints, *first = start + num_seqs + 1, *shared = first + num_seqs;
  uint64_t state = 42;
  a->total_keys = 0;
  for (int32_t s = 0; s < num_seqs; s++) {
    const int32_t spread = a->least > 0 ? a->keys - a->least + 1 : 1,
                  keys = a->keys - (int32_t)(draw(&state) % (uint64_t)spread);
    start[s + 1] = (s + 1) * rows_each, first[s] = keys - rows_each;
    if (s % GROUP != 0) shared[s] = a->shared / PAGE;
    a->total_keys += keys - shared[s] * PAGE;
  }
  void *start_d = NULL, *first_d = NULL, *shared_d = NULL, *table_d = NULL;
  zk_status status = zk_bench_upload(bench, table, (size_t)pages * sizeof *table, &table_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, start, (size_t)(num_seqs + 1) * sizeof *start, &start_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, first, (size_t)num_seqs * sizeof *first, &first_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, shared, (size_t)num_seqs * sizeof *shared, &shared_d);
  free(table), free(ints);
  a->tables = table_d;
  a->batch = (zk_attention_batch){num_seqs * rows_each, num_seqs, max_pages, start_d, first_d, table_d, shared_d};
  if (status != ZK_OK) return status;
  const int64_t n = (int64_t)(zk_kv_cache_bytes(zk_bench_device(bench), &desc, (int32_t)pages) / 2);
  ZK_TRY(zk_bench_random(bench, ZK_BF16, n, 1.0f, "keys", &a->k_cache));
  return zk_bench_random(bench, ZK_BF16, n, 1.0f, "values", &a->v_cache);
}

static zk_status make_queries(zk_bench *bench, attention_arg *a) {
  const int64_t n = (int64_t)a->batch.num_rows * HEADS * DIM;
  ZK_TRY(zk_bench_random(bench, ZK_BF16, n, 1.0f, "queries", &a->q));
  ZK_TRY(zk_bench_alloc(bench, (size_t)n * 2, "outputs", &a->out));
  return zk_bench_alloc(bench, (size_t)a->batch.num_rows * HEADS * sizeof(float), "log-sum-exps", &a->lse);
}

// Whole sequences of `size` tokens.
static zk_status prefill(zk_bench *bench, int32_t num_seqs, int32_t size, bool backward) {
  attention_arg a = {.stream = zk_bench_stream(bench), .copies = 1, .keys = zk_bench_size(bench, size, 16)};
  const double keys = a.keys, pairs = num_seqs * keys * (keys + 1) / 2;
  const size_t rows = (size_t)num_seqs * (size_t)a.keys, kv_bytes = rows * KV_HEADS * DIM * 2, q_bytes = rows * HEADS * DIM * 2;
  ZK_TRY(make_batch(bench, &a, num_seqs, a.keys));
  ZK_TRY(make_queries(bench, &a));
  zk_bench_row row = {.flops = 4.0 * pairs * HEADS * DIM, .bytes = 2.0 * (double)(kv_bytes + q_bytes)};
  char shape[48], times[16] = "";
  if (num_seqs > 1) snprintf(times, sizeof times, "%d x ", num_seqs);
  snprintf(shape, sizeof shape, "S %s%d H %d/%d D %d", times, a.keys, HEADS, KV_HEADS, DIM);
  if (!backward) {
    ZK_TRY(zk_bench_time_gpu(bench, run_forward, &a, 0.0, &row.us));
    return zk_bench_add_gpu(bench, forward_group, shape, row);
  }
  row.flops *= 2.5, row.bytes = 4.0 * (double)(kv_bytes + q_bytes); // five products for two
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)q_bytes / 2, 1.0f, "gradients", &a.dout));
  ZK_TRY(zk_bench_alloc(bench, q_bytes, "gradients", &a.dq));
  ZK_TRY(zk_bench_alloc(bench, kv_bytes, "gradients", &a.dk));
  ZK_TRY(zk_bench_alloc(bench, kv_bytes, "gradients", &a.dv));
  ZK_TRY(run_forward(&a)); // backward is given what forward made of the same inputs
  ZK_TRY(zk_bench_time_gpu(bench, run_backward, &a, 0.0, &row.us));
  return zk_bench_add_gpu(bench, backward_group, shape, row);
}

typedef struct {
  int32_t seqs, keys, least, shared;
} decode_shape;

static zk_status decode(zk_bench *bench, decode_shape d) {
  attention_arg a = {.stream = zk_bench_stream(bench), .keys = zk_bench_size(bench, d.keys, 16), .least = d.least};
  const bool whole = a.keys == d.keys; // sizes are not cut
  if (!whole) a.least = 0;
  else a.shared = d.shared;
  const int32_t num_seqs = zk_bench_size(bench, d.seqs, 1);
  a.copies = zk_bench_copies((int64_t)num_seqs * (a.keys - a.shared) * KV_HEADS * DIM * 2 * 2);
  ZK_TRY(make_batch(bench, &a, num_seqs, 1));
  ZK_TRY(make_queries(bench, &a));
  zk_bench_row row = {.bytes = 4.0 * (double)(a.total_keys * KV_HEADS * DIM) + 4.0 * num_seqs * HEADS * DIM};
  char shape[64], detail[32] = "";
  if (a.least > 0) snprintf(detail, sizeof detail, "%d..", a.least);
  snprintf(shape, sizeof shape, "B %d KV %s%d", num_seqs, detail, a.keys);
  if (a.shared > 0) snprintf(detail, sizeof detail, " %d of %d shared", a.shared, GROUP), strcat(shape, detail);
  ZK_TRY(zk_bench_time_gpu(bench, run_forward, &a, 0.0, &row.us));
  return zk_bench_add_gpu(bench, decode_group, shape, row);
}

static zk_status write_rows(zk_bench *bench, int32_t size) {
  attention_arg a = {.stream = zk_bench_stream(bench), .copies = 1, .keys = zk_bench_size(bench, size, 16)};
  const int64_t n = (int64_t)a.keys * KV_HEADS * DIM;
  ZK_TRY(make_batch(bench, &a, 1, a.keys));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, n, 1.0f, "keys", &a.k));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, n, 1.0f, "values", &a.v));
  zk_bench_row row = {.bytes = 8.0 * (double)n};
  char shape[48];
  snprintf(shape, sizeof shape, "rows %d x %d", a.keys, KV_HEADS * DIM);
  ZK_TRY(zk_bench_time_gpu(bench, run_write, &a, 0.0, &row.us));
  return zk_bench_add_gpu(bench, write_group, shape, row);
}

static zk_status run(zk_bench *bench) {
  static const decode_shape decodes[] = {{1, 1024, 0, 0},   {1, 4096, 0, 0},   {1, 32768, 0, 0},
                                         {8, 1024, 0, 0},   {8, 131072, 0, 0}, {32, 4096, 0, 0},
                                         {64, 8192, 0, 0},  {256, 1024, 0, 0}, {512, 600, 0, 0},
                                         {256, 1126, 0, 0}, {256, 2000, 100, 0}, {256, 1280, 0, 0},
                                         {256, 1280, 0, 1024}};
  zk_status status = ZK_OK;
  for (int32_t size = 1024; size <= 8192 && status == ZK_OK && zk_bench_wants(bench, forward_group); size *= 8) {
    status = prefill(bench, 1, size, false);
    zk_bench_release(bench);
  }
  if (status == ZK_OK && !zk_bench_is_quick(bench) && zk_bench_wants(bench, forward_group)) status = prefill(bench, 4, 4096, false);
  zk_bench_release(bench);
  for (size_t i = 0; i < sizeof decodes / sizeof decodes[0] && status == ZK_OK && zk_bench_wants(bench, decode_group);
       i++) {
    status = decode(bench, decodes[i]);
    zk_bench_release(bench);
  }
  if (status == ZK_OK && zk_bench_wants(bench, write_group)) status = write_rows(bench, 8192);
  zk_bench_release(bench);
  return status;
}

static zk_status run_backward_rows(zk_bench *bench) {
  zk_status status = ZK_OK;
  for (int32_t size = 4096; size <= 16384 && status == ZK_OK && zk_bench_wants(bench, backward_group); size *= 2) {
    status = prefill(bench, 1, size, true);
    zk_bench_release(bench);
  }
  static const int32_t packed[][2] = {{4, 4096}, {32, 512}}; // sequences, tokens of each
  for (int i = 0; i < 2 && status == ZK_OK && !zk_bench_is_quick(bench) && zk_bench_wants(bench, backward_group); i++) {
    status = prefill(bench, packed[i][0], packed[i][1], true);
    zk_bench_release(bench);
  }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_attention = {"attention", "prefill, decode, cache writes", run};
const zk_bench_suite zk_bench_suite_gpu_attention_backward = {"attention_backward", "attention's gradients", run_backward_rows};
