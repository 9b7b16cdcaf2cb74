// bf16 linear layers: every instruction set and thread count equals the written order bit for bit, forward and backward, whatever rows
// are computed together.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/linear.h"
#include "kernels/reference/linear_reference.h"

// Values that bf16 holds, as floats.
static float *random_values(size_t n, uint32_t tag, int spread) {
  float *x = random_floats(n, tag, spread);
  for (size_t i = 0; i < n; i++) x[i] = zk_bf16_to_float(zk_float_to_bf16(x[i]));
  return x;
}

static void assert_equal(const zk_bf16 *got, const float *want, size_t n, const char *what) {
  for (size_t i = 0; i < n; i++)
    if (got[i].bits != zk_float_to_bf16(want[i]).bits)
      fail_msg("%s, %s: element %d has bits %04x, wanted %04x", what, zk_device_describe(device), (int)i, got[i].bits,
               zk_float_to_bf16(want[i]).bits);
}

static const struct {
  int64_t rows;
  int32_t in, out;
} shapes[] = {{1, 1, 1}, {3, 17, 33}, {16, 64, 48}, {65, 40, 31}, {2, 300, 65}, {130, 31, 96}};

static void forward_equals_reference(void **state) {
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const int64_t rows = shapes[s].rows;
    const int32_t in = shapes[s].in, out = shapes[s].out;
    const size_t num_x = (size_t)(rows * in), num_w = (size_t)in * (size_t)out, num_y = (size_t)(rows * out);
    const zk_linear_desc desc = {ZK_BF16, rows, in, out};
    float *x = random_values(num_x, 1, 6), *w = random_values(num_w, 2, 6), *bias = random_values((size_t)out, 3, 3);
    float *addend = random_values(num_y, 4, 3), *want = malloc(num_y * sizeof *want);
    zk_bf16 *x_s = to_bf16(x, num_x), *w_s = to_bf16(w, num_w), *bias_s = to_bf16(bias, (size_t)out);
    zk_bf16 *addend_s = to_bf16(addend, num_y), *y = malloc(num_y * sizeof *y);
    assert_int_equal(zk_linear_packed_bytes(device, ZK_BF16, in, out), 0);
    OK(zk_linear_pack(stream, &desc, w_s, NULL));
    for (int with = 0; with < 4; with++) {
      zk_linear_reference_forward(ZK_BF16, rows, in, out, x, w, with & 1 ? bias : NULL, with & 2 ? addend : NULL, want);
      FOR_EACH_VARIANT(device, stream) {
        memcpy(y, addend_s, num_y * sizeof *y); // in place
        OK(zk_linear_forward(stream, &desc, x_s, w_s, NULL, with & 1 ? bias_s : NULL, with & 2 ? y : NULL, y));
        assert_equal(y, want, num_y, "y");
      }
    }
    free(x), free(w), free(bias), free(addend), free(want);
    free(x_s), free(w_s), free(bias_s), free(addend_s), free(y);
  }
}

static void backward_equals_reference(void **state) {
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const int64_t rows = shapes[s].rows;
    const int32_t in = shapes[s].in, out = shapes[s].out, middle = (int32_t)(rows - rows / 3);
    const int32_t starts[] = {0, middle, middle, (int32_t)rows};
    const zk_chunks chunks = {3, starts};
    const size_t num_x = (size_t)(rows * in), num_w = (size_t)in * (size_t)out, num_y = (size_t)(rows * out);
    const zk_linear_desc desc = {ZK_BF16, rows, in, out};
    float *x = random_values(num_x, 5, 6), *w = random_values(num_w, 6, 6), *dy = random_values(num_y, 7, 6);
    float *dw0 = random_floats(num_w, 8, 0), *db0 = random_floats((size_t)out, 9, 0), *addend = random_values(num_x, 10, 3);
    float *want = malloc(num_x * sizeof *want), *dw = malloc(num_w * sizeof *dw), *db = malloc((size_t)out * sizeof *db);
    float *dw_want = malloc(num_w * sizeof *dw), *db_want = malloc((size_t)out * sizeof *db);
    zk_bf16 *x_s = to_bf16(x, num_x), *w_s = to_bf16(w, num_w), *dy_s = to_bf16(dy, num_y), *dx = to_bf16(addend, num_x);
    memcpy(dw_want, dw0, num_w * sizeof *dw), memcpy(db_want, db0, (size_t)out * sizeof *db);
    zk_linear_reference_backward_input(ZK_BF16, rows, in, out, dy, w, addend, want);
    zk_linear_reference_backward_weight(ZK_BF16, rows, in, out, &chunks, dy, x, dw_want, db_want);
    FOR_EACH_VARIANT(device, stream) {
      for (size_t i = 0; i < num_x; i++) dx[i] = zk_float_to_bf16(addend[i]);
      OK(zk_linear_backward_input(stream, &desc, dy_s, w_s, dx, dx));
      assert_equal(dx, want, num_x, "dx");
      memcpy(dw, dw0, num_w * sizeof *dw), memcpy(db, db0, (size_t)out * sizeof *db);
      OK(zk_linear_backward_weight(stream, &desc, &chunks, dy_s, x_s, dw, db));
      assert_bits_equal(dw, dw_want, num_w, "dW %s", zk_device_describe(device));
      assert_bits_equal(db, db_want, (size_t)out, "db %s", zk_device_describe(device));
    }
    free(x), free(w), free(dy), free(dw0), free(db0), free(addend), free(want), free(dw), free(db);
    free(dw_want), free(db_want), free(x_s), free(w_s), free(dy_s), free(dx);
  }
}

// A row's bits are the same alone, and anywhere in any batch.
static void rows_do_not_see_their_neighbours(void **state) {
  enum { IN = 173, OUT = 70, ROWS = 70 };
  float *x = random_values(ROWS * IN, 12, 8), *w = random_values(OUT * IN, 13, 8);
  zk_bf16 *x_s = to_bf16(x, ROWS * IN), *w_s = to_bf16(w, OUT * IN), whole[ROWS * OUT], part[ROWS * OUT];
  FOR_EACH_VARIANT(device, stream) {
    zk_linear_desc desc = {ZK_BF16, ROWS, IN, OUT};
    OK(zk_linear_forward(stream, &desc, x_s, w_s, NULL, NULL, NULL, whole));
    for (int first = 0; first < ROWS; first += 9)
      for (int rows = 1; rows <= ROWS - first; rows += 13) {
        desc.num_rows = rows;
        OK(zk_linear_forward(stream, &desc, x_s + first * IN, w_s, NULL, NULL, NULL, part));
        assert_memory_equal(part, whole + first * OUT, (size_t)rows * OUT * sizeof *part);
      }
  }
  free(x), free(w), free(x_s), free(w_s);
}

// Rounding the sum of products before adding the bias, and f32's chain, are other contracts and give other bits.
static void other_roundings_differ(void **state) {
  enum { IN = 96, OUT = 64, ROWS = 8 };
  float *x = random_values(ROWS * IN, 14, 2), *w = random_values(OUT * IN, 15, 2), *bias = random_values(OUT, 16, 2);
  int twice = 0, fused = 0;
  for (int t = 0; t < ROWS; t++)
    for (int n = 0; n < OUT; n++) {
      const float want = zk_linear_reference_element(ZK_BF16, IN, x + t * IN, w + n * IN, bias + n, NULL);
      const float product = zk_linear_reference_element(ZK_BF16, IN, x + t * IN, w + n * IN, NULL, NULL);
      twice += zk_bf16_to_float(zk_float_to_bf16(product + bias[n])) != want;
      float longer = zk_linear_reference_element(ZK_F32, IN, x + t * IN, w + n * IN, bias + n, NULL);
      fused += longer != want;
      assert_true(fabsf(longer - want) <= fabsf(want) * 0x1p-8f + 0x1p-12f);
    }
  assert_true(twice > 0 && fused > 0);
  free(x), free(w), free(bias);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_equals_reference),
      cmocka_unit_test(backward_equals_reference),
      cmocka_unit_test(rows_do_not_see_their_neighbours),
      cmocka_unit_test(other_roundings_differ),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
