// LM head: log-probabilities, samples, hashes and gradients equal the written order bit for bit for every instruction
// set and thread count.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/linear.h"
#include "kernels/lmhead.h"
#include "kernels/reference/lmhead_reference.h"

// The rows, weights and names of one case, and room for what comes out.
typedef struct {
  zk_lmhead_desc desc;
  float *x, *weight, *packed;
  uint32_t *step, *prompt, *sample, *position;
  int32_t *target, *token;
  zk_sample_ids ids;
  zk_lmhead_out out;
} head;

static head head_open(zk_lmhead_desc desc, float sharpness) {
  const size_t rows = (size_t)desc.num_rows, hidden = (size_t)desc.hidden, vocab = (size_t)desc.vocab;
  head h = {.desc = desc, .x = random_floats(rows * hidden, 21, 2), .weight = random_floats(vocab * hidden, 22, 0)};
  for (size_t i = 0; i < rows * hidden; i++) h.x[i] = h.x[i] * sharpness;
  h.packed = alloc(zk_linear_packed_bytes(device, ZK_F32, desc.hidden, desc.vocab));
  h.step = alloc(rows * 4), h.prompt = alloc(rows * 4), h.sample = alloc(rows * 4), h.position = alloc(rows * 4);
  h.target = alloc(rows * 4), h.token = alloc(rows * 4);
  for (uint32_t t = 0; t < rows; t++) {
    h.step[t] = 3, h.prompt[t] = t / 4, h.sample[t] = t % 4, h.position[t] = 7 * t;
    h.target[t] = (int32_t)((t * 2654435761u) % (uint32_t)vocab);
  }
  h.ids = (zk_sample_ids){0x123456789abcdefull, h.step, h.prompt, h.sample, h.position};
  h.out = (zk_lmhead_out){alloc(rows * 4), alloc(rows * 4), alloc(rows * 4),
                          alloc(rows * 4), alloc(rows * 4), alloc(rows * 8)};
  const zk_linear_desc linear = {ZK_F32, 1, desc.hidden, desc.vocab};
  OK(zk_linear_pack(stream, &linear, h.weight, h.packed));
  return h;
}

static void head_close(head *h) {
  free(h->x), free(h->weight);
  void *const device_memory[] = {h->packed,         h->step,        h->prompt,         h->sample,  h->position,
                                 h->target,         h->token,       h->out.logprob,    h->out.lse, h->out.entropy,
                                 h->out.kept_logit, h->out.kept_id, h->out.logits_hash};
  for (size_t i = 0; i < sizeof device_memory / sizeof device_memory[0]; i++) zk_device_free(device, device_memory[i]);
}

static bool filtered(const zk_lmhead_desc *desc) { return desc->top_k > 0 || desc->top_p < 1.0; }

static zk_lmhead_reference_row *reference(const head *h, bool sampling) {
  zk_lmhead_reference_row *want = malloc((size_t)h->desc.num_rows * sizeof *want);
  float *logit = malloc((size_t)h->desc.vocab * sizeof *logit);
  for (int64_t t = 0; t < h->desc.num_rows; t++) {
    zk_lmhead_reference_logits(h->desc.hidden, h->desc.vocab, h->x + t * h->desc.hidden, h->weight, logit);
    assert_true(zk_lmhead_reference_read(&h->desc, logit, sampling ? -1 : h->target[t], h->ids.seed, h->step[t],
                                         h->prompt[t], h->sample[t], h->position[t], &want[t]));
  }
  free(logit);
  return want;
}

static void assert_rows(const head *h, const zk_lmhead_reference_row *want, const int32_t *token, const char *what) {
  for (int64_t t = 0; t < h->desc.num_rows; t++) {
    if (token != NULL && token[t] != want[t].token)
      fail_msg("%s %s row %d: token %d, wanted %d", what, zk_device_describe(device), (int)t, token[t], want[t].token);
    assert_bits_equal(&h->out.logprob[t], &want[t].logprob, 1, "%s %s logprob of row %d", what,
                      zk_device_describe(device), (int)t);
    assert_bits_equal(&h->out.lse[t], &want[t].lse, 1, "%s %s lse of row %d", what, zk_device_describe(device), (int)t);
    assert_bits_equal(&h->out.entropy[t], &want[t].entropy, 1, "%s %s entropy of row %d", what,
                      zk_device_describe(device), (int)t);
    assert_bits_equal(&h->out.logits_hash[t], &want[t].logits_hash, 2, "%s %s hash of row %d", what,
                      zk_device_describe(device), (int)t);
    if (!filtered(&h->desc)) continue;
    assert_int_equal(h->out.kept_id[t], want[t].kept_id);
    assert_bits_equal(&h->out.kept_logit[t], &want[t].kept_logit, 1, "%s kept logit of row %d", what, (int)t);
  }
}

static void check_forward(zk_lmhead_desc desc, float sharpness) {
  head h = head_open(desc, sharpness);
  zk_lmhead_reference_row *scored = reference(&h, false), *drawn = reference(&h, true);
  FOR_EACH_VARIANT(device, stream) {
    OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out));
    assert_rows(&h, scored, NULL, "logprob");
    OK(zk_lmhead_sample(stream, &desc, &h.ids, h.x, h.weight, h.packed, h.token, &h.out));
    assert_rows(&h, drawn, h.token, "sample");
    // What was sampled scores the same.
    OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.token, &h.out));
    assert_rows(&h, drawn, NULL, "rescored");
  }
  free(scored), free(drawn);
  head_close(&h);
}

static const int64_t all_rows[] = {1, 2, 3, 5, 8, 16, 17, 33, 130};
static const struct { int32_t hidden, vocab; } shapes[] = {{8, 5}, {16, 128}, {33, 259}, {24, 1100}};

static void plain_and_tempered(void **state) {
  static const double temperatures[] = {1.0, 0.7, 0.0};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
    for (size_t m = 0; m < sizeof all_rows / sizeof all_rows[0]; m++)
      for (size_t i = 0; i < 3; i++)
        check_forward((zk_lmhead_desc){ZK_F32, all_rows[m], shapes[s].hidden, shapes[s].vocab, temperatures[i], 0, 1.0},
                      1.0f);
}

static void top_k_and_top_p(void **state) {
  static const struct {
    double temperature;
    int32_t top_k;
    double top_p;
  } filters[] = {{1.0, 1, 1.0}, {1.0, 7, 1.0},   {0.8, 100, 1.0},    {1.0, 5000, 1.0}, {1.0, 0, 0.9},
                 {1.3, 0, 0.5}, {1.0, 0, 1e-12}, {1.0, 0, 0.999999}, {0.6, 20, 0.8},   {0.0, 4, 0.9}};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
      for (int64_t rows = 1; rows <= 20; rows += 19)
        check_forward((zk_lmhead_desc){ZK_F32, rows, shapes[s].hidden, shapes[s].vocab, filters[i].temperature,
                                       filters[i].top_k, filters[i].top_p},
                      i % 2 ? 1.0f : 0.01f);
}

// All logits equal: every order is by id alone; the noise decides, and greedy takes the lowest id.
static void ties_go_to_the_lowest_id(void **state) {
  for (int i = 0; i < 4; i++) {
    const zk_lmhead_desc desc = {ZK_F32, 6, 12, 300, i == 0 ? 0.0 : 1.0, i == 2 ? 17 : 0, i == 3 ? 0.25 : 1.0};
    head h = head_open(desc, 0.0f);
    zk_lmhead_reference_row *drawn = reference(&h, true);
    FOR_EACH_VARIANT(device, stream) {
      OK(zk_lmhead_sample(stream, &desc, &h.ids, h.x, h.weight, h.packed, h.token, &h.out));
      assert_rows(&h, drawn, h.token, "ties");
      if (i == 0) assert_int_equal(h.token[0], 0);
      if (i == 2) assert_int_equal(h.out.kept_id[0], 16);
      if (i == 3) assert_int_equal(h.out.kept_id[0], 74);
    }
    free(drawn);
    head_close(&h);
  }
}

static void not_finite_rows_are_marked(void **state) {
  for (int with_filter = 0; with_filter < 2; with_filter++) {
    const zk_lmhead_desc desc = {ZK_F32, 4, 8, 200, 1.0, with_filter ? 5 : 0, 1.0};
    head h = head_open(desc, 1.0f);
    h.x[8 + 3] = NAN;
    h.x[2 * 8] = INFINITY; // some logits +inf, some -inf
    zk_lmhead_reference_row *scored = reference(&h, false), *drawn = reference(&h, true);
    for (int t = 1; t <= 2; t++) drawn[t].logits_hash = scored[t].logits_hash = 0; // NaN bits are nobody's promise
    FOR_EACH_VARIANT(device, stream) {
      for (int sampling = 0; sampling < 2; sampling++) {
        if (sampling) OK(zk_lmhead_sample(stream, &desc, &h.ids, h.x, h.weight, h.packed, h.token, &h.out));
        else OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out));
        const zk_lmhead_reference_row *want = sampling ? drawn : scored;
        for (int t = 0; t < 4; t++) {
          const bool bad = t == 1 || t == 2;
          assert_int_equal(zk_float_bits(h.out.logprob[t]) == 0x7fc00000u, bad);
          assert_bits_equal(&h.out.logprob[t], &want[t].logprob, 1, "row %d", t);
          assert_bits_equal(&h.out.lse[t], &want[t].lse, 1, "row %d", t);
          if (sampling) assert_int_equal(h.token[t], want[t].token);
        }
      }
    }
    free(scored), free(drawn);
    head_close(&h);
  }
}

// Rows alone give what they give in a batch.
static void rows_do_not_see_their_neighbours(void **state) {
  const zk_lmhead_desc desc = {ZK_F32, 40, 48, 700, 0.9, 0, 1.0};
  head h = head_open(desc, 1.0f);
  FOR_EACH_VARIANT(device, stream) {
    OK(zk_lmhead_sample(stream, &desc, &h.ids, h.x, h.weight, h.packed, h.token, &h.out));
    for (int t = 0; t < 40; t++) {
      zk_lmhead_desc one = desc;
      one.num_rows = 1;
      float logprob;
      uint64_t hash;
      int32_t token;
      const zk_lmhead_out out = {.logprob = &logprob, .logits_hash = &hash};
      const zk_sample_ids ids = {h.ids.seed, h.step + t, h.prompt + t, h.sample + t, h.position + t};
      OK(zk_lmhead_sample(stream, &one, &ids, h.x + t * 48, h.weight, h.packed, &token, &out));
      assert_int_equal(token, h.token[t]);
      assert_bits_equal(&logprob, &h.out.logprob[t], 1, "row %d alone", t);
      assert_true(hash == h.out.logits_hash[t]);
    }
  }
  head_close(&h);
}

// With `entropies` the loss depends on them too.
static void check_backward_of(zk_lmhead_desc desc, int num_chunks, const int32_t *starts, bool entropies) {
  head h = head_open(desc, 1.0f);
  const zk_chunks chunks = {num_chunks, starts};
  const size_t num_x = (size_t)desc.num_rows * (size_t)desc.hidden, num_w = (size_t)desc.vocab * (size_t)desc.hidden;
  float *dlogprob = random_floats((size_t)desc.num_rows, 30, 3), *dw0 = random_floats(num_w, 31, 0);
  float *dentropy = entropies ? random_floats((size_t)desc.num_rows, 32, 3) : NULL;
  float *dx_want = malloc(num_x * 4), *dw_want = malloc(num_w * 4), *dx = alloc(num_x * 4), *dw = alloc(num_w * 4);
  memcpy(dw_want, dw0, num_w * 4);
  assert_true(zk_lmhead_reference_backward(&desc, &chunks, h.x, h.weight, h.target, dlogprob, dentropy, dx_want, dw_want));
  FOR_EACH_VARIANT(device, stream) {
    memcpy(dw, dw0, num_w * 4);
    OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out));
    OK(zk_lmhead_backward(stream, &desc, &chunks, h.x, h.weight, h.packed, h.target, &h.out, dlogprob, dentropy, dx, dw));
    assert_bits_equal(dx, dx_want, num_x, "dX %s vocabulary %d", zk_device_describe(device), desc.vocab);
    assert_bits_equal(dw, dw_want, num_w, "dW %s vocabulary %d", zk_device_describe(device), desc.vocab);
  }
  free(dlogprob), free(dentropy), free(dw0), free(dx_want), free(dw_want), zk_device_free(device, dx), zk_device_free(device, dw);
  head_close(&h);
}

static void check_backward(zk_lmhead_desc desc, int num_chunks, const int32_t *starts) {
  check_backward_of(desc, num_chunks, starts, false);
  check_backward_of(desc, num_chunks, starts, true);
}

static void backward_equals_reference(void **state) {
  static const int32_t one[] = {0, 1}, several[] = {0, 30, 31, 31, 75};
  check_backward((zk_lmhead_desc){ZK_F32, 1, 8, 5, 1.0, 0, 1.0}, 1, one);
  check_backward((zk_lmhead_desc){ZK_F32, 75, 33, 259, 0.7, 0, 1.0}, 4, several);
  check_backward((zk_lmhead_desc){ZK_F32, 75, 20, 1100, 1.0, 40, 0.9}, 4, several);
  check_backward((zk_lmhead_desc){ZK_F32, 75, 17, 8192 + 515, 0.0, 0, 1.0}, 4, several); // three vocabulary chunks
  check_backward((zk_lmhead_desc){ZK_F32, 75, 17, 4096, 1.0, 0, 0.95}, 4, several);
}

// The gradient is that of the log-probability: against float64 differences of the definition.
static void gradient_is_the_derivative(void **state) {
  enum { ROWS = 2, HIDDEN = 6, VOCAB = 40 };
  const zk_lmhead_desc desc = {ZK_F32, ROWS, HIDDEN, VOCAB, 0.8, 0, 1.0};
  static const int32_t starts[] = {0, ROWS};
  const zk_chunks chunks = {1, starts};
  head h = head_open(desc, 1.0f);
  float dlogprob[ROWS] = {1.0f, 1.0f}, dx[ROWS * HIDDEN], dw[VOCAB * HIDDEN] = {0};
  OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out));
  OK(zk_lmhead_backward(stream, &desc, &chunks, h.x, h.weight, h.packed, h.target, &h.out, dlogprob, NULL, dx, dw));
  for (int t = 0; t < ROWS; t++) {
    double logit[VOCAB], most = -1e300, sum = 0.0;
    for (int v = 0; v < VOCAB; v++) {
      logit[v] = 0.0;
      for (int k = 0; k < HIDDEN; k++) logit[v] += (double)h.x[t * HIDDEN + k] * (double)h.weight[v * HIDDEN + k];
      logit[v] /= 0.8;
      most = fmax(most, logit[v]);
    }
    for (int v = 0; v < VOCAB; v++) sum += exp(logit[v] - most);
    const double logprob = logit[h.target[t]] - most - log(sum);
    assert_true(fabs(logprob - (double)h.out.logprob[t]) < 1e-5);
    for (int k = 0; k < HIDDEN; k++) {
      double want = 0.0;
      for (int v = 0; v < VOCAB; v++)
        want += ((v == h.target[t]) - exp(logit[v] - most) / sum) / 0.8 * (double)h.weight[v * HIDDEN + k];
      assert_true(fabs(want - (double)dx[t * HIDDEN + k]) < 1e-5);
    }
  }
  head_close(&h);
}

// And of the entropy: against float64 differences of H = -sum p log p. Where a weight vanishes nothing is added, and nothing is NaN.
static void entropy_gradient_is_the_derivative(void **state) {
  enum { HIDDEN = 6, VOCAB = 40 };
  const zk_lmhead_desc desc = {ZK_F32, 1, HIDDEN, VOCAB, 0.8, 0, 1.0};
  static const int32_t starts[] = {0, 1};
  const zk_chunks chunks = {1, starts};
  head h = head_open(desc, 1.0f);
  float none = 0, one = 1, dx[HIDDEN], dw[VOCAB * HIDDEN] = {0};
  OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out));
  OK(zk_lmhead_backward(stream, &desc, &chunks, h.x, h.weight, h.packed, h.target, &h.out, &none, &one, dx, dw));
  for (int k = 0; k < HIDDEN; k++) {
    double entropy[2];
    for (int side = 0; side < 2; side++) {
      double logit[VOCAB], sum = 0, mean = 0;
      for (int v = 0; v < VOCAB; v++) {
        logit[v] = 0;
        for (int j = 0; j < HIDDEN; j++)
          logit[v] += ((double)h.x[j] + (j == k ? side ? 1e-6 : -1e-6 : 0)) * (double)h.weight[v * HIDDEN + j] / 0.8;
        sum += exp(logit[v]), mean += exp(logit[v]) * logit[v];
      }
      entropy[side] = log(sum) - mean / sum;
    }
    assert_true(fabs((entropy[1] - entropy[0]) / 2e-6 - (double)dx[k]) < 1e-5 * (1 + fabs((double)dx[k])));
  }
  head_close(&h);
  h = head_open(desc, 2000.0f); // all but one weight vanish
  OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out));
  OK(zk_lmhead_backward(stream, &desc, &chunks, h.x, h.weight, h.packed, h.target, &h.out, &one, &one, dx, dw));
  for (int k = 0; k < HIDDEN; k++) assert_true(isfinite(dx[k]));
  head_close(&h);
}

// The comparison can tell: the same sum with tiles merged in descending order differs somewhere.
static void other_orders_differ(void **state) {
  const zk_lmhead_desc desc = {ZK_F32, 64, 32, 1024, 1.0, 0, 1.0};
  head h = head_open(desc, 1.0f);
  OK(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out));
  float *logit = malloc(1024 * sizeof *logit);
  int differ = 0;
  for (int t = 0; t < 64; t++) {
    zk_lmhead_reference_logits(32, 1024, h.x + t * 32, h.weight, logit);
    float m = -INFINITY, l = 0.0f;
    for (int v = 0; v < 1024; v++) m = logit[v] > m ? logit[v] : m;
    for (int v = 1023; v >= 0; v--) l = l + zk_expf(logit[v] - m);
    differ += m + zk_logf(l) != h.out.lse[t];
  }
  assert_true(differ > 0);
  free(logit);
  head_close(&h);
}

static void bad_calls_are_refused(void **state) {
  zk_lmhead_desc desc = {ZK_F32, 3, 8, 20, 1.0, 0, 1.0};
  head h = head_open(desc, 1.0f);
  h.target[2] = 20;
  assert_int_equal(zk_lmhead_logprob(stream, &desc, h.x, h.weight, h.packed, h.target, &h.out), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "row 2"));
  desc.top_p = 0.0;
  assert_int_equal(zk_lmhead_sample(stream, &desc, &h.ids, h.x, h.weight, h.packed, h.token, &h.out), ZK_BAD_INPUT);
  head_close(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_and_tempered),
      cmocka_unit_test(top_k_and_top_p),
      cmocka_unit_test(ties_go_to_the_lowest_id),
      cmocka_unit_test(not_finite_rows_are_marked),
      cmocka_unit_test(rows_do_not_see_their_neighbours),
      cmocka_unit_test(backward_equals_reference),
      cmocka_unit_test(gradient_is_the_derivative), cmocka_unit_test(entropy_gradient_is_the_derivative),
      cmocka_unit_test(other_orders_differ),
      cmocka_unit_test(bad_calls_are_refused),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
