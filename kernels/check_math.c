// Checks of kernels/math.h: the vectorised functions against the same functions one value at a time.
#include "kernels/check_case.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/math_map.h"
#include "kernels/reference/math_reference.h"

// Bit patterns at a stride that is odd, so that all exponents and many mantissas come up; NaNs left out: their payload
// is not specified.
static void patterns(int64_t n, uint32_t offset, float *x) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t u = offset + (uint32_t)((uint64_t)i * (0x100000000ull / (uint64_t)n | 1u));
    x[i] = (u & 0x7fffffffu) > 0x7f800000u ? 1.0f : zk_bits_float(u);
  }
}

zk_status zk_check_math(zk_check *check) {
  const zk_cpu_isa isa = zk_device_isa(check->device);
  const int64_t n = check->quick ? 20000 : 300000;
  float *x, *y, *want;
  zk_check_case(check, "expf over all exponents");
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&x));
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&want));
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof *x, (void **)&y));
  patterns(n, 0, x);
  ZK_ISA_CALL(isa, zk_cpu_map_expf, n, x, y);
  zk_reference_expf(n, x, want);
  ZK_TRY(zk_check_compare(check, "expf", y, want, n));
  for (int64_t i = 0; i < n; i++)
    x[i] = -110.0f + (float)i * (200.0f / (float)n); // where it is neither 0, 1 nor infinite
  ZK_ISA_CALL(isa, zk_cpu_map_expf, n, x, y);
  zk_reference_expf(n, x, want);
  ZK_TRY(zk_check_compare(check, "expf", y, want, n));

  zk_check_case(check, "logf over all exponents");
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&x));
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&want));
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof *x, (void **)&y));
  patterns(n, 12345, x);
  ZK_ISA_CALL(isa, zk_cpu_map_logf, n, x, y);
  zk_reference_logf(n, x, want);
  ZK_TRY(zk_check_compare(check, "logf", y, want, n));

  zk_check_case(check, "exp2f and log2f over all exponents");
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&x));
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&want));
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof *x, (void **)&y));
  patterns(n, 777, x);
  ZK_ISA_CALL(isa, zk_cpu_map_log2f, n, x, y);
  zk_reference_log2f(n, x, want);
  ZK_TRY(zk_check_compare(check, "log2f", y, want, n));
  for (int64_t i = 0; i < n; i++) x[i] = 1.0f - (float)i * (130.0f / (float)n); // the range zk_exp2f is for
  ZK_ISA_CALL(isa, zk_cpu_exp2, n, x, y);
  zk_reference_exp2f(n, x, want);
  ZK_TRY(zk_check_compare(check, "exp2f", y, want, n));

  zk_check_case(check, "gumbel noise");
  uint32_t *r;
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *r, (void **)&r));
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *x, (void **)&want));
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof *x, (void **)&y));
  for (int64_t i = 0; i < n; i++) r[i] = (uint32_t)((uint64_t)i * (0x100000000ull / (uint64_t)n | 1u));
  ZK_ISA_CALL(isa, zk_cpu_map_gumbel, n, r, y);
  zk_reference_gumbel(n, r, want);
  return zk_check_compare(check, "gumbel", y, want, n);
}
