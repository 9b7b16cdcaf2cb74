// Row-wise and elementwise operations in bf16: for every instruction set and thread count the same bits as widening, the straight f32
// loops, and one rounding; and another place to round gives other bits.
#include "tests/unit/device_fixture.h"

#include "kernels/adamw.h"
#include "kernels/cpu/convert.h"
#include "kernels/embedding.h"
#include "kernels/reduce.h"
#include "kernels/reference/rows_reference.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

#define NUM(a) (sizeof(a) / sizeof((a)[0]))
static const int32_t widths[] = {1, 7, 96, 129, 576};
static const int64_t lengths[] = {0, 1, 17, 1023, 1025, 16384, 40001};

// Rounding as the word says it: the nearer of two neighbours, by exact differences in double, the even one of two as near.
static zk_bf16 nearest(float x) {
  const uint32_t u = zk_float_bits(x);
  if (x != x) return (zk_bf16){0x7fff};
  const uint32_t toward = u & 0xffff0000u, away = toward + 0x10000u;
  if (toward == u) return (zk_bf16){(uint16_t)(u >> 16)};
  const double next = (away & 0x7fffffffu) == 0x7f800000u ? copysign(0x1p128, (double)x) : (double)zk_bits_float(away);
  const double below = fabs((double)x - (double)zk_bits_float(toward)), above = fabs(next - (double)x);
  const int up = above < below || (above == below && (toward >> 16 & 1u));
  return (zk_bf16){(uint16_t)((up ? away : toward) >> 16)};
}

static zk_bf16 *rounded(const float *x, size_t n) {
  zk_bf16 *y = malloc((n > 0 ? n : 1) * sizeof *y);
  for (size_t i = 0; i < n; i++) y[i] = nearest(x[i]);
  return y;
}

// n random values, as the floats that their bf16 are; *stored gets the bf16.
static float *random_stored(size_t n, uint32_t tag, int spread, zk_bf16 **stored) {
  float *x = random_floats(n, tag, spread);
  *stored = rounded(x, n);
  for (size_t i = 0; i < n; i++) x[i] = zk_bf16_to_float((*stored)[i]);
  return x;
}

static void assert_stored(const zk_bf16 *got, const float *want, size_t n, const char *what) {
  for (size_t i = 0; i < n; i++)
    if (got[i].bits != nearest(want[i]).bits)
      fail_msg("%s, %s: element %zu of %zu has bits %04x, wanted %04x", zk_device_describe(device), what, i, n,
               got[i].bits, nearest(want[i]).bits);
}

static void conversions(void **state) {
  enum { BLOCK = 4099 };
  float x[BLOCK], y[BLOCK];
  zk_bf16 h[BLOCK];
  for (int isa = 0; isa <= ZK_CPU_AVX512; isa++) {
    if (!zk_cpu_isa_available((zk_cpu_isa)isa)) continue;
    for (uint32_t first = 0; first < 0x10000u;
         first += BLOCK) { // every bf16, and the neighbourhoods of both ties around it
      for (uint32_t i = 0; i < BLOCK; i++) h[i].bits = (uint16_t)(first + i);
      ZK_ISA_PICK(isa, zk_cpu_widen)(BLOCK, h, y);
      for (uint32_t i = 0; i < BLOCK; i++) assert_int_equal(zk_float_bits(y[i]), (uint32_t)h[i].bits << 16);
      static const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
      for (size_t k = 0; k < NUM(low); k++) {
        for (uint32_t i = 0; i < BLOCK; i++) x[i] = zk_bits_float((uint32_t)(uint16_t)(first + i) << 16 | low[k]);
        ZK_ISA_PICK(isa, zk_cpu_narrow)(BLOCK, x, h);
        for (uint32_t i = 0; i < BLOCK; i++)
          if (h[i].bits != nearest(x[i]).bits) fail_msg("%08x rounds to %04x", zk_float_bits(x[i]), h[i].bits);
      }
    }
  }
}

static void rmsnorm(void **state) {
  static const int32_t starts[] = {0, 70, 70, 200};
  const zk_chunks chunks = {3, starts};
  for (size_t w = 0; w < NUM(widths); w++) {
    const int32_t width = widths[w], heads = 1 + (int32_t)w % 2;
    const int64_t rows = 200 * heads;
    const size_t n = (size_t)(rows * width);
    zk_bf16 *x_s, *dy_s, *weight_s, *addend_s, *y = malloc(n * sizeof *y);
    float *x = random_stored(n, 1, 5, &x_s), *dy = random_stored(n, 2, 4, &dy_s),
          *weight = random_stored(width, 3, 2, &weight_s), *addend = random_stored(n, 4, 2, &addend_s),
          *dw0 = random_floats(width, 5, 0);
    float *want = malloc(n * sizeof *want), *want_dx = malloc(n * sizeof *want),
          *want_rstd = malloc(rows * sizeof *want), *rstd = malloc(rows * sizeof *rstd),
          *want_dw = malloc(width * sizeof *want), *dw = malloc(width * sizeof *dw);
    zk_reference_rmsnorm_forward(rows, width, 1e-5f, x, weight, want, want_rstd);
    memcpy(want_dw, dw0, width * sizeof *dw);
    zk_reference_rmsnorm_backward(heads, width, &chunks, dy, x, weight, want_rstd, w % 2 ? addend : NULL, want_dx,
                                  want_dw);
    const zk_rmsnorm_desc desc = {ZK_BF16, 200, heads, width, 1e-5f}, last = {ZK_BF16, 1, 1, width, 1e-5f};
    FOR_EACH_VARIANT(device, stream) {
      OK(zk_rmsnorm_forward(stream, &desc, x_s, weight_s, y, rstd));
      assert_stored(y, want, n, "y");
      assert_bits_equal(rstd, want_rstd, rows, "rstd, width %d", width);
      OK(zk_rmsnorm_forward(stream, &last, x_s + n - width, weight_s, y, NULL)); // alone
      assert_stored(y, want + n - width, width, "y of the last row");
      memcpy(y, x_s, n * sizeof *y);
      OK(zk_rmsnorm_forward(stream, &desc, y, weight_s, y, NULL));
      assert_stored(y, want, n, "y in place");
      memcpy(y, w % 2 ? addend_s : dy_s, n * sizeof *y); // dx over the addend, or over dy
      memcpy(dw, dw0, width * sizeof *dw);
      OK(zk_rmsnorm_backward(stream, &desc, &chunks, w % 2 ? dy_s : y, x_s, weight_s, rstd, w % 2 ? y : NULL, y, dw));
      assert_stored(y, want_dx, n, "dx in place");
      assert_bits_equal(dw, want_dw, width, "dweight, width %d", width);
    }
    free(x_s), free(dy_s), free(weight_s), free(addend_s), free(y), free(x), free(dy), free(weight), free(addend),
        free(dw0);
    free(want), free(want_dx), free(want_rstd), free(rstd), free(want_dw), free(dw);
  }
}

static void rope(void **state) {
  static const int32_t dims[] = {2, 14, 128, 2050}; // the last one: more than a piece
  const zk_rope_params params = {.theta = 10000.0};
  for (size_t d = 0; d < NUM(dims); d++) {
    const int32_t heads = 3, half = dims[d] / 2;
    const size_t n = (size_t)33 * heads * dims[d], table = (size_t)64 * half;
    zk_bf16 *x_s, *y = malloc(n * sizeof *y);
    float *x = random_stored(n, 1, 6, &x_s), *want = malloc(n * sizeof *want),
          *cos_table = malloc(table * sizeof *want), *sin_table = malloc(table * sizeof *want);
    zk_rope_build_tables(&params, dims[d], 64, cos_table, sin_table);
    int32_t positions[33];
    for (int t = 0; t < 33; t++) positions[t] = t * 7 % 64;
    const zk_rope_desc desc = {ZK_BF16, 33, heads, dims[d]};
    for (int backward = 0; backward < 2; backward++) {
      memcpy(want, x, n * sizeof *x);
      zk_reference_rope(backward, 33, heads, dims[d], positions, cos_table, sin_table, want);
      FOR_EACH_VARIANT(device, stream) {
        memcpy(y, x_s, n * sizeof *y);
        OK((backward ? zk_rope_backward : zk_rope_forward)(stream, &desc, positions, cos_table, sin_table, y));
        assert_stored(y, want, n, backward ? "dx" : "x");
      }
    }
    free(x_s), free(y), free(x), free(want), free(cos_table), free(sin_table);
  }
}

static void elementwise(void **state) {
  for (size_t l = 0; l < NUM(lengths); l++) {
    const size_t n = (size_t)lengths[l], bytes = n * sizeof(zk_bf16);
    zk_bf16 *gate_s, *up_s, *dout_s;
    float *gate = random_stored(n, 1, 7, &gate_s), *up = random_stored(n, 2, 3, &up_s),
          *dout = random_stored(n, 3, 3, &dout_s);
    float *out = malloc(n * 4 + 4), *dgate = malloc(n * 4 + 4), *dup = malloc(n * 4 + 4), *sum = malloc(n * 4 + 4);
    zk_bf16 *a = malloc(bytes + 2), *b = malloc(bytes + 2);
    zk_reference_swiglu_forward((int64_t)n, gate, up, out);
    zk_reference_swiglu_backward((int64_t)n, gate, up, dout, dgate, dup);
    zk_reference_add((int64_t)n, gate, up, sum);
    float *scaled = malloc(n * 4 + 4);
    zk_reference_scale((int64_t)n, gate, 0.3f, scaled);
    FOR_EACH_VARIANT(device, stream) {
      memcpy(a, up_s, bytes);
      OK(zk_swiglu_forward(stream, ZK_BF16, (int64_t)n, gate_s, a, a));
      assert_stored(a, out, n, "swiglu in place");
      memcpy(a, gate_s, bytes), memcpy(b, up_s, bytes);
      OK(zk_swiglu_backward(stream, ZK_BF16, (int64_t)n, a, b, dout_s, a, b));
      assert_stored(a, dgate, n, "dgate in place");
      assert_stored(b, dup, n, "dup in place");
      memcpy(a, gate_s, bytes);
      OK(zk_add(stream, ZK_BF16, (int64_t)n, a, up_s, a));
      assert_stored(a, sum, n, "add in place");
      memcpy(a, gate_s, bytes);
      OK(zk_scale(stream, ZK_BF16, (int64_t)n, a, 0.3f, a));
      assert_stored(a, scaled, n, "scale in place");
    }
    free(gate_s), free(up_s), free(dout_s), free(gate), free(up), free(dout), free(out), free(dgate), free(dup),
        free(sum), free(scaled);
    free(a), free(b);
  }
}

static void adamw(void **state) {
  for (size_t l = 0; l < NUM(lengths); l++) {
    const size_t n = (size_t)lengths[l], bytes = n * sizeof(float);
    float *w0 = random_floats(n, 1, 2), *m0 = random_floats(n, 2, 4), *grad = random_floats(n, 4, 8),
          *v0 = calloc(n + 1, sizeof *v0);
    float *w = malloc(bytes + 4), *m = malloc(bytes + 4), *v = malloc(bytes + 4), *w1 = malloc(bytes + 4);
    zk_bf16 *working = malloc(n * sizeof *working + 2);
    zk_adamw_params params;
    zk_adamw_scalars(1e-3, 0.9, 0.999, 1e-8, 0.1, 7, 5.0f, 1.0, &params);
    memcpy(w, w0, bytes), memcpy(m, m0, bytes), memcpy(v, v0, bytes);
    zk_reference_adamw(&params, 1, (int64_t)n, w, m, v, grad);
    FOR_EACH_VARIANT(device, stream) {
      float *m1 = malloc(bytes + 4), *v1 = malloc(bytes + 4);
      memcpy(w1, w0, bytes), memcpy(m1, m0, bytes), memcpy(v1, v0, bytes);
      OK(zk_adamw(stream, ZK_BF16, &params, 1, (int64_t)n, w1, m1, v1, grad, working));
      assert_bits_equal(w1, w, n, "master, n %zu", n); // the master is not rounded
      assert_stored(working, w, n, "working");
      free(m1), free(v1);
    }
    free(w0), free(m0), free(grad), free(v0), free(w), free(m), free(v), free(w1), free(working);
  }
}

static void embedding(void **state) {
  const int32_t vocab = 50, width = 129;
  const size_t n = (size_t)300 * width, table_size = (size_t)vocab * width;
  zk_bf16 *table_s, *dx_s, *x = malloc(n * sizeof *x);
  float *table = random_stored(table_size, 1, 5, &table_s), *dx = random_stored(n, 2, 9, &dx_s),
        *want = malloc(n * sizeof *want);
  float *grad0 = random_floats(table_size, 3, 2), *want_grad = malloc(table_size * sizeof *want),
        *grad = malloc(table_size * sizeof *want);
  int32_t tokens[300];
  for (int t = 0; t < 300; t++) tokens[t] = t < 100 ? 7 : t % vocab;
  const zk_embedding_desc desc = {ZK_BF16, 300, width, vocab};
  zk_reference_embedding_forward(300, width, tokens, table, want);
  memcpy(want_grad, grad0, table_size * sizeof *want);
  zk_reference_embedding_backward(300, width, tokens, dx, want_grad);
  FOR_EACH_VARIANT(device, stream) {
    OK(zk_embedding_forward(stream, &desc, tokens, table_s, x));
    assert_stored(x, want, n, "x");
    memcpy(grad, grad0, table_size * sizeof *grad);
    OK(zk_embedding_backward(stream, &desc, tokens, dx_s, grad));
    assert_bits_equal(grad, want_grad, table_size, "dtable");
  }
  free(table_s), free(dx_s), free(x), free(table), free(dx), free(want), free(grad0), free(want_grad), free(grad);
}

// The negative control: truncation instead of rounding, and a second rounding in the middle, are noticed.
static void another_rounding_differs(void **state) {
  const size_t n = 4096;
  zk_bf16 *gate_s, *up_s, *out = malloc(n * sizeof *out);
  float *gate = random_stored(n, 1, 2, &gate_s), *up = random_stored(n, 2, 2, &up_s), *want = malloc(n * sizeof *want);
  zk_reference_swiglu_forward((int64_t)n, gate, up, want);
  OK(zk_swiglu_forward(stream, ZK_BF16, (int64_t)n, gate_s, up_s, out));
  size_t truncated = 0, twice = 0;
  for (size_t i = 0; i < n; i++) {
    const float s = 1.0f / (1.0f + zk_expf(-gate[i])), silu = zk_bf16_to_float(nearest(gate[i] * s));
    truncated += out[i].bits != (uint16_t)(zk_float_bits(want[i]) >> 16);
    twice += out[i].bits != nearest(silu * up[i]).bits;
  }
  assert_in_range(truncated, n / 4, n);
  assert_in_range(twice, n / 8, n);
  free(gate_s), free(up_s), free(out), free(gate), free(up), free(want);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(conversions),
      cmocka_unit_test(rmsnorm),
      cmocka_unit_test(rope),
      cmocka_unit_test(elementwise),
      cmocka_unit_test(adamw),
      cmocka_unit_test(embedding),
      cmocka_unit_test(another_rounding_differs),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
