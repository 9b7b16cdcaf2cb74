// label: slow; cost: 30
// The LM head's Hopper kernels (lmhead_wgmma.cuh, lmhead_gradient.cu, lmhead_dx.cu) on the emulated GPU, forced as the products that they are made of: several
// tiles a block, rings that wrap around, clusters, vocabularies that end inside a tile, several chains of dx. In every order the CPU's bits, and none stands
// still.
#include "tests/simt/forced_product.h"

#include "kernels/lmhead.h"

typedef struct {
  zk_lmhead_desc desc;
  int32_t num_chunks; // alike
} head;

typedef struct {
  void *x, *w;
  int32_t *target;
  zk_lmhead_out out;
} arrays;

static size_t rows(const head *p) { return (size_t)p->desc.num_rows; }

static int32_t *upload_numbers(place *at, size_t n, int32_t step, int32_t below) {
  int32_t *x = malloc(n * sizeof *x);
  for (size_t i = 0; i < n; i++) x[i] = (int32_t)((int64_t)i * step % below);
  int32_t *memory = upload(at, x, n * sizeof *x);
  free(x);
  return memory;
}

static arrays make_arrays(place *at, const head *p) {
  const size_t n = rows(p), k = (size_t)p->desc.hidden;
  return (arrays){upload_random(at, ZK_BF16, n * k, 1),
                  upload_random(at, ZK_BF16, (size_t)p->desc.vocab * k, 2),
                  upload_numbers(at, n, 7919, p->desc.vocab),
                  {upload_nan(at, 4 * n), upload_nan(at, 4 * n), upload_nan(at, 4 * n), upload_nan(at, 4 * n),
                   upload_nan(at, 4 * n), upload_nan(at, 8 * n)}};
}
static void keep_out(place *at, const head *p, const zk_lmhead_out *out, char **result, size_t *size) {
  keep(at, out->logprob, 4 * rows(p), result, size);
  keep(at, out->lse, 4 * rows(p), result, size);
  keep(at, out->entropy, 4 * rows(p), result, size);
  keep(at, out->logits_hash, 8 * rows(p), result, size);
}

static void logprob(place *at, const void *problem, char **result, size_t *size) {
  const head *p = problem;
  const arrays a = make_arrays(at, p);
  OK(zk_lmhead_logprob(at->stream, &p->desc, a.x, a.w, NULL, a.target, &a.out));
  keep_out(at, p, &a.out, result, size);
}
static void sample(place *at, const void *problem, char **result, size_t *size) {
  const head *p = problem;
  const arrays a = make_arrays(at, p);
  const uint32_t *id = (const uint32_t *)upload_numbers(at, rows(p), 1, INT32_MAX);
  const zk_sample_ids ids = {12345, id, id, id, id};
  int32_t *token = upload_nan(at, 4 * rows(p));
  OK(zk_lmhead_sample(at->stream, &p->desc, &ids, a.x, a.w, NULL, token, &a.out));
  keep(at, token, 4 * rows(p), result, size);
  keep_out(at, p, &a.out, result, size);
}

// at_once: both passes of rows whose log-sum-exps are known.
static void gradients(place *at, const head *p, bool at_once, char **result, size_t *size) {
  const arrays a = make_arrays(at, p);
  const size_t num_x = rows(p) * (size_t)p->desc.hidden, num_w = (size_t)p->desc.vocab * (size_t)p->desc.hidden;
  int32_t starts[64];
  for (int32_t i = 0; i <= p->num_chunks; i++) starts[i] = (int32_t)(p->desc.num_rows * i / p->num_chunks);
  const zk_chunks chunks = {p->num_chunks, starts};
  const float *slope = upload_random(at, ZK_F32, rows(p), 3);
  void *dx = upload_nan(at, 2 * num_x);
  float *dweight = upload_random(at, ZK_F32, num_w, 4);
  OK(zk_lmhead_logprob(at->stream, &p->desc, a.x, a.w, NULL, a.target, &a.out));
  if (at_once) {
    const zk_lmhead_out again = {
        upload_nan(at, 4 * rows(p)), upload_nan(at, 4 * rows(p)), upload_nan(at, 4 * rows(p)), NULL, NULL,
        upload_nan(at, 8 * rows(p))};
    OK(zk_lmhead_loss(at->stream, &p->desc, &chunks, a.x, a.w, NULL, a.target, a.out.lse, slope, &again, dx, dweight));
    keep_out(at, p, &again, result, size);
  } else
    OK(zk_lmhead_backward(at->stream, &p->desc, &chunks, a.x, a.w, NULL, a.target, &a.out, slope, NULL, dx, dweight));
  keep(at, dx, 2 * num_x, result, size);
  keep(at, dweight, 4 * num_w, result, size);
}
static void backward(place *at, const void *problem, char **result, size_t *size) {
  gradients(at, problem, false, result, size);
}
static void loss(place *at, const void *problem, char **result, size_t *size) {
  gradients(at, problem, true, result, size);
}

#define AGREES(variant, orders, run, chunks, ...)                                                                      \
  do {                                                                                                                 \
    const head of_ = {{ZK_BF16, __VA_ARGS__, .first = false}, chunks};                                                 \
    kernel_agrees(ZK_CUDA_GEMM_BF16_##variant, orders, run, &of_, #run " " #__VA_ARGS__);                              \
  } while (0)
// Rows, hidden, vocabulary, then the distribution.
#define PLAIN 1.0, 0, 1.0

static void logits_of_few_rows(void **state) {
  AGREES(DECODE, 6, logprob, 1, 5, 520, 1300, PLAIN);
  AGREES(DECODE, 6, sample, 1, 70, 200, 1300, 0.7, 0, 1.0);
  AGREES(DECODE, 4, sample, 1, 33, 136, 1026, 1.0, 20, 1.0); // stored
}

static void logits_of_many_rows(void **state) {
  AGREES(WGMMA_64, 8, logprob, 1, 100, 264, 901, PLAIN);
  AGREES(WGMMA_64, 6, sample, 1, 60, 136, 1300, 0.7, 0, 1.0);
  AGREES(WGMMA_128, 8, logprob, 1, 130, 136, 1300, PLAIN);
  AGREES(WGMMA_128, 6, sample, 1, 200, 200, 645, 0.0, 0, 1.0);
  AGREES(WGMMA_TURNS, 8, logprob, 1, 300, 136, 645, 0.5, 0, 1.0);
  AGREES(WGMMA_TURNS, 6, sample, 1, 270, 264, 390, PLAIN);
  AGREES(WGMMA_TURNS, 3, sample, 1, 140, 72, 648, 1.0, 0, 0.9);
}

// Of one slab; of several, which the vocabulary is longer than; and of some of two chains and of one.
static void gradients_of_logits(void **state) {
  AGREES(WGMMA_TURNS, 6, backward, 3, 260, 72, 1001, 0.7, 0, 1.0);
  AGREES(WGMMA_TURNS, 6, loss, 2, 140, 264, 900, PLAIN);
  AGREES(WGMMA_TURNS, 3, backward, 1, 70, 8, 4300, 1.0, 40, 1.0);
  AGREES(WGMMA_TURNS, 2, loss, 20, 80, 8, 8300, PLAIN);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_of_few_rows),
      cmocka_unit_test(logits_of_many_rows),
      cmocka_unit_test(gradients_of_logits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
