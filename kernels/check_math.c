// Checks of kernels/math.h: the functions as a device's compiler made them, against the same functions one value at a time.
#include "kernels/check_case.h"
#include "kernels/math_map.h"
#include "kernels/reference/math_reference.h"

// Bit patterns at a stride that is odd, so that all exponents and many mantissas come up; NaNs left out: their payload
// is not specified.
static void patterns(int64_t n, uint32_t offset, float *x) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t u = offset + (uint32_t)((uint64_t)i * (0x100000000ull / (uint64_t)n | 1u));
    x[i] = (u & 0x7fffffffu) > 0x7f800000u ? 1.0f : zk_bits_float(u);
  }
}

static zk_status compare(zk_check *check, const char *what, zk_math_function f, int64_t n, const void *x, const float *want) {
  void *x_dev, *y;
  ZK_TRY(zk_check_upload(check, x, (size_t)n * sizeof(float), &x_dev));
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof(float), &y));
  ZK_TRY(zk_math_map(check->stream, f, n, x_dev, y));
  return zk_check_compare(check, what, y, want, n);
}

zk_status zk_check_math(zk_check *check) {
  const int64_t n = check->quick ? 20000 : 300000;
  float *x, *want;
  zk_check_case(check, "expf, logf, exp2f, log2f over all exponents");
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&x));
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&want));
  patterns(n, 0, x);
  zk_reference_expf(n, x, want);
  ZK_TRY(compare(check, "expf", ZK_MAP_EXPF, n, x, want));
  for (int64_t i = 0; i < n; i++)
    x[i] = -110.0f + (float)i * (200.0f / (float)n); // where it is neither 0, 1 nor infinite
  zk_reference_expf(n, x, want);
  ZK_TRY(compare(check, "expf", ZK_MAP_EXPF, n, x, want));
  patterns(n, 12345, x);
  zk_reference_logf(n, x, want);
  ZK_TRY(compare(check, "logf", ZK_MAP_LOGF, n, x, want));
  patterns(n, 777, x);
  zk_reference_log2f(n, x, want);
  ZK_TRY(compare(check, "log2f", ZK_MAP_LOG2F, n, x, want));
  for (int64_t i = 0; i < n; i++) x[i] = 1.0f - (float)i * (130.0f / (float)n); // the range zk_exp2f is for
  zk_reference_exp2f(n, x, want);
  ZK_TRY(compare(check, "exp2f", ZK_MAP_EXP2F, n, x, want));

  zk_check_case(check, "gumbel noise");
  uint32_t *r;
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *r, (void **)&r));
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *want, (void **)&want));
  for (int64_t i = 0; i < n; i++) r[i] = (uint32_t)((uint64_t)i * (0x100000000ull / (uint64_t)n | 1u));
  zk_reference_gumbel(n, r, want);
  return compare(check, "gumbel", ZK_MAP_GUMBEL, n, r, want);
}
