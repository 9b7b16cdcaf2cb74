// Row-wise operations in value: forward against float64, gradients against central differences of a float64 forward,
// RoPE's tables.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

#define assert_close(got, want, tolerance)                                                                             \
  do {                                                                                                                 \
    double got_ = (got), want_ = (want);                                                                               \
    if (!(fabs(got_ - want_) <= (tolerance) * (1.0 + fabs(want_)))) fail_msg("%.9g, wanted %.9g", got_, want_);        \
  } while (0)

#define STEP 1e-6
enum { WIDTH = 37, ROWS = 70 };

static void rmsnorm64(const double *x, const double *w, double eps, double *y) {
  double sum = 0.0;
  for (int h = 0; h < WIDTH; h++) sum += x[h] * x[h];
  for (int h = 0; h < WIDTH; h++) y[h] = x[h] / sqrt(sum / WIDTH + eps) * w[h];
}

// sum of dy * y: what is differentiated.
static double rmsnorm_loss(const double *x, const double *w, const float *dy) {
  double y[WIDTH], loss = 0.0;
  rmsnorm64(x, w, 1e-5, y);
  for (int h = 0; h < WIDTH; h++) loss += dy[h] * y[h];
  return loss;
}

static void rmsnorm_values_and_gradients(void **state) {
  float *x = random_floats(ROWS * WIDTH, 1, 1), *w = random_floats(WIDTH, 2, 1),
        *dy = random_floats(ROWS * WIDTH, 3, 1);
  float y[ROWS * WIDTH], rstd[ROWS], dx[ROWS * WIDTH], dw[WIDTH] = {0};
  const zk_rmsnorm_desc desc = {ZK_F32, ROWS, 1, WIDTH, 1e-5f};
  const int32_t starts[] = {0, ROWS};
  const zk_chunks chunks = {1, starts};
  OK(zk_rmsnorm_forward(stream, &desc, x, w, y, rstd));
  OK(zk_rmsnorm_backward(stream, &desc, &chunks, dy, x, w, rstd, NULL, dx, dw));
  double x64[WIDTH], w64[WIDTH], y64[WIDTH], dw64[WIDTH] = {0};
  for (int h = 0; h < WIDTH; h++) w64[h] = w[h];
  for (int r = 0; r < ROWS; r++) {
    const float *dy_r = dy + r * WIDTH;
    for (int h = 0; h < WIDTH; h++) x64[h] = x[r * WIDTH + h];
    rmsnorm64(x64, w64, 1e-5, y64);
    for (int h = 0; h < WIDTH; h++) {
      assert_close(y[r * WIDTH + h], y64[h], 1e-6);
      const double at = x64[h], weight = w64[h];
      x64[h] = at + STEP;
      const double up = rmsnorm_loss(x64, w64, dy_r);
      x64[h] = at - STEP;
      const double down = rmsnorm_loss(x64, w64, dy_r);
      x64[h] = at;
      assert_close(dx[r * WIDTH + h], (up - down) / (2 * STEP), 1e-5);
      w64[h] = weight + STEP;
      const double w_up = rmsnorm_loss(x64, w64, dy_r);
      w64[h] = weight - STEP;
      const double w_down = rmsnorm_loss(x64, w64, dy_r);
      w64[h] = weight;
      dw64[h] += (w_up - w_down) / (2 * STEP);
    }
  }
  for (int h = 0; h < WIDTH; h++) assert_close(dw[h], dw64[h], 1e-5);
  free(x), free(w), free(dy);
}

static double swiglu64(double g, double u) { return g / (1.0 + exp(-g)) * u; }

static void swiglu_values_and_gradients(void **state) {
  enum { n = 2000 };
  float *gate = random_floats(n, 1, 4), *up = random_floats(n, 2, 1), *dout = random_floats(n, 3, 1), out[n], dgate[n],
        dup[n];
  OK(zk_swiglu_forward(stream, ZK_F32, n, gate, up, out));
  OK(zk_swiglu_backward(stream, ZK_F32, n, gate, up, dout, dgate, dup));
  for (int i = 0; i < n; i++) {
    const double g = gate[i], u = up[i], d = dout[i];
    assert_close(out[i], swiglu64(g, u), 1e-6);
    assert_close(dgate[i], d * (swiglu64(g + STEP, u) - swiglu64(g - STEP, u)) / (2 * STEP), 1e-6);
    assert_close(dup[i], d * swiglu64(g, 1.0), 1e-6);
  }
  const float extreme[2] = {-200.0f, 200.0f}, one[2] = {1.0f, 1.0f};
  OK(zk_swiglu_forward(stream, ZK_F32, 2, extreme, one, out));
  assert_true(out[0] == 0.0f && out[1] == 200.0f);
  OK(zk_swiglu_backward(stream, ZK_F32, 2, extreme, one, one, dgate, dup));
  assert_true(dgate[0] == 0.0f && dgate[1] == 1.0f && dup[0] == 0.0f && dup[1] == 200.0f);
  free(gate), free(up), free(dout);
}

// Rotation is orthogonal: the gradient of <dy, rope(x)> in x is the rotation back, and forward then backward is the
// identity.
static void rope_values_and_gradients(void **state) {
  enum { dim = 64, half = dim / 2, positions = 2048, heads = 3, rows = 5 };
  float *cos_table = malloc(sizeof(float) * positions * half), *sin_table = malloc(sizeof(float) * positions * half);
  const zk_rope_params params = {.theta = 10000.0};
  zk_rope_build_tables(&params, dim, positions, cos_table, sin_table);
  for (int pos = 0; pos < positions; pos++)
    for (int i = 0; i < half; i++) {
      const float frequency = (float)pow(10000.0, -2.0 * i / dim), angle = (float)pos * frequency;
      assert_close(cos_table[pos * half + i], cos(angle), 1e-7);
      assert_close(sin_table[pos * half + i], sin(angle), 1e-7);
    }
  float *x = random_floats(rows * heads * dim, 1, 1), y[rows * heads * dim];
  const int32_t at[rows] = {0, 1, 700, 2047, 3};
  const zk_rope_desc desc = {ZK_F32, rows, heads, dim};
  memcpy(y, x, sizeof y);
  OK(zk_rope_forward(stream, &desc, at, cos_table, sin_table, y));
  for (int t = 0; t < rows; t++)
    for (int k = 0; k < heads * half; k++) {
      const size_t lower = (size_t)t * heads * dim + (size_t)(k / half) * dim + k % half, upper = lower + half;
      const double angle = (float)at[t] * (float)pow(10000.0, -2.0 * (k % half) / dim);
      assert_close(y[lower], x[lower] * cos(angle) - x[upper] * sin(angle), 1e-6);
      assert_close(y[upper], x[upper] * cos(angle) + x[lower] * sin(angle), 1e-6);
    }
  OK(zk_rope_backward(stream, &desc, at, cos_table, sin_table, y));
  for (int i = 0; i < rows * heads * dim; i++) assert_close(y[i], x[i], 1e-6);
  free(cos_table), free(sin_table), free(x);
}

// Position 1 shows the scaled frequencies: short wavelengths kept, long ones divided, a monotone blend between.
static void rope_scalings(void **state) {
  enum { dim = 128, half = dim / 2 };
  float plain[2 * half], scaled[2 * half], linear[2 * half], ignored[2 * half];
  const zk_rope_params p = {.theta = 500000.0}, llama3 = {500000.0, ZK_ROPE_LLAMA3, 32.0, 1.0, 4.0, 8192},
                       by_four = {500000.0, ZK_ROPE_LINEAR, 4.0, 0.0, 0.0, 0};
  zk_rope_build_tables(&p, dim, 2, ignored, plain);
  zk_rope_build_tables(&llama3, dim, 2, ignored, scaled);
  zk_rope_build_tables(&by_four, dim, 2, ignored, linear);
  int kept = 0, divided = 0;
  for (int i = 0; i < half; i++) {
    const double f = asin(plain[half + i]), s = asin(scaled[half + i]), wavelength = 2 * 3.141592653589793 / f;
    assert_close(asin(linear[half + i]) / f, 0.25, 1e-6);
    const double smooth = (8192.0 / wavelength - 1.0) / 3.0, share = smooth < 0.0 ? 0.0 : smooth > 1.0 ? 1.0 : smooth;
    assert_close(s / f, (1.0 - share) / 32.0 + share, 1e-6);
    kept += share == 1.0;
    divided += share == 0.0;
  }
  assert_true(kept > 20 && divided > 20 && kept + divided < half);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rmsnorm_values_and_gradients),
      cmocka_unit_test(swiglu_values_and_gradients),
      cmocka_unit_test(rope_values_and_gradients),
      cmocka_unit_test(rope_scalings),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
