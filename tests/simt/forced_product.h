// A calculation made of matrix products, on the CPU and by one of their kernels on the emulated GPU, in many orders: what tests of these kernels share.
#ifndef ZK_SIMT_FORCED_PRODUCT_H
#define ZK_SIMT_FORCED_PRODUCT_H

#include "tests/simt/order.h"
#include "tests/simt/place.h"

#include "kernels/cuda/gemm.h"

// Keeps what `problem` gives there.
typedef void (*calculation)(place *at, const void *problem, char **result, size_t *size);

static char *calculate(zk_device_kind kind, calculation run, const void *problem, size_t *size) {
  place at;
  char *result = NULL;
  *size = 0;
  open_place(kind, &at);
  run(&at, problem, &result, size);
  close_place(&at);
  return result;
}

static inline bool is_emulated(const place *at) { return zk_device_get_kind(at->device) == ZK_DEVICE_CUDA; }

// Under the first `num_orders` orders the CPU's bits, which `variant` has computed.
static void kernel_agrees(zk_cuda_gemm_variant variant, uint64_t num_orders, calculation run, const void *problem,
                          const char *what) {
  size_t bytes, same;
  char *want = calculate(ZK_DEVICE_CPU, run, problem, &bytes);
  for (uint64_t order = 0; order < num_orders; order++) {
    zk_simt_set_order(order);
    zk_cuda_gemm_force(variant);
    char *got = calculate(ZK_DEVICE_CUDA, run, problem, &same);
    assert_false(zk_cuda_gemm_is_idle());
    assert_int_equal(bytes, same);
    assert_bits_equal(got, want, bytes / 4, "%s by %s, order %d", what, zk_cuda_gemm_name(variant), (int)order);
    free(got);
  }
  zk_simt_set_order(0);
  zk_cuda_gemm_force(ZK_CUDA_NUM_GEMM);
  free(want);
}

#endif
