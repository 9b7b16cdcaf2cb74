// Row-wise and elementwise operations: every instruction set and thread count equals the straight loops bit for bit,
// any batch gives a row the same bits, and another order does not.
#include "tests/unit/device_fixture.h"

#include "kernels/adamw.h"
#include "kernels/embedding.h"
#include "kernels/hash.h"
#include "kernels/reduce.h"
#include "kernels/reference/rows_reference.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

static const int32_t widths[] = {1, 7, 64, 96, 127, 128, 129, 576, 1536};
static const int64_t counts[] = {1, 3, 64, 65, 200};
// Element counts around a vector, the grain of a thread's work, and what wakes the threads.
static const int64_t lengths[] = {0, 1, 5, 15, 16, 17, 4095, 4096, 4097, 16384, 32768, 32769, 70001};
#define NUM(a) (sizeof(a) / sizeof((a)[0]))
#define FLOATS(n) malloc(((n) > 0 ? (size_t)(n) : 1) * sizeof(float))

static float *copy_floats(const float *x, size_t n) {
  float *copy = FLOATS(n);
  memcpy(copy, x, n * sizeof *x);
  return copy;
}

static void rmsnorm_forward(void **state) {
  for (size_t w = 0; w < NUM(widths); w++)
    for (size_t c = 0; c < NUM(counts); c++) {
      const int32_t width = widths[w];
      const int64_t rows = counts[c];
      const size_t n = (size_t)(rows * width);
      float *x = random_floats(n, 1, 8), *weight = random_floats((size_t)width, 2, 2);
      float *want = FLOATS(n), *want_rstd = FLOATS(rows), *y = FLOATS(n), *rstd = FLOATS(rows);
      zk_reference_rmsnorm_forward(rows, width, 1e-5f, x, weight, want, want_rstd);
      FOR_EACH_VARIANT(device, stream) {
        const zk_rmsnorm_desc desc = {ZK_F32, rows, 1, width, 1e-5f};
        OK(zk_rmsnorm_forward(stream, &desc, x, weight, y, rstd));
        assert_bits_equal(y, want, n, "%s width %d rows %d", zk_device_describe(device), width, (int)rows);
        assert_bits_equal(rstd, want_rstd, rows, "rstd, %s width %d", zk_device_describe(device), width);
        memcpy(y, x, n * sizeof *y); // in place, without rstd
        OK(zk_rmsnorm_forward(stream, &desc, y, weight, y, NULL));
        assert_bits_equal(y, want, n, "in place, %s width %d", zk_device_describe(device), width);
        const zk_rmsnorm_desc one = {ZK_F32, 1, 1, width, 1e-5f}; // the last row alone
        OK(zk_rmsnorm_forward(stream, &one, x + n - width, weight, y, NULL));
        assert_bits_equal(y, want + n - width, width, "alone, %s width %d", zk_device_describe(device), width);
      }
      free(x), free(weight), free(want), free(want_rstd), free(y), free(rstd);
    }
}

static void rmsnorm_backward(void **state) {
  static const int32_t heads[] = {1, 3};
  static const int32_t starts[] = {0, 70, 70, 200}; // three chunks, one empty
  const zk_chunks chunks = {3, starts};
  for (size_t w = 0; w < NUM(widths); w++)
    for (size_t k = 0; k < NUM(heads); k++) {
      const int32_t width = widths[w];
      const int64_t rows = (int64_t)starts[3] * heads[k];
      const size_t n = (size_t)(rows * width);
      float *x = random_floats(n, 1, 4), *dy = random_floats(n, 2, 4), *weight = random_floats(width, 3, 2),
            *addend = random_floats(n, 4, 2);
      float *y = FLOATS(n), *rstd = FLOATS(rows), *want = FLOATS(n), *dx = FLOATS(n), *dw0 = random_floats(width, 5, 0);
      zk_reference_rmsnorm_forward(rows, width, 1e-6f, x, weight, y, rstd);
      const zk_rmsnorm_desc desc = {ZK_F32, starts[3], heads[k], width, 1e-6f};
      for (int with_addend = 0; with_addend < 2; with_addend++) {
        const float *add = with_addend ? addend : NULL;
        float *want_dw = copy_floats(dw0, width);
        zk_reference_rmsnorm_backward(heads[k], width, &chunks, dy, x, weight, rstd, add, want, want_dw);
        FOR_EACH_VARIANT(device, stream) {
          float *dw = copy_floats(dw0, width);
          OK(zk_rmsnorm_backward(stream, &desc, &chunks, dy, x, weight, rstd, add, dx, dw));
          assert_bits_equal(dx, want, n, "dx, %s width %d heads %d", zk_device_describe(device), width, heads[k]);
          assert_bits_equal(dw, want_dw, width, "dweight, %s width %d heads %d", zk_device_describe(device), width,
                            heads[k]);
          memcpy(dw, dw0, width * sizeof *dw); // over dy, or over the addend
          memcpy(dx, with_addend ? addend : dy, n * sizeof *dx);
          OK(zk_rmsnorm_backward(stream, &desc, &chunks, with_addend ? dy : dx, x, weight, rstd,
                                 with_addend ? dx : NULL, dx, dw));
          assert_bits_equal(dx, want, n, "dx in place, %s width %d", zk_device_describe(device), width);
          assert_bits_equal(dw, want_dw, width, "dweight in place, %s width %d", zk_device_describe(device), width);
          free(dw);
        }
        free(want_dw);
      }
      free(x), free(dy), free(weight), free(addend), free(y), free(rstd), free(want), free(dx), free(dw0);
    }
}

static void rope_both_ways(void **state) {
  static const int32_t dims[] = {2, 14, 64, 96, 128}, heads[] = {1, 9};
  const int32_t num_positions = 300;
  const zk_rope_params params = {.theta = 10000.0};
  for (size_t d = 0; d < NUM(dims); d++)
    for (size_t h = 0; h < NUM(heads); h++) {
      const int64_t rows = 67;
      const size_t width = (size_t)heads[h] * dims[d], n = (size_t)rows * width,
                   table = (size_t)num_positions * dims[d] / 2;
      float *cos_table = FLOATS(table), *sin_table = FLOATS(table), *x = random_floats(n, 1, 6), *want = FLOATS(n),
            *y = FLOATS(n);
      zk_rope_build_tables(&params, dims[d], num_positions, cos_table, sin_table);
      int32_t positions[67];
      for (int t = 0; t < 67; t++) positions[t] = t < 60 ? t * 5 : 299 - t;
      const zk_rope_desc desc = {ZK_F32, rows, heads[h], dims[d]};
      for (int backward = 0; backward < 2; backward++) {
        memcpy(want, x, n * sizeof *x);
        zk_reference_rope(backward, rows, heads[h], dims[d], positions, cos_table, sin_table, want);
        FOR_EACH_VARIANT(device, stream) {
          memcpy(y, x, n * sizeof *x);
          OK((backward ? zk_rope_backward : zk_rope_forward)(stream, &desc, positions, cos_table, sin_table, y));
          assert_bits_equal(y, want, n, "%s backward %d dim %d", zk_device_describe(device), backward, dims[d]);
        }
      }
      free(cos_table), free(sin_table), free(x), free(want), free(y);
    }
}

static void swiglu_both_ways(void **state) {
  for (size_t l = 0; l < NUM(lengths); l++) {
    const size_t n = (size_t)lengths[l];
    float *gate = random_floats(n, 1, 7), *up = random_floats(n, 2, 3), *dout = random_floats(n, 3, 3);
    float *want = FLOATS(n), *want_up = FLOATS(n), *out = FLOATS(n), *out_up = FLOATS(n);
    zk_reference_swiglu_forward((int64_t)n, gate, up, want);
    FOR_EACH_VARIANT(device, stream) {
      OK(zk_swiglu_forward(stream, ZK_F32, (int64_t)n, gate, up, out));
      assert_bits_equal(out, want, n, "%s n %zu", zk_device_describe(device), n);
      memcpy(out, up, n * sizeof *out);
      OK(zk_swiglu_forward(stream, ZK_F32, (int64_t)n, gate, out, out));
      assert_bits_equal(out, want, n, "in place, %s n %zu", zk_device_describe(device), n);
    }
    zk_reference_swiglu_backward((int64_t)n, gate, up, dout, want, want_up);
    FOR_EACH_VARIANT(device, stream) {
      memcpy(out, gate, n * sizeof *out), memcpy(out_up, up, n * sizeof *out_up);
      OK(zk_swiglu_backward(stream, ZK_F32, (int64_t)n, out, out_up, dout, out, out_up)); // in place
      assert_bits_equal(out, want, n, "dgate, %s n %zu", zk_device_describe(device), n);
      assert_bits_equal(out_up, want_up, n, "dup, %s n %zu", zk_device_describe(device), n);
    }
    free(gate), free(up), free(dout), free(want), free(want_up), free(out), free(out_up);
  }
}

static void add_squares_hash(void **state) {
  for (size_t l = 0; l < NUM(lengths); l++) {
    const size_t n = (size_t)lengths[l], blocks = (n + 4095) / 4096;
    float *a = random_floats(n, 1, 9), *b = random_floats(n, 2, 9), *want = FLOATS(n), *out = FLOATS(n);
    float *want_sums = FLOATS(blocks), *sums = FLOATS(blocks);
    zk_reference_add((int64_t)n, a, b, want);
    float *want_scaled = FLOATS(n);
    zk_reference_scale((int64_t)n, a, 0.3f, want_scaled);
    zk_reference_sum_squares((int64_t)n, a, want_sums);
    FOR_EACH_VARIANT(device, stream) {
      memcpy(out, a, n * sizeof *out);
      OK(zk_add(stream, ZK_F32, (int64_t)n, out, b, out));
      assert_bits_equal(out, want, n, "add, %s n %zu", zk_device_describe(device), n);
      OK(zk_scale(stream, ZK_F32, (int64_t)n, a, 0.3f, out));
      assert_bits_equal(out, want_scaled, n, "scale, %s n %zu", zk_device_describe(device), n);
      OK(zk_sum_squares(stream, (int64_t)n, a, sums));
      assert_bits_equal(sums, want_sums, blocks, "sum_squares, %s n %zu", zk_device_describe(device), n);
      uint64_t hash;
      OK(zk_hash_elements(stream, 4, (int64_t)n, 5000000000ull, a, &hash));
      assert_true(hash == zk_reference_hash(4, (int64_t)n, 5000000000ull, a));
      OK(zk_hash_elements(stream, 2, (int64_t)n, 3, a, &hash));
      assert_true(hash == zk_reference_hash(2, (int64_t)n, 3, a));
    }
    float total = zk_reference_tree(want_sums, (int64_t)blocks), tree = zk_reduce_tree(sums, (int64_t)blocks);
    assert_bits_equal(&tree, &total, 1, "tree of %zu", blocks);
    free(a), free(b), free(want), free(want_scaled), free(out), free(want_sums), free(sums);
  }
}

static void adamw(void **state) {
  for (size_t l = 0; l < NUM(lengths); l++)
    for (int decays = 0; decays < 2; decays++) {
      const size_t n = (size_t)lengths[l];
      float *w0 = random_floats(n, 1, 2), *m0 = random_floats(n, 2, 4), *v0 = random_floats(n, 3, 4),
            *grad = random_floats(n, 4, 8);
      for (size_t i = 0; i < n; i++) v0[i] = fabsf(v0[i]);
      zk_adamw_params params;
      zk_adamw_scalars(1e-3, 0.9, 0.999, 1e-8, 0.1, 7, 5.0f, 1.0, &params);
      float *w = copy_floats(w0, n), *m = copy_floats(m0, n), *v = copy_floats(v0, n), *working = FLOATS(n);
      zk_reference_adamw(&params, decays, (int64_t)n, w, m, v, grad);
      FOR_EACH_VARIANT(device, stream) {
        float *w1 = copy_floats(w0, n), *m1 = copy_floats(m0, n), *v1 = copy_floats(v0, n);
        OK(zk_adamw(stream, ZK_F32, &params, decays, (int64_t)n, w1, m1, v1, grad, working));
        assert_bits_equal(w1, w, n, "master, %s n %zu", zk_device_describe(device), n);
        assert_bits_equal(working, w, n, "working, %s n %zu", zk_device_describe(device), n);
        assert_bits_equal(m1, m, n, "m, %s n %zu", zk_device_describe(device), n);
        assert_bits_equal(v1, v, n, "v, %s n %zu", zk_device_describe(device), n);
        free(w1), free(m1), free(v1);
      }
      free(w0), free(m0), free(v0), free(grad), free(w), free(m), free(v), free(working);
    }
}

static void adamw_scalars(void **state) {
  zk_adamw_params p;
  zk_adamw_scalars(1e-3, 0.9, 0.95, 1e-8, 0.0, 1, 0.5f, 1.0, &p);
  assert_true(p.grad_scale == 1.0f && p.decay == 1.0f && p.bias1 == (float)(1.0 - 0.9) &&
              p.bias2 == (float)(1.0 - 0.95));
  zk_adamw_scalars(1e-3, 0.9, 0.95, 1e-8, 0.1, 1000000, 4.0f, 1.0, &p);
  assert_true(p.grad_scale == 0.25f && p.decay == (float)(1.0 - 1e-3 * 0.1) && p.bias1 == 1.0f);
  zk_adamw_scalars(1e-3, 0.9, 0.95, 1e-8, 0.1, 3, 4.0f, 0.0, &p);
  assert_true(p.grad_scale == 1.0f);
}

static void embedding_both_ways(void **state) {
  const int32_t vocab = 50, width = 129;
  const int64_t rows = 300;
  const size_t n = (size_t)rows * width, table_size = (size_t)vocab * width;
  float *table = random_floats(table_size, 1, 5), *dx = random_floats(n, 2, 9), *want = FLOATS(n), *x = FLOATS(n);
  int32_t tokens[300];
  for (int t = 0; t < 300; t++) tokens[t] = t < 100 ? 7 : t % vocab; // one row gets many
  const zk_embedding_desc desc = {ZK_F32, rows, width, vocab}, apart = {ZK_F32, rows, width, vocab, true};
  zk_reference_embedding_forward(rows, width, tokens, table, want);
  float *want_table = copy_floats(table, table_size);
  zk_reference_embedding_backward(rows, width, tokens, dx, want_table);
  float *want_apart = copy_floats(table, table_size);
  zk_reference_embedding_backward_apart(rows, width, vocab, tokens, dx, want_apart);
  FOR_EACH_VARIANT(device, stream) {
    OK(zk_embedding_forward(stream, &desc, tokens, table, x));
    assert_bits_equal(x, want, n, "%s", zk_device_describe(device));
    float *dtable = copy_floats(table, table_size);
    OK(zk_embedding_backward(stream, &desc, tokens, dx, dtable));
    assert_bits_equal(dtable, want_table, table_size, "backward, %s", zk_device_describe(device));
    free(dtable);
    float *apart_table = copy_floats(table, table_size);
    OK(zk_embedding_backward(stream, &apart, tokens, dx, apart_table));
    assert_bits_equal(apart_table, want_apart, table_size, "backward apart, %s", zk_device_describe(device));
    assert_memory_not_equal(apart_table, want_table, table_size * sizeof *table); // the same sums in another order
    free(apart_table);
  }
  tokens[123] = vocab;
  assert_int_equal(zk_embedding_forward(stream, &desc, tokens, table, x), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "row 123"));
  tokens[123] = -1;
  assert_int_equal(zk_embedding_backward(stream, &desc, tokens, dx, table), ZK_BAD_INPUT);
  free(table), free(dx), free(want), free(x), free(want_table), free(want_apart);
}

static void not_finite_is_found_and_named(void **state) {
  const size_t n = 70001;
  float *x = random_floats(n, 1, 9);
  FOR_EACH_VARIANT(device, stream) {
    OK(zk_require_finite(stream, (int64_t)n, x, "gradient"));
    const uint32_t bad[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffffffffu, 0x7f800001u};
    for (size_t b = 0; b < NUM(bad); b++) {
      float saved = x[40000];
      x[40000] = x[65000] = zk_bits_float(bad[b]);
      assert_int_equal(zk_require_finite(stream, (int64_t)n, x, "gradient"), ZK_NOT_FINITE);
      assert_non_null(strstr(zk_status_message(), "gradient: element 40000 of 70001"));
      x[40000] = x[65000] = saved;
    }
  }
  free(x);
}

// The negative control: the same sums by 64 lanes, by plain ascending order, by a fused product where the order says
// rounded.
static void another_order_differs(void **state) {
  const int64_t n = 576, rows = 200;
  float *x = random_floats((size_t)(rows * n), 1, 4), sums[1];
  int differ_lanes = 0, differ_chain = 0, differ_tree = 0;
  for (int64_t r = 0; r < rows; r++) {
    const float *row = x + r * n;
    OK(zk_sum_squares(stream, n, row, sums));
    float lane[64] = {0}, chain = 0.0f, tree[200];
    for (int64_t i = 0; i < n; i++)
      lane[i % 64] = fmaf(row[i], row[i], lane[i % 64]), chain = fmaf(row[i], row[i], chain);
    for (int half = 32; half > 0; half /= 2)
      for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    differ_lanes += lane[0] != sums[0];
    differ_chain += chain != sums[0];
    memcpy(tree, row, sizeof tree);
    float ascending = 0.0f;
    for (int i = 0; i < 200; i++) ascending += tree[i];
    differ_tree += ascending != zk_reduce_tree(tree, 200);
  }
  assert_in_range(differ_lanes, rows / 8, rows);
  assert_in_range(differ_chain, rows / 8, rows);
  assert_in_range(differ_tree, rows / 8, rows);
  free(x);
}

static void bad_shapes_are_refused(void **state) {
  float x[4] = {0};
  const zk_rmsnorm_desc no_width = {ZK_F32, 1, 1, 0, 1e-5f};
  assert_int_equal(zk_rmsnorm_forward(stream, &no_width, x, x, x, NULL), ZK_INTERNAL);
  const int32_t starts[] = {0, 1};
  const zk_chunks chunks = {1, starts};
  const zk_rmsnorm_desc two = {ZK_F32, 2, 1, 2, 1e-5f};
  assert_int_equal(zk_rmsnorm_backward(stream, &two, &chunks, x, x, x, x, NULL, x, x), ZK_INTERNAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rmsnorm_forward),
      cmocka_unit_test(rmsnorm_backward),
      cmocka_unit_test(rope_both_ways),
      cmocka_unit_test(swiglu_both_ways),
      cmocka_unit_test(add_squares_hash),
      cmocka_unit_test(adamw),
      cmocka_unit_test(adamw_scalars),
      cmocka_unit_test(embedding_both_ways),
      cmocka_unit_test(another_order_differs),
      cmocka_unit_test(not_finite_is_found_and_named),
      cmocka_unit_test(bad_shapes_are_refused),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
