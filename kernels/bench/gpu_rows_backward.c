// What a training step does besides products and attention, bf16, against memory bandwidth: norms, RoPE and SwiGLU backwards, and the update of a
// shard. The rival of what is one call is the same by separate operations.
#include <stdlib.h>

#include "kernels/adamw_shard.h"
#include "kernels/bench/gpu.h"
#include "kernels/hash.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/rope_cache.h"
#include "kernels/swiglu.h"

enum { HEADS = 16, KV_HEADS = 8, DIM = 128, ROWS = 16384, POSITIONS = 1024, SHARD = 200000000 };

typedef struct {
  zk_stream *stream;
  int32_t rows, width, starts[ROWS / ZK_CHUNK_TOKENS + 1];
  zk_chunks chunks; // of 4,096 rows
  uint16_t *x, *dy, *dx, *out, *up_out, *weight; // out, up_out: apart, so that every call finds the same values
  float *rstd, *dweight;
  zk_rope_cache_desc rope;
  zk_rope_norm_gradients heads;
  zk_adamw_shard_desc shard;
} rows_arg;

static zk_status run_rmsnorm(void *arg) {
  rows_arg *a = arg;
  const zk_rmsnorm_desc desc = {ZK_BF16, a->rows, 1, a->width, 1e-6f};
  return zk_rmsnorm_backward(a->stream, &desc, &a->chunks, a->dy, a->x, a->weight, a->rstd, a->dx, a->out, a->dweight);
}
static zk_status run_swiglu(void *arg) {
  rows_arg *a = arg;
  return zk_swiglu_backward(a->stream, ZK_BF16, (int64_t)a->rows * a->width, a->x, a->dy, a->dx, a->out, a->up_out);
}
static zk_status run_heads(void *arg) {
  rows_arg *a = arg;
  return zk_rope_norm_backward(a->stream, &a->rope, a->rows, &a->chunks, &a->heads);
}
static zk_status run_heads_one_by_one(void *arg) {
  rows_arg *a = arg;
  for (int i = 0; i < 2; i++) {
    const int32_t heads = i == 0 ? HEADS : KV_HEADS;
    void *d = i == 0 ? a->heads.dq : a->heads.dk;
    const zk_rope_desc rope = {ZK_BF16, a->rows, heads, DIM};
    const zk_rmsnorm_desc norm = {ZK_BF16, a->rows, heads, DIM, 1e-6f};
    ZK_TRY(zk_rope_backward(a->stream, &rope, a->rope.positions, a->rope.cos_table, a->rope.sin_table, d));
    ZK_TRY(zk_rmsnorm_backward(a->stream, &norm, &a->chunks, d, i == 0 ? a->heads.q_raw : a->heads.k_raw, a->weight, a->rstd, NULL, d, a->dweight));
  }
  return ZK_OK;
}
static zk_status run_shard(void *arg) {
  rows_arg *a = arg;
  zk_adamw_params params;
  zk_adamw_hashes hashes;
  zk_adamw_scalars(1e-6, 0.9, 0.999, 1e-8, 0.01, 10, 1.0f, 1.0, &params);
  return zk_adamw_shard(a->stream, &params, &a->shard, &hashes);
}
static zk_status run_shard_one_by_one(void *arg) {
  rows_arg *a = arg;
  const zk_adamw_shard_desc *s = &a->shard;
  zk_adamw_params params;
  uint64_t sum;
  zk_adamw_scalars(1e-6, 0.9, 0.999, 1e-8, 0.01, 10, 1.0f, 1.0, &params);
  ZK_TRY(zk_adamw(a->stream, ZK_BF16, &params, 1, s->count, s->master, s->m, s->v, s->grad, s->working));
  ZK_TRY(zk_hash_elements(a->stream, 2, s->count, 0, s->working, &sum));
  ZK_TRY(zk_hash_elements(a->stream, 4, s->count, 0, s->master, &sum));
  ZK_TRY(zk_hash_elements(a->stream, 4, s->count, 0, s->m, &sum));
  return zk_hash_elements(a->stream, 4, s->count, 0, s->v, &sum);
}

static zk_status make_rows(zk_bench *bench, rows_arg *a, int32_t width) {
  a->rows = zk_bench_size(bench, ROWS, 1), a->width = zk_bench_size(bench, width, 16), a->chunks.row_start = a->starts;
  for (int32_t at = 0; at < a->rows; at += ZK_CHUNK_TOKENS)
    a->starts[++a->chunks.num_chunks] = at + ZK_CHUNK_TOKENS < a->rows ? at + ZK_CHUNK_TOKENS : a->rows;
  const int64_t n = (int64_t)a->rows * a->width;
  ZK_TRY(zk_bench_random(bench, ZK_BF16, n, 1.0f, "activations", &a->x));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, n, 1.0f, "gradients", &a->dy));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, n, 1.0f, "gradients", &a->dx));
  ZK_TRY(zk_bench_alloc(bench, (size_t)n * 2, "gradients", &a->out));
  ZK_TRY(zk_bench_alloc(bench, (size_t)n * 2, "gradients", &a->up_out));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, a->width, 1.0f, "weights", &a->weight));
  ZK_TRY(zk_bench_random(bench, ZK_F32, (int64_t)a->rows * HEADS, 1.0f, "rstd", &a->rstd));
  return zk_bench_alloc(bench, (size_t)a->width * sizeof(float), "gradients", &a->dweight);
}

// Angles and positions as of sequences of POSITIONS tokens.
static zk_status make_rope(zk_bench *bench, int32_t rows, zk_rope_cache_desc *rope) {
  enum { ANGLES = POSITIONS * DIM / 2 };
  const zk_rope_params params = {.theta = 1e6, .scaling = ZK_ROPE_PLAIN};
  float *tables = malloc(2 * ANGLES * sizeof *tables), *tables_d;
  int32_t *positions = malloc((size_t)rows * sizeof *positions), *positions_d;
  zk_status status = tables != NULL && positions != NULL ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "bench: no memory for positions");
  if (status == ZK_OK) {
    zk_rope_build_tables(&params, DIM, POSITIONS, tables, tables + ANGLES);
    for (int32_t i = 0; i < rows; i++) positions[i] = i % POSITIONS;
    status = zk_bench_upload(bench, tables, 2 * ANGLES * sizeof *tables, &tables_d);
  }
  if (status == ZK_OK) status = zk_bench_upload(bench, positions, (size_t)rows * sizeof *positions, &positions_d);
  if (status == ZK_OK) rope->positions = positions_d, rope->cos_table = tables_d, rope->sin_table = tables_d + ANGLES;
  free(positions);
  free(tables);
  return status;
}

// Gradients are overwritten, and the next call has them for input: with 1 for weights and rstd they neither grow nor vanish.
static zk_status make_heads(zk_bench *bench, rows_arg *a) {
  enum { ONE_BF16 = 0x3f80 };
  void *raw, *dk;
  uint16_t weight[DIM];
  ZK_TRY(make_rows(bench, a, HEADS * DIM));
  const int64_t kv = (int64_t)a->rows * KV_HEADS * DIM, num_rstd = (int64_t)a->rows * HEADS;
  float *rstd = malloc((size_t)num_rstd * sizeof *rstd);
  if (rstd == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "bench: no memory for rstd");
  for (int64_t i = 0; i < num_rstd; i++) rstd[i] = 1.0f;
  for (int i = 0; i < DIM; i++) weight[i] = ONE_BF16;
  const zk_status status = zk_bench_upload(bench, rstd, (size_t)num_rstd * sizeof *rstd, &a->rstd);
  free(rstd);
  ZK_TRY(status);
  ZK_TRY(zk_bench_upload(bench, weight, sizeof weight, &a->weight));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, kv, 1.0f, "keys", &raw));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, kv, 1.0f, "gradients", &dk));
  a->rope = (zk_rope_cache_desc){{ZK_BF16, HEADS, KV_HEADS, DIM, 64, 0.1f}, a->weight, a->weight, 1e-6f, NULL, NULL, NULL};
  a->heads = (zk_rope_norm_gradients){a->x, raw, a->rstd, a->rstd, a->dy, dk, a->dweight, a->dweight + DIM};
  return make_rope(bench, a->rows, &a->rope);
}

static zk_status make_shard(zk_bench *bench, rows_arg *a) {
  zk_adamw_shard_desc *s = &a->shard;
  s->numerics = ZK_BF16, s->count = s->total = zk_bench_size(bench, SHARD, 1);
  ZK_TRY(zk_bench_random(bench, ZK_F32, s->count, 0.03f, "master weights", &s->master));
  ZK_TRY(zk_bench_random(bench, ZK_F32, s->count, 1e-3f, "gradients", &s->grad));
  ZK_TRY(zk_bench_alloc(bench, (size_t)s->count * sizeof(float), "moments", &s->m));
  ZK_TRY(zk_bench_alloc(bench, (size_t)s->count * sizeof(float), "moments", &s->v));
  return zk_bench_alloc(bench, (size_t)s->count * 2, "working weights", &s->working);
}

static zk_status add(zk_bench *bench, rows_arg *a, const char *group, const char *shape, double bytes, zk_bench_call *call, zk_bench_call *rival) {
  zk_bench_row row = {.bytes = bytes, .rival = rival ? "one by one" : NULL};
  ZK_TRY(zk_bench_time_gpu(bench, call, a, 0.0, &row.us));
  if (rival) ZK_TRY(zk_bench_time_gpu(bench, rival, a, 0.0, &row.rival_us));
  return zk_bench_add_gpu(bench, group, shape, row);
}

static zk_status measure(zk_bench *bench, int which) {
  static const char *const groups[] = {"rmsnorm backward", "rmsnorm backward", "swiglu backward", "rope norm backward", "adamw, hashes"};
  static const int32_t widths[] = {1024, 4096, 3072};
  rows_arg a = {.stream = zk_bench_stream(bench)};
  char shape[48];
  if (!zk_bench_wants(bench, groups[which])) return ZK_OK;
  if (which == 4) {
    ZK_TRY(make_shard(bench, &a));
    snprintf(shape, sizeof shape, "%lld elements", (long long)a.shard.count);
    return add(bench, &a, groups[which], shape, 30.0 * (double)a.shard.count, run_shard, run_shard_one_by_one);
  }
  if (which == 3) {
    ZK_TRY(make_heads(bench, &a));
    snprintf(shape, sizeof shape, "rows %d H %d/%d D %d", a.rows, HEADS, KV_HEADS, DIM);
    return add(bench, &a, groups[which], shape, 6.0 * a.rows * (HEADS + KV_HEADS) * DIM, run_heads, run_heads_one_by_one);
  }
  ZK_TRY(make_rows(bench, &a, widths[which]));
  snprintf(shape, sizeof shape, "rows %d x %d", a.rows, a.width);
  return add(bench, &a, groups[which], shape, (which == 2 ? 10.0 : 8.0) * a.rows * a.width, which == 2 ? run_swiglu : run_rmsnorm, NULL);
}

static zk_status run(zk_bench *bench) {
  zk_status status = ZK_OK;
  for (int which = 0; which < 5 && status == ZK_OK; which++) {
    status = measure(bench, which);
    zk_bench_release(bench);
  }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_rows_backward = {"rows_backward", "norms, RoPE, SwiGLU backwards, AdamW with its hashes, against bandwidth", run};
