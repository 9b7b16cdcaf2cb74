// What kernel tests share: every instruction set and thread count of this CPU in turn, random matrices, bitwise
// comparison.
#ifndef ZK_TESTS_KERNEL_FIXTURE_H
#define ZK_TESTS_KERNEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/cpu/isa.h"
#include "kernels/math.h"
#include "kernels/rng.h"

#define OK(expr)                                                                                                       \
  do {                                                                                                                 \
    zk_status ok_status_ = (expr);                                                                                     \
    if (ok_status_ != ZK_OK)                                                                                           \
      fail_msg("%s: %s\n%s", zk_status_text(ok_status_), zk_status_message(), zk_status_frames());                     \
  } while (0)

// Runs `body` for each instruction set this CPU has and 1, 2 and 3 threads, with `device` and `stream` open.
#define FOR_EACH_VARIANT(device, stream)                                                                               \
  for (int isa_ = 0; isa_ <= ZK_CPU_AVX512; isa_++)                                                                    \
    for (int threads_ = 1; threads_ <= 3 && variant_set(device, isa_, threads_); threads_++)

static inline int variant_set(zk_device *device, int isa, int threads) {
  if (!zk_cpu_isa_available((zk_cpu_isa)isa)) return 0;
  OK(zk_device_set_isa(device, (zk_cpu_isa)isa));
  zk_device_set_threads(device, threads);
  return 1;
}

// n floats, roughly normal in size, from the counter-based generator; `spread` widens the exponents (0: none).
static inline float *random_floats(size_t n, uint32_t tag, int spread) {
  float *x = malloc((n > 0 ? n : 1) * sizeof *x);
  const uint32_t key[2] = {tag, 7};
  for (size_t i = 0; i < n; i++) {
    const uint32_t ctr[4] = {(uint32_t)(i / 2), tag, 1, 2};
    uint32_t r[4];
    zk_philox4x32(ctr, key, r);
    const uint32_t *pair = r + 2 * (i % 2);
    const int shift = spread > 0 ? (int)(pair[1] % (uint32_t)(2 * spread)) - spread : 0;
    x[i] = ((float)(int32_t)pair[0] * 0x1p-31f) * (shift >= 0 ? (float)(1u << shift) : 1.0f / (float)(1u << -shift));
  }
  return x;
}

// n floats as bf16 stores them; random ones.
static inline zk_bf16 *to_bf16(const float *x, size_t n) {
  zk_bf16 *y = malloc((n > 0 ? n : 1) * sizeof *y);
  for (size_t i = 0; i < n; i++) y[i] = zk_float_to_bf16(x[i]);
  return y;
}
static inline zk_bf16 *random_bf16(size_t n, uint32_t tag) {
  float *x = random_floats(n, tag, 1);
  zk_bf16 *y = to_bf16(x, n);
  free(x);
  return y;
}

// The first element whose bits differ, or -1.
static inline int64_t first_difference(const void *a, const void *b, size_t n) {
  const uint32_t *p = a, *q = b;
  for (size_t i = 0; i < n; i++)
    if (p[i] != q[i]) return (int64_t)i;
  return -1;
}

#define assert_bits_equal(a, b, n, ...)                                                                                \
  do {                                                                                                                 \
    int64_t at_ = first_difference(a, b, n);                                                                           \
    if (at_ >= 0) {                                                                                                    \
      char what_[256];                                                                                                 \
      snprintf(what_, sizeof what_, __VA_ARGS__);                                                                      \
      fail_msg("%s: element %lld has bits %08x, wanted %08x", what_, (long long)at_, ((const uint32_t *)(a))[at_],     \
               ((const uint32_t *)(b))[at_]);                                                                          \
    }                                                                                                                  \
  } while (0)

#endif
