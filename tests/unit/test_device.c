// Devices, streams, memory books, instruction-set choice, floating-point mode and faults.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/memory.h"
#include "kernels/device.h"

static int setup(void **state) {
  unsetenv("ZK_CPU_ISA");
  unsetenv("ZK_FAULT");
  return 0;
}

static zk_device *open_cpu(void) {
  zk_device *device = NULL;
  assert_int_equal(zk_device_open(ZK_DEVICE_CPU, 0, &device), ZK_OK);
  return device;
}

static void opens_and_describes(void **state) {
  zk_device *device = open_cpu();
  zk_device_set_threads(device, 2);
  char want[64];
  snprintf(want, sizeof want, "cpu %s, 2 threads", zk_cpu_isa_name(zk_device_isa(device)));
  assert_string_equal(zk_device_describe(device), want);
  assert_int_equal(zk_device_get_kind(device), ZK_DEVICE_CPU);
  zk_device_close(device);
}

static void refuses_what_it_does_not_have(void **state) {
  zk_device *device;
  assert_int_equal(zk_device_open(ZK_DEVICE_CPU, 1, &device), ZK_BAD_INPUT);
  const int num_gpus = zk_device_count(ZK_DEVICE_CUDA);
  assert_int_equal(zk_device_open(ZK_DEVICE_CUDA, num_gpus, &device), num_gpus > 0 ? ZK_BAD_INPUT : ZK_UNSUPPORTED);
  if (num_gpus == 0) assert_non_null(strstr(zk_status_message(), "CUDA"));
  assert_null(device);
}

static void instruction_set_is_forced_by_name(void **state) {
  for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; isa++) {
    setenv("ZK_CPU_ISA", zk_cpu_isa_name(isa), 1);
    zk_device *device;
    zk_status status = zk_device_open(ZK_DEVICE_CPU, 0, &device);
    assert_int_equal(status, zk_cpu_isa_available(isa) ? ZK_OK : ZK_UNSUPPORTED);
    if (status == ZK_OK) assert_int_equal(zk_device_isa(device), isa);
    zk_device_close(device);
  }
  setenv("ZK_CPU_ISA", "sse9", 1);
  zk_device *device;
  assert_int_equal(zk_device_open(ZK_DEVICE_CPU, 0, &device), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "avx512, avx2, scalar"));
  unsetenv("ZK_CPU_ISA");
}

static void memory_is_aligned_zeroed_and_counted(void **state) {
  zk_device *device = open_cpu();
  unsigned char *a, *b;
  assert_int_equal(zk_device_alloc(device, 1000, "a", (void **)&a), ZK_OK);
  assert_int_equal(zk_device_alloc(device, 0, "nothing", (void **)&b), ZK_OK);
  assert_int_equal((uintptr_t)a % 64, 0);
  for (int i = 0; i < 1000; i++) assert_int_equal(a[i], 0);
  assert_int_equal(zk_device_memory_peak(device), 1000);
  zk_device_free(device, a);
  zk_device_free(device, b);
  zk_device_free(device, NULL);
  assert_int_equal(zk_device_alloc(device, 600, "a", (void **)&a), ZK_OK);
  assert_int_equal(zk_device_memory_peak(device), 1000);
  zk_device_free(device, a);
  assert_int_equal(zk_device_alloc(device, SIZE_MAX / 4, "KV cache", (void **)&a), ZK_OUT_OF_MEMORY);
  assert_non_null(strstr(zk_status_message(), "KV cache"));
  assert_null(a);
  assert_in_range(zk_cpu_memory_free(), 1, SIZE_MAX - 1);
  zk_device_close(device);
}

static void streams_copy_count_and_hold_scratch(void **state) {
  zk_device *device = open_cpu();
  zk_stream *stream;
  assert_int_equal(zk_stream_open(device, ZK_SIDE_TRAINER, &stream), ZK_OK);
  assert_ptr_equal(zk_stream_device(stream), device);
  assert_int_equal(zk_stream_side(stream), ZK_SIDE_TRAINER);
  float host[4] = {1, 2, 3, 4}, back[4], *memory;
  assert_int_equal(zk_device_alloc(device, 2 * sizeof host, "m", (void **)&memory), ZK_OK);
  assert_int_equal(zk_copy_to_device(stream, memory, host, sizeof host), ZK_OK);
  assert_int_equal(zk_copy_on_device(stream, memory + 4, memory, sizeof host), ZK_OK);
  assert_int_equal(zk_fill_zero(stream, memory, sizeof host), ZK_OK);
  assert_int_equal(zk_copy_to_host(stream, back, memory + 4, sizeof host), ZK_OK);
  assert_int_equal(zk_stream_wait(stream), ZK_OK);
  assert_memory_equal(host, back, sizeof host);
  assert_true(memory[0] == 0 && memory[3] == 0);
  zk_stream_count(stream, ZK_OP_LINEAR);
  zk_stream_count(stream, ZK_OP_LINEAR);
  assert_int_equal(zk_stream_calls(stream, ZK_OP_LINEAR), 2);
  assert_int_equal(zk_stream_calls(stream, ZK_OP_ROPE), 0);
  void *small, *large;
  assert_int_equal(zk_stream_scratch(stream, 100, &small), ZK_OK);
  assert_int_equal(zk_stream_scratch(stream, 100000, &large), ZK_OK);
  memset(large, 1, 100000);
  assert_int_equal(zk_stream_scratch(stream, 10, &small), ZK_OK);
  assert_ptr_equal(small, large);
  zk_device_free(device, memory);
  zk_stream_close(stream);
  zk_device_close(device);
}

static void flush_to_zero_is_found(void **state) {
  zk_device *device = open_cpu();
  unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8000);
  zk_status status = zk_device_check_fp(device);
  _mm_setcsr(saved | 0x2000);
  zk_status rounding = zk_device_check_fp(device);
  _mm_setcsr(saved);
  assert_int_equal(status, ZK_DEVICE);
  assert_int_equal(rounding, ZK_DEVICE);
  assert_int_equal(zk_device_check_fp(device), ZK_OK);
  zk_device_close(device);
}

static void a_fault_moves_one_element_on_one_side(void **state) {
  setenv("ZK_FAULT", "sampler:rope", 1);
  zk_device *device = open_cpu();
  zk_stream *sampler, *trainer;
  assert_int_equal(zk_stream_open(device, ZK_SIDE_SAMPLER, &sampler), ZK_OK);
  assert_int_equal(zk_stream_open(device, ZK_SIDE_TRAINER, &trainer), ZK_OK);
  float before[5] = {1, 1, 0, 2, 3}, x[5];
  memcpy(x, before, sizeof x);
  assert_int_equal(zk_stream_fault(trainer, ZK_OP_ROPE, ZK_F32, x, 5), ZK_OK);
  assert_int_equal(zk_stream_fault(sampler, ZK_OP_LINEAR, ZK_F32, x, 5), ZK_OK);
  assert_int_equal(zk_stream_fault(sampler, ZK_OP_ROPE, ZK_F32, x, 0), ZK_OK);
  assert_memory_equal(x, before, sizeof x);
  assert_int_equal(zk_stream_fault(sampler, ZK_OP_ROPE, ZK_F32, x, 5), ZK_OK); // the middle one is 0: the next
  assert_true(x[3] != 2.0f && x[3] > 1.999999f && x[3] < 2.000001f);
  x[3] = 2;
  assert_memory_equal(x, before, sizeof x);
  zk_stream_close(sampler);
  zk_stream_close(trainer);
  const char *const bad[] = {"sampler:ropes", "nobody:rope", "rope", "", "sampler:", "sampler:rope:", "sampler:rope:vendor", "sampler:rope:f32:"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    setenv("ZK_FAULT", bad[i], 1);
    assert_int_equal(zk_stream_open(device, ZK_SIDE_SAMPLER, &sampler), ZK_BAD_INPUT);
    assert_non_null(strstr(zk_status_message(), "lmhead_logprob"));
  }
  unsetenv("ZK_FAULT");
  zk_device_close(device);
}

static void a_fault_can_want_one_stored_type_or_break_the_device(void **state) {
  zk_device *device = open_cpu();
  zk_stream *stream;
  float x[3] = {1, 1, 1};
  setenv("ZK_FAULT", "trainer:rope:bf16", 1);
  assert_int_equal(zk_stream_open(device, ZK_SIDE_TRAINER, &stream), ZK_OK);
  assert_int_equal(zk_stream_fault(stream, ZK_OP_ROPE, ZK_F32, x, 3), ZK_OK);
  assert_true(x[1] == 1.0f);
  assert_int_equal(zk_stream_fault(stream, ZK_OP_ROPE, ZK_BF16, x, 3), ZK_OK);
  assert_true(x[0] != 1.0f || x[1] != 1.0f);
  zk_stream_close(stream);
  setenv("ZK_FAULT", "trainer:rope:break", 1);
  assert_int_equal(zk_stream_open(device, ZK_SIDE_TRAINER, &stream), ZK_OK);
  assert_int_equal(zk_stream_fault(stream, ZK_OP_LINEAR, ZK_F32, x, 3), ZK_OK);
  assert_int_equal(zk_stream_fault(stream, ZK_OP_ROPE, ZK_F32, x, 3), ZK_DEVICE);
  zk_stream_close(stream);
  unsetenv("ZK_FAULT");
  zk_device_close(device);
}

static void names_come_from_the_tables(void **state) {
  assert_string_equal(zk_op_name(ZK_OP_ATTENTION_BACKWARD), "attention_backward");
  assert_string_equal(zk_op_name(ZK_NUM_OPS), "unknown");
  assert_string_equal(zk_numerics_name(ZK_BF16), "bf16");
  assert_int_equal(zk_numerics_bytes(ZK_F32), 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(opens_and_describes),
      cmocka_unit_test(refuses_what_it_does_not_have),
      cmocka_unit_test(instruction_set_is_forced_by_name),
      cmocka_unit_test(memory_is_aligned_zeroed_and_counted),
      cmocka_unit_test(streams_copy_count_and_hold_scratch),
      cmocka_unit_test(flush_to_zero_is_found),
      cmocka_unit_test(a_fault_moves_one_element_on_one_side),
      cmocka_unit_test(a_fault_can_want_one_stored_type_or_break_the_device),
      cmocka_unit_test(names_come_from_the_tables),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
