// RMSNorm's backward pass of many rows (rmsnorm_backward_ring.cuh) on the emulated GPU: rows come through a ring that the copy engine fills, to warps that
// go at their own pace. The CPU's bits in every order.
#include "tests/unit/kernel_fixture.h"

#include "kernels/rmsnorm.h"
#include "tests/simt/order.h"

enum { ROWS = 300 };

typedef struct {
  zk_bf16 *dy, *x, *weight, *addend;
  float *rstd, *dweight;
  int32_t width;
} problem;

static void *upload(zk_device *device, zk_stream *stream, const void *host, size_t bytes) {
  void *memory;
  OK(zk_device_alloc(device, bytes, "test", &memory));
  OK(zk_copy_to_device(stream, memory, host, bytes));
  OK(zk_stream_wait(stream));
  return memory;
}

// dx, then dweight; the caller frees it.
static char *compute(zk_device_kind kind, const problem *p) {
  const zk_rmsnorm_desc desc = {ZK_BF16, ROWS, 1, p->width, 1e-6f};
  const int32_t begin[] = {0, ROWS};
  const zk_chunks chunks = {1, begin};
  const size_t n = (size_t)(ROWS * p->width), dx_bytes = n * sizeof(zk_bf16), dw_bytes = (size_t)p->width * sizeof(float);
  zk_device *device;
  zk_stream *stream;
  OK(zk_device_open(kind, 0, &device));
  OK(zk_stream_open(device, ZK_SIDE_NONE, &stream));
  void *const all[] = {upload(device, stream, p->dy, dx_bytes), upload(device, stream, p->x, dx_bytes), upload(device, stream, p->weight, dw_bytes / 2),
                       p->addend ? upload(device, stream, p->addend, dx_bytes) : NULL, upload(device, stream, p->rstd, ROWS * sizeof(float)),
                       upload(device, stream, p->dy, dx_bytes), upload(device, stream, p->dweight, dw_bytes)};
  OK(zk_rmsnorm_backward(stream, &desc, &chunks, all[0], all[1], all[2], all[4], all[3], all[5], all[6]));
  char *out = malloc(dx_bytes + dw_bytes);
  OK(zk_copy_to_host(stream, out, all[5], dx_bytes));
  OK(zk_copy_to_host(stream, out + dx_bytes, all[6], dw_bytes));
  OK(zk_stream_wait(stream));
  for (int i = 0; i < 7; i++)
    if (all[i]) zk_device_free(device, all[i]);
  zk_stream_close(stream), zk_device_close(device);
  return out;
}

static void agrees_in_every_order(int32_t width, bool adds) {
  const size_t n = (size_t)(ROWS * width), bytes = n * sizeof(zk_bf16) + (size_t)width * sizeof(float);
  problem p = {random_bf16(n, 1), random_bf16(n, 2), random_bf16((size_t)width, 3), adds ? random_bf16(n, 4) : NULL,
               random_floats(ROWS, 5, 2), random_floats((size_t)width, 6, 2), width};
  char *want = compute(ZK_DEVICE_CPU, &p);
  for (uint64_t order = 0; order < 8; order++) {
    zk_simt_set_order(order);
    const uint64_t copies = zk_simt_num_copies();
    char *got = compute(ZK_DEVICE_CUDA, &p);
    assert_true(zk_simt_num_copies() >= copies + ROWS); // not by the kernel of few rows, which has no ring
    assert_bits_equal(got, want, bytes / 4, "width %d, order %d", width, (int)order);
    free(got);
  }
  zk_simt_set_order(0);
  free(want), free(p.dy), free(p.x), free(p.weight), free(p.addend), free(p.rstd), free(p.dweight);
}

static void rows_come_through_a_ring(void **state) {
  agrees_in_every_order(1024, true);
  agrees_in_every_order(2560, false); // 10 rows fit, of which the ring takes 8: as many for each warp of rows
  agrees_in_every_order(4096, true);  // the smallest ring
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(rows_come_through_a_ring)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
