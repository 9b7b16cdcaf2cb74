// bf16 LM head: the kernels against the written order, bit for bit, alone and in a batch; other orders and roundings are noticed.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/reference/lmhead_reference.h"
#include "kernels/tensor_core.h"

#define SEED 0x123456789abcdefull

enum { MAX_ROWS = 150 };
// Rows, weights and room for what comes out. A row's number is every id of its noise.
typedef struct {
  zk_lmhead_desc desc;
  zk_bf16 *x, *weight;
  uint32_t number[MAX_ROWS];
  int32_t target[MAX_ROWS], token[MAX_ROWS], kept_id[MAX_ROWS];
  float logprob[MAX_ROWS], lse[MAX_ROWS], entropy[MAX_ROWS], kept_logit[MAX_ROWS];
  uint64_t hash[MAX_ROWS];
  zk_lmhead_out out;
} head;

static head *head_open(zk_lmhead_desc desc) {
  head *h = calloc(1, sizeof *h);
  h->desc = desc;
  h->x = random_bf16((size_t)(desc.num_rows * desc.hidden), 1);
  h->weight = random_bf16((size_t)desc.vocab * (size_t)desc.hidden, 2);
  for (int32_t t = 0; t < desc.num_rows; t++) h->number[t] = (uint32_t)t, h->target[t] = (t * 7919) % desc.vocab;
  h->out = (zk_lmhead_out){h->logprob, h->lse, h->entropy, h->kept_logit, h->kept_id, h->hash};
  return h;
}
static void head_close(head *h) { free(h->x), free(h->weight), free(h); }

static void sample(head *h) {
  const zk_sample_ids ids = {SEED, h->number, h->number, h->number, h->number};
  OK(zk_lmhead_sample(stream, &h->desc, &ids, h->x, h->weight, NULL, h->token, &h->out));
}

static zk_lmhead_reference_row reference(const head *h, int32_t t, int32_t target) {
  zk_lmhead_reference_row want;
  float *logit = malloc((size_t)h->desc.vocab * sizeof *logit);
  const uint32_t id = (uint32_t)t;
  zk_lmhead_reference_bf16_logits(h->desc.hidden, h->desc.vocab, h->x + t * h->desc.hidden, h->weight, logit);
  assert_true(zk_lmhead_reference_read(&h->desc, logit, target, SEED, id, id, id, id, &want));
  free(logit);
  return want;
}

static void assert_row(const head *h, int32_t t, const zk_lmhead_reference_row *want) {
  assert_bits_equal(&h->logprob[t], &want->logprob, 1, "logprob of row %d, %s", t, zk_device_describe(device));
  assert_bits_equal(&h->lse[t], &want->lse, 1, "lse of row %d", t);
  assert_bits_equal(&h->entropy[t], &want->entropy, 1, "entropy of row %d", t);
  assert_true(h->hash[t] == want->logits_hash);
  if (h->desc.top_k == 0 && h->desc.top_p == 1.0) return;
  assert_bits_equal(&h->kept_logit[t], &want->kept_logit, 1, "kept logit of row %d", t);
  assert_int_equal(h->kept_id[t], want->kept_id);
}

static void sampled_tokens_score_as_the_reference_says(void **state) {
  static const zk_lmhead_desc descs[] = {{ZK_BF16, 1, 8, 5, 1.0, 0, 1.0},       {ZK_BF16, 17, 33, 259, 0.7, 0, 1.0},
                                         {ZK_BF16, 150, 64, 1100, 1.0, 0, 1.0}, {ZK_BF16, 16, 48, 700, 0.0, 0, 1.0},
                                         {ZK_BF16, 20, 80, 640, 1.3, 40, 0.9},  {ZK_BF16, 140, 24, 513, 1.0, 0, 0.8}};
  for (size_t i = 0; i < sizeof descs / sizeof descs[0]; i++) {
    head *h = head_open(descs[i]);
    zk_lmhead_reference_row *want = malloc((size_t)h->desc.num_rows * sizeof *want);
    for (int32_t t = 0; t < h->desc.num_rows; t++) want[t] = reference(h, t, -1);
    FOR_EACH_VARIANT(device, stream) {
      sample(h);
      for (int32_t t = 0; t < h->desc.num_rows; t++) assert_row(h, t, &want[t]), assert_int_equal(h->token[t], want[t].token);
      OK(zk_lmhead_logprob(stream, &h->desc, h->x, h->weight, NULL, h->token, &h->out));
      for (int32_t t = 0; t < h->desc.num_rows; t++) assert_row(h, t, &want[t]);
    }
    free(want), head_close(h);
  }
}

// A row alone gives what it gives in a batch.
static void rows_do_not_see_their_neighbours(void **state) {
  head *h = head_open((zk_lmhead_desc){ZK_BF16, 40, 48, 700, 0.9, 0, 1.0});
  FOR_EACH_VARIANT(device, stream) {
    sample(h);
    for (int32_t t = 0; t < 40; t += 13) {
      zk_lmhead_desc one = h->desc;
      one.num_rows = 1;
      float logprob;
      uint64_t hash;
      const zk_lmhead_out out = {.logprob = &logprob, .logits_hash = &hash};
      OK(zk_lmhead_logprob(stream, &one, h->x + t * 48, h->weight, NULL, &h->token[t], &out));
      assert_bits_equal(&logprob, &h->logprob[t], 1, "row %d alone", t);
      assert_true(hash == h->hash[t]);
    }
  }
  head_close(h);
}

// Several token chunks, one of them empty, and three vocabulary chunks.
static void backward_equals_reference(void **state) {
  static const int32_t starts[] = {0, 30, 31, 31, 75};
  static const zk_lmhead_desc descs[] = {
      {ZK_BF16, 75, 33, 259, 0.7, 0, 1.0}, {ZK_BF16, 75, 17, 8192 + 515, 1.0, 0, 1.0}, {ZK_BF16, 75, 20, 1100, 1.0, 40, 0.9}};
  const zk_chunks chunks = {4, starts};
  for (size_t c = 0; c < 2 * sizeof descs / sizeof descs[0]; c++) { // every second one: of entropies too
    head *h = head_open(descs[c / 2]);
    float *dentropy = c % 2 ? random_floats(75, 5, 2) : NULL;
    const size_t num_x = (size_t)(h->desc.num_rows * h->desc.hidden), num_w = (size_t)h->desc.vocab * (size_t)h->desc.hidden;
    float *dlogprob = random_floats(75, 3, 2), *before = random_floats(num_w, 4, 0), *dw_want = malloc(num_w * 4), *dw = malloc(num_w * 4);
    zk_bf16 *dx_want = malloc(num_x * 2), *dx = malloc(num_x * 2);
    memcpy(dw_want, before, num_w * 4);
    assert_true(zk_lmhead_reference_bf16_backward(&h->desc, &chunks, h->x, h->weight, h->target, dlogprob, dentropy, dx_want, dw_want));
    FOR_EACH_VARIANT(device, stream) {
      if (isa_ == ZK_CPU_SCALAR && threads_ > 1) continue; // slow
      memcpy(dw, before, num_w * 4);
      OK(zk_lmhead_logprob(stream, &h->desc, h->x, h->weight, NULL, h->target, &h->out));
      OK(zk_lmhead_backward(stream, &h->desc, &chunks, h->x, h->weight, NULL, h->target, &h->out, dlogprob, dentropy, dx, dw));
      assert_bits_equal(dw, dw_want, num_w, "dW, %s, vocabulary %d", zk_device_describe(device), h->desc.vocab);
      for (size_t j = 0; j < num_x; j++) assert_int_equal(dx[j].bits, dx_want[j].bits);
    }
    free(dlogprob), free(dentropy), free(before), free(dw_want), free(dw), free(dx_want), free(dx), head_close(h);
  }
}

// The comparison can tell: logits by fma chains, and logits rounded to bf16, hash to something else.
static void other_orders_differ(void **state) {
  enum { HIDDEN = 64, VOCAB = 300 };
  head *h = head_open((zk_lmhead_desc){ZK_BF16, 1, HIDDEN, VOCAB, 1.0, 0, 1.0});
  OK(zk_lmhead_logprob(stream, &h->desc, h->x, h->weight, NULL, h->target, &h->out));
  float chains[VOCAB], rounded[VOCAB];
  zk_lmhead_reference_bf16_logits(HIDDEN, VOCAB, h->x, h->weight, rounded);
  for (int v = 0; v < VOCAB; v++) {
    float acc = 0.0f;
    for (int k = 0; k < HIDDEN; k++) acc = fmaf(zk_bf16_to_float(h->x[k]), zk_bf16_to_float(h->weight[v * HIDDEN + k]), acc);
    chains[v] = acc;
    rounded[v] = zk_bf16_to_float(zk_float_to_bf16(rounded[v]));
  }
  zk_lmhead_reference_row row;
  assert_true(zk_lmhead_reference_read(&h->desc, chains, h->target[0], SEED, 0, 0, 0, 0, &row));
  assert_true(row.logits_hash != h->hash[0]);
  assert_true(zk_lmhead_reference_read(&h->desc, rounded, h->target[0], SEED, 0, 0, 0, 0, &row));
  assert_true(row.logits_hash != h->hash[0] && zk_float_bits(row.logprob) != zk_float_bits(h->logprob[0]));
  head_close(h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sampled_tokens_score_as_the_reference_says),
      cmocka_unit_test(rows_do_not_see_their_neighbours),
      cmocka_unit_test(backward_equals_reference),
      cmocka_unit_test(other_orders_differ),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
