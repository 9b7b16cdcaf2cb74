// The LM head's part of a training step on a GPU, bf16: log-probabilities of targets, and both gradients from the loss's
// slope; with the log-sum-exps found by the forward pass, or known before it. The rival is cuBLAS's three products alone, one
// after the other: logits (stored in bf16), dX, dW (added in f32).
#include <stdlib.h>

#include "kernels/bench/gpu.h"
#include "kernels/lmhead.h"

enum { LOGITS, DX, DW, PRODUCTS };
static const double seconds = 0.3; // long enough to take the clock down alike for all of them
typedef enum { FOUND, KNOWN, WAYS } way;
static const char *const groups[] = {"lmhead loss", "lmhead loss, lse known"};

typedef struct {
  zk_stream *stream;
  zk_vendor *vendor;
  way way;
  zk_lmhead_desc desc;
  zk_chunks chunks;
  void *x, *weight, *dx;
  float *dweight, *dlogprob, *known;
  int32_t *target;
  zk_lmhead_out out;
  zk_cublas_gemm gemm[PRODUCTS];
} loss_arg;

static zk_status run_ours(void *arg) {
  loss_arg *a = arg;
  if (a->way == KNOWN)
    return zk_lmhead_loss(a->stream, &a->desc, &a->chunks, a->x, a->weight, NULL, a->target, a->known, a->dlogprob, &a->out, a->dx, a->dweight);
  ZK_TRY(zk_lmhead_logprob(a->stream, &a->desc, a->x, a->weight, NULL, a->target, &a->out));
  return zk_lmhead_backward(a->stream, &a->desc, &a->chunks, a->x, a->weight, NULL, a->target, &a->out, a->dlogprob, NULL, a->dx, a->dweight);
}
static zk_status run_rival(void *arg) {
  const loss_arg *a = arg;
  for (int i = 0; i < PRODUCTS; i++) ZK_TRY(zk_vendor_default(a->vendor, &a->gemm[i]));
  return ZK_OK;
}

static zk_status make_targets(zk_bench *bench, loss_arg *a) {
  const int64_t rows = a->desc.num_rows;
  int32_t *target = malloc((size_t)rows * sizeof *target);
  if (target == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for targets");
  for (int64_t i = 0; i < rows; i++) target[i] = (int32_t)(i * 7919 % a->desc.vocab);
  const zk_status status = zk_bench_upload(bench, target, (size_t)rows * sizeof *target, &a->target);
  free(target);
  return status;
}

static zk_status make_inputs(zk_bench *bench, loss_arg *a) {
  const int64_t rows = a->desc.num_rows, num_x = rows * a->desc.hidden, num_w = (int64_t)a->desc.vocab * a->desc.hidden;
  float **const columns[] = {&a->out.logprob, &a->out.lse, &a->out.entropy, &a->known};
  for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) ZK_TRY(zk_bench_alloc(bench, (size_t)rows * sizeof(float), "numbers of rows", columns[i]));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, num_x, 1.0f, "activations", &a->x));
  ZK_TRY(zk_bench_random(bench, ZK_BF16, num_w, 0.03f, "weights", &a->weight));
  ZK_TRY(zk_bench_random(bench, ZK_F32, rows, 1e-4f, "slopes", &a->dlogprob));
  ZK_TRY(zk_bench_alloc(bench, (size_t)num_x * 2, "gradients", &a->dx));
  ZK_TRY(zk_bench_alloc(bench, (size_t)num_w * sizeof(float), "gradients", &a->dweight));
  ZK_TRY(make_targets(bench, a));
  const zk_lmhead_out out = {.logprob = a->out.logprob, .lse = a->known};
  return zk_lmhead_logprob(a->stream, &a->desc, a->x, a->weight, NULL, a->target, &out);
}

static zk_status time_rival(zk_bench *bench, loss_arg *a, double *us) {
  const int rows = (int)a->desc.num_rows, hidden = a->desc.hidden, vocab = a->desc.vocab;
  void *logits;
  if (a->vendor == NULL) return ZK_OK;
  ZK_TRY(zk_bench_alloc(bench, (size_t)rows * (size_t)vocab * 2, "the rival's logits", &logits));
  a->gemm[LOGITS] = (zk_cublas_gemm){true, false, vocab, rows, hidden, hidden, hidden, vocab, a->weight, a->x, logits, false, 0.0f};
  a->gemm[DX] = (zk_cublas_gemm){false, false, hidden, rows, vocab, hidden, vocab, hidden, a->weight, logits, a->dx, false, 0.0f};
  a->gemm[DW] = (zk_cublas_gemm){false, true, hidden, vocab, rows, hidden, vocab, hidden, a->x, logits, a->dweight, true, 1.0f};
  return zk_bench_time_gpu(bench, run_rival, a, seconds, us);
}

static zk_status add_rows(zk_bench *bench, loss_arg *a) {
  const double num_x = (double)a->desc.num_rows * a->desc.hidden, num_w = (double)a->desc.vocab * a->desc.hidden;
  zk_bench_row row = {.flops = 6.0 * num_x * a->desc.vocab, .bytes = 4.0 * num_x + 10.0 * num_w, .rival = "cuBLAS's three products alone"};
  char shape[48];
  snprintf(shape, sizeof shape, "M %d V %d K %d", (int)a->desc.num_rows, a->desc.vocab, a->desc.hidden);
  ZK_TRY(make_inputs(bench, a));
  ZK_TRY(time_rival(bench, a, &row.rival_us));
  for (a->way = FOUND; a->way < WAYS; a->way++) {
    if (!zk_bench_wants(bench, groups[a->way])) continue;
    ZK_TRY(zk_bench_time_gpu(bench, run_ours, a, seconds, &row.us));
    ZK_TRY(zk_bench_add_gpu(bench, groups[a->way], shape, row));
  }
  return ZK_OK;
}

static zk_status measure(zk_bench *bench, int32_t rows, int32_t hidden) {
  enum { MOST_CHUNKS = 4 };
  int32_t starts[MOST_CHUNKS + 1];
  rows = zk_bench_size(bench, rows, 16), hidden = zk_bench_size(bench, hidden, 16);
  loss_arg a = {.stream = zk_bench_stream(bench),
                .vendor = zk_bench_vendor(bench),
                .desc = {ZK_BF16, rows, hidden, zk_bench_size(bench, 151936, 16), 1.0, 0, 1.0},
                .chunks = {(rows + ZK_CHUNK_TOKENS - 1) / ZK_CHUNK_TOKENS, starts}};
  for (int32_t c = 0; c <= a.chunks.num_chunks; c++) starts[c] = c * ZK_CHUNK_TOKENS < rows ? c * ZK_CHUNK_TOKENS : rows;
  const zk_status status = add_rows(bench, &a);
  zk_bench_release(bench);
  return status;
}

static zk_status run(zk_bench *bench) {
  static const int32_t hiddens[] = {1024, 2048, 4096}, rows[] = {4096, 16384};
  if (!zk_bench_wants(bench, groups[FOUND]) && !zk_bench_wants(bench, groups[KNOWN])) return ZK_OK;
  for (size_t i = 0; i < sizeof hiddens / sizeof *hiddens; i++)
    for (size_t j = 0; j < sizeof rows / sizeof *rows; j++)
      if (!zk_bench_is_quick(bench) || i + j == 0) ZK_TRY(measure(bench, rows[j], hiddens[i]));
  return ZK_OK;
}

const zk_bench_suite zk_bench_suite_gpu_lmhead_loss = {"lmhead_loss", "LM head in training: forward and backward, against cuBLAS's three products alone",
                                                       run};
