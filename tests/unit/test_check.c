// zerokl check: passes here, covers every operation, and names the operation when one is faulty.
#include "tests/unit/kernel_fixture.h"

#include "kernels/check.h"

static int no_fault(void **state) { return unsetenv("ZK_FAULT"); }

static void quick_passes_on_every_variant(void **state) {
  zk_device *device;
  OK(zk_device_open(ZK_DEVICE_CPU, 0, &device));
  for (int isa = 0; isa <= ZK_CPU_AVX512; isa++) {
    if (!zk_cpu_isa_available((zk_cpu_isa)isa)) continue;
    OK(zk_device_set_isa(device, (zk_cpu_isa)isa));
    OK(zk_check_quick(device, ZK_BF16));
  }
  zk_device_close(device);
}

// A fault in any operation of the contract is found, and the message names that operation and no other.
static void a_fault_in_any_operation_is_named(void **state) {
  for (zk_op op = 0; op < ZK_NUM_OPS; op++) {
    char fault[64], want[64];
    snprintf(fault, sizeof fault, "check:%s", zk_op_name(op));
    snprintf(want, sizeof want, "operation %s, variant ", zk_op_name(op));
    setenv("ZK_FAULT", fault, 1);
    zk_device *device;
    OK(zk_device_open(ZK_DEVICE_CPU, 0, &device));
    zk_status status = zk_check_quick(device, ZK_BF16);
    zk_device_close(device);
    unsetenv("ZK_FAULT");
    if (status != ZK_MISMATCH) fail_msg("fault %s: %s", fault, zk_status_text(status));
    assert_int_equal(zk_status_exit_code(status), 1);
    if (strstr(zk_status_message(), want) == NULL) fail_msg("fault %s: %s", fault, zk_status_message());
  }
}

// A run's start-up check leaves the faults of its two sides for the step to find.
static void faults_of_the_two_sides_are_not_the_checks(void **state) {
  setenv("ZK_FAULT", "sampler:linear", 1);
  zk_device *device;
  OK(zk_device_open(ZK_DEVICE_CPU, 0, &device));
  OK(zk_check_quick(device, ZK_BF16));
  zk_device_close(device);
  unsetenv("ZK_FAULT");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quick_passes_on_every_variant),
      cmocka_unit_test(a_fault_in_any_operation_is_named),
      cmocka_unit_test(faults_of_the_two_sides_are_not_the_checks),
  };
  return cmocka_run_group_tests(tests, no_fault, NULL);
}
