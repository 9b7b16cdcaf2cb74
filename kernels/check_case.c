// Cases of a check: their memory, their data, and the comparison.
#include "kernels/check_case.h"

#include <stdarg.h>
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
  va_list args;
  va_start(args, format);
  vsnprintf(check->case_text, sizeof check->case_text, format, args);
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
static void draw(uint32_t seed, int64_t i, uint32_t r[4]) {
  const uint32_t ctr[4] = {(uint32_t)ZK_RNG_TEST << 24, (uint32_t)i, (uint32_t)((uint64_t)i >> 32), seed},
                 key[2] = {0x7a6b, 0x6c};
  zk_philox4x32(ctr, key, r);
}

// One element from two random words. `previous` is the element before it.
static float element(zk_check_data data, uint32_t bits, uint32_t choice, float previous, int64_t i) {
  const float unit = (float)(int32_t)bits * 0x1p-31f; // [-1, 1]
  switch (data) {
  case ZK_CHECK_WIDE:
    return unit * zk_bits_float((87u + choice % 81u) << 23); // times 2^-40 .. 2^40
  case ZK_CHECK_SUBNORMAL:
    return choice % 4 == 0 ? unit : zk_bits_float((bits & 0x80000000u) | (bits >> (choice % 24) & 0x007fffffu));
  case ZK_CHECK_CANCELLING:
    return i % 2 == 1 ? -previous * (1.0f + (float)(choice % 3) * 0x1p-23f) : unit * 4096.0f;
  case ZK_CHECK_LARGE:
    return unit * 0x1p+48f;
  case ZK_CHECK_ZEROS:
    return choice % 4 == 0 ? unit : zk_bits_float(bits & 0x80000000u);
  default:
    return unit * 2.0f;
  }
}

zk_status zk_check_floats(zk_check *check, zk_check_data data, int64_t n, float **out) {
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof(float), (void **)out));
  const uint32_t seed = check->seed++;
  float previous = 1.0f;
  for (int64_t i = 0; i < n; i += 2) {
    uint32_t r[4];
    draw(seed, i / 2, r);
    for (int64_t j = i; j < i + 2 && j < n; j++)
      previous = (*out)[j] = element(data, r[2 * (j - i)], r[2 * (j - i) + 1], previous, j);
  }
  return ZK_OK;
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

zk_status zk_check_compare(zk_check *check, const char *what, const void *device_got, const void *want, int64_t n) {
  const uint32_t *expected = want;
  uint32_t got[4096];
  check->num_bits += 32u * (uint64_t)n;
  for (int64_t first = 0; first < n; first += 4096) {
    const int64_t count = n - first < 4096 ? n - first : 4096;
    ZK_TRY(zk_copy_to_host(check->stream, got, (const uint32_t *)device_got + first, (size_t)count * sizeof *got));
    ZK_TRY(zk_stream_wait(check->stream));
    for (int64_t i = 0; i < count; i++) {
      if (got[i] == expected[first + i]) continue;
      check->differing_bits += (uint64_t)__builtin_popcount(got[i] ^ expected[first + i]);
      note(check, what, first + i, got[i], expected[first + i], 8);
    }
  }
  return ZK_OK;
}

void zk_check_compare_u64(zk_check *check, const char *what, uint64_t got, uint64_t want) {
  check->num_bits += 64;
  if (got == want) return;
  check->differing_bits += (uint64_t)__builtin_popcountll(got ^ want);
  note(check, what, 0, got, want, 16);
}
