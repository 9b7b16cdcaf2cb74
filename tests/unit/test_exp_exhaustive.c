// label: slow; cost: 70
// The vector exponentials equal the scalar ones on all 2^32 inputs, for every instruction set.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/exp_sweep.h"

static void equal_to_the_scalar(void **state) { assert_int_equal(exp_sweep(1), 0); }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equal_to_the_scalar)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
