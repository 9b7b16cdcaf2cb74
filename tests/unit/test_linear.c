// Linear layer: every instruction set and thread count equals the written order bit for bit, forward and backward; and
// float64 in value.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/linear.h"
#include "kernels/reference/linear_reference.h"

static float *packed_weight(const zk_linear_desc *desc, const float *weight) {
  float *packed = alloc(zk_linear_packed_bytes(device, ZK_F32, desc->in_features, desc->out_features));
  OK(zk_linear_pack(stream, desc, weight, packed));
  return packed;
}

static const int64_t all_rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 29, 31, 33, 64, 65, 129};
static const struct {
  int32_t in, out;
} shapes[] = {{1, 1}, {3, 5}, {16, 16}, {17, 33}, {64, 48}, {77, 31}, {257, 19}, {300, 65}, {530, 40}};

static void forward_equals_reference(void **state) {
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const int32_t in = shapes[s].in, out = shapes[s].out;
    float *weight = random_floats((size_t)in * out, 1, 6), *bias = random_floats(out, 2, 3);
    for (size_t m = 0; m < sizeof all_rows / sizeof all_rows[0]; m++) {
      const int64_t rows = all_rows[m];
      const size_t num_y = (size_t)rows * out;
      const zk_linear_desc desc = {ZK_F32, rows, in, out};
      float *x = random_floats((size_t)rows * in, 3, 6), *addend = random_floats(num_y, 4, 3);
      float *want = malloc(num_y * sizeof *want), *y = alloc(num_y * sizeof *y);
      for (int with = 0; with < 4; with++) {
        const float *b = with & 1 ? bias : NULL, *add = with & 2 ? addend : NULL;
        zk_linear_reference_forward(ZK_F32, rows, in, out, x, weight, b, add, want);
        FOR_EACH_VARIANT(device, stream) {
          float *packed = packed_weight(&desc, weight);
          memset(y, 0xff, num_y * sizeof *y);
          if (add != NULL) memcpy(y, addend, num_y * sizeof *y); // in place
          OK(zk_linear_forward(stream, &desc, x, weight, packed, b, add == NULL ? NULL : y, y));
          assert_bits_equal(y, want, num_y, "%s rows %d in %d out %d with %d", zk_device_describe(device), (int)rows,
                            in, out, with);
          zk_device_free(device, packed);
        }
      }
      free(x), free(addend), free(want), zk_device_free(device, y);
    }
    free(weight), free(bias);
  }
}

static void backward_input_equals_reference(void **state) {
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const int32_t in = shapes[s].in, out = shapes[s].out;
    float *weight = random_floats((size_t)in * out, 5, 6);
    for (size_t m = 0; m < sizeof all_rows / sizeof all_rows[0]; m++) {
      const int64_t rows = all_rows[m];
      const size_t num_x = (size_t)rows * in;
      const zk_linear_desc desc = {ZK_F32, rows, in, out};
      float *dy = random_floats((size_t)rows * out, 6, 6), *addend = random_floats(num_x, 7, 3);
      float *want = malloc(num_x * sizeof *want), *dx = alloc(num_x * sizeof *dx);
      for (int with = 0; with < 2; with++) {
        zk_linear_reference_backward_input(ZK_F32, rows, in, out, dy, weight, with ? addend : NULL, want);
        FOR_EACH_VARIANT(device, stream) {
          memcpy(dx, addend, num_x * sizeof *dx);
          OK(zk_linear_backward_input(stream, &desc, dy, weight, with ? dx : NULL, dx));
          assert_bits_equal(dx, want, num_x, "%s rows %d in %d out %d with %d", zk_device_describe(device), (int)rows,
                            in, out, with);
        }
      }
      free(dy), free(addend), free(want), zk_device_free(device, dx);
    }
    free(weight);
  }
}

static void backward_weight_equals_reference(void **state) {
  static const int32_t starts[][6] = {{0, 1},       {0, 5, 5, 6},      {0, 63},
                                      {0, 64, 129}, {0, 65, 65 + 320}, {0, 300, 301, 901}};
  static const int num_chunks[] = {1, 3, 1, 2, 2, 3};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const int32_t in = shapes[s].in, out = shapes[s].out;
    const size_t num_w = (size_t)in * out;
    for (size_t c = 0; c < sizeof num_chunks / sizeof num_chunks[0]; c++) {
      const zk_chunks chunks = {num_chunks[c], starts[c]};
      const int64_t rows = starts[c][num_chunks[c]];
      const zk_linear_desc desc = {ZK_F32, rows, in, out};
      float *x = random_floats((size_t)rows * in, 8, 6), *dy = random_floats((size_t)rows * out, 9, 6);
      float *dw0 = random_floats(num_w, 10, 0), *db0 = random_floats(out, 11, 0);
      float *dw_want = malloc(num_w * sizeof(float)), *db_want = malloc(out * sizeof(float));
      memcpy(dw_want, dw0, num_w * sizeof(float)), memcpy(db_want, db0, out * sizeof(float));
      zk_linear_reference_backward_weight(ZK_F32, rows, in, out, &chunks, dy, x, dw_want, db_want);
      float *dw = alloc(num_w * sizeof(float)), *db = alloc(out * sizeof(float));
      FOR_EACH_VARIANT(device, stream) {
        memcpy(dw, dw0, num_w * sizeof(float)), memcpy(db, db0, out * sizeof(float));
        OK(zk_linear_backward_weight(stream, &desc, &chunks, dy, x, dw, db));
        assert_bits_equal(dw, dw_want, num_w, "dW %s rows %d in %d out %d", zk_device_describe(device), (int)rows, in,
                          out);
        assert_bits_equal(db, db_want, out, "db %s rows %d in %d out %d", zk_device_describe(device), (int)rows, in,
                          out);
        // The same chunks, each a microbatch of its own.
        memcpy(dw, dw0, num_w * sizeof(float)), memcpy(db, db0, out * sizeof(float));
        for (int i = 0; i < chunks.num_chunks; i++) {
          const int32_t first = starts[c][i], alone[2] = {0, starts[c][i + 1] - first};
          const zk_chunks one = {1, alone};
          const zk_linear_desc part = {ZK_F32, alone[1], in, out};
          OK(zk_linear_backward_weight(stream, &part, &one, dy + (size_t)first * out, x + (size_t)first * in, dw, db));
        }
        assert_bits_equal(dw, dw_want, num_w, "dW by microbatches, %s", zk_device_describe(device));
        assert_bits_equal(db, db_want, out, "db by microbatches, %s", zk_device_describe(device));
      }
      free(x), free(dy), free(dw0), free(db0), free(dw_want), free(db_want);
      zk_device_free(device, dw), zk_device_free(device, db);
    }
  }
}

// A row's bits are the same alone, and anywhere in any batch.
static void rows_do_not_see_their_neighbours(void **state) {
  enum { IN = 333, OUT = 100, ROWS = 70 };
  float *x = random_floats(ROWS * IN, 12, 8), *weight = random_floats(OUT * IN, 13, 8);
  float *whole = alloc(ROWS * OUT * sizeof(float)), *part = alloc(ROWS * OUT * sizeof(float));
  FOR_EACH_VARIANT(device, stream) {
    zk_linear_desc desc = {ZK_F32, ROWS, IN, OUT};
    float *packed = packed_weight(&desc, weight);
    OK(zk_linear_forward(stream, &desc, x, weight, packed, NULL, NULL, whole));
    for (int first = 0; first < ROWS; first += 7)
      for (int rows = 1; rows <= ROWS - first; rows += 11) {
        desc.num_rows = rows;
        OK(zk_linear_forward(stream, &desc, x + first * IN, weight, packed, NULL, NULL, part));
        assert_bits_equal(part, whole + first * OUT, (size_t)rows * OUT, "%s rows %d from %d",
                          zk_device_describe(device), rows, first);
      }
    zk_device_free(device, packed);
  }
  free(x), free(weight), zk_device_free(device, whole), zk_device_free(device, part);
}

// The comparison above can tell orders apart: k descending, and k cut in two halves, both differ somewhere.
static void other_orders_differ(void **state) {
  enum { IN = 129, OUT = 24, ROWS = 9 };
  float *x = random_floats(ROWS * IN, 14, 4), *weight = random_floats(OUT * IN, 15, 4);
  float *y = alloc(ROWS * OUT * sizeof(float));
  const zk_linear_desc desc = {ZK_F32, ROWS, IN, OUT};
  float *packed = packed_weight(&desc, weight);
  OK(zk_linear_forward(stream, &desc, x, weight, packed, NULL, NULL, y));
  int descending = 0, split = 0;
  for (int t = 0; t < ROWS; t++)
    for (int n = 0; n < OUT; n++) {
      const float *a = x + t * IN, *b = weight + n * IN;
      float down = 0.0f;
      for (int k = IN - 1; k >= 0; k--) down = fmaf(a[k], b[k], down);
      const float halves = zk_linear_reference_element(ZK_F32, IN / 2, a, b, NULL, NULL) +
                           zk_linear_reference_element(ZK_F32, IN - IN / 2, a + IN / 2, b + IN / 2, NULL, NULL);
      descending += down != y[t * OUT + n];
      split += halves != y[t * OUT + n];
    }
  assert_true(descending > 0);
  assert_true(split > 0);
  free(x), free(weight), zk_device_free(device, y), zk_device_free(device, packed);
}

static void close_to_float64(void **state) {
  enum { IN = 1536, OUT = 37, ROWS = 21 };
  float *x = random_floats(ROWS * IN, 16, 0), *weight = random_floats(OUT * IN, 17, 0);
  float *y = alloc(ROWS * OUT * sizeof(float));
  const zk_linear_desc desc = {ZK_F32, ROWS, IN, OUT};
  float *packed = packed_weight(&desc, weight);
  OK(zk_linear_forward(stream, &desc, x, weight, packed, NULL, NULL, y));
  for (int t = 0; t < ROWS; t++)
    for (int n = 0; n < OUT; n++) {
      double sum = 0.0, size = 0.0;
      for (int k = 0; k < IN; k++) {
        const double term = (double)x[t * IN + k] * (double)weight[n * IN + k];
        sum += term, size += fabs(term);
      }
      assert_true(fabs(sum - (double)y[t * OUT + n]) <= size * 1e-5);
    }
  free(x), free(weight), zk_device_free(device, y), zk_device_free(device, packed);
}

static void bad_calls_are_refused(void **state) {
  float x[4] = {0}, y[4] = {0};
  const zk_linear_desc desc = {ZK_F32, 2, 2, 2};
  const int32_t starts[] = {0, 1};
  const zk_chunks chunks = {1, starts};
  assert_int_equal(zk_linear_backward_weight(stream, &desc, &chunks, x, x, y, NULL), ZK_INTERNAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_equals_reference),
      cmocka_unit_test(backward_input_equals_reference),
      cmocka_unit_test(backward_weight_equals_reference),
      cmocka_unit_test(rows_do_not_see_their_neighbours),
      cmocka_unit_test(other_orders_differ),
      cmocka_unit_test(close_to_float64),
      cmocka_unit_test(bad_calls_are_refused),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
