// LM head at a 135M model's shape: score, draw, backward; the rival is its matrix products alone, with logits stored.
#include "kernels/bench.h"
#include "kernels/linear.h"
#include "kernels/lmhead.h"

enum { HIDDEN = 576, VOCAB = 49152, MAX_ROWS = 1024 };
typedef enum { LOGPROB, SAMPLE, SAMPLE_TOP_P, BACKWARD } work;
static const char *const groups[] = {"lmhead logprob", "lmhead sample", "lmhead sample top-p", "lmhead backward"};

typedef struct {
  zk_stream *stream;
  zk_sgemm *sgemm;
  work work;
  zk_lmhead_desc desc;
  int32_t chunk_starts[2];
  float *x, *weight, *packed, *logits, *dx, *dweight, *dlogprob;
  int32_t *target;
  uint32_t *zeros;
  zk_lmhead_out out;
} head_arg;

static zk_status run_ours(void *arg) {
  head_arg *a = arg;
  const zk_sample_ids ids = {1, a->zeros, a->zeros, a->zeros, a->zeros};
  const zk_chunks chunks = {1, a->chunk_starts};
  switch (a->work) {
  case LOGPROB:
    return zk_lmhead_logprob(a->stream, &a->desc, a->x, a->weight, a->packed, a->target, &a->out);
  case BACKWARD:
    return zk_lmhead_backward(a->stream, &a->desc, &chunks, a->x, a->weight, a->packed, a->target, &a->out, a->dlogprob,
                              NULL, a->dx, a->dweight);
  default:
    return zk_lmhead_sample(a->stream, &a->desc, &ids, a->x, a->weight, a->packed, a->target, &a->out);
  }
}

static zk_status run_rival(void *arg) {
  head_arg *a = arg;
  const int rows = (int)a->desc.num_rows;
  a->sgemm(false, true, rows, VOCAB, HIDDEN, a->x, HIDDEN, a->weight, HIDDEN, a->logits, VOCAB);
  if (a->work != BACKWARD) return ZK_OK;
  a->sgemm(false, false, rows, HIDDEN, VOCAB, a->logits, VOCAB, a->weight, HIDDEN, a->dx, HIDDEN);
  a->sgemm(true, false, VOCAB, HIDDEN, rows, a->logits, VOCAB, a->x, HIDDEN, a->dweight, HIDDEN);
  return ZK_OK;
}

static zk_status measure(zk_bench *bench, head_arg *a, work work, int64_t rows) {
  if (!zk_bench_wants(bench, groups[work])) return ZK_OK;
  a->work = work;
  a->desc = (zk_lmhead_desc){ZK_F32, rows, HIDDEN, VOCAB, 1.0, 0, work == SAMPLE_TOP_P ? 0.9 : 1.0};
  a->chunk_starts[1] = (int32_t)rows;
  const double product = 2.0 * (double)rows * HIDDEN * VOCAB, products = work == BACKWARD ? 3.0 : 1.0;
  zk_bench_row row = {.flops = product * products, .bytes = 4.0 * HIDDEN * VOCAB * products, .rival = zk_rival_name()};
  snprintf(row.group, sizeof row.group, "%s", groups[work]);
  snprintf(row.shape, sizeof row.shape, "M %d V %d K %d", (int)rows, VOCAB, HIDDEN);
  ZK_TRY(zk_bench_time(bench, run_ours, a->sgemm != NULL ? run_rival : NULL, a, &row.us, &row.rival_us));
  return zk_bench_add(bench, row);
}

static zk_status make_inputs(zk_bench *bench, head_arg *a) {
  zk_device *device = zk_bench_device(bench);
  void *p;
  ZK_TRY(zk_bench_floats(bench, (size_t)MAX_ROWS * HIDDEN, "activations", &a->x));
  ZK_TRY(zk_bench_floats(bench, (size_t)VOCAB * HIDDEN, "weights", &a->weight));
  ZK_TRY(zk_bench_floats(bench, MAX_ROWS, "gradients", &a->dlogprob));
  ZK_TRY(zk_device_alloc(device, (size_t)MAX_ROWS * HIDDEN * 4, "gradients", &p));
  a->dx = p;
  ZK_TRY(zk_device_alloc(device, (size_t)VOCAB * HIDDEN * 4, "gradients", &p));
  a->dweight = p;
  ZK_TRY(zk_device_alloc(device, MAX_ROWS * 4, "tokens", &p));
  a->target = p;
  ZK_TRY(zk_device_alloc(device, MAX_ROWS * 4, "names of rows", &p));
  a->zeros = p;
  ZK_TRY(zk_device_alloc(device, MAX_ROWS * 4, "log-probabilities", &p));
  a->out.logprob = p;
  ZK_TRY(zk_device_alloc(device, MAX_ROWS * 4, "log-sum-exps", &p));
  a->out.lse = p;
  if (a->sgemm != NULL) {
    ZK_TRY(zk_device_alloc(device, (size_t)MAX_ROWS * VOCAB * 4, "the rival's logits", &p));
    a->logits = p;
  }
  const zk_linear_desc desc = {ZK_F32, 1, HIDDEN, VOCAB};
  ZK_TRY(zk_device_alloc(device, zk_linear_packed_bytes(device, ZK_F32, HIDDEN, VOCAB), "packed weights", &p));
  a->packed = p;
  return zk_linear_pack(a->stream, &desc, a->weight, a->packed);
}

static zk_status run(zk_bench *bench) {
  bool wanted = false;
  for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) wanted |= zk_bench_wants(bench, groups[i]);
  if (!wanted) return ZK_OK;
  head_arg a = {.stream = zk_bench_stream(bench), .sgemm = zk_rival_sgemm(bench)};
  zk_status status = make_inputs(bench, &a);
  static const struct {
    work work;
    int64_t rows;
  } rows[] = {{LOGPROB, MAX_ROWS}, {SAMPLE, 1}, {SAMPLE, 16}, {SAMPLE_TOP_P, 16}, {BACKWARD, MAX_ROWS}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0] && status == ZK_OK; i++)
    status = measure(bench, &a, rows[i].work, rows[i].rows);
  void *const buffers[] = {a.x,     a.weight,      a.dlogprob, a.dx,     a.dweight, a.target,
                           a.zeros, a.out.logprob, a.out.lse,  a.logits, a.packed};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
    if (buffers[i] != NULL) zk_device_free(zk_bench_device(bench), buffers[i]);
  return status;
}

const zk_bench_suite zk_bench_suite_lmhead = {"lmhead",
                                              "LM head: score, draw, backward, against OpenBLAS's products alone", run};
