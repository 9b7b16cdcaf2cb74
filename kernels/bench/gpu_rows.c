// Row-wise and elementwise operations on a GPU, bf16, against memory bandwidth: embedding, norm, RoPE, SwiGLU, AdamW, the weights' hash.
#include <stdlib.h>

#include "kernels/adamw.h"
#include "kernels/bench/gpu.h"
#include "kernels/embedding.h"
#include "kernels/hash.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

typedef struct {
  zk_stream *stream;
  int32_t rows, width; // of one input; AdamW and the hash: rows elements
  int32_t copies, turn;
  char *x, *y, *z; // inputs and outputs in rotation, `stride` bytes apart
  size_t stride;
  void *weight;
  float *rstd, *cosines, *sines, *grad, *master, *m, *v;
  int32_t *positions;
} rows_arg;

static size_t turn(rows_arg *a) {
  a->turn = (a->turn + 1) % a->copies;
  return (size_t)a->turn * a->stride;
}

static zk_status run_rmsnorm(void *arg) {
  rows_arg *a = arg;
  const zk_rmsnorm_desc desc = {ZK_BF16, a->rows, 1, a->width, 1e-6f};
  const size_t at = turn(a);
  return zk_rmsnorm_forward(a->stream, &desc, a->x + at, a->weight, a->y + at, a->rstd);
}
enum { ROPE_DIM = 128, VOCAB = 40000 };
static zk_status run_embedding(void *arg) {
  rows_arg *a = arg;
  const zk_embedding_desc desc = {ZK_BF16, a->rows, a->width, VOCAB};
  return zk_embedding_forward(a->stream, &desc, a->positions, a->weight, a->x + turn(a));
}
static zk_status run_rope(void *arg) {
  rows_arg *a = arg;
  const zk_rope_desc desc = {ZK_BF16, a->rows, a->width / ROPE_DIM, ROPE_DIM};
  return zk_rope_forward(a->stream, &desc, a->positions, a->cosines, a->sines, a->x + turn(a));
}
static zk_status run_swiglu(void *arg) {
  rows_arg *a = arg;
  const size_t at = turn(a);
  return zk_swiglu_forward(a->stream, ZK_BF16, (int64_t)a->rows * a->width, a->x + at, a->y + at, a->z + at);
}
static zk_status run_adamw(void *arg) {
  rows_arg *a = arg;
  zk_adamw_params params;
  zk_adamw_scalars(1e-6, 0.9, 0.999, 1e-8, 0.01, 10, 1.0f, 1.0, &params);
  return zk_adamw(a->stream, ZK_BF16, &params, 1, a->rows, a->master, a->m, a->v, a->grad, a->y);
}
static zk_status run_hash(void *arg) {
  rows_arg *a = arg;
  uint64_t sum;
  return zk_hash_elements(a->stream, 2, a->rows, 0, a->x, &sum);
}

// Inputs in rotation: num_buffers of x, y, z.
static zk_status make(zk_bench *bench, rows_arg *a, int num_buffers) {
  char **const buffers[] = {&a->x, &a->y, &a->z};
  const int64_t n = (int64_t)a->rows * a->width;
  a->stride = (size_t)n * 2;
  a->copies = zk_bench_copies((int64_t)a->stride * num_buffers);
  for (int i = 0; i < num_buffers; i++)
    ZK_TRY(zk_bench_random(bench, ZK_BF16, n * a->copies, 1.0f, "activations", buffers[i]));
  return ZK_OK;
}

// positions[i] = i * step modulo `bound`.
static zk_status make_positions(zk_bench *bench, rows_arg *a, int64_t step, int64_t bound) {
  int32_t *positions = malloc((size_t)a->rows * sizeof *positions);
  if (positions == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for positions");
  for (int32_t i = 0; i < a->rows; i++) positions[i] = (int32_t)(i * step % bound);
  const zk_status status = zk_bench_upload(bench, positions, (size_t)a->rows * sizeof *positions, &a->positions);
  free(positions);
  return status;
}

// A table of embeddings, and tokens all over it.
static zk_status make_embedding(zk_bench *bench, rows_arg *a) {
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)VOCAB * a->width, 1.0f, "embeddings", &a->weight));
  return make_positions(bench, a, 7919, VOCAB);
}

// Tables of the longest sequence, positions ascending.
static zk_status make_rope(zk_bench *bench, rows_arg *a) {
  zk_status status = make_positions(bench, a, 1, INT32_MAX);
  const int64_t n = (int64_t)a->rows * (ROPE_DIM / 2); // their values change no time
  if (status == ZK_OK) status = zk_bench_random(bench, ZK_F32, n, 0.5f, "cosines", &a->cosines);
  if (status == ZK_OK) status = zk_bench_random(bench, ZK_F32, n, 0.5f, "sines", &a->sines);
  return status;
}

static zk_status make_adamw(zk_bench *bench, rows_arg *a) {
  ZK_TRY(zk_bench_random(bench, ZK_F32, a->rows, 0.03f, "master weights", &a->master));
  ZK_TRY(zk_bench_random(bench, ZK_F32, a->rows, 1e-3f, "gradients", &a->grad));
  ZK_TRY(zk_bench_alloc(bench, (size_t)a->rows * sizeof(float), "moments", &a->m));
  ZK_TRY(zk_bench_alloc(bench, (size_t)a->rows * sizeof(float), "moments", &a->v));
  return zk_bench_alloc(bench, (size_t)a->rows * 2, "working weights", &a->y);
}

typedef struct {
  const char *group;
  int32_t rows, width;
  int num_buffers;
  double bytes; // of one element
  zk_bench_call *call;
  zk_status (*prepare)(zk_bench *bench, rows_arg *a);
} row_case;

static zk_status make_rmsnorm(zk_bench *bench, rows_arg *a) {
  ZK_TRY(zk_bench_alloc(bench, (size_t)a->rows * sizeof(float), "rstd", &a->rstd));
  return zk_bench_random(bench, ZK_BF16, a->width, 1.0f, "weights", &a->weight);
}

static zk_status measure(zk_bench *bench, const row_case *c) {
  rows_arg a = {.stream = zk_bench_stream(bench), .rows = zk_bench_size(bench, c->rows, 1), .copies = 1};
  a.width = c->width > 1 ? zk_bench_size(bench, c->width, ROPE_DIM) : 1;
  if (c->num_buffers > 0) ZK_TRY(make(bench, &a, c->num_buffers));
  if (c->prepare != NULL) ZK_TRY(c->prepare(bench, &a));
  zk_bench_row row = {.bytes = c->bytes * a.rows * a.width};
  char shape[48];
  if (c->width > 1) snprintf(shape, sizeof shape, "rows %d x %d", a.rows, a.width);
  else snprintf(shape, sizeof shape, "%d elements", a.rows);
  ZK_TRY(zk_bench_time_gpu(bench, c->call, &a, 0.0, &row.us));
  return zk_bench_add_gpu(bench, c->group, shape, row);
}

static zk_status run(zk_bench *bench) {
  static const row_case cases[] = {
      {"embedding", 256, 4096, 1, 4, run_embedding, make_embedding},
      {"embedding", 16384, 4096, 1, 4, run_embedding, make_embedding},
      {"rmsnorm", 1, 4096, 2, 4, run_rmsnorm, make_rmsnorm},
      {"rmsnorm", 256, 4096, 2, 4, run_rmsnorm, make_rmsnorm},
      {"rmsnorm", 16384, 4096, 2, 4, run_rmsnorm, make_rmsnorm},
      {"rmsnorm", 16384, 1024, 2, 4, run_rmsnorm, make_rmsnorm},
      {"rope", 256, 4096, 1, 4, run_rope, make_rope},
      {"rope", 16384, 4096, 1, 4, run_rope, make_rope},
      {"swiglu", 256, 12288, 3, 6, run_swiglu, NULL},
      {"swiglu", 16384, 12288, 3, 6, run_swiglu, NULL},
      {"adamw", 100000000, 1, 0, 30, run_adamw,
       make_adamw}, // master, m, v read and written, the gradient read, the copy written
      {"weights hash", 100000000, 1, 1, 2, run_hash, NULL},
  };
  zk_status status = ZK_OK;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0] && status == ZK_OK; i++) {
    if (!zk_bench_wants(bench, cases[i].group)) continue;
    status = measure(bench, &cases[i]);
    zk_bench_release(bench);
  }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_rows = {"rows", "embedding, norm, RoPE, SwiGLU, AdamW, weights' hash, against bandwidth",
                                                run};
