// Memory that makes way for the other side's: addresses stay, pages and what they held do not, and the books know.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/device_fixture.h"

#include "kernels/backend.h"

enum { BYTES = 3 << 20 };

static unsigned char *side_alloc(zk_side side) {
  void *p;
  OK(zk_side_alloc(device, side, BYTES, "test", &p));
  return p;
}

static void rests_and_wakes_at_its_address(void **state) {
  unsigned char *sampler = side_alloc(ZK_SIDE_SAMPLER), *trainer = side_alloc(ZK_SIDE_TRAINER), *always = alloc(BYTES);
  for (int i = 0; i < BYTES; i++) assert_int_equal(sampler[i] | trainer[i], 0);
  memset(sampler, 1, BYTES), memset(trainer, 2, BYTES), memset(always, 3, BYTES);
  OK(zk_side_rest(device, ZK_SIDE_SAMPLER));
  OK(zk_side_rest(device, ZK_SIDE_SAMPLER)); // it does already
  assert_int_equal(trainer[BYTES - 1], 2);
  OK(zk_side_wake(device, ZK_SIDE_SAMPLER));
  OK(zk_side_wake(device, ZK_SIDE_TRAINER)); // it is awake
  for (int i = 0; i < BYTES; i++) assert_int_equal(sampler[i], 0);
  assert_int_equal(trainer[0] + always[0], 5);
  zk_device_free(device, trainer);
  zk_device_free(device, sampler);
  zk_device_free(device, always);
}

// What a side that rests allocates has pages at once, and they go with the next rest.
static void grows_while_it_rests(void **state) {
  unsigned char *first = side_alloc(ZK_SIDE_TRAINER);
  OK(zk_side_rest(device, ZK_SIDE_TRAINER));
  unsigned char *second = side_alloc(ZK_SIDE_TRAINER);
  memset(second, 1, BYTES);
  OK(zk_side_wake(device, ZK_SIDE_TRAINER));
  assert_int_equal(first[0] + second[0], 1);
  OK(zk_side_rest(device, ZK_SIDE_TRAINER));
  zk_device_free(device, first); // at rest
  OK(zk_side_wake(device, ZK_SIDE_TRAINER));
  assert_int_equal(second[0], 0);
  zk_device_free(device, second);
}

static void turns_take_less_than_both(void **state) {
  zk_device *d;
  void *sampler, *trainer;
  OK(zk_device_open(ZK_DEVICE_CPU, 0, &d));
  OK(zk_side_alloc(d, ZK_SIDE_SAMPLER, BYTES, "test", &sampler));
  for (int turn = 0; turn < 3; turn++) {
    OK(zk_side_rest(d, ZK_SIDE_SAMPLER));
    if (turn == 0) OK(zk_side_alloc(d, ZK_SIDE_TRAINER, 2 * BYTES, "test", &trainer));
    else OK(zk_side_wake(d, ZK_SIDE_TRAINER));
    OK(zk_side_rest(d, ZK_SIDE_TRAINER));
    OK(zk_side_wake(d, ZK_SIDE_SAMPLER));
  }
  assert_int_equal(zk_device_memory_peak(d), 2 * BYTES);
  OK(zk_side_wake(d, ZK_SIDE_TRAINER));
  assert_int_equal(zk_device_memory_peak(d), 3 * BYTES);
  zk_device_free(d, sampler);
  zk_device_free(d, trainer);
  zk_device_close(d);
}

static bool can_touch(volatile unsigned char *p) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    *p = 1;
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0; // a sanitizer makes an exit of a signal
}

// Negative control: whoever touches memory at rest, or behind its end, finds no pages there.
static void is_not_there_while_it_rests(void **state) {
  for (size_t bytes = 64; bytes <= 1 << 20; bytes *= 4) {
    void *p;
    OK(zk_side_alloc(device, ZK_SIDE_SAMPLER, bytes, "test", &p));
    unsigned char *first = p;
    assert_int_equal((uintptr_t)p % 64, 0);
    assert_true(can_touch(first) && can_touch(first + bytes - 1) && !can_touch(first + bytes));
    OK(zk_side_rest(device, ZK_SIDE_SAMPLER));
    assert_false(can_touch(first) || can_touch(first + bytes - 1));
    zk_device_free(device, p);
  }
}

static void refuses_memory_of_no_side(void **state) {
  void *p;
  assert_int_equal(zk_side_alloc(device, ZK_SIDE_NONE, BYTES, "test", &p), ZK_INTERNAL);
  assert_int_equal(zk_side_rest(device, ZK_SIDE_NONE), ZK_INTERNAL);
  assert_int_equal(zk_side_alloc(device, ZK_SIDE_SAMPLER, (size_t)1 << 60, "a cache", &p), ZK_OUT_OF_MEMORY);
  assert_non_null(strstr(zk_status_message(), "a cache"));
}

static zk_status fails_to_unmap(zk_device *d, void *memory, size_t bytes) {
  (void)d, (void)memory, (void)bytes;
  return ZK_FAIL(ZK_DEVICE, "cannot unmap");
}

// A device that has failed cannot give back either: what is told is why it failed.
static void freeing_keeps_the_first_failure(void **state) {
  zk_device *d;
  void *p;
  OK(zk_device_open(ZK_DEVICE_CPU, 0, &d));
  OK(zk_side_alloc(d, ZK_SIDE_SAMPLER, BYTES, "test", &p));
  const zk_backend *whole = d->backend;
  zk_backend broken = *whole;
  broken.unmap = fails_to_unmap;
  d->backend = &broken;
  assert_int_equal(ZK_FAIL(ZK_DEVICE, "a kernel died"), ZK_DEVICE);
  zk_device_free(d, p);
  assert_string_equal(zk_status_message(), "a kernel died");
  assert_non_null(strstr(zk_status_frames(), "freeing_keeps_the_first_failure"));
  d->backend = whole;
  OK(whole->unmap(d, p, BYTES));
  zk_device_close(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rests_and_wakes_at_its_address), cmocka_unit_test(grows_while_it_rests),   cmocka_unit_test(turns_take_less_than_both),
      cmocka_unit_test(is_not_there_while_it_rests),    cmocka_unit_test(refuses_memory_of_no_side),
      cmocka_unit_test(freeing_keeps_the_first_failure),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
