// Turns at a device's memory: whose is there, and what is said when it cannot be taken again.
#include "tests/unit/device_fixture.h"

#include "kernels/backend.h"
#include "trainer/turns.h"

enum { BYTES = 3 << 20 };

static zk_status map_nothing(zk_device *d, void *memory, size_t bytes) { return ZK_FAIL(ZK_OUT_OF_MEMORY, "no pages"); }

// A device on which pages cannot be had any more.
static zk_turns poor_turns(zk_backend *poor, zk_comm *comm, zk_side awake) {
  *poor = *device->backend;
  poor->map = map_nothing;
  device->backend = poor;
  return (zk_turns){.comm = comm, .device = device, .is_on = true, .awake = awake};
}

static void says_what_is_missing_and_how_to_mend_it(void **state) {
  const zk_backend *rich = device->backend;
  zk_backend poor;
  zk_comm *comm;
  void *cache, *gradients;
  OK(zk_comm_open(&comm));
  OK(zk_side_alloc(device, ZK_SIDE_SAMPLER, BYTES, "cache", &cache));
  OK(zk_side_alloc(device, ZK_SIDE_TRAINER, 2 * BYTES, "gradients", &gradients));
  assert_int_equal(zk_side_bytes(device, ZK_SIDE_SAMPLER), BYTES);
  OK(zk_side_rest(device, ZK_SIDE_SAMPLER));
  zk_turns turns = poor_turns(&poor, comm, ZK_SIDE_TRAINER);
  assert_int_equal(zk_turns_to(&turns, ZK_SIDE_SAMPLER, ZK_OK), ZK_OUT_OF_MEMORY);
  assert_non_null(strstr(zk_status_message(), "the KV cache needs 0.00 GiB again, and "));
  assert_non_null(strstr(zk_status_message(), " GiB are free on cpu"));
  assert_non_null(strstr(zk_status_message(), "start the same command again, or lower rollout.kv_bytes or rollout.max_batch"));
  device->backend = rich;
  OK(zk_side_wake(device, ZK_SIDE_SAMPLER)); // it rests whole, and wakes whole
  memset(cache, 1, BYTES);
  zk_device_free(device, cache);
  zk_device_free(device, gradients);
  zk_comm_close(comm);
}

static void a_failure_of_before_is_handed_on(void **state) {
  zk_comm *comm;
  OK(zk_comm_open(&comm));
  zk_turns turns = {.comm = comm, .device = device, .awake = ZK_SIDE_TRAINER};
  assert_int_equal(zk_turns_to(&turns, ZK_SIDE_SAMPLER, ZK_BAD_INPUT), ZK_BAD_INPUT);
  turns.is_on = true;
  assert_int_equal(zk_turns_to(&turns, ZK_SIDE_SAMPLER, ZK_BAD_INPUT), ZK_BAD_INPUT);
  assert_int_equal(turns.awake, ZK_SIDE_TRAINER);
  zk_comm_close(comm);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(says_what_is_missing_and_how_to_mend_it), cmocka_unit_test(a_failure_of_before_is_handed_on)};
  return cmocka_run_group_tests(tests, open_device, close_device);
}
