// label: slow; cost: 30
// Linear layers and LM head at the shapes of a 135M model: sampled outputs equal the written order, forward and
// backward.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/linear.h"
#include "kernels/lmhead.h"
#include "kernels/reference/linear_reference.h"
#include "kernels/reference/lmhead_reference.h"

static float *alloc_floats(size_t n) { return alloc(n * sizeof(float)); }

// Bits are compared for AVX-512, AVX2 and scalar with two threads: other tests vary the rest.
#define FOR_EACH_ISA                                                                                                   \
  for (int isa_ = 0; isa_ <= ZK_CPU_AVX512; isa_++)                                                                    \
    if (variant_set(device, isa_, 2))

static void check_linear(int64_t rows, int32_t in, int32_t out, int num_chunks, const int32_t *starts) {
  const zk_linear_desc desc = {ZK_F32, rows, in, out};
  const zk_chunks chunks = {num_chunks, starts};
  const size_t num_x = (size_t)rows * (size_t)in, num_y = (size_t)rows * (size_t)out, num_w = (size_t)in * (size_t)out;
  float *x = random_floats(num_x, 41, 4), *weight = random_floats(num_w, 42, 4), *dy = random_floats(num_y, 43, 4);
  float *packed = alloc_floats(zk_linear_packed_bytes(device, ZK_F32, in, out) / sizeof(float));
  float *y = alloc_floats(num_y), *dx = alloc_floats(num_x), *dw = alloc_floats(num_w);
  float *row = malloc((size_t)(in > out ? in : out) * sizeof *row);
  FOR_EACH_ISA {
    OK(zk_linear_pack(stream, &desc, weight, packed));
    OK(zk_linear_forward(stream, &desc, x, weight, packed, NULL, NULL, y));
    OK(zk_linear_backward_input(stream, &desc, dy, weight, NULL, dx));
    OK(zk_fill_zero(stream, dw, num_w * sizeof *dw));
    OK(zk_linear_backward_weight(stream, &desc, &chunks, dy, x, dw, NULL));
    for (int64_t t = 0; t < rows; t += rows / 5 + 1) {
      zk_linear_reference_forward(ZK_F32, 1, in, out, x + t * in, weight, NULL, NULL, row);
      assert_bits_equal(y + t * out, row, (size_t)out, "y row %d, %s", (int)t, zk_device_describe(device));
      zk_linear_reference_backward_input(ZK_F32, 1, in, out, dy + t * out, weight, NULL, row);
      assert_bits_equal(dx + t * in, row, (size_t)in, "dx row %d, %s", (int)t, zk_device_describe(device));
    }
    for (size_t i = 0; i < num_w; i += num_w / 97 + 13) {
      const size_t n = i / (size_t)in, k = i % (size_t)in;
      float want = 0.0f;
      for (int c = 0; c < num_chunks; c++) {
        float acc = 0.0f;
        for (int32_t t = starts[c]; t < starts[c + 1]; t++)
          acc = fmaf(dy[(size_t)t * (size_t)out + n], x[(size_t)t * (size_t)in + k], acc);
        want = want + acc;
      }
      assert_bits_equal(&dw[i], &want, 1, "dW[%d][%d], %s", (int)n, (int)k, zk_device_describe(device));
    }
  }
  free(x), free(weight), free(dy), free(row);
  float *const buffers[] = {packed, y, dx, dw};
  for (int i = 0; i < 4; i++) zk_device_free(device, buffers[i]);
}

static void layers_of_a_135m_model(void **state) {
  static const int32_t starts[] = {0, 1000, 1003, 1003 + 4096};
  check_linear(1003 + 4096, 576, 1536, 3, starts);
  check_linear(1003 + 4096, 1536, 576, 3, starts);
}
static void few_rows_of_a_wide_layer(void **state) {
  for (int32_t rows = 1; rows <= 17; rows += 5) {
    const int32_t starts[] = {0, rows};
    check_linear(rows, 4099, 577, 1, starts);
  }
}

enum { ROWS = 70, HIDDEN = 576, VOCAB = 49152 };

// Gradients of rows and weights chosen here and there, from the reference's gradients of all logits.
static void check_gradients(const zk_chunks *chunks, const float *x, const float *weight, const float *dlogit,
                            const float *dx, const float *dw) {
  for (int i = 0; i < 40; i++) {
    const int t = i * 7 % ROWS, k = i * 131 % HIDDEN;
    float want = 0.0f;
    for (int first = 0; first < VOCAB; first += ZK_VOCAB_CHUNK) {
      float acc = 0.0f;
      for (int v = first; v < first + ZK_VOCAB_CHUNK; v++)
        acc = fmaf(dlogit[(size_t)t * VOCAB + v], weight[(size_t)v * HIDDEN + k], acc);
      want = first == 0 ? acc : want + acc;
    }
    assert_bits_equal(&dx[t * HIDDEN + k], &want, 1, "dx[%d][%d], %s", t, k, zk_device_describe(device));
  }
  for (size_t i = 0; i < 2000; i++) {
    const size_t v = i * 7919 % VOCAB, k = i * 131 % HIDDEN;
    float want = 0.0f;
    for (int c = 0; c < chunks->num_chunks; c++) {
      float acc = 0.0f;
      for (int t = chunks->row_start[c]; t < chunks->row_start[c + 1]; t++)
        acc = fmaf(dlogit[(size_t)t * VOCAB + v], x[(size_t)t * HIDDEN + k], acc);
      want = want + acc;
    }
    assert_bits_equal(&dw[v * HIDDEN + k], &want, 1, "dW[%d][%d], %s", (int)v, (int)k, zk_device_describe(device));
  }
}

static void head_of_a_135m_model(void **state) {
  static const int32_t starts[] = {0, 33, ROWS};
  const zk_chunks chunks = {2, starts};
  const zk_lmhead_desc desc = {ZK_F32, ROWS, HIDDEN, VOCAB, 0.9, 50, 0.95};
  const zk_linear_desc linear = {ZK_F32, 1, HIDDEN, VOCAB};
  float *x = random_floats(ROWS * HIDDEN, 51, 0), *weight = random_floats((size_t)VOCAB * HIDDEN, 52, 0),
        *dlogprob = random_floats(ROWS, 53, 2);
  float *dlogit = malloc((size_t)ROWS * VOCAB * sizeof(float));
  float *packed = alloc_floats(zk_linear_packed_bytes(device, ZK_F32, HIDDEN, VOCAB) / sizeof(float));
  float *dx = alloc_floats(ROWS * HIDDEN), *dw = alloc_floats((size_t)VOCAB * HIDDEN);
  uint32_t names[ROWS];
  int32_t token[ROWS], kept_id[ROWS];
  float logprob[ROWS], lse[ROWS], entropy[ROWS], kept_logit[ROWS];
  uint64_t hash[ROWS];
  zk_lmhead_reference_row want[ROWS];
  for (uint32_t t = 0; t < ROWS; t++) names[t] = t;
  const zk_sample_ids ids = {99, names, names, names, names};
  const zk_lmhead_out out = {logprob, lse, entropy, kept_logit, kept_id, hash};
  for (uint32_t t = 0; t < ROWS; t++) {
    float *logit = dlogit + (size_t)t * VOCAB;
    zk_lmhead_reference_logits(HIDDEN, VOCAB, x + t * HIDDEN, weight, logit);
    assert_true(zk_lmhead_reference_read(&desc, logit, -1, 99, t, t, t, t, &want[t]));
    assert_true(zk_lmhead_reference_dlogits(&desc, logit, want[t].token, dlogprob[t], NULL));
  }
  FOR_EACH_ISA {
    OK(zk_linear_pack(stream, &linear, weight, packed));
    OK(zk_lmhead_sample(stream, &desc, &ids, x, weight, packed, token, &out));
    for (int t = 0; t < ROWS; t++) {
      assert_int_equal(token[t], want[t].token);
      assert_int_equal(kept_id[t], want[t].kept_id);
      assert_bits_equal(&logprob[t], &want[t].logprob, 1, "logprob of row %d, %s", t, zk_device_describe(device));
      assert_bits_equal(&entropy[t], &want[t].entropy, 1, "entropy of row %d, %s", t, zk_device_describe(device));
      assert_true(hash[t] == want[t].logits_hash);
    }
    OK(zk_fill_zero(stream, dw, (size_t)VOCAB * HIDDEN * sizeof(float)));
    OK(zk_lmhead_backward(stream, &desc, &chunks, x, weight, packed, token, &out, dlogprob, NULL, dx, dw));
    check_gradients(&chunks, x, weight, dlogit, dx, dw);
  }
  free(x), free(weight), free(dlogprob), free(dlogit);
  zk_device_free(device, packed), zk_device_free(device, dx), zk_device_free(device, dw);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(layers_of_a_135m_model),
                                     cmocka_unit_test(few_rows_of_a_wide_layer),
                                     cmocka_unit_test(head_of_a_135m_model)};
  return cmocka_run_group_tests(tests, open_device, close_device);
}
