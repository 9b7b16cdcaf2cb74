// A training step's phases and its count of flops.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernels/device.h"
#include "trainer/flops.h"
#include "trainer/phases.h"

// Long enough for a clock to see.
static void work(void) {
  volatile double x = 1;
  for (int i = 0; i < 20000; i++) x = x * 1.0000001;
}

static void phases_have_the_time_between_marks(void **state) {
  zk_device *device;
  zk_stream *stream;
  zk_phases *phases;
  double seconds[ZK_NUM_PHASES];
  assert_int_equal(zk_device_open(ZK_DEVICE_CPU, 0, &device), ZK_OK);
  assert_int_equal(zk_stream_open(device, ZK_SIDE_TRAINER, &stream), ZK_OK);
  assert_int_equal(zk_phases_open(stream, &phases), ZK_OK);
  assert_int_equal(zk_phases_take(phases, seconds), ZK_OK);
  for (int p = 0; p < ZK_NUM_PHASES; p++) assert_true(seconds[p] == 0);
  for (int i = 0; i < 700; i++) { // more marks than it keeps
    assert_int_equal(zk_phases_begin(phases, ZK_PHASE_FORWARD), ZK_OK);
    work();
    assert_int_equal(zk_phases_begin(phases, ZK_PHASE_BACKWARD), ZK_OK);
    work();
    assert_int_equal(zk_phases_end(phases), ZK_OK);
  }
  assert_int_equal(zk_phases_take(phases, seconds), ZK_OK);
  assert_true(seconds[ZK_PHASE_FORWARD] > 0 && seconds[ZK_PHASE_BACKWARD] > 0);
  assert_true(seconds[ZK_PHASE_HEAD] == 0 && seconds[ZK_PHASE_REDUCE] == 0 && seconds[ZK_PHASE_OPTIMIZER] == 0);
  work(); // nobody's: all were ended
  assert_int_equal(zk_phases_end(phases), ZK_OK);
  assert_int_equal(zk_phases_take(phases, seconds), ZK_OK);
  for (int p = 0; p < ZK_NUM_PHASES; p++) assert_true(seconds[p] == 0);
  zk_phases_close(phases);
  zk_stream_close(stream);
  zk_device_close(device);
}

static void flops_are_weights_and_pairs(void **state) {
  zk_policy policy = {.config = {.num_layers = 2, .hidden = 8, .num_heads = 3, .head_dim = 16, .vocab = 10, .tie_embeddings = 1}};
  policy.params.num_elements = 1000;
  const int64_t offsets[] = {0, 4, 10};
  const int64_t target_offsets[] = {0, 3, 7}; // prompts take no part in the head
  const zk_sequences seqs = {.num_seqs = 2, .offsets = offsets, .target_offsets = target_offsets};
  const double pairs = (16.0 + 36.0) / 2 * 12 * 2 * 48;
  assert_true(zk_train_flops(&policy, &seqs) == 6.0 * (920 * 10 + 80 * 7) + pairs);
  policy.config.tie_embeddings = 0; // a table that is only looked up in
  assert_true(zk_train_flops(&policy, &seqs) == 6.0 * (840 * 10 + 80 * 7) + pairs);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(phases_have_the_time_between_marks), cmocka_unit_test(flops_are_weights_and_pairs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
