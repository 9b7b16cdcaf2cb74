// cost: 70
// zerokl check: passes here, covers every operation, and names the operation when one is faulty.
#include "tests/unit/kernel_fixture.h"

#include "kernels/check.h"
#include "kernels/check_case.h"

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

typedef struct {
  int num_rows, num_differing;
} rows_seen;

static void count_row(const zk_check_row *row, void *user) {
  rows_seen *seen = user;
  seen->num_rows++;
  seen->num_differing += row->differing_bits > 0;
}

// A fault in any operation of the contract is found, and the message names that operation and no other, of all those that f32 has; alone, the
// operation differs in each of its numerics.
static void a_fault_in_any_operation_is_named(void **state) {
  for (zk_op op = 0; op < ZK_NUM_OPS; op++) {
    char fault[64], want[64];
    snprintf(fault, sizeof fault, "check:%s", zk_op_name(op));
    snprintf(want, sizeof want, "operation %s, variant ", zk_op_name(op));
    setenv("ZK_FAULT", fault, 1);
    zk_device *device;
    OK(zk_device_open(ZK_DEVICE_CPU, 0, &device));
    for (int alone = 0; alone < 2; alone++) {
      rows_seen seen = {0};
      zk_status status = alone ? zk_check_quick_rows(device, zk_op_name(op), count_row, &seen) : zk_check_quick(device, ZK_F32);
      if (status != ZK_MISMATCH) fail_msg("fault %s: %s", fault, zk_status_text(status));
      assert_int_equal(zk_status_exit_code(status), 1);
      if (strstr(zk_status_message(), want) == NULL) fail_msg("fault %s: %s", fault, zk_status_message());
      if (seen.num_differing != seen.num_rows) fail_msg("fault %s: only %d of %d rows differ", fault, seen.num_differing, seen.num_rows);
    }
    zk_device_close(device);
    unsetenv("ZK_FAULT");
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

// The sweep over batch sizes runs where no fault reaches; on a stream with one it differs, whichever operation it is.
static void a_fault_shows_in_the_sweep(void **state) {
  static const char *const faults[] = {NULL,         "check:linear",    "check:rmsnorm",        "check:swiglu",        "check:rope", "check:embedding",
                                       "check:attention", "check:lmhead_logprob", "check:linear_backward_input"};
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
    zk_check check = {.numerics = ZK_BF16, .quick = 1, .max_threads = 1, .seed = 1};
    if (faults[i] != NULL) setenv("ZK_FAULT", faults[i], 1);
    OK(zk_device_open(ZK_DEVICE_CPU, 0, &check.device));
    OK(zk_stream_open(check.device, ZK_SIDE_NONE, &check.stream));
    OK(zk_stream_open(check.device, ZK_SIDE_NONE, &check.helper));
    OK(zk_check_sweep(&check));
    if ((check.differing_bits > 0) != (faults[i] != NULL)) fail_msg("%s: %llu bits differ", faults[i] ? faults[i] : "no fault", (unsigned long long)check.differing_bits);
    zk_check_free(&check);
    zk_stream_close(check.helper);
    zk_stream_close(check.stream);
    zk_device_close(check.device);
    unsetenv("ZK_FAULT");
  }
}

static zk_status overlap_case(zk_check *check) { return zk_check_overlap_case(check, 1); }

// What a row compares beside an operation's outputs: a fused operation with its parts, attention's weights with their table. With a fault in it, it
// differs.
static void a_fault_shows_in_other_rows(void **state) {
  static const struct {
    const char *fault;
    zk_status (*run)(zk_check *check);
  } cases[] = {{NULL, zk_check_linear_parts},       {"check:linear", zk_check_linear_parts}, {"check:swiglu", zk_check_linear_parts},
               {"check:rmsnorm", zk_check_linear_parts},      {NULL, zk_check_linear_parts_backward},
               {"check:linear_backward_weight", zk_check_linear_parts_backward}, {"check:linear_backward_input", zk_check_linear_parts_backward},
               {NULL, zk_check_rope_cache},         {"check:rope", zk_check_rope_cache},     {"check:rmsnorm", zk_check_rope_cache},
               {"check:kv_write", zk_check_rope_cache},       {NULL, zk_check_rope_attention},
               {"check:attention", zk_check_rope_attention},  {"check:rope", zk_check_rope_attention}, {NULL, zk_check_attention_weights},    {"check:attention", zk_check_attention_weights},
               {NULL, overlap_case},            {"check:linear", overlap_case},      {"check:attention", overlap_case},
               {"check:swiglu_backward", overlap_case}, {"check:rmsnorm_backward", overlap_case}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    zk_check check = {.numerics = ZK_BF16, .max_threads = 1, .seed = 1, .quick = cases[i].run == zk_check_linear_parts_backward};
    OK(zk_device_open(ZK_DEVICE_CPU, 0, &check.device));
    OK(zk_stream_open(check.device, ZK_SIDE_NONE, &check.helper));
    if (cases[i].fault != NULL) setenv("ZK_FAULT", cases[i].fault, 1);
    OK(zk_stream_open(check.device, ZK_SIDE_NONE, &check.stream));
    OK(zk_stream_open(check.device, ZK_SIDE_NONE, &check.fused));
    unsetenv("ZK_FAULT");
    OK(cases[i].run(&check));
    if ((check.differing_bits > 0) != (cases[i].fault != NULL))
      fail_msg("%s: %llu bits differ", cases[i].fault ? cases[i].fault : "no fault", (unsigned long long)check.differing_bits);
    zk_check_free(&check);
    zk_stream_close(check.fused);
    zk_stream_close(check.helper);
    zk_stream_close(check.stream);
    zk_device_close(check.device);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quick_passes_on_every_variant),
      cmocka_unit_test(a_fault_in_any_operation_is_named),
      cmocka_unit_test(faults_of_the_two_sides_are_not_the_checks),
      cmocka_unit_test(a_fault_shows_in_the_sweep),
      cmocka_unit_test(a_fault_shows_in_other_rows),
  };
  return cmocka_run_group_tests(tests, no_fault, NULL);
}
