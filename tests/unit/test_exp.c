// The vector exponentials equal the scalar ones: one bit pattern in 251, for every instruction set; and arrays of any length.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/exp_sweep.h"

static void equal_to_the_scalar(void **state) { assert_int_equal(exp_sweep(251), 0); }

static void any_length_and_in_place(void **state) {
  for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; ++isa) {
    if (!zk_cpu_isa_available(isa)) continue;
    for (int n = 0; n < 40; ++n) {
      float x[41];
      for (int i = 0; i <= n; ++i) x[i] = 0.3f * (float)i - 5.0f;
      ZK_ISA_PICK(isa, zk_cpu_exp)(n, x, x);
      for (int i = 0; i < n; ++i) assert_int_equal(zk_float_bits(x[i]), zk_float_bits(zk_expf(0.3f * (float)i - 5.0f)));
      assert_int_equal(zk_float_bits(x[n]), zk_float_bits(0.3f * (float)n - 5.0f));
      for (int i = 0; i <= n; ++i) x[i] = -0.7f * (float)i;
      ZK_ISA_PICK(isa, zk_cpu_exp2)(n, x, x);
      for (int i = 0; i < n; ++i) assert_int_equal(zk_float_bits(x[i]), zk_float_bits(zk_exp2f(-0.7f * (float)i)));
      assert_int_equal(zk_float_bits(x[n]), zk_float_bits(-0.7f * (float)n));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equal_to_the_scalar), cmocka_unit_test(any_length_and_in_place)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
