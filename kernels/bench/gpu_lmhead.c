// The LM head of an 8B and of a 0.6B model on a GPU, bf16: score and draw; the rival is cuBLAS's product alone, with logits stored in bf16.
#include <stdlib.h>

#include "kernels/bench/gpu.h"
#include "kernels/lmhead.h"

typedef enum { LOGPROB, SAMPLE } work;
static const char *const groups[] = {"lmhead logprob", "lmhead sample"};

typedef struct {
  zk_stream *stream;
  zk_vendor *vendor;
  work work;
  zk_lmhead_desc desc;
  zk_cublas_gemm gemm;
  void *x, *weight, *logits;
  int32_t *token;
  uint32_t *names;
  zk_lmhead_out out;
} head_arg;

static zk_status run_ours(void *arg) {
  head_arg *a = arg;
  const zk_sample_ids ids = {1, a->names, a->names, a->names, a->names};
  if (a->work == LOGPROB) return zk_lmhead_logprob(a->stream, &a->desc, a->x, a->weight, NULL, a->token, &a->out);
  return zk_lmhead_sample(a->stream, &a->desc, &ids, a->x, a->weight, NULL, a->token, &a->out);
}
static zk_status run_rival(void *arg) {
  const head_arg *a = arg;
  return zk_vendor_default(a->vendor, &a->gemm);
}

// Every row is its own prompt, and wants its own token.
static zk_status make_names(zk_bench *bench, head_arg *a, int32_t rows, int32_t vocab) {
  int32_t *names = malloc((size_t)rows * sizeof *names);
  if (names == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for rows' names");
  for (int32_t i = 0; i < rows; i++) names[i] = i;
  zk_status status = zk_bench_upload(bench, names, (size_t)rows * sizeof *names, &a->names);
  for (int32_t i = 0; i < rows; i++) names[i] = (int32_t)((int64_t)i * 7919 % vocab);
  if (status == ZK_OK) status = zk_bench_upload(bench, names, (size_t)rows * sizeof *names, &a->token);
  free(names);
  return status;
}

static zk_status add_rows(zk_bench *bench, head_arg *a, int32_t rows) {
  const int32_t hidden = a->desc.hidden, vocab = a->desc.vocab;
  ZK_TRY(zk_bench_random(bench, ZK_BF16, (int64_t)rows * hidden, 1.0f, "activations", &a->x));
  ZK_TRY(zk_bench_alloc(bench, (size_t)rows * sizeof(float), "log-probabilities", &a->out.logprob));
  ZK_TRY(zk_bench_alloc(bench, (size_t)rows * sizeof(float), "log-sum-exps", &a->out.lse));
  ZK_TRY(make_names(bench, a, rows, vocab));
  if (a->vendor != NULL)
    ZK_TRY(zk_bench_alloc(bench, (size_t)rows * (size_t)vocab * 2, "the rival's logits", &a->logits));
  a->gemm = (zk_cublas_gemm){true,  false,     vocab, rows,      hidden, hidden, hidden,
                             vocab, a->weight, a->x,  a->logits, false,  0.0f};
  a->desc.num_rows = rows;
  double rival_us = 0.0;
  if (a->vendor != NULL) ZK_TRY(zk_bench_time_gpu(bench, run_rival, a, 0.0, &rival_us));
  for (a->work = LOGPROB; a->work <= SAMPLE; a->work++) {
    if (!zk_bench_wants(bench, groups[a->work])) continue;
    zk_bench_row row = {.flops = 2.0 * rows * (double)hidden * vocab,
                        .bytes = 2.0 * ((double)hidden * vocab + (double)rows * hidden),
                        .rival = "cuBLAS product alone",
                        .rival_us = rival_us};
    char shape[48];
    snprintf(shape, sizeof shape, "M %d V %d K %d", rows, vocab, hidden);
    ZK_TRY(zk_bench_time_gpu(bench, run_ours, a, 0.0, &row.us));
    ZK_TRY(zk_bench_add_gpu(bench, groups[a->work], shape, row));
  }
  return ZK_OK;
}

static zk_status run(zk_bench *bench) {
  static const int32_t rows[] = {1, 8, 64, 256, 1024, 4096}, hiddens[] = {4096, 1024};
  enum { ROWS = sizeof rows / sizeof rows[0] };
  const int32_t vocab = zk_bench_size(bench, 151936, 16);
  if (!zk_bench_wants(bench, groups[LOGPROB]) && !zk_bench_wants(bench, groups[SAMPLE])) return ZK_OK;
  zk_status status = ZK_OK;
  for (size_t i = 0; i < (zk_bench_is_quick(bench) ? 1 : 2) * ROWS && status == ZK_OK; i++) {
    const int32_t hidden = zk_bench_size(bench, hiddens[i / ROWS], 16);
    head_arg a = {.stream = zk_bench_stream(bench),
                  .vendor = zk_bench_vendor(bench),
                  .desc = {ZK_BF16, 0, hidden, vocab, 1.0, 0, 1.0}};
    status = zk_bench_random(bench, ZK_BF16, (int64_t)hidden * vocab, 0.03f, "weights",
                             &a.weight); // larger than every cache
    if (status == ZK_OK) status = add_rows(bench, &a, zk_bench_size(bench, rows[i % ROWS], 1));
    zk_bench_release(bench);
  }
  return status;
}

const zk_bench_suite zk_bench_suite_gpu_lmhead = {"lmhead", "LM head: score and draw, against cuBLAS's product alone",
                                                  run};
