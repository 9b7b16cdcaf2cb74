// Check of the weight of a score in bf16's attention: as the device's attention kernels compute it, against the table that defines it. An f32 in
// [-126, -64] is one of 2^17 fractions, the same for all 62 exponents: all fractions at one exponent, and at the others all of them or, in the short form,
// one in 31; then what lies outside.
#include "kernels/check_case.h"
#include "kernels/math_map.h"
#include "kernels/reference/exp2_bf16_table.h"

enum { FRACTIONS = 1 << 17 };

static zk_status compare(zk_check *check, int64_t n, const float *t) {
  float *want;
  void *t_dev, *w;
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *want, (void **)&want));
#pragma omp parallel for schedule(static) if (n > 65536)
  for (int64_t i = 0; i < n; i++) want[i] = zk_exp2_bf16_by_table(t[i]);
  ZK_TRY(zk_check_upload(check, t, (size_t)n * sizeof *t, &t_dev));
  ZK_TRY(zk_check_device(check, (size_t)n * sizeof *t, &w));
  ZK_TRY(zk_math_map(check->stream, ZK_MAP_EXP2_BF16, n, t_dev, w));
  return zk_check_compare(check, "weight", w, want, n);
}

// Every step-th fraction of t in [-whole - 1, -whole), for whole from `first` to `last`.
static zk_status compare_exponents(zk_check *check, int first, int last, int64_t step) {
  const int64_t each = (FRACTIONS + step - 1) / step, n = (last - first + 1) * each;
  float *t;
  zk_check_case(check, "2^t, t from -%d to -%d, one fraction in %d", last + 1, first, (int)step);
  ZK_TRY(zk_check_host(check, (size_t)n * sizeof *t, (void **)&t));
  for (int64_t i = 0; i < n; i++) t[i] = -(float)(first + 1 + i / each) + (float)(i % each * step) * 0x1p-17f;
  return compare(check, n, t);
}

zk_status zk_check_attention_weights(zk_check *check) {
  ZK_TRY(compare_exponents(check, 64, 64, 1));
  if (check->quick) ZK_TRY(compare_exponents(check, 65, 125, 31));
  else
    for (int whole = 65; whole < 126; whole++) ZK_TRY(compare_exponents(check, whole, whole, 1));
  static const float outside[] = {-64.0f, -0x1.fffffep+5f, -1.0f,   -0.0f, 0.0f,  1.0f,      3e38f,        INFINITY,
                                  -126.0f, -0x1.f80002p+6f, -126.5f, -127.0f, -150.0f, -3e38f, -INFINITY, NAN};
  zk_check_case(check, "2^t, t above -64, below -126, NaN");
  return compare(check, sizeof outside / sizeof *outside, outside);
}
