// Which kernel computes a matrix product on the emulated GPU: a forced one wherever it is valid, and known to be idle where it is not, so that
// `zerokl check` has no row for a kernel that never ran.
#include "tests/unit/device_fixture.h"

#include "kernels/cuda/gemm.h"
#include "kernels/linear.h"

static int open_emulated(void **state) { return open_kind(ZK_DEVICE_CUDA); }

enum { ROWS = 3, IN = 20, OUT = 7 };
static void *x, *w, *y, *dw; // zeros: who computes is the question

static void forward(zk_numerics numerics) {
  const zk_linear_desc desc = {numerics, ROWS, IN, OUT};
  OK(zk_linear_forward(stream, &desc, x, w, NULL, NULL, NULL, y));
}
static void backward_weight(zk_numerics numerics) {
  const zk_linear_desc desc = {numerics, ROWS, IN, OUT};
  const int32_t starts[] = {0, ROWS};
  const zk_chunks chunks = {1, starts};
  OK(zk_linear_backward_weight(stream, &desc, &chunks, y, x, dw, NULL));
}

static void a_kernel_that_never_ran_is_idle(void **state) {
  x = alloc(ROWS * IN * 4), w = alloc(IN * OUT * 4), y = alloc(ROWS * OUT * 4), dw = alloc(IN * OUT * 4);
  assert_false(zk_cuda_gemm_is_idle()); // none is forced
  static const zk_cuda_gemm_variant small[] = {ZK_CUDA_GEMM_F32_SMALL, ZK_CUDA_GEMM_BF16_SMALL};
  for (int i = 0; i < 2; i++) {
    const zk_numerics numerics = zk_cuda_gemm_numerics(small[i]);
    zk_cuda_gemm_force(small[i]);
    assert_true(zk_cuda_gemm_is_idle());
    backward_weight(numerics); // its operands have rows inside: not for this kernel
    assert_true(zk_cuda_gemm_is_idle());
    forward(numerics == ZK_F32 ? ZK_BF16 : ZK_F32);
    assert_true(zk_cuda_gemm_is_idle());
    forward(numerics);
    assert_false(zk_cuda_gemm_is_idle());
  }
  zk_cuda_gemm_force(ZK_CUDA_NUM_GEMM);
  assert_false(zk_cuda_gemm_is_idle());
  OK(zk_stream_wait(stream));
  void *const memory[] = {x, w, y, dw};
  for (int i = 0; i < 4; i++) zk_device_free(device, memory[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_kernel_that_never_ran_is_idle)};
  return cmocka_run_group_tests(tests, open_emulated, close_device);
}
