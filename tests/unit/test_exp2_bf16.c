// The weight of a score in bf16's attention: its table is 2^t rounded to bf16 but for two fractions; zk_exp2_bf16 and its vector forms are the table for
// every t in [-126, -64], and as they should be outside; the polynomial without its own coefficient is not.
#include "tests/unit/kernel_fixture.h"

#include <math.h>

#include "kernels/cpu/exp.h"
#include "kernels/reference/exp2_bf16_table.h"

enum { FRACTIONS = 1 << 17 };

// All t in [-whole - 1, -whole), ascending.
static void fill(int whole, float *t) {
  for (int i = 0; i < FRACTIONS; i++) t[i] = -(float)(whole + 1) + (float)i * 0x1p-17f;
}

static void the_table_is_correct_rounding_but_for_two_fractions(void **state) {
  for (int k = 1; k < 128; k++) assert_true(zk_exp2_bf16_table[k] > zk_exp2_bf16_table[k - 1]);
  int differing[FRACTIONS], num = 0;
  for (int i = 0; i < FRACTIONS; i++) {
    const double steps = (exp2(i * 0x1p-17) - 1.0) * 128.0;
    int k = 0;
    while (k < 128 && zk_exp2_bf16_table[k] <= i) k++;
    if (k == (int)floor(steps + 0.5)) continue;
    assert_true(fabs(steps - k - 0.5) < 0x1p-16); // 2^-17 is 2^-24 of the power of two
    differing[num++] = i;
  }
  assert_int_equal(num, 2);
  assert_true(differing[0] == 30621 && differing[1] == 116090);
}

static void every_argument_on_every_instruction_set(void **state) {
  float *t = malloc(FRACTIONS * sizeof *t), *w = malloc(FRACTIONS * sizeof *w), *want = malloc(FRACTIONS * sizeof *want);
  for (int whole = 64; whole < 126; whole++) {
    fill(whole, t);
    for (int i = 0; i < FRACTIONS; i++) want[i] = zk_exp2_bf16_by_table(t[i]);
    for (int i = 0; i < FRACTIONS; i++) w[i] = zk_exp2_bf16(t[i]); // this file is compiled without fma instructions
    assert_bits_equal(w, want, FRACTIONS, "t from -%d", whole + 1);
    for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; isa++) {
      if (!zk_cpu_isa_available(isa)) continue;
      ZK_ISA_PICK(isa, zk_cpu_exp2_bf16)(FRACTIONS, t, w);
      assert_bits_equal(w, want, FRACTIONS, "t from -%d, %s", whole + 1, zk_cpu_isa_name(isa));
    }
  }
  free(t), free(w), free(want);
}

static void outside(void **state) {
  const float above[] = {-64.0f, nextafterf(-64.0f, 0.0f), -1.0f, -0.0f, 0.0f, 1.0f, 3e38f, INFINITY};
  const float below[] = {nextafterf(-126.0f, -127.0f), -126.5f, -127.0f, -150.0f, -3e38f, -INFINITY};
  for (size_t i = 0; i < sizeof above / sizeof *above; i++)
    assert_true(zk_exp2_bf16(above[i]) == 0x1p-64f && zk_exp2_bf16_by_table(above[i]) == 0x1p-64f);
  for (size_t i = 0; i < sizeof below / sizeof *below; i++)
    assert_true(zk_float_bits(zk_exp2_bf16(below[i])) == 0 && zk_float_bits(zk_exp2_bf16_by_table(below[i])) == 0);
  assert_true(zk_exp2_bf16(-126.0f) == 0x1p-126f && zk_exp2_bf16_by_table(-126.0f) == 0x1p-126f);
  assert_true(isnan(zk_exp2_bf16_by_table(NAN)));
  for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; isa++) {
    if (!zk_cpu_isa_available(isa)) continue;
    float t[64], w[64];
    for (uint32_t i = 0; i < 64; i++) t[i] = zk_bits_float((i % 2 ? 0x7fffffffu : 0xffc00000u) - i * 0x101u % 0x3fffffu);
    ZK_ISA_PICK(isa, zk_cpu_exp2_bf16)(64, t, w); // whatever a NaN's bits would add to an exponent
    for (int i = 0; i < 64; i++) assert_int_equal(zk_float_bits(w[i]), t[i] != t[i] ? 0x7fff0000u : zk_float_bits(zk_exp2_bf16_by_table(t[i])));
  }
}

// zk_exp2f rounded to bf16 is on the other side for a few fractions, and the comparison sees them.
static void another_polynomial_is_noticed(void **state) {
  int num = 0;
  for (int i = 0; i < FRACTIONS; i++) {
    const float t = -65.0f + (float)i * 0x1p-17f;
    num += zk_bf16_to_float(zk_float_to_bf16(zk_exp2f(t))) != zk_exp2_bf16_by_table(t);
  }
  assert_in_range(num, 1, 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_table_is_correct_rounding_but_for_two_fractions),
      cmocka_unit_test(every_argument_on_every_instruction_set),
      cmocka_unit_test(outside),
      cmocka_unit_test(another_polynomial_is_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
