// What stands between a layer's q, k, v products and its o product when one sequence decodes, bf16: head norms, RoPE, the
// cache's writing and attention in one call (kernels/rope_attention.h); the rival is the same by two, attention being the second.
// Caches take turns, so that each call finds its own in memory.
#include <stdio.h>

#include "kernels/bench/gpu.h"
#include "kernels/rope_attention.h"

enum { HEADS = 16, KV_HEADS = 8, DIM = 128, PAGE = 64, MOST_PAGES = 32 };

typedef struct {
  zk_stream *stream;
  int32_t copies, turn;
  size_t cache_bytes;
  zk_rope_cache_desc desc;
  zk_attention_batch batch;
  void *q, *k, *v, *out;
  char *k_cache, *v_cache;
} call_arg;

static zk_rope_cache_io next(call_arg *a) {
  a->turn = (a->turn + 1) % a->copies;
  const size_t at = (size_t)a->turn * a->cache_bytes;
  return (zk_rope_cache_io){a->q, a->k, a->v, a->q, a->k, NULL, NULL, a->k_cache + at, a->v_cache + at};
}

static zk_status run_one_call(void *arg) {
  call_arg *a = arg;
  const zk_rope_cache_io io = next(a);
  return zk_rope_attention(a->stream, &a->desc, &a->batch, &io, a->out, NULL);
}

static zk_status run_two_calls(void *arg) {
  call_arg *a = arg;
  const zk_rope_cache_io io = next(a);
  ZK_TRY(zk_rope_cache(a->stream, &a->desc, &a->batch, &io));
  return zk_attention_forward(a->stream, &a->desc.attention, &a->batch, a->q, io.k_cache, io.v_cache, a->out, NULL);
}

// A token at position `keys` - 1 of a sequence that may have `room`.
static zk_status measure(zk_bench *bench, int32_t keys, int32_t room) {
  const int32_t pages = room / PAGE;
  call_arg a = {.stream = zk_bench_stream(bench), .desc = {.attention = {ZK_BF16, HEADS, KV_HEADS, DIM, PAGE, 0.088f}, .eps = 1e-6f}};
  int32_t ints[4 + MOST_PAGES] = {0, 1, keys - 1, keys - 1}, *ints_d;
  void *weight, *cosines, *sines;
  for (int32_t i = 0; i < pages; i++) ints[4 + i] = pages - 1 - i;
  a.cache_bytes = zk_kv_cache_bytes(zk_bench_device(bench), &a.desc.attention, pages);
  a.copies = zk_bench_copies((int64_t)(2 * a.cache_bytes));
  const int64_t cache = (int64_t)a.copies * (int64_t)(a.cache_bytes / 2), angles = (int64_t)room * DIM / 2;
  ZK_TRY(zk_bench_upload(bench, ints, sizeof ints, &ints_d));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, HEADS * DIM, 1.0f, "queries", &a.q));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, KV_HEADS * DIM, 1.0f, "keys", &a.k));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, KV_HEADS * DIM, 1.0f, "values", &a.v));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, cache, 1.0f, "a K cache", &a.k_cache));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, cache, 1.0f, "a V cache", &a.v_cache));
  ZK_TRY(zk_bench_random(bench, ZK_F32, angles, 0.5f, "cosines", &cosines));
  ZK_TRY(zk_bench_random(bench, ZK_F32, angles, 0.5f, "sines", &sines));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, DIM, 1.0f, "weights", &weight));
  ZK_TRY(zk_bench_alloc(bench, HEADS * DIM * 2, "outputs", &a.out));
  a.desc.cos_table = cosines, a.desc.sin_table = sines, a.desc.q_weight = a.desc.k_weight = weight;
  a.desc.positions = ints_d + 3;
  a.batch = (zk_attention_batch){1, 1, pages, ints_d, ints_d + 2, ints_d + 4, NULL};
  zk_bench_row row = {.bytes = 2.0 * keys * KV_HEADS * DIM * 2, .rival = "two calls"};
  char shape[48];
  snprintf(shape, sizeof shape, "B 1 H %d/%d D %d KV %d", HEADS, KV_HEADS, DIM, keys);
  ZK_TRY(zk_bench_time_gpu(bench, run_two_calls, &a, 0.0, &row.rival_us));
  ZK_TRY(zk_bench_time_gpu(bench, run_one_call, &a, 0.0, &row.us));
  return zk_bench_add_gpu(bench, "rope attention", shape, row);
}

static zk_status run(zk_bench *bench) {
  static const int32_t keys[] = {500, 1024, 2000};
  zk_status status = ZK_OK;
  for (int i = 0; i < 3 && status == ZK_OK && zk_bench_wants(bench, "rope attention"); i++) {
    status = measure(bench, zk_bench_size(bench, keys[i], 4), zk_bench_size(bench, MOST_PAGES * PAGE, PAGE));
    zk_bench_release(bench);
  }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_rope_attention = {"rope_attention", "head norms, RoPE, cache and attention of one token", run};
