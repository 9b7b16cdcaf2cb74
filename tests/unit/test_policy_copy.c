// A policy that follows another one has its weights, in its own numerics or coarser, after every change; one that does not follow keeps what it had.
#include "tests/unit/model_fixture.h"

#include <math.h>

#include "kernels/bf16.h"

static void open_control(test_model *m, zk_numerics numerics, zk_policy *out) {
  OK(zk_policy_open(m->device, numerics, &m->policy.config, m->policy.num_positions, out));
}

// Elements of `half` that are not the rounded values of `flat`.
static int64_t num_other(const zk_policy *half, const float *flat) {
  const zk_bf16 *w = half->weights;
  int64_t num = 0;
  for (int64_t i = 0; i < half->params.num_elements; i++) num += w[i].bits != zk_float_to_bf16(flat[i]).bits;
  return num;
}

// The packed form of a policy's first packed tensor is that of its weights: packing again changes nothing.
static void assert_packed(test_model *m, zk_policy *p) {
  for (int i = 0; i < p->params.num_params; i++) {
    if (p->packed_at[i] == SIZE_MAX) continue;
    const zk_param *param = &p->params.params[i];
    const zk_linear_desc desc = {p->numerics, 0, (int32_t)param->cols, (int32_t)param->rows};
    const size_t bytes = zk_linear_packed_bytes(m->device, p->numerics, desc.in_features, desc.out_features);
    void *again = malloc(bytes);
    OK(zk_linear_pack(m->stream, &desc, (const char *)p->weights + (size_t)param->first * zk_numerics_bytes(p->numerics), again));
    assert_memory_equal(again, (const char *)p->packed + p->packed_at[i], bytes);
    free(again);
    return;
  }
}

static void a_follower_has_the_weights_of_every_change(void **state) {
  (void)state;
  test_model m;
  test_model_make(&m, ZK_MODEL_LLAMA, 4, 2, 16);
  zk_policy follower, other;
  open_control(&m, ZK_BF16, &follower);
  open_control(&m, ZK_BF16, &other);
  zk_policy_lead(&m.policy, &follower, 0);
  for (uint64_t seed = 21; seed < 23; seed++) {
    const uint64_t version = follower.version;
    float *flat = test_model_weights(&m, seed, 0.2);
    OK(zk_policy_set_weights(&m.policy, m.stream, flat));
    assert_int_equal(num_other(&follower, flat), 0);
    assert_true(num_other(&other, flat) > follower.params.num_elements / 2); // the control
    assert_true(follower.version > version);
    assert_packed(&m, &follower);
    free(flat);
  }
  zk_policy_close(&other);
  zk_policy_close(&follower);
  test_model_close(&m);
}

// bf16 weights are f32 values: widened and rounded back they are the same.
static void widening_is_exact(void **state) {
  (void)state;
  test_model m;
  test_model_make(&m, ZK_MODEL_QWEN3, 4, 2, 16);
  zk_policy half, wide, back;
  open_control(&m, ZK_BF16, &half);
  open_control(&m, ZK_F32, &wide);
  open_control(&m, ZK_BF16, &back);
  OK(zk_policy_copy_weights(&m.policy, m.stream, &half));
  OK(zk_policy_copy_weights(&half, m.stream, &wide));
  OK(zk_policy_copy_weights(&wide, m.stream, &back));
  const size_t n = (size_t)m.policy.params.num_elements;
  assert_memory_equal(back.weights, half.weights, n * sizeof(zk_bf16));
  assert_int_equal(num_other(&half, wide.weights), 0);
  assert_true(memcmp(wide.weights, m.policy.weights, n * sizeof(float)) != 0); // the control: rounding lost something
  assert_packed(&m, &wide);
  zk_policy_close(&back);
  zk_policy_close(&wide);
  zk_policy_close(&half);
  test_model_close(&m);
}

// The nearest value of so many bits behind the leading one, by way of float64; rint takes halves to even.
static float nearest(float x, int bits) {
  int exponent;
  const double fraction = frexp(x, &exponent); // from a half to one
  return (float)ldexp(rint(ldexp(fraction, bits + 1)), exponent - bits - 1);
}

// Elements of f32 weights that are not the nearest values of so many bits to `flat`.
static int64_t num_other_f32(const zk_policy *p, const float *flat, int bits) {
  const float *w = p->weights;
  int64_t num = 0;
  for (int64_t i = 0; i < p->params.num_elements; i++) num += zk_float_bits(w[i]) != zk_float_bits(nearest(flat[i], bits));
  return num;
}

static void coarse_weights_are_the_nearest_ones(void **state) {
  (void)state;
  test_model m;
  test_model_make(&m, ZK_MODEL_LLAMA, 4, 2, 16);
  float *flat = test_model_weights(&m, 23, 0.2);
  // Halves between two values, on either side of an even one; what carries into the exponent; signed zeros; no number.
  const float edges[] = {1.0625f, 1.1875f, -1.0625f, 1.9375f, 1.96875f, -1.99f, 0.0f, -0.0f, 0x1p-100f, 1.06250012f, 1.0624999f, INFINITY};
  memcpy(flat, edges, sizeof edges);
  const int64_t n = m.policy.params.num_elements;
  for (int bits = 1; bits <= 6; bits++) {
    zk_policy fine, half, again;
    open_control(&m, ZK_F32, &fine);
    open_control(&m, ZK_BF16, &half);
    open_control(&m, ZK_BF16, &again);
    zk_policy_lead(&m.policy, &fine, bits);
    OK(zk_policy_set_weights(&m.policy, m.stream, flat));
    assert_int_equal(num_other_f32(&fine, flat, bits), 0);
    assert_true(num_other_f32(&fine, flat, bits + 1) > n / 4); // the control
    assert_packed(&m, &fine);
    zk_policy_lead(&m.policy, &half, bits); // bf16 has all of their bits
    OK(zk_policy_set_weights(&m.policy, m.stream, flat));
    assert_int_equal(num_other(&half, fine.weights), 0);
    zk_policy_lead(&half, &again, bits); // and is rounded already
    OK(zk_policy_copy_weights(&half, m.stream, &again));
    assert_memory_equal(again.weights, half.weights, (size_t)n * sizeof(zk_bf16));
    zk_policy_close(&again);
    zk_policy_close(&half);
    zk_policy_close(&fine);
  }
  free(flat);
  test_model_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_follower_has_the_weights_of_every_change), cmocka_unit_test(widening_is_exact),
                                    cmocka_unit_test(coarse_weights_are_the_nearest_ones)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
