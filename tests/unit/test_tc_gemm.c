// The CPU's tensor-core multiplication equals the integer model bit for bit: every instruction set and thread count, all layouts, and data
// that overflows, underflows, cancels, or is not finite.
#include "tests/unit/device_fixture.h"

#include "kernels/cpu/tc_gemm.h"
#include "kernels/tensor_core.h"

// ---- data

typedef enum {
  NORMAL,
  WIDE,
  VERY_WIDE,
  ZEROS,
  CANCELLING,
  SUBNORMAL_IN,
  SUBNORMAL_OUT,
  OVERFLOWING,
  NOT_FINITE,
  NUM_KINDS
} kind;

static uint32_t next(uint64_t *state) { // xorshift64 (Marsaglia 2003)
  *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
  return (uint32_t)(*state >> 16);
}

// A random sign and fraction with the exponent 2^e, e in [low, high].
static zk_bf16 with_exponent(uint64_t *state, int low, int high) {
  const int e = low + (int)(next(state) % (uint32_t)(high - low + 1));
  return (zk_bf16){(uint16_t)((next(state) & 0x807fu) | (uint32_t)(e + 127) << 7)};
}

static zk_bf16 draw(kind kind, uint64_t *state, int is_b, int64_t k) {
  const uint32_t choice = next(state);
  switch (kind) {
  case WIDE:
    return with_exponent(state, -60, 60);
  case VERY_WIDE: // products from 2^-240 to 2^240
    return with_exponent(state, -120, 120);
  case ZEROS:
    return choice % 3 ? (zk_bf16){(uint16_t)(choice & 0x8000u)} : with_exponent(state, -20, 20);
  case CANCELLING:
    return is_b ? (zk_bf16){(uint16_t)(0x3f80u | choice % 4)}
                : (zk_bf16){(uint16_t)(0x3f80u | choice % 128 | (k % 2 ? 0u : 0x8000u))};
  case SUBNORMAL_IN:
    return choice % 4 ? (zk_bf16){(uint16_t)(next(state) & 0x807fu)} : with_exponent(state, -126, is_b ? 100 : -100);
  case SUBNORMAL_OUT:
    return with_exponent(state, -78, -65);
  case OVERFLOWING: // around the largest f32, from both sides
    return with_exponent(state, 55, 62);
  case NOT_FINITE:
    if (choice % 97 == 0) return (zk_bf16){(uint16_t)(0x7f80u | (choice & 0x8000u))};
    if (choice % 997 == 1) return (zk_bf16){(uint16_t)(0x7fc0u | (choice & 0x807fu))};
    return choice % 5 ? with_exponent(state, -3, 3) : (zk_bf16){0};
  default:
    return zk_float_to_bf16((float)(int32_t)next(state) * 0x1p-31f * (float)(int32_t)next(state) * 0x1p-30f);
  }
}

// [count, k] row-major, and its transpose.
static zk_bf16 *matrix(kind kind, int is_b, int64_t count, int64_t k, zk_bf16 **transposed) {
  zk_bf16 *x = malloc((size_t)(count * k) * sizeof *x);
  *transposed = malloc((size_t)(count * k) * sizeof *x);
  uint64_t state = 88172645463325252ull + (uint64_t)kind * 2 + (uint64_t)is_b + (uint64_t)(count * 1000 + k) * 64;
  for (int64_t i = 0; i < count; i++)
    for (int64_t j = 0; j < k; j++) (*transposed)[j * count + i] = x[i * k + j] = draw(kind, &state, is_b, j);
  return x;
}

static float *initial_values(kind kind, int64_t n) {
  float *x = malloc((size_t)n * sizeof *x);
  uint64_t state = 1234567 + (uint64_t)kind;
  for (int64_t i = 0; i < n; i++) {
    x[i] = zk_bf16_to_float(draw(kind, &state, 0, i)) * 1.0009765625f;
    if (next(&state) % 4 == 0)
      x[i] = zk_bits_float(next(&state) & 0x80ffffffu); // zeros' neighbours: subnormal, both signs
    if (kind == OVERFLOWING && next(&state) % 8 == 0) x[i] = zk_bits_float(0x7f7fffffu | (next(&state) & 0x80000000u));
  }
  return x;
}

static void model(int64_t m, int64_t n, int64_t k, const zk_bf16 *a, const zk_bf16 *b, const float *initial, float *c) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      c[i * n + j] = zk_tc_chain(a + i * k, 1, b + j * k, 1, k, initial != NULL ? initial[i * n + j] : 0.0f);
}

// ---- the multiplication

static const struct {
  int64_t m, n, k;
} shapes[] = {{1, 1, 1}, {3, 5, 16}, {17, 33, 40}, {65, 31, 64}, {5, 130, 15}, {70, 48, 129}, {2, 64, 1000}};

static void equals_the_model(void **state) {
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
    for (int kind = 0; kind < NUM_KINDS; kind++) {
      const int64_t m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
      zk_bf16 *a_outer, *b_outer, *a = matrix(kind, 0, m, k, &a_outer), *b = matrix(kind, 1, n, k, &b_outer);
      float *initial = initial_values(kind, m * n), *want = malloc((size_t)(m * n) * sizeof *want);
      float *c = malloc((size_t)(m * n) * sizeof *c);
      for (int with = 0; with < 8; with++) {
        const zk_tc_operand a_operand = {with & 1 ? a_outer : a, with & 1 ? m : k,
                                         with & 1 ? ZK_GEMM_K_OUTER : ZK_GEMM_K_INNER};
        const zk_tc_operand b_operand = {with & 2 ? b_outer : b, with & 2 ? n : k,
                                         with & 2 ? ZK_GEMM_K_OUTER : ZK_GEMM_K_INNER};
        if (with % 4 == 0) model(m, n, k, a, b, with & 4 ? initial : NULL, want);
        FOR_EACH_VARIANT(device, stream) {
          memcpy(c, initial, (size_t)(m * n) * sizeof *c);
          const zk_tc_gemm call = {.m = m,
                                   .n = n,
                                   .k = k,
                                   .a = a_operand,
                                   .b = b_operand,
                                   .initial = with & 4 ? c : NULL,
                                   .ld_initial = n,
                                   .c = c,
                                   .ldc = n,
                                   .threads = zk_device_threads(device)};
          ZK_ISA_PICK(zk_device_isa(device), zk_tc_gemm_run)(&call);
          assert_bits_equal(c, want, (size_t)(m * n), "%s kind %d m %d n %d k %d with %d", zk_device_describe(device),
                            kind, (int)m, (int)n, (int)k, with);
        }
      }
      OK(zk_device_check_fp(device)); // the rounding is to nearest again
      free(a), free(b), free(a_outer), free(b_outer), free(initial), free(want), free(c);
    }
}

static void the_data_reaches_the_edges(void **state) {
  int64_t infinite = 0, subnormal = 0, nan = 0;
  for (int kind = 0; kind < NUM_KINDS; kind++) {
    zk_bf16 *a_outer, *b_outer, *a = matrix(kind, 0, 65, 64, &a_outer), *b = matrix(kind, 1, 31, 64, &b_outer);
    float *c = malloc(65 * 31 * sizeof *c);
    model(65, 31, 64, a, b, NULL, c);
    for (int i = 0; i < 65 * 31; i++) {
      const uint32_t magnitude = zk_float_bits(c[i]) & 0x7fffffffu;
      infinite += magnitude == 0x7f800000u && kind != NOT_FINITE, nan += magnitude > 0x7f800000u;
      subnormal += magnitude > 0 && magnitude < 0x00800000u;
    }
    free(a), free(b), free(a_outer), free(b_outer), free(c);
  }
  assert_true(infinite > 100 && nan > 100 && subnormal > 100);
}

// Negative controls: what a neighbouring contract would give is told apart.
static void another_contract_is_found(void **state) {
  zk_bf16 *a_outer, *b_outer, *a = matrix(WIDE, 0, 64, 64, &a_outer), *b = matrix(WIDE, 1, 64, 64, &b_outer);
  int64_t swapped = 0, split = 0, fused = 0;
  for (int i = 0; i < 64; i++)
    for (int j = 0; j < 64; j++) {
      const zk_bf16 *x = a + i * 64, *y = b + j * 64;
      const float want = zk_tc_chain(x, 1, y, 1, 64, 0.0f);
      float other = zk_tc_chain(x + 16, 1, y + 16, 1, 16, 0.0f); // steps 0 and 1 change places
      other = zk_tc_chain(x, 1, y, 1, 16, other);
      other = zk_tc_chain(x + 32, 1, y + 32, 1, 32, other);
      swapped += zk_float_bits(other) != zk_float_bits(want);
      other = zk_tc_chain(x, 1, y, 1, 32, 0.0f) + zk_tc_chain(x + 32, 1, y + 32, 1, 32, 0.0f);
      split += zk_float_bits(other) != zk_float_bits(want);
      other = 0.0f;
      for (int k = 0; k < 64; k++) other = fmaf(zk_bf16_to_float(x[k]), zk_bf16_to_float(y[k]), other);
      fused += zk_float_bits(other) != zk_float_bits(want);
    }
  assert_true(swapped > 0 && split > 0 && fused > 0);
  free(a), free(b), free(a_outer), free(b_outer);
}

// ---- the model, from cases worked out by hand

static float one_step(const float *a, const float *b, int n, float acc) {
  zk_bf16 x[ZK_TC_STEP] = {{0}}, y[ZK_TC_STEP] = {{0}};
  for (int i = 0; i < n; i++) x[i] = zk_float_to_bf16(a[i]), y[i] = zk_float_to_bf16(b[i]);
  return zk_tc_step(x, y, acc);
}
#define STEP(acc, a, b) one_step((const float[])a, (const float[])b, (int)(sizeof((const float[])a) / 4), acc)
#define LIST(...)                                                                                                      \
  { __VA_ARGS__ }

static void the_model_by_hand(void **state) {
  // A term is kept to 25 bits below the largest exponent (here 0): 2^-25 stays, 1.5 * 2^-25 loses its half, 2^-26 goes.
  assert_true(STEP(0.0f, LIST(1.0f, 0x1p-25f, -1.0f), LIST(1.0f, 1.0f, 1.0f)) == 0x1p-25f);
  assert_true(STEP(0.0f, LIST(1.0f, 1.5f, -1.0f), LIST(1.0f, -0x1p-25f, 1.0f)) == -0x1p-25f);
  assert_true(STEP(0.0f, LIST(1.0f, 0x1p-26f, -1.0f), LIST(1.0f, 1.0f, 1.0f)) == 0.0f);
  // Exponents are nominal: 1.5 * 1.5 = 2.25 still counts as 2^0, and a zero product as nothing.
  assert_true(STEP(0.0f, LIST(1.5f, 0x1p-25f, -1.5f, 0.0f), LIST(1.5f, 1.0f, 1.5f, 0x1p+100f)) == 0x1p-25f);
  // The largest exponent is -133 at least: beside 2^-149 a term of 2^-158 still counts, one of 2^-159 does not.
  assert_true(STEP(0.0f, LIST(0x1p-75f, -0x1p-79f), LIST(0x1p-74f, 0x1p-79f)) == 0.0f);
  assert_true(STEP(0.0f, LIST(0x1p-75f, -0x1p-80f), LIST(0x1p-74f, 0x1p-79f)) == 0x1p-149f);
  // Toward zero: 1 + 2^-24 + 2^-25 is 1; the accumulator obeys the same rule.
  assert_true(STEP(1.0f, LIST(0x1p-24f, 0x1p-25f), LIST(1.0f, 1.0f)) == 1.0f);
  assert_true(STEP(-1.0f, LIST(-0x1p-24f, -0x1p-25f), LIST(1.0f, 1.0f)) == -1.0f);
  assert_true(STEP(0x1.000002p-4f, LIST(1.0f, -1.0f), LIST(1.0f, 1.0f)) == 0x1p-4f);
  assert_int_equal(zk_float_bits(STEP(-0.0f, LIST(0.0f), LIST(1.0f))), 0);
  assert_int_equal(zk_float_bits(STEP(0.0f, LIST(0x1p+127f), LIST(2.0f))), 0x7f800000u);
  assert_int_equal(zk_float_bits(STEP(0.0f, LIST(INFINITY, -INFINITY), LIST(1.0f, -1.0f))), 0x7f800000u);
  assert_int_equal(zk_float_bits(STEP(-INFINITY, LIST(INFINITY), LIST(1.0f))), ZK_TC_NAN);
  assert_int_equal(zk_float_bits(STEP(1.0f, LIST(0.0f), LIST(INFINITY))), ZK_TC_NAN);
}

static void bf16_rounds_once(void **state) {
  static const uint32_t cases[][2] = {{0x3f800000u, 0x3f80}, {0x3f808000u, 0x3f80}, {0x3f808001u, 0x3f81},
                                      {0x3f818000u, 0x3f82}, {0x80000000u, 0x8000}, {0x00008000u, 0x0000},
                                      {0x00018000u, 0x0002}, {0x7f7fffffu, 0x7f80}, {0xff800000u, 0xff80},
                                      {0x7f800001u, 0x7fff}, {0xffc00000u, 0x7fff}, {0x7fffffffu, 0x7fff}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    assert_int_equal(zk_float_to_bf16(zk_bits_float(cases[i][0])).bits, cases[i][1]);
  for (uint32_t b = 0; b <= 0xffffu; b++)
    if ((b & 0x7fffu) <= 0x7f80u) assert_int_equal(zk_float_to_bf16(zk_bf16_to_float((zk_bf16){(uint16_t)b})).bits, b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bf16_rounds_once),          cmocka_unit_test(the_model_by_hand),
      cmocka_unit_test(equals_the_model),          cmocka_unit_test(the_data_reaches_the_edges),
      cmocka_unit_test(another_contract_is_found),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
