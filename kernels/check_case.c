// Cases of a check: their memory, their data, and the comparison.
#include "kernels/check_case.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/math.h"
#include "kernels/rng.h"

const char *zk_check_data_name(zk_check_data data) {
  static const char *const names[] = {
#define X(name, text) text,
      ZK_CHECK_DATA_LIST(X)
#undef X
  };
  return names[data];
}

void zk_check_free(zk_check *check) {
  while (check->num_host > 0) free(check->host[--check->num_host]);
  while (check->num_memory > 0) zk_device_free(check->device, check->memory[--check->num_memory]);
}

void zk_check_case(zk_check *check, const char *format, ...) {
  zk_check_free(check);
  const size_t used =
      (size_t)snprintf(check->case_text, sizeof check->case_text, "%s, ", zk_numerics_name(check->numerics));
  va_list args;
  va_start(args, format);
  vsnprintf(check->case_text + used, sizeof check->case_text - used, format, args);
  va_end(args);
  if (check->rotate_threads) zk_device_set_threads(check->device, 1 + (int)(check->num_cases % check->max_threads));
  check->num_cases++;
}

zk_status zk_check_host(zk_check *check, size_t bytes, void **out) {
  *out = NULL;
  if (check->num_host == ZK_CHECK_MAX_BUFFERS) return ZK_FAIL(ZK_INTERNAL, "check: too many buffers in a case");
  *out = calloc(1, bytes > 0 ? bytes : 1);
  if (*out == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "check: no memory for %zu bytes", bytes);
  check->host[check->num_host++] = *out;
  return ZK_OK;
}

zk_status zk_check_device(zk_check *check, size_t bytes, void **out) {
  *out = NULL;
  if (check->num_memory == ZK_CHECK_MAX_BUFFERS) return ZK_FAIL(ZK_INTERNAL, "check: too many buffers in a case");
  ZK_TRY(zk_device_alloc(check->device, bytes, "check", out));
  check->memory[check->num_memory++] = *out;
  return ZK_OK;
}

zk_status zk_check_upload(zk_check *check, const void *host, size_t bytes, void **out) {
  ZK_TRY(zk_check_device(check, bytes, out));
  ZK_TRY(zk_copy_to_device(check->stream, *out, host, bytes));
  return zk_stream_wait(check->stream);
}

// Four random words for element i of the buffer that `seed` stands for.
static inline __attribute__((always_inline)) void draw(uint32_t seed, int64_t i, uint32_t r[4]) {
  const uint32_t ctr[4] = {(uint32_t)ZK_RNG_TEST << 24, (uint32_t)i, (uint32_t)((uint64_t)i >> 32), seed},
                 key[2] = {0x7a6b, 0x6c};
  zk_philox4x32(ctr, key, r);
}

// The same of elements first .. first + DRAWS: word w of the i-th at r[w][i].
enum { DRAWS = 64 };
#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx2", "default"), optimize("O3"))) // integers: no rounding to change
#endif
static void draw_many(uint32_t seed, int64_t first, uint32_t r[4][DRAWS]) {
  for (int i = 0; i < DRAWS; i++) {
    uint32_t word[4];
    draw(seed, first + i, word);
    r[0][i] = word[0], r[1][i] = word[1], r[2][i] = word[2], r[3][i] = word[3];
  }
}

// One element from two random words. `previous` is the element before it, `ulp` the stored type's at 1.
static float element(zk_check_data data, uint32_t bits, uint32_t choice, float previous, float ulp, int64_t i) {
  const float unit = (float)(int32_t)bits * 0x1p-31f; // [-1, 1]
  switch (data) {
  case ZK_CHECK_WIDE:
    return unit * zk_bits_float((87u + choice % 81u) << 23); // times 2^-40 .. 2^40
  case ZK_CHECK_SUBNORMAL:
    return choice % 4 == 0 ? unit : zk_bits_float((bits & 0x80000000u) | (bits >> (choice % 24) & 0x007fffffu));
  case ZK_CHECK_CANCELLING:
    return i % 2 == 1 ? -previous * (1.0f + (float)(choice % 3) * ulp) : unit * 4096.0f;
  case ZK_CHECK_LARGE:
    return unit * 0x1p+48f;
  case ZK_CHECK_ZEROS:
    return choice % 4 == 0 ? unit : zk_bits_float(bits & 0x80000000u);
  default:
    return unit * 2.0f;
  }
}

// n floats of a kind, all of them stored values of `numerics`.
static zk_status fill(zk_check *check, zk_check_data data, zk_numerics numerics, int64_t n, float **out) {
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof(float), (void **)out));
  const uint32_t seed = check->seed++;
  const float ulp = numerics == ZK_F32 ? 0x1p-23f : 0x1p-7f;
#pragma omp parallel for schedule(static) if (n > 65536)
  for (int64_t first = 0; first < n; first += 2 * DRAWS) { // pairs: the second of one may be made from the first
    uint32_t r[4][DRAWS];
    float previous = 1.0f;
    draw_many(seed, first / 2, r);
    for (int64_t i = first; i < first + 2 * DRAWS && i < n; i++) {
      const int64_t pair = (i - first) / 2, word = i % 2 * 2;
      previous = element(data, r[word][pair], r[word + 1][pair], i % 2 == 0 ? 1.0f : previous, ulp, i);
      if (numerics != ZK_F32) previous = zk_bf16_to_float(zk_float_to_bf16(previous));
      (*out)[i] = previous;
    }
  }
  return ZK_OK;
}

zk_status zk_check_floats(zk_check *check, zk_check_data data, int64_t n, float **out) {
  return fill(check, data, ZK_F32, n, out);
}

zk_status zk_check_elements(zk_check *check, zk_check_data data, int64_t n, float **out) {
  return fill(check, data, check->numerics, n, out);
}

// The n floats at x as bf16.
static zk_status as_bf16(zk_check *check, const float *x, int64_t n, zk_bf16 **out) {
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof **out, (void **)out));
#pragma omp parallel for schedule(static) if (n > 65536)
  for (int64_t i = 0; i < n; i++) (*out)[i] = zk_float_to_bf16(x[i]);
  return ZK_OK;
}

zk_status zk_check_bf16(zk_check *check, zk_check_data data, int64_t n, zk_bf16 **out) {
  float *x;
  ZK_TRY(fill(check, data, ZK_BF16, n, &x));
  return as_bf16(check, x, n, out);
}

zk_status zk_check_upload_elements(zk_check *check, const float *host, int64_t n, void **out) {
  if (check->numerics == ZK_F32) return zk_check_upload(check, host, (size_t)n * sizeof *host, out);
  zk_bf16 *x;
  ZK_TRY(as_bf16(check, host, n, &x));
  return zk_check_upload(check, x, (size_t)n * sizeof *x, out);
}

zk_status zk_check_device_elements(zk_check *check, int64_t n, void **out) {
  return zk_check_device(check, (size_t)n * zk_numerics_bytes(check->numerics), out);
}

zk_status zk_check_integers(zk_check *check, int32_t bound, int64_t n, int32_t **out) {
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof(int32_t), (void **)out));
  const uint32_t seed = check->seed++;
  for (int64_t i = 0; i < n; i++) {
    uint32_t r[4];
    draw(seed, i, r);
    (*out)[i] = (int32_t)(r[0] % (uint32_t)bound);
  }
  return ZK_OK;
}

// Notes where the first difference is.
static void note(zk_check *check, const char *what, int64_t i, uint64_t got, uint64_t want, int digits) {
  if (check->first_difference[0] != 0) return;
  snprintf(check->first_difference, sizeof check->first_difference,
           "%s: %s[%lld] has bits %0*llx, the reference %0*llx", check->case_text, what, (long long)i, digits,
           (unsigned long long)got, digits, (unsigned long long)want);
}

static bool is_nan(uint32_t bits, size_t bytes) {
  return bytes == 4 ? (bits & 0x7fffffffu) > 0x7f800000u : (bits & 0x7fffu) > 0x7f80u;
}

// Elements first .. first + n of an output that are not all equal.
static void count_differences(zk_check *check, const char *what, const unsigned char *got, const unsigned char *want, size_t bytes, int64_t first,
                              int64_t n) {
  for (size_t i = 0; i < (size_t)n; i++) {
    uint32_t a = 0, b = 0; // little-endian
    memcpy(&a, got + i * bytes, bytes);
    memcpy(&b, want + i * bytes, bytes);
    if (a == b || (is_nan(a, bytes) && is_nan(b, bytes))) continue; // a NaN's payload is not part of the contract
    check->differing_bits += (uint64_t)__builtin_popcount(a ^ b);
    note(check, what, first + (int64_t)i, a, b, (int)(2 * bytes));
  }
}

void zk_check_compare_host(zk_check *check, const char *what, const void *got, const void *want, size_t bytes, int64_t n) {
  check->num_bits += 8 * bytes * (uint64_t)n;
  if (memcmp(got, want, (size_t)n * bytes) != 0) count_differences(check, what, got, want, bytes, 0, n);
}

zk_status zk_check_compare_devices(zk_check *check, const char *what, const void *device_got, const void *device_want, size_t bytes) {
  void *got, *want;
  ZK_TRY(zk_check_host(check, bytes, &got));
  ZK_TRY(zk_check_host(check, bytes, &want));
  ZK_TRY(zk_copy_to_host(check->helper, got, device_got, bytes));
  ZK_TRY(zk_copy_to_host(check->helper, want, device_want, bytes));
  ZK_TRY(zk_stream_wait(check->helper));
  zk_check_compare_host(check, what, got, want, 2, (int64_t)(bytes / 2));
  return ZK_OK;
}

// Compares n values of `bytes` bytes (4 or 2).
static zk_status compare(zk_check *check, const char *what, const void *device_got, const void *want, size_t bytes,
                         int64_t n) {
  unsigned char got[16384];
  const int64_t at_a_time = (int64_t)(sizeof got / bytes);
  check->num_bits += 8 * bytes * (uint64_t)n;
  for (int64_t first = 0; first < n; first += at_a_time) {
    const int64_t count = n - first < at_a_time ? n - first : at_a_time;
    const unsigned char *expected = (const unsigned char *)want + (size_t)first * bytes;
    ZK_TRY(zk_copy_to_host(check->stream, got, (const unsigned char *)device_got + (size_t)first * bytes,
                           (size_t)count * bytes));
    ZK_TRY(zk_stream_wait(check->stream));
    if (memcmp(got, expected, (size_t)count * bytes) != 0) count_differences(check, what, got, expected, bytes, first, count);
  }
  return ZK_OK;
}

zk_status zk_check_compare(zk_check *check, const char *what, const void *device_got, const void *want, int64_t n) {
  return compare(check, what, device_got, want, sizeof(float), n);
}

zk_status zk_check_compare_bf16(zk_check *check, const char *what, const void *device_got, const zk_bf16 *want,
                                int64_t n) {
  return compare(check, what, device_got, want, sizeof *want, n);
}

zk_status zk_check_compare_elements(zk_check *check, const char *what, const void *device_got, const float *want,
                                    int64_t n) {
  if (check->numerics == ZK_F32) return zk_check_compare(check, what, device_got, want, n);
  zk_bf16 *rounded;
  ZK_TRY(as_bf16(check, want, n, &rounded));
  return zk_check_compare_bf16(check, what, device_got, rounded, n);
}

void zk_check_compare_u64(zk_check *check, const char *what, uint64_t got, uint64_t want) {
  check->num_bits += 64;
  if (got == want) return;
  check->differing_bits += (uint64_t)__builtin_popcountll(got ^ want);
  note(check, what, 0, got, want, 16);
}
