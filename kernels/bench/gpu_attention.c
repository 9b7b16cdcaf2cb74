// Attention of an 8B model on a GPU (32 query heads, 8 KV heads of 128), bf16: prefill, decode over a paged cache, backward. Its rival, cuDNN, is
// measured by experiments/bench/torch_rivals.py, which names the shapes as this file does.
#include <stdlib.h>

#include "kernels/attention.h"
#include "kernels/bench/gpu.h"

enum { HEADS = 32, KV_HEADS = 8, DIM = 128, PAGE = 64 };
static const char forward_group[] = "attention forward", decode_group[] = "attention decode",
                  backward_group[] = "attention backward", write_group[] = "kv write";
static const zk_attention_desc desc = {ZK_BF16, HEADS, KV_HEADS, DIM, PAGE, 0x1.6a09e6p-4f}; // 1 / sqrt(128)

typedef struct {
  zk_stream *stream;
  zk_attention_batch batch;
  int32_t copies, turn; // of the cache, each call the next one: a page table for each
  int32_t keys;         // of each sequence
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

// num_seqs sequences of `keys` keys each, of which the last rows_each are queries. Pages lie in the order of a long run: scattered.
static zk_status make_batch(zk_bench *bench, attention_arg *a, int32_t num_seqs, int32_t rows_each) {
  const int32_t max_pages = (a->keys + PAGE - 1) / PAGE;
  const int64_t pages = (int64_t)num_seqs * max_pages * a->copies;
  int32_t *table = malloc((size_t)pages * sizeof *table), *start = calloc((size_t)num_seqs * 2 + 1, sizeof *start);
  zk_status status = table != NULL && start != NULL ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a batch");
  for (int64_t i = 0; i < pages && status == ZK_OK; i++) table[i] = (int32_t)i;
  uint64_t state = 88172645463325252ull; // xorshift64 (Marsaglia 2003)
  for (int64_t i = pages - 1; i > 0 && status == ZK_OK; i--) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    const int64_t j = (int64_t)(state % (uint64_t)(i + 1));
    const int32_t swapped = table[i];
    table[i] = table[j], table[j] = swapped;
  }
  int32_t *first = start == NULL ? NULL : start + num_seqs + 1;
  for (int32_t s = 0; s < num_seqs && status == ZK_OK; s++)
    start[s + 1] = (s + 1) * rows_each, first[s] = a->keys - rows_each;
  void *start_d = NULL, *first_d = NULL, *table_d = NULL;
  if (status == ZK_OK) status = zk_bench_upload(bench, table, (size_t)pages * sizeof *table, &table_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, start, (size_t)(num_seqs + 1) * sizeof *start, &start_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, first, (size_t)num_seqs * sizeof *first, &first_d);
  free(table), free(start);
  a->tables = table_d;
  a->batch = (zk_attention_batch){num_seqs * rows_each, num_seqs, max_pages, start_d, first_d, table_d, NULL};
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

static zk_status prefill(zk_bench *bench, int32_t size, bool backward) {
  attention_arg a = {.stream = zk_bench_stream(bench), .copies = 1, .keys = zk_bench_size(bench, size, 16)};
  const double keys = a.keys, pairs = keys * (keys + 1) / 2;
  const size_t kv_bytes = (size_t)a.keys * KV_HEADS * DIM * 2, q_bytes = (size_t)a.keys * HEADS * DIM * 2;
  ZK_TRY(make_batch(bench, &a, 1, a.keys));
  ZK_TRY(make_queries(bench, &a));
  zk_bench_row row = {.flops = 4.0 * pairs * HEADS * DIM, .bytes = 2.0 * (double)(kv_bytes + q_bytes)};
  char shape[48];
  snprintf(shape, sizeof shape, "S %d H %d/%d D %d", a.keys, HEADS, KV_HEADS, DIM);
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

static zk_status decode(zk_bench *bench, int32_t num_seqs, int32_t keys) {
  attention_arg a = {.stream = zk_bench_stream(bench), .keys = zk_bench_size(bench, keys, 16)};
  num_seqs = zk_bench_size(bench, num_seqs, 1);
  const int64_t bytes = (int64_t)num_seqs * a.keys * KV_HEADS * DIM * 2 * 2;
  a.copies = zk_bench_copies(bytes);
  ZK_TRY(make_batch(bench, &a, num_seqs, 1));
  ZK_TRY(make_queries(bench, &a));
  zk_bench_row row = {.flops = 4.0 * num_seqs * a.keys * HEADS * DIM,
                      .bytes = (double)bytes + 4.0 * num_seqs * HEADS * DIM};
  char shape[48];
  snprintf(shape, sizeof shape, "B %d KV %d", num_seqs, a.keys);
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
  static const int32_t decodes[][2] = {{1, 1024},  {1, 32768},  {8, 131072}, {32, 4096},
                                       {64, 8192}, {256, 1024}, {512, 600}}; // sequences, keys
  zk_status status = ZK_OK;
  for (int32_t size = 1024; size <= 8192 && status == ZK_OK && zk_bench_wants(bench, forward_group); size *= 8) {
    status = prefill(bench, size, false);
    zk_bench_release(bench);
  }
  for (size_t i = 0; i < sizeof decodes / sizeof decodes[0] && status == ZK_OK && zk_bench_wants(bench, decode_group);
       i++) {
    status = decode(bench, decodes[i][0], decodes[i][1]);
    zk_bench_release(bench);
  }
  if (status == ZK_OK && zk_bench_wants(bench, backward_group)) status = prefill(bench, 4096, true);
  zk_bench_release(bench);
  if (status == ZK_OK && zk_bench_wants(bench, write_group)) status = write_rows(bench, 8192);
  zk_bench_release(bench);
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_attention = {"attention", "prefill, decode, backward, cache writes", run};
