// Numerics vendor on a CPU: where no sum is rounded it has the contract's bits, which shows that every operand goes where it should; where
// sums are rounded it has others, which is what it is for.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/linear.h"
#include "kernels/lmhead.h"

enum { ROWS = 37, IN = 40, OUT = 24, VOCAB = 4300 };

static bool has_library;

static int open_with_library(void **state) {
  open_device(state);
  has_library = zk_device_require(device, ZK_VENDOR) == ZK_OK;
  return 0;
}

// n values as bf16: random, or random integers from -most to most.
static zk_bf16 *values(size_t n, uint32_t tag, int most) {
  float *x = random_floats(n, tag, 0);
  for (size_t i = 0; i < n && most > 0; i++) x[i] = rintf(x[i] * (float)most);
  zk_bf16 *y = to_bf16(x, n);
  free(x);
  return y;
}

static void *packed_weight(zk_numerics numerics, const zk_bf16 *weight, int32_t in, int32_t out) {
  const zk_linear_desc desc = {numerics, 0, in, out};
  void *packed = malloc(zk_linear_packed_bytes(device, numerics, in, out) + 1);
  OK(zk_linear_pack(stream, &desc, weight, packed));
  return packed;
}

typedef struct {
  zk_bf16 y[ROWS * OUT], dx[ROWS * IN];
  float dweight[OUT * IN], dbias[OUT];
} linear_results;

static linear_results *linear(zk_numerics numerics, int most) {
  const zk_linear_desc desc = {numerics, ROWS, IN, OUT};
  const int32_t starts[] = {0, 20, ROWS};
  const zk_chunks chunks = {2, starts};
  zk_bf16 *x = values(ROWS * IN, 1, most), *weight = values(OUT * IN, 2, most), *bias = values(OUT, 3, most),
          *dy = values(ROWS * OUT, 4, most), *addend = values(ROWS * IN, 5, most);
  linear_results *r = calloc(1, sizeof *r);
  void *packed = packed_weight(numerics, weight, IN, OUT);
  OK(zk_linear_forward(stream, &desc, x, weight, packed, bias, dy, r->y));
  OK(zk_linear_backward_input(stream, &desc, dy, weight, addend, r->dx));
  for (int i = 0; i < OUT * IN; i++) r->dweight[i] = (float)(i % 7);
  OK(zk_linear_backward_weight(stream, &desc, &chunks, dy, x, r->dweight, r->dbias));
  free(x), free(weight), free(bias), free(dy), free(addend), free(packed);
  return r;
}

static void exact_linear_layers_are_the_contracts(void **state) {
  if (!has_library) skip();
  linear_results *got = linear(ZK_VENDOR, 8), *want = linear(ZK_BF16, 8);
  assert_memory_equal(got, want, sizeof *got);
  free(got), free(want);
}

static void rounded_sums_are_not_the_contracts(void **state) {
  if (!has_library) skip();
  linear_results *got = linear(ZK_VENDOR, 0), *want = linear(ZK_BF16, 0);
  assert_true(first_difference(got->dweight, want->dweight, OUT * IN) >= 0);
  for (int i = 0; i < OUT * IN; i++)
    assert_true(fabsf(got->dweight[i] - want->dweight[i]) < 1e-4f); // of sums of 37 products up to 1
  free(got), free(want);
}

typedef struct {
  float logprob[ROWS], lse[ROWS], entropy[ROWS], kept_logit[ROWS], drawn_logprob[ROWS];
  int32_t kept_id[ROWS], token[ROWS];
  uint64_t hash[ROWS];
} head_results;

// Forward and backward; the gradients go to dx[ROWS * IN] and dweight[VOCAB * IN].
static void head(zk_numerics numerics, int32_t top_k, head_results *r, zk_bf16 *dx, float *dweight) {
  const zk_lmhead_desc desc = {numerics, ROWS, IN, VOCAB, 0.75, top_k, 1.0};
  const int32_t starts[] = {0, 20, ROWS};
  const zk_chunks chunks = {2, starts};
  zk_bf16 *x = values(ROWS * IN, 6, 1), *weight = values(VOCAB * IN, 7, 1);
  void *packed = packed_weight(numerics, weight, IN, VOCAB);
  int32_t target[ROWS];
  uint32_t ids[ROWS];
  float dlogprob[ROWS];
  for (int t = 0; t < ROWS; t++) target[t] = 113 * t, ids[t] = (uint32_t)t, dlogprob[t] = (float)(t % 3 - 1);
  memset(r, 0, sizeof *r);
  const zk_lmhead_out out = {r->logprob, r->lse, r->entropy, top_k ? r->kept_logit : NULL, top_k ? r->kept_id : NULL,
                             r->hash};
  const zk_sample_ids names = {7, ids, ids, ids, ids};
  OK(zk_lmhead_sample(stream, &desc, &names, x, weight, packed, r->token,
                      &(zk_lmhead_out){.logprob = r->drawn_logprob}));
  OK(zk_lmhead_logprob(stream, &desc, x, weight, packed, target, &out));
  for (int i = 0; i < VOCAB * IN; i++) dweight[i] = 0.0f;
  OK(zk_lmhead_backward(stream, &desc, &chunks, x, weight, packed, target, &out, dlogprob, NULL, dx, dweight));
  free(x), free(weight), free(packed);
}

static void exact_logits_are_the_contracts(void **state) {
  if (!has_library) skip();
  for (int32_t top_k = 0; top_k <= 50; top_k += 50) {
    head_results got, want;
    zk_bf16 dx[2][ROWS * IN];
    float *dweight = malloc(2 * VOCAB * IN * sizeof *dweight);
    head(ZK_VENDOR, top_k, &got, dx[0], dweight);
    head(ZK_BF16, top_k, &want, dx[1], dweight + VOCAB * IN);
    assert_memory_equal(&got, &want, sizeof got);
    // Gradients of logits are alike; their sums are rounded in other places, and dx once more to 8 bits.
    for (int i = 0; i < VOCAB * IN; i++) assert_true(fabsf(dweight[i] - dweight[VOCAB * IN + i]) <= 1e-5f);
    for (int i = 0; i < ROWS * IN; i++) {
      const float a = zk_bf16_to_float(dx[0][i]), b = zk_bf16_to_float(dx[1][i]);
      assert_true(fabsf(a - b) <= 0x1p-7f * fabsf(b) + 1e-5f);
    }
    free(dweight);
  }
}

static void without_a_library_it_is_refused(void **state) {
  if (has_library) skip();
  assert_int_equal(zk_device_require(device, ZK_VENDOR), ZK_UNSUPPORTED);
  assert_non_null(strstr(zk_status_message(), "libopenblas0"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_linear_layers_are_the_contracts),
      cmocka_unit_test(rounded_sums_are_not_the_contracts),
      cmocka_unit_test(exact_logits_are_the_contracts),
      cmocka_unit_test(without_a_library_it_is_refused),
  };
  return cmocka_run_group_tests(tests, open_with_library, close_device);
}
