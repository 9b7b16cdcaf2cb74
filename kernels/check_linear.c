// Checks of the linear layer: small shapes whole, with rows, inputs and outputs on both sides of a tile's edges; large
// ones at sampled outputs.
#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/reference/linear_reference.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))
#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))

typedef struct {
  int64_t rows;
  int32_t in, out;
} shape;
static const shape shapes[] = {{5, 96, 33},   {1, 577, 65}, {17, 63, 48},  {1, 1, 1},     {2, 257, 16},
                               {31, 64, 129}, {64, 33, 64}, {129, 48, 31}, {300, 77, 17}, {7, 1536, 40},
                               {140, 40, 264}, {130, 328, 72}};
static int num_shapes(const zk_check *check) { return check->quick ? 3 : NUM(shapes); }

static zk_status forward_case(zk_check *check, shape s, zk_check_data data, int with) {
  const zk_linear_desc desc = {check->numerics, s.rows, s.in, s.out};
  const int64_t num_x = s.rows * s.in, num_w = (int64_t)s.in * s.out, num_y = s.rows * s.out;
  zk_check_case(check, "rows %lld, in %d, out %d, %s%s%s", (long long)s.rows, s.in, s.out, zk_check_data_name(data),
                with & 1 ? ", bias" : "", with & 2 ? ", addend" : "");
  float *x, *w, *bias, *addend, *want;
  void *x_d, *w_d, *bias_d, *y_d, *packed;
  ZK_TRY(zk_check_elements(check, data, num_x, &x));
  ZK_TRY(zk_check_elements(check, data, num_w, &w));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, s.out, &bias));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, num_y, &addend));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_y), (void **)&want));
  ZK_TRY(zk_check_upload_elements(check, x, num_x, &x_d));
  ZK_TRY(zk_check_upload_elements(check, w, num_w, &w_d));
  ZK_TRY(zk_check_upload_elements(check, bias, s.out, &bias_d));
  ZK_TRY(zk_check_upload_elements(check, addend, num_y, &y_d));
  ZK_TRY(zk_check_device(check, zk_linear_packed_bytes(check->device, check->numerics, s.in, s.out), &packed));
  ZK_TRY(zk_linear_pack(check->stream, &desc, w_d, packed));
  ZK_TRY(
      zk_linear_forward(check->stream, &desc, x_d, w_d, packed, with & 1 ? bias_d : NULL, with & 2 ? y_d : NULL, y_d));
  zk_linear_reference_forward(check->numerics, s.rows, s.in, s.out, x, w, with & 1 ? bias : NULL, with & 2 ? addend : NULL, want);
  return zk_check_compare_elements(check, "y", y_d, want, num_y);
}

// Many rows: every 1,023rd row whole against the reference of that row.
static zk_status forward_large(zk_check *check) {
  const int64_t rows = 16384;
  const int32_t in = 96, out = 80;
  const zk_linear_desc desc = {check->numerics, rows, in, out};
  zk_check_case(check, "rows %lld, in %d, out %d, wide", (long long)rows, in, out);
  float *x, *w, *want;
  void *x_d, *w_d, *y_d, *packed;
  ZK_TRY(zk_check_elements(check, ZK_CHECK_WIDE, rows * in, &x));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_WIDE, (int64_t)in * out, &w));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(out), (void **)&want));
  ZK_TRY(zk_check_upload_elements(check, x, rows * in, &x_d));
  ZK_TRY(zk_check_upload_elements(check, w, in * out, &w_d));
  ZK_TRY(zk_check_device_elements(check, rows * out, &y_d));
  ZK_TRY(zk_check_device(check, zk_linear_packed_bytes(check->device, check->numerics, in, out), &packed));
  ZK_TRY(zk_linear_pack(check->stream, &desc, w_d, packed));
  ZK_TRY(zk_linear_forward(check->stream, &desc, x_d, w_d, packed, NULL, NULL, y_d));
  for (int64_t r = 0; r < rows; r += 1023) {
    zk_linear_reference_forward(check->numerics, 1, in, out, x + r * in, w, NULL, NULL, want);
    ZK_TRY(zk_check_compare_elements(check, "y", (const char *)y_d + (size_t)(r * out) * zk_numerics_bytes(check->numerics), want, out));
  }
  return ZK_OK;
}

zk_status zk_check_linear(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int s = 0; s < num_shapes(check); s++) ZK_TRY(forward_case(check, shapes[s], data, (data + s) % 4));
  return check->quick ? ZK_OK : forward_large(check);
}

static zk_status backward_input_case(zk_check *check, shape s, zk_check_data data, int with_addend) {
  const zk_linear_desc desc = {check->numerics, s.rows, s.in, s.out};
  const int64_t num_x = s.rows * s.in, num_w = (int64_t)s.in * s.out, num_y = s.rows * s.out;
  zk_check_case(check, "rows %lld, in %d, out %d, %s%s", (long long)s.rows, s.in, s.out, zk_check_data_name(data),
                with_addend ? ", addend" : "");
  float *dy, *w, *addend, *want;
  void *dy_d, *w_d, *dx_d;
  ZK_TRY(zk_check_elements(check, data, num_y, &dy));
  ZK_TRY(zk_check_elements(check, data, num_w, &w));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, num_x, &addend));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_x), (void **)&want));
  ZK_TRY(zk_check_upload_elements(check, dy, num_y, &dy_d));
  ZK_TRY(zk_check_upload_elements(check, w, num_w, &w_d));
  ZK_TRY(zk_check_upload_elements(check, addend, num_x, &dx_d));
  ZK_TRY(zk_linear_backward_input(check->stream, &desc, dy_d, w_d, with_addend ? dx_d : NULL, dx_d));
  zk_linear_reference_backward_input(check->numerics, s.rows, s.in, s.out, dy, w, with_addend ? addend : NULL, want);
  return zk_check_compare_elements(check, "dx", dx_d, want, num_x);
}

zk_status zk_check_linear_backward_input(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int s = 0; s < num_shapes(check); s++) ZK_TRY(backward_input_case(check, shapes[s], data, (data + s) % 2));
  return ZK_OK;
}

// `tiny`: sums far below the normal floats, from 0.
static zk_status backward_weight_case(zk_check *check, const zk_chunks *chunks, int32_t in, int32_t out,
                                      zk_check_data data, bool tiny) {
  const int64_t rows = chunks->row_start[chunks->num_chunks], num_x = rows * in, num_w = (int64_t)in * out,
                num_y = rows * out;
  const zk_linear_desc desc = {check->numerics, rows, in, out};
  zk_check_case(check, "rows %lld in %d chunks, in %d, out %d, %s%s", (long long)rows, chunks->num_chunks, in, out,
                zk_check_data_name(data), tiny ? ", tiny" : "");
  float *dy, *x, *dw, *db, *dw_d, *db_d;
  void *dy_d, *x_d;
  ZK_TRY(zk_check_elements(check, data, num_y, &dy));
  ZK_TRY(zk_check_elements(check, data, num_x, &x));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, num_w, &dw));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, out, &db));
  for (int64_t i = 0; tiny && i < num_y; i++) dy[i] *= 0x1p-70f;
  for (int64_t i = 0; tiny && i < num_x; i++) x[i] *= 0x1p-70f;
  for (int64_t i = 0; tiny && i < num_w; i++) dw[i] = 0.0f;
  ZK_TRY(zk_check_upload_elements(check, dy, num_y, &dy_d));
  ZK_TRY(zk_check_upload_elements(check, x, num_x, &x_d));
  ZK_TRY(zk_check_upload(check, dw, FLOAT_BYTES(num_w), (void **)&dw_d));
  ZK_TRY(zk_check_upload(check, db, FLOAT_BYTES(out), (void **)&db_d));
  ZK_TRY(zk_linear_backward_weight(check->stream, &desc, chunks, dy_d, x_d, dw_d, db_d));
  zk_linear_reference_backward_weight(check->numerics, rows, in, out, chunks, dy, x, dw, db);
  ZK_TRY(zk_check_compare(check, "dweight", dw_d, dw, num_w));
  return zk_check_compare(check, "dbias", db_d, db, out);
}

zk_status zk_check_linear_backward_weight(zk_check *check) {
  static const int32_t starts[] = {0, 64, 64, 193, 206}, one[] = {0, 1}, long_starts[] = {0, 4096, 4097, 8190};
  const zk_chunks small = {4, starts}, single = {1, one}, large = {3, long_starts};
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++) {
    ZK_TRY(backward_weight_case(check, &small, 33, 47, data, false));
    if (!check->quick) ZK_TRY(backward_weight_case(check, &small, 129, 64, data, false));
    if (!check->quick) ZK_TRY(backward_weight_case(check, &small, 136, 72, data, false));
    if (!check->quick) ZK_TRY(backward_weight_case(check, &single, 31, 17, data, false));
  }
  if (check->quick) return ZK_OK;
  ZK_TRY(backward_weight_case(check, &small, 136, 72, ZK_CHECK_NORMAL, true));
  return backward_weight_case(check, &large, 48, 40, ZK_CHECK_WIDE, false);
}
