// The gradients of gate and up through a layer and SwiGLU in one call are those that the operations give one by one, every byte. It runs
// where no fault reaches: a fault is named by its own operation.
#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/linear_parts.h"
#include "kernels/swiglu.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

typedef struct {
  int32_t rows, in, out;
} shape;
static const shape shapes[] = {{70, 96, 64}, {12, 77, 65}, {430, 264, 520}, {65, 8, 16}, {1025, 1032, 776}, {411, 5128, 136}};

static zk_status run_case(zk_check *check, const shape *s, zk_check_data data) {
  const int64_t n = (int64_t)s->rows * s->in, num_dy = (int64_t)s->rows * s->out, num_weights = (int64_t)s->out * s->in;
  const size_t bytes = (size_t)n * zk_numerics_bytes(check->numerics);
  const zk_linear_desc desc = {check->numerics, s->rows, s->in, s->out};
  float *dy, *weight, *gate, *up;
  void *dy_d, *weight_d, *gate_d, *up_d, *dact, *dgate[2], *dup[2];
  zk_check_case(check, "rows %d, in %d, out %d, %s", s->rows, s->in, s->out, zk_check_data_name(data));
  ZK_TRY(zk_check_elements(check, data, num_dy, &dy));
  ZK_TRY(zk_check_elements(check, data, num_weights, &weight));
  ZK_TRY(zk_check_elements(check, data, n, &gate));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &up));
  ZK_TRY(zk_check_upload_elements(check, dy, num_dy, &dy_d));
  ZK_TRY(zk_check_upload_elements(check, weight, num_weights, &weight_d));
  ZK_TRY(zk_check_upload_elements(check, gate, n, &gate_d));
  ZK_TRY(zk_check_upload_elements(check, up, n, &up_d));
  ZK_TRY(zk_check_device_elements(check, n, &dact));
  for (int i = 0; i < 2; i++) {
    ZK_TRY(zk_check_device_elements(check, n, &dgate[i]));
    ZK_TRY(zk_check_device_elements(check, n, &dup[i]));
  }
  ZK_TRY(zk_linear_swiglu_backward(check->fused, &desc, dy_d, weight_d, gate_d, up_d, dact, dgate[0], dup[0]));
  ZK_TRY(zk_stream_wait(check->fused));
  ZK_TRY(zk_linear_backward_input(check->helper, &desc, dy_d, weight_d, NULL, dact));
  ZK_TRY(zk_swiglu_backward(check->helper, check->numerics, n, gate_d, up_d, dact, dgate[1], dup[1]));
  ZK_TRY(zk_check_compare_devices(check, "dgate", dgate[0], dgate[1], bytes));
  return zk_check_compare_devices(check, "dup", dup[0], dup[1], bytes);
}

zk_status zk_check_linear_swiglu_backward(zk_check *check) {
  for (int i = 0; i < (check->quick ? 2 : NUM(shapes)); i++)
    for (int data = i % 2; data < ZK_CHECK_NUM_DATA; data += 2) ZK_TRY(run_case(check, &shapes[i], (zk_check_data)data));
  return ZK_OK;
}
