// label: slow; cost: 200
// The whole of zerokl check: every variant of this machine, no differing bit.
#include "tests/unit/kernel_fixture.h"

#include "kernels/check.h"

typedef struct {
  int num_rows;
} rows_seen;

static void count_row(const zk_check_row *row, void *user) {
  rows_seen *seen = user;
  assert_true(row->num_cases > 0 && row->num_bits > 0);
  if (row->differing_bits > 0) fail_msg("%s on %s: %s", row->operation, row->variant, row->first_difference);
  assert_string_equal(row->device, "cpu");
  seen->num_rows++;
}

static void full_reports_every_variant(void **state) {
  rows_seen seen = {0};
  int variants = 0;
  for (int isa = 0; isa <= ZK_CPU_AVX512; isa++) variants += zk_cpu_isa_available((zk_cpu_isa)isa);
  zk_device *device;
  OK(zk_device_open(ZK_DEVICE_CPU, 0, &device));
  OK(zk_check_full(device, NULL, count_row, &seen));
  zk_device_close(device);
  assert_int_equal(seen.num_rows % variants, 0);
  assert_true(seen.num_rows / variants > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(full_reports_every_variant)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
