// label: slow; cost: 40
// The one-kernel decode step (kernels/cuda/resident.cuh) on an emulated GPU of as many multiprocessors as an H200 has: all of its blocks run at once and wait
// for each other's mail. `zerokl check`'s cases, in several orders: no bit differs, and none stands still.
#include "tests/unit/kernel_fixture.h"

#include "kernels/check.h"
#include "tests/simt/order.h"

static void count(const zk_check_row *row, void *user) {
  assert_int_equal(row->differing_bits, 0);
  *(int64_t *)user += row->num_cases;
}

static void any_order(void **state) {
  zk_simt_set_num_sms(132);
  for (uint64_t order = 0; order < 2; order++) {
    zk_simt_set_order(order);
    zk_device *device;
    int64_t cases = 0;
    OK(zk_device_open(ZK_DEVICE_CUDA, 0, &device));
    OK(zk_check_quick_rows(device, "resident", count, &cases));
    zk_device_close(device);
    assert_true(cases > 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(any_order)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
