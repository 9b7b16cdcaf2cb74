// A few hundred random schedules against the reference order; test_engine_schedules_all has ten thousand.
#include "engine_schedules.h"

static void no_bit_differs(void **state) {
  (void)state;
  run_schedules(400);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(no_bit_differs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
