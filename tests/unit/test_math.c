// kernels/math.h on a sample of inputs: accuracy against libm in higher precision, special values, equal bits on every
// instruction set.
#include "tests/unit/math_fixture.h"

#define N 65536

// A sample of all bit patterns, then neighbours of the places where a reduction or a select changes.
static size_t sample_inputs(float *x) {
  size_t n = 0;
  for (uint64_t u = 0; u < 0x100000000ull && n < N / 2; u += 0x20003) x[n++] = zk_bits_float((uint32_t)u);
  const uint32_t edges[] = {0x00000000u, 0x80000000u, 0x00800000u, 0x3f800000u, 0x3f3504f3u, 0x7f800000u, 0xff800000u,
                            0x42b17218u, 0xc2d00000u, 0x3eb17218u, 0xbeb17218u, 0xc2aeac50u, 0x7fc00000u};
  for (size_t e = 0; e < sizeof edges / sizeof edges[0]; e++)
    for (uint32_t d = 0; d < 100; d++) x[n++] = zk_bits_float(edges[e] + d - 50u);
  while (n < N) x[n] = (float)((double)(n % 8192) * 0.0259 - 106.0), n++; // the range of interest of expf
  return n;
}

static void f32_functions(void **state) {
  float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y), *z = malloc(N * sizeof *z);
  size_t n = sample_inputs(x);
  for (size_t k = 0; k < sizeof math_functions / sizeof math_functions[0]; k++) {
    const math_function *f = &math_functions[k];
    double worst = 0.0;
    f->by_isa[0]((int64_t)n, x, y);
    for (size_t i = 0; i < n; i++) {
      if (!accurate(f, x[i], y[i], &worst)) fail_msg("%s(%a) = %a, libm has %a", f->name, x[i], y[i], f->libm(x[i]));
      float plain = f->scalar(x[i]); // this file is compiled without fma instructions
      if (!same(plain, y[i])) fail_msg("%s(%a): %a without fma instructions, %a with", f->name, x[i], plain, y[i]);
    }
    for (int isa = ZK_CPU_AVX2; isa <= ZK_CPU_AVX512; isa++) {
      if (!zk_cpu_isa_available((zk_cpu_isa)isa)) continue;
      f->by_isa[isa]((int64_t)n, x, z);
      for (size_t i = 0; i < n; i++)
        if (!same(y[i], z[i]))
          fail_msg("%s(%a): %a scalar, %a %s", f->name, x[i], y[i], z[i], zk_cpu_isa_name((zk_cpu_isa)isa));
    }
    print_message("%s: worst error of the sample %.4f ulp\n", f->name, worst);
  }
  free(x), free(y), free(z);
}

static void f32_special_values(void **state) {
  assert_true(zk_expf(0.0f) == 1.0f && zk_expf(-0.0f) == 1.0f);
  assert_int_equal(zk_float_bits(zk_expf(-INFINITY)), 0);
  assert_int_equal(zk_float_bits(zk_expf(-104.0f)), 0);
  assert_int_equal(zk_float_bits(zk_expf(-1e30f)), 0);
  assert_int_equal(zk_float_bits(zk_expf(-103.9f)), 1); // the smallest subnormal
  assert_true(zk_expf(INFINITY) == INFINITY && zk_expf(88.73f) == INFINITY && zk_expf(88.72f) < INFINITY);
  assert_true(isnan(zk_expf(NAN)));
  for (int n = -126; n <= 1; n++) assert_true(zk_exp2f((float)n) == ldexpf(1.0f, n)); // exact at integers
  assert_true(zk_exp2f(-0.0f) == 1.0f && zk_exp2f(-1e30f) == 0x1p-126f && zk_exp2f(-INFINITY) == 0x1p-126f);
  for (uint32_t low = 0; low < 0x400u; low++) // whatever a NaN's low bits would add to an exponent
    assert_true(isnan(zk_exp2f(zk_bits_float(0x7fffffffu - low))) && isnan(zk_exp2f(zk_bits_float(0xffc00000u + low))));
  assert_true(zk_log2f(1.0f) == 0.0f && zk_log2f(0.0f) == -INFINITY && zk_log2f(INFINITY) == INFINITY);
  assert_true(isnan(zk_log2f(-1.0f)));
  assert_int_equal(zk_float_bits(zk_logf(1.0f)), 0);
  assert_true(zk_logf(0.0f) == -INFINITY && zk_logf(-0.0f) == -INFINITY && zk_logf(INFINITY) == INFINITY);
  assert_int_equal(zk_float_bits(zk_logf(-1.0f)), 0x7fc00000);
  assert_int_equal(zk_float_bits(zk_logf(zk_bits_float(0xffc12345u))), 0x7fc00000);
  assert_int_equal(zk_float_bits(zk_logf(-INFINITY)), 0x7fc00000);
}

// A value in [-1, 1) from the counter-based generator.
static double draw(uint32_t i, uint32_t which) {
  const uint32_t ctr[4] = {i, which, 0, 0}, key[2] = {11, 12};
  uint32_t r[4];
  zk_philox4x32(ctr, key, r);
  return (double)(int32_t)r[0] * 0x1p-31 + (double)r[1] * 0x1p-64;
}

static void check_error(const char *name, double argument, double got, long double exact, long double scale) {
  long double error = fabsl((long double)got - exact) / scale;
  if (!(error <= 0x1p-52L)) fail_msg("%s(%a) = %a, error %Lg", name, argument, got, error);
}

static void double_functions(void **state) {
  for (uint32_t i = 0; i < 200000; i++) {
    double x = draw(i, 0) * 700.0;
    check_error("exp", x, zk_exp(x), expl(x), expl(x));
    double y = i % 2 ? zk_exp(draw(i, 1) * 700.0) : 1.0 + draw(i, 1) * 0.01;
    if (y != 1.0) check_error("log", y, zk_log(y), logl(y), fabsl(logl(y)));
    double angle = draw(i, 2) * (i % 3 == 0 ? 4.0 : i % 3 == 1 ? 1e6 : 0x1p30);
    check_error("sin", angle, zk_sin(angle), sinl(angle), 1.0L);
    check_error("cos", angle, zk_cos(angle), cosl(angle), 1.0L);
    double base = 2.0 + draw(i, 3), exponent = draw(i, 4) * 50.0;
    long double power = powl(base, exponent);
    check_error("pow", base, zk_pow(base, exponent), power, power * (2.0L + fabsl(exponent * logl(base))));
  }
}

static void double_special_values(void **state) {
  assert_true(zk_exp(0.0) == 1.0 && zk_exp(-800.0) == 0.0 && zk_exp(800.0) == INFINITY && isnan(zk_exp(NAN)));
  assert_true(zk_exp(-745.0) > 0.0 && zk_exp(-745.0) == exp(-745.0)); // subnormal
  assert_true(zk_log(1.0) == 0.0 && zk_log(0.0) == -INFINITY && zk_log(INFINITY) == INFINITY && isnan(zk_log(-1.0)));
  assert_true(fabs(zk_log(0x1p-1074) - -744.4400719213812) < 1e-12);
  assert_true(zk_sin(0.0) == 0.0 && zk_cos(0.0) == 1.0);
  assert_true(zk_powi(3.0, 0) == 1.0 && zk_powi(3.0, 5) == 243.0 && zk_powi(2.0, -3) == 0.125 &&
              zk_powi(-2.0, 3) == -8.0);
  assert_true(zk_powi(0.5, 1 << 20) == 0.0 && zk_powi(1.0, INT64_MIN) == 1.0);
  assert_true(fabs(zk_powi(0.999, 1000) - 0.36769542477096406) < 1e-13);
}

// The negative control: the correctly rounded exponential is another function, and the comparison sees it.
static void another_function_differs(void **state) {
  int differ = 0;
  for (int i = 0; i < 1000; i++) {
    float x = (float)i * 0.01f - 5.0f;
    differ += zk_expf(x) != (float)exp(x);
  }
  assert_in_range(differ, 20, 1000);
}

// The shorter exponentials give zk_expf's bits; near 0, over their whole range and below it. The shortest says where it does not.
static void is_usual(float x) {
  uint32_t seen = ~0u;
  const float y = zk_expf_usual(x, &seen);
  const int usual = (seen & ZK_EXPF_USUAL) == ZK_EXPF_USUAL;
  if (usual != (x >= -66.5f) && !(x < -66.0f && x > -67.0f)) fail_msg("zk_expf_usual(%a) says %d", x, usual);
  if (usual && zk_float_bits(y) != zk_float_bits(zk_expf(x))) fail_msg("zk_expf_usual(%a)", x);
}
// Above 0 a word of its own says where it does: from -66 to 21, and nowhere from 22 on.
static void is_usual_alone(float x) {
  uint32_t seen = ~0u;
  const float y = zk_expf_usual(x, &seen);
  const int usual = (seen & ZK_EXPF_USUAL) == ZK_EXPF_USUAL && (seen & ZK_EXPF_LARGE) == 0;
  if (usual != (x < 21.5f) && !(x > 21.0f && x < 22.0f)) fail_msg("zk_expf_usual(%a) says %d", x, usual);
  if (usual && zk_float_bits(y) != zk_float_bits(zk_expf(x))) fail_msg("zk_expf_usual(%a)", x);
}
static void exponential_below_one(void **state) {
  float *x = malloc(N * sizeof *x);
  const size_t n = sample_inputs(x);
  for (size_t i = 0; i < n; i++) {
    const float v = -fabsf(x[i]);
    if (!isnan(v) && zk_float_bits(zk_expf_below_one(v)) != zk_float_bits(zk_expf(v))) fail_msg("zk_expf_below_one(%a)", v);
    is_usual(v);
    if (!isnan(v)) is_usual_alone(-v);
  }
  free(x);
  for (uint32_t bits = 0x80000000u; bits < 0xc3000000u; bits += 101)
    assert_true(zk_expf_below_one(zk_bits_float(bits)) == zk_expf(zk_bits_float(bits))), is_usual(zk_bits_float(bits));
  is_usual(-INFINITY), is_usual(NAN), is_usual(-8713256.0f), is_usual(-17426512.0f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(f32_functions),
      cmocka_unit_test(f32_special_values),
      cmocka_unit_test(exponential_below_one),
      cmocka_unit_test(double_functions),
      cmocka_unit_test(double_special_values),
      cmocka_unit_test(another_function_differs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
