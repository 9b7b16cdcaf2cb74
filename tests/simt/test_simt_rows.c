// Row-wise kernels of the emulated GPU where `zerokl check` does not look: bad input is named, slices at any address give the bits
// of aligned ones, and an embedding's rows get their gradients in token order through every step of the sort.
#include "tests/unit/device_fixture.h"

#include "kernels/embedding.h"
#include "kernels/reduce.h"
#include "kernels/reference/rows_reference.h"
#include "kernels/swiglu.h"

static int open_emulated(void **state) { return open_kind(ZK_DEVICE_CUDA); }

static void *upload(const void *host, size_t bytes) {
  void *memory = alloc(bytes);
  OK(zk_copy_to_device(stream, memory, host, bytes));
  return memory;
}

static float *download(const void *memory, size_t n) {
  float *host = malloc(n * sizeof *host);
  OK(zk_copy_to_host(stream, host, memory, n * sizeof *host));
  OK(zk_stream_wait(stream));
  return host;
}

static void gradients_are_added_in_token_order(void **state) {
  enum { ROWS = 9000, WIDTH = 5, VOCAB = 3 };
  const zk_embedding_desc desc = {ZK_F32, ROWS, WIDTH, VOCAB};
  float *dx = random_floats(ROWS * WIDTH, 1, 9), *want = random_floats(VOCAB * WIDTH, 2, 2);
  static int32_t tokens[ROWS], reversed[ROWS];
  static float reversed_dx[ROWS * WIDTH];
  for (int t = 0; t < ROWS; t++) tokens[t] = t % 7 % VOCAB;
  for (int t = 0; t < ROWS; t++) {
    reversed[t] = tokens[ROWS - 1 - t];
    memcpy(reversed_dx + t * WIDTH, dx + (ROWS - 1 - t) * WIDTH, WIDTH * sizeof *dx);
  }
  float *other = malloc(VOCAB * WIDTH * sizeof *other);
  float *before = malloc(VOCAB * WIDTH * sizeof *before);
  memcpy(other, want, VOCAB * WIDTH * sizeof *other);
  memcpy(before, want, VOCAB * WIDTH * sizeof *before);
  void *tokens_d = upload(tokens, sizeof tokens), *dx_d = upload(dx, ROWS * WIDTH * sizeof *dx);
  float *dtable = upload(want, VOCAB * WIDTH * sizeof *want);
  OK(zk_embedding_backward(stream, &desc, tokens_d, dx_d, dtable));
  float *got = download(dtable, VOCAB * WIDTH);
  zk_reference_embedding_backward(ROWS, WIDTH, tokens, dx, want);
  zk_reference_embedding_backward(ROWS, WIDTH, reversed, reversed_dx, other);
  assert_bits_equal(got, want, VOCAB * WIDTH, "dtable");
  assert_memory_not_equal(got, other, VOCAB * WIDTH * sizeof *got); // the same sums in another order
  const zk_embedding_desc apart = {ZK_F32, ROWS, WIDTH, VOCAB, true};
  OK(zk_copy_to_device(stream, dtable, before, VOCAB * WIDTH * sizeof *before));
  OK(zk_embedding_backward(stream, &apart, tokens_d, dx_d, dtable));
  float *got_apart = download(dtable, VOCAB * WIDTH);
  zk_reference_embedding_backward_apart(ROWS, WIDTH, VOCAB, tokens, dx, before);
  assert_bits_equal(got_apart, before, VOCAB * WIDTH, "dtable, apart");
  assert_memory_not_equal(got_apart, want, VOCAB * WIDTH * sizeof *got);
  zk_device_free(device, tokens_d), zk_device_free(device, dx_d), zk_device_free(device, dtable);
  free(dx), free(want), free(other), free(before), free(got), free(got_apart);
}

static void a_bad_token_is_named(void **state) {
  enum { ROWS = 300, WIDTH = 9, VOCAB = 50 };
  const zk_embedding_desc desc = {ZK_F32, ROWS, WIDTH, VOCAB};
  int32_t tokens[ROWS];
  for (int t = 0; t < ROWS; t++) tokens[t] = t % VOCAB;
  tokens[123] = VOCAB;
  tokens[200] = -1;
  float *table = random_floats(VOCAB * WIDTH, 1, 5), *x = random_floats(ROWS * WIDTH, 2, 5);
  void *tokens_d = upload(tokens, sizeof tokens), *table_d = upload(table, VOCAB * WIDTH * sizeof *table);
  void *x_d = upload(x, ROWS * WIDTH * sizeof *x);
  OK(zk_embedding_forward(stream, &desc, tokens_d, table_d, x_d));
  assert_int_equal(zk_stream_wait(stream), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "row 123 "));
  OK(zk_embedding_backward(stream, &desc, tokens_d, x_d, table_d));
  assert_int_equal(zk_stream_wait(stream), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "row 123 "));
  OK(zk_stream_wait(stream)); // said once
  zk_device_free(device, tokens_d), zk_device_free(device, table_d), zk_device_free(device, x_d);
  free(table), free(x);
}

static void slices_at_any_address(void **state) {
  enum { N = 1031 };
  float *a = random_floats(N + 3, 1, 9), *b = random_floats(N + 3, 2, 9), *want = malloc(N * sizeof *want);
  float *a_d = upload(a, (N + 3) * sizeof *a), *b_d = upload(b, (N + 3) * sizeof *b);
  float *out_d = upload(a, (N + 3) * sizeof *a);
  for (int first = 0; first < 4; first++) {
    OK(zk_add(stream, ZK_F32, N, a_d + first, b_d + 3 - first, out_d + first / 2));
    float *got = download(out_d + first / 2, N);
    zk_reference_add(N, a + first, b + 3 - first, want);
    assert_bits_equal(got, want, N, "add from %d", first);
    free(got);
    OK(zk_scale(stream, ZK_F32, N, a_d + first, 0.3f, out_d + first / 2));
    got = download(out_d + first / 2, N);
    zk_reference_scale(N, a + first, 0.3f, want);
    assert_bits_equal(got, want, N, "scale from %d", first);
    free(got);
    OK(zk_swiglu_forward(stream, ZK_F32, N, a_d + first, b_d + 3 - first, out_d + first / 2));
    got = download(out_d + first / 2, N);
    zk_reference_swiglu_forward(N, a + first, b + 3 - first, want);
    assert_bits_equal(got, want, N, "swiglu from %d", first);
    free(got);
  }
  zk_device_free(device, a_d), zk_device_free(device, b_d), zk_device_free(device, out_d);
  free(a), free(b), free(want);
}

static void not_finite_is_found_and_named(void **state) {
  enum { N = 5003 };
  float *x = random_floats(N, 1, 9);
  const int bad[] = {0, 4096, N - 1};
  for (int i = -1; i < 3; i++) {
    const float kept = i < 0 ? 0.0f : x[bad[i]];
    if (i >= 0) x[bad[i]] = i % 2 == 0 ? NAN : -INFINITY;
    float *x_d = upload(x, N * sizeof *x);
    char name[32];
    snprintf(name, sizeof name, "element %d of", i < 0 ? 0 : bad[i]);
    assert_int_equal(zk_require_finite(stream, N, x_d, "gradient"), i < 0 ? ZK_OK : ZK_NOT_FINITE);
    if (i >= 0) assert_non_null(strstr(zk_status_message(), name));
    if (i >= 0) x[bad[i]] = kept;
    zk_device_free(device, x_d);
  }
  free(x);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_added_in_token_order),
      cmocka_unit_test(a_bad_token_is_named),
      cmocka_unit_test(slices_at_any_address),
      cmocka_unit_test(not_finite_is_found_and_named),
  };
  return cmocka_run_group_tests(tests, open_emulated, close_device);
}
