// Layers of one input in one call, with its norm before them or SwiGLU behind two of them, give what the operations give one by one: every
// byte of every output, all dirty before. It runs where no fault reaches: a fault is named by its own operation.
#include <string.h>

#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/linear_parts.h"
#include "kernels/rmsnorm.h"
#include "kernels/swiglu.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

typedef struct {
  int64_t rows;
  int32_t in, out[ZK_LINEAR_MOST_PARTS];
  int biases; // a bit a part
  int norm;
} shape;
static const shape shapes[] = {{1, 96, {64, 32, 32}, 0, 0},     {7, 136, {200, 24, 8}, 5, 1},     {33, 64, {48, 16, 16}, 2, 1},
                               {8, 577, {65, 33, 31}, 7, 1},    {1, 1032, {392, 8, 200}, 0, 0},   {64, 72, {96, 96, 96}, 1, 0},
                               {128, 40, {16, 8, 8}, 0, 1},     {200, 48, {24, 16, 8}, 4, 1},     {1, 1024, {264, 128, 128}, 0, 1},
                               {3, 192, {2056, 520, 16}, 6, 1}, {8, 128, {40, 1096, 24}, 1, 0},   {5, 576, {200, 24, 16}, 3, 1},
                               {1, 16384, {16, 8, 8}, 0, 1},    {8, 2048, {64, 8, 16}, 0, 1},     {300, 72, {264, 104, 200}, 5, 1},
                               {700, 520, {328, 64, 200}, 0, 0}, {1025, 1024, {3072, 64, 64}, 0, 0}};

typedef struct {
  void *y[ZK_LINEAR_MOST_PARTS], *act;
} outputs;

static zk_status make_outputs(zk_check *check, const shape *s, outputs *o) {
  const size_t element = zk_numerics_bytes(check->numerics);
  for (int i = 0; i <= ZK_LINEAR_MOST_PARTS; i++) {
    const size_t bytes = (size_t)s->rows * (size_t)s->out[i % ZK_LINEAR_MOST_PARTS] * element; // the last, SwiGLU's, is as wide as the first
    void *dirt;
    ZK_TRY(zk_check_host(check, bytes, &dirt));
    memset(dirt, 0xff, bytes);
    ZK_TRY(zk_check_upload(check, dirt, bytes, i < ZK_LINEAR_MOST_PARTS ? &o->y[i] : &o->act));
  }
  return ZK_OK;
}

// One part's weights, panels and, where the shape says so, bias.
static zk_status make_part(zk_check *check, const shape *s, int i, int32_t out, zk_check_data data, zk_linear_part *part) {
  const zk_linear_desc desc = {check->numerics, s->rows, s->in, out};
  float *w, *bias;
  void *w_d, *bias_d, *packed;
  ZK_TRY(zk_check_elements(check, data, (int64_t)s->in * out, &w));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, out, &bias));
  ZK_TRY(zk_check_upload_elements(check, w, (int64_t)s->in * out, &w_d));
  ZK_TRY(zk_check_upload_elements(check, bias, out, &bias_d));
  ZK_TRY(zk_check_device(check, zk_linear_packed_bytes(check->device, check->numerics, s->in, out), &packed));
  ZK_TRY(zk_linear_pack(check->helper, &desc, w_d, packed));
  *part = (zk_linear_part){out, w_d, packed, s->biases >> i & 1 ? bias_d : NULL, NULL};
  return ZK_OK;
}

// The norm of x: as the layers' own, and *normed by the operation.
static zk_status make_norm(zk_check *check, const shape *s, const void *x_d, zk_linear_norm *norm, void **normed) {
  const zk_rmsnorm_desc desc = {check->numerics, s->rows, 1, s->in, 1e-5f};
  float *weight;
  void *weight_d, *room;
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, s->in, &weight));
  ZK_TRY(zk_check_upload_elements(check, weight, s->in, &weight_d));
  ZK_TRY(zk_check_device_elements(check, s->rows * s->in, &room));
  ZK_TRY(zk_check_device_elements(check, s->rows * s->in, normed));
  *norm = (zk_linear_norm){weight_d, desc.eps, room};
  return zk_rmsnorm_forward(check->helper, &desc, x_d, weight_d, *normed, NULL);
}

static zk_status run_case(zk_check *check, const shape *s, zk_check_data data) {
  zk_linear_parts p = {.numerics = check->numerics, .num_rows = s->rows, .in_features = s->in, .num_parts = ZK_LINEAR_MOST_PARTS};
  outputs got, want;
  float *x;
  void *x_d, *read_d; // what is handed over, and what the layers themselves read
  zk_check_case(check, "rows %lld, in %d, out %d, %d, %d, %s%s", (long long)s->rows, s->in, s->out[0], s->out[1], s->out[2],
                zk_check_data_name(data), s->norm ? ", norm" : "");
  ZK_TRY(zk_check_elements(check, data, s->rows * s->in, &x));
  ZK_TRY(zk_check_upload_elements(check, x, s->rows * s->in, &x_d));
  read_d = x_d;
  if (s->norm) ZK_TRY(make_norm(check, s, x_d, &p.norm, &read_d));
  ZK_TRY(make_outputs(check, s, &got));
  ZK_TRY(make_outputs(check, s, &want));
  for (int i = 0; i < ZK_LINEAR_MOST_PARTS; i++) {
    const zk_linear_desc desc = {check->numerics, s->rows, s->in, s->out[i]};
    ZK_TRY(make_part(check, s, i, s->out[i], data, &p.parts[i]));
    p.parts[i].y = got.y[i];
    ZK_TRY(zk_linear_forward(check->helper, &desc, read_d, p.parts[i].weight, p.parts[i].packed, p.parts[i].bias, NULL, want.y[i]));
  }
  ZK_TRY(zk_linear_parts_forward(check->fused, &p, x_d));
  for (int i = 0; i < ZK_LINEAR_MOST_PARTS; i++) ZK_TRY(zk_check_compare_devices(check, "y", got.y[i], want.y[i], (size_t)(s->rows * s->out[i]) * zk_numerics_bytes(check->numerics)));

  const zk_linear_desc desc = {check->numerics, s->rows, s->in, s->out[0]};
  zk_linear_parts mlp = p;
  mlp.num_parts = 2, mlp.parts[0].bias = NULL, mlp.parts[0].y = got.act; // out lies on gate
  ZK_TRY(make_part(check, s, ZK_LINEAR_MOST_PARTS, s->out[0], data, &mlp.parts[1]));
  mlp.parts[1].y = got.y[0];
  ZK_TRY(zk_linear_parts_swiglu(check->fused, &mlp, x_d, got.act));
  ZK_TRY(zk_linear_forward(check->helper, &desc, read_d, mlp.parts[0].weight, mlp.parts[0].packed, NULL, NULL, want.act));
  ZK_TRY(zk_linear_forward(check->helper, &desc, read_d, mlp.parts[1].weight, mlp.parts[1].packed, NULL, NULL, want.y[0]));
  ZK_TRY(zk_swiglu_forward(check->helper, check->numerics, s->rows * s->out[0], want.act, want.y[0], want.act));
  const size_t bytes = (size_t)(s->rows * s->out[0]) * zk_numerics_bytes(check->numerics);
  ZK_TRY(zk_check_compare_devices(check, "swiglu", got.act, want.act, bytes));

  char *act; // to a place that suits no vector, room to work in or not
  ZK_TRY(zk_check_device_elements(check, s->rows * s->out[0] + 1, (void **)&act));
  void *const odd = act + zk_numerics_bytes(check->numerics);
  ZK_TRY(zk_linear_parts_swiglu(check->fused, &mlp, x_d, odd));
  ZK_TRY(zk_check_compare_devices(check, "swiglu, apart", odd, want.act, bytes));
  mlp.keeps = true; // and keeping gate and up
  ZK_TRY(zk_linear_parts_swiglu(check->fused, &mlp, x_d, odd));
  ZK_TRY(zk_check_compare_devices(check, "swiglu, kept apart", odd, want.act, bytes));
  ZK_TRY(zk_linear_parts_swiglu(check->fused, &mlp, x_d, act));
  ZK_TRY(zk_check_compare_devices(check, "swiglu, kept", act, want.act, bytes));
  ZK_TRY(zk_check_compare_devices(check, "up, kept", got.y[0], want.y[0], bytes));
  ZK_TRY(zk_linear_forward(check->helper, &desc, read_d, mlp.parts[0].weight, mlp.parts[0].packed, NULL, NULL, want.act));
  return zk_check_compare_devices(check, "gate, kept", got.act, want.act, bytes);
}

zk_status zk_check_linear_parts(zk_check *check) {
  const bool is_cpu = zk_device_get_kind(check->device) == ZK_DEVICE_CPU; // where one call is its parts: not the last shape, a large one
  for (int i = 0; i < (check->quick ? 3 : NUM(shapes) - is_cpu); i++) ZK_TRY(run_case(check, &shapes[i], (zk_check_data)(i % ZK_CHECK_NUM_DATA)));
  return ZK_OK;
}
