// The gradients of layers of one input in one call give what the operations give one by one: every byte of dx, of each weight's gradient and
// of each bias's. It runs where no fault reaches: a fault is named by its own operation.
#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/linear_parts.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

enum { MOST_CHUNKS = 10 };

typedef struct {
  int32_t in, num_parts, out[ZK_LINEAR_MOST_PARTS];
  int biases; // a bit a part
  int32_t num_chunks, row_start[MOST_CHUNKS + 1];
} shape;
static const shape shapes[] = {{96, 2, {64, 32, 0}, 0, 2, {0, 33, 70}},
                               {136, 3, {264, 72, 40}, 5, 4, {0, 1, 1, 65, 90}},
                               {77, 3, {65, 33, 31}, 7, 2, {0, 5, 12}},
                               {264, 3, {520, 264, 136}, 2, 3, {0, 130, 300, 430}},
                               {512, 2, {392, 520, 0}, 0, 10, {0, 70, 71, 140, 260, 260, 300, 363, 427, 500, 621}},
                               {776, 3, {520, 264, 264}, 0, 2, {0, 200, 411}}};

// Gradients that are not zero before, twice.
static zk_status make_sums(zk_check *check, int64_t n, float **got, float **want) {
  float *sums;
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, n, &sums));
  ZK_TRY(zk_check_upload(check, sums, (size_t)n * sizeof(float), (void **)got));
  return zk_check_upload(check, sums, (size_t)n * sizeof(float), (void **)want);
}

static zk_status make_part(zk_check *check, const shape *s, int i, zk_check_data data, zk_linear_back_part *got, zk_linear_back_part *want) {
  const int64_t rows = s->row_start[s->num_chunks], out = s->out[i];
  float *dy, *w;
  void *dy_d, *w_d;
  *got = (zk_linear_back_part){.out_features = s->out[i]};
  ZK_TRY(zk_check_elements(check, data, rows * out, &dy));
  ZK_TRY(zk_check_elements(check, data, out * s->in, &w));
  ZK_TRY(zk_check_upload_elements(check, dy, rows * out, &dy_d));
  ZK_TRY(zk_check_upload_elements(check, w, out * s->in, &w_d));
  got->dy = dy_d, got->weight = w_d, *want = *got;
  ZK_TRY(make_sums(check, out * s->in, &got->dweight, &want->dweight));
  return s->biases >> i & 1 ? make_sums(check, out, &got->dbias, &want->dbias) : ZK_OK;
}

static zk_status run_case(zk_check *check, const shape *s, zk_check_data data, bool first) {
  const int64_t rows = s->row_start[s->num_chunks];
  const zk_chunks chunks = {s->num_chunks, s->row_start};
  zk_linear_back_parts got = {.numerics = check->numerics, .num_rows = rows, .in_features = s->in, .num_parts = s->num_parts, .first = first}, want = got;
  float *x;
  void *x_d, *dx, *dx_want;
  zk_check_case(check, "rows %lld in %d chunks, in %d, %d parts, %s%s", (long long)rows, s->num_chunks, s->in, s->num_parts, zk_check_data_name(data),
                first ? ", first" : "");
  ZK_TRY(zk_check_elements(check, data, rows * s->in, &x));
  ZK_TRY(zk_check_upload_elements(check, x, rows * s->in, &x_d));
  ZK_TRY(zk_check_device_elements(check, rows * s->in, &dx));
  ZK_TRY(zk_check_device_elements(check, rows * s->in, &dx_want));
  for (int i = 0; i < s->num_parts; i++) ZK_TRY(make_part(check, s, i, data, &got.parts[i], &want.parts[i]));
  ZK_TRY(zk_linear_parts_backward(check->fused, &got, &chunks, x_d, dx));
  for (int i = 0; i < s->num_parts; i++) {
    const zk_linear_desc desc = {check->numerics, rows, s->in, s->out[i]};
    const zk_linear_back_part *p = &want.parts[i];
    if (first) ZK_TRY(zk_fill_zero(check->helper, p->dweight, (size_t)s->out[i] * (size_t)s->in * sizeof(float)));
    ZK_TRY(zk_linear_backward_input(check->helper, &desc, p->dy, p->weight, i > 0 ? dx_want : NULL, dx_want));
    ZK_TRY(zk_linear_backward_weight(check->helper, &desc, &chunks, p->dy, x_d, p->dweight, p->dbias));
  }
  ZK_TRY(zk_stream_wait(check->fused));
  ZK_TRY(zk_check_compare_devices(check, "dx", dx, dx_want, (size_t)(rows * s->in) * zk_numerics_bytes(check->numerics)));
  for (int i = 0; i < s->num_parts; i++) {
    ZK_TRY(zk_check_compare_devices(check, "dweight", got.parts[i].dweight, want.parts[i].dweight, (size_t)s->out[i] * (size_t)s->in * sizeof(float)));
    if (got.parts[i].dbias != NULL)
      ZK_TRY(zk_check_compare_devices(check, "dbias", got.parts[i].dbias, want.parts[i].dbias, (size_t)s->out[i] * sizeof(float)));
  }
  return ZK_OK;
}

zk_status zk_check_linear_parts_backward(zk_check *check) {
  for (int i = 0; i < (check->quick ? 2 : NUM(shapes)); i++)
    for (int first = 0; first < 2; first++) ZK_TRY(run_case(check, &shapes[i], (zk_check_data)((i + first) % ZK_CHECK_NUM_DATA), first));
  return ZK_OK;
}
