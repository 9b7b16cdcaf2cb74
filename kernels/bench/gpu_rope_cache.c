// What stands between a layer's q, k, v products and its attention, bf16, against memory bandwidth: head norms, RoPE
// and the cache's writing in one call (kernels/rope_cache.h); the rival is the same by separate operations.
#include <stdlib.h>

#include "kernels/bench/gpu.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/rope_cache.h"

enum { HEADS = 32, KV_HEADS = 8, DIM = 128, PAGE = 64 };

typedef struct {
  zk_stream *stream;
  int32_t copies, turn;
  size_t q_bytes, kv_bytes;
  char *q, *k, *v;
  zk_rope_cache_desc desc;
  zk_attention_batch batch;
  void *k_cache, *v_cache;
} cache_arg;

static zk_rope_cache_io next(cache_arg *a) {
  a->turn = (a->turn + 1) % a->copies;
  char *q = a->q + (size_t)a->turn * a->q_bytes, *k = a->k + (size_t)a->turn * a->kv_bytes;
  return (zk_rope_cache_io){q, k, a->v + (size_t)a->turn * a->kv_bytes, q, k, NULL, NULL, a->k_cache, a->v_cache};
}

static zk_status run_one_call(void *arg) {
  cache_arg *a = arg;
  const zk_rope_cache_io io = next(a);
  return zk_rope_cache(a->stream, &a->desc, &a->batch, &io);
}

static zk_status run_one_by_one(void *arg) {
  cache_arg *a = arg;
  const zk_rope_cache_io io = next(a);
  const zk_rope_cache_desc *d = &a->desc;
  for (int i = 0; i < 2; i++) {
    const int32_t heads = i == 0 ? HEADS : KV_HEADS;
    const zk_rmsnorm_desc norm = {ZK_BF16, a->batch.num_rows, heads, DIM, d->eps};
    const zk_rope_desc rope = {ZK_BF16, a->batch.num_rows, heads, DIM};
    void *x = i == 0 ? io.q : io.k;
    if (d->q_weight != NULL)
      ZK_TRY(zk_rmsnorm_forward(a->stream, &norm, x, i == 0 ? d->q_weight : d->k_weight, x, NULL));
    ZK_TRY(zk_rope_forward(a->stream, &rope, d->positions, d->cos_table, d->sin_table, x));
  }
  return zk_kv_write(a->stream, &d->attention, &a->batch, io.k, io.v, io.k_cache, io.v_cache);
}

// `rows` tokens: of one sequence each, at position 1,023 (decode), or of one long sequence (prefill).
static zk_status make_batch(zk_bench *bench, cache_arg *a, int32_t rows, bool decode) {
  const int32_t seqs = decode ? rows : 1, pages = decode ? 1024 / PAGE : (rows + PAGE - 1) / PAGE,
                num_pages = seqs * pages;
  int32_t *ints = malloc((size_t)(2 * seqs + 1 + rows + num_pages) * sizeof *ints);
  if (ints == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a batch");
  int32_t *start = ints, *first = start + seqs + 1, *positions = first + seqs, *table = positions + rows, *start_d,
          *first_d, *positions_d, *table_d;
  for (int32_t i = 0; i < seqs; i++) start[i] = i, first[i] = decode ? 1023 : 0;
  start[seqs] = rows;
  for (int32_t i = 0; i < rows; i++) positions[i] = decode ? 1023 : i;
  for (int32_t i = 0; i < num_pages; i++) table[i] = num_pages - 1 - i;
  zk_status status = zk_bench_upload(bench, start, (size_t)(seqs + 1) * sizeof *ints, &start_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, first, (size_t)seqs * sizeof *ints, &first_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, positions, (size_t)rows * sizeof *ints, &positions_d);
  if (status == ZK_OK) status = zk_bench_upload(bench, table, (size_t)num_pages * sizeof *ints, &table_d);
  free(ints);
  ZK_TRY(status);
  a->batch = (zk_attention_batch){rows, seqs, pages, start_d, first_d, table_d, NULL};
  a->desc.positions = positions_d;
  const size_t bytes = zk_kv_cache_bytes(zk_stream_device(a->stream), &a->desc.attention, num_pages);
  ZK_TRY(zk_bench_alloc(bench, bytes, "a K cache", &a->k_cache));
  return zk_bench_alloc(bench, bytes, "a V cache", &a->v_cache);
}

static zk_status measure(zk_bench *bench, int32_t rows, bool decode, bool norms) {
  cache_arg a = {.stream = zk_bench_stream(bench),
                 .desc = {.attention = {ZK_BF16, HEADS, KV_HEADS, DIM, PAGE, 0.1f}, .eps = 1e-6f}};
  rows = zk_bench_size(bench, rows, 1);
  const int64_t q = (int64_t)rows * HEADS * DIM, kv = (int64_t)rows * KV_HEADS * DIM,
                angles = (int64_t)(decode ? 1024 : rows) * DIM / 2;
  a.q_bytes = (size_t)q * 2, a.kv_bytes = (size_t)kv * 2, a.copies = zk_bench_copies((q + 2 * kv) * 2);
  void *cosines, *sines, *weight;
  ZK_TRY(make_batch(bench, &a, rows, decode));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, q * a.copies, 1.0f, "queries", &a.q));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, kv * a.copies, 1.0f, "keys", &a.k));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, kv * a.copies, 1.0f, "values", &a.v));
  ZK_TRY(zk_bench_random(bench, ZK_F32, angles, 0.5f, "cosines", &cosines));
  ZK_TRY(zk_bench_random(bench, ZK_F32, angles, 0.5f, "sines", &sines));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, DIM, 1.0f, "weights", &weight));
  a.desc.cos_table = cosines, a.desc.sin_table = sines;
  if (norms) a.desc.q_weight = a.desc.k_weight = weight;
  // q, k, v read and written once, cosines and sines of every token read
  zk_bench_row row = {.bytes = 2.0 * (double)(a.q_bytes + 2 * a.kv_bytes) + (double)rows * DIM * sizeof(float),
                      .rival = "one by one"};
  char shape[48];
  snprintf(shape, sizeof shape, "%s %d H %d/%d D %d%s", decode ? "B" : "S", rows, HEADS, KV_HEADS, DIM,
           norms ? " norms" : "");
  ZK_TRY(zk_bench_time_gpu(bench, run_one_by_one, &a, 0.0, &row.rival_us));
  ZK_TRY(zk_bench_time_gpu(bench, run_one_call, &a, 0.0, &row.us));
  return zk_bench_add_gpu(bench, "rope cache", shape, row);
}

static zk_status run(zk_bench *bench) {
  static const int32_t rows[] = {1, 256, 16384};
  if (!zk_bench_wants(bench, "rope cache")) return ZK_OK;
  zk_status status = ZK_OK;
  for (int norms = 0; norms < 2; norms++)
    for (int i = 0; i < 3 && status == ZK_OK; i++) {
      status = measure(bench, rows[i], i < 2, norms);
      zk_bench_release(bench);
    }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_rope_cache = {
    "rope_cache", "head norms, RoPE and the cache's writing, against bandwidth", run};
