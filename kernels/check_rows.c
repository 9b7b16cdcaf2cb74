// Checks of the operations that work row by row: embedding, RMSNorm, RoPE.
#include "kernels/check_case.h"
#include "kernels/embedding.h"
#include "kernels/reference/rows_reference.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))
#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))

static const int32_t widths[] = {1, 7, 64, 96, 127, 128, 129, 576, 1000, 1536, 2056, 5128};
static const int32_t quick_widths[] = {96, 129, 576};
static const int32_t long_widths[] = {904, 1028, 2052}; // of the norms' backward pass over many rows
static const int64_t all_rows[] = {1, 3, 65};

zk_status zk_check_embedding(zk_check *check) {
  const int32_t vocab = 300;
  for (int w = 0; w < (check->quick ? NUM(quick_widths) : NUM(widths)); w++) {
    const int32_t width = check->quick ? quick_widths[w] : widths[w];
    const int64_t rows = 257, n = rows * width;
    const zk_embedding_desc desc = {check->numerics, rows, width, vocab};
    zk_check_case(check, "rows %lld, width %d", (long long)rows, width);
    float *table, *want;
    void *table_d, *x;
    int32_t *tokens, *tokens_d;
    ZK_TRY(zk_check_elements(check, ZK_CHECK_WIDE, (int64_t)vocab * width, &table));
    ZK_TRY(zk_check_integers(check, vocab, rows, &tokens));
    ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&want));
    ZK_TRY(zk_check_upload_elements(check, table, (int64_t)vocab * width, &table_d));
    ZK_TRY(zk_check_upload(check, tokens, (size_t)rows * sizeof *tokens, (void **)&tokens_d));
    ZK_TRY(zk_check_device_elements(check, n, &x));
    ZK_TRY(zk_embedding_forward(check->stream, &desc, tokens_d, table_d, x));
    zk_reference_embedding_forward(rows, width, tokens, table, want);
    ZK_TRY(zk_check_compare_elements(check, "x", x, want, n));
  }
  return ZK_OK;
}

static zk_status embedding_backward_case(zk_check *check, zk_check_data data, bool apart) {
  const int32_t width = 129, vocab = data % 2 == 0 ? 5 : 300; // many tokens a row, or few
  const int64_t rows = check->quick ? 300 : 3000, n = rows * width;
  const zk_embedding_desc desc = {check->numerics, rows, width, vocab, apart};
  zk_check_case(check, "rows %lld, vocabulary %d, %s%s", (long long)rows, vocab, zk_check_data_name(data), apart ? ", apart" : "");
  float *dx, *want;
  void *dx_d, *dtable;
  int32_t *tokens, *tokens_d;
  ZK_TRY(zk_check_elements(check, data, n, &dx));
  ZK_TRY(zk_check_integers(check, vocab, rows, &tokens));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, (int64_t)vocab * width, &want));
  ZK_TRY(zk_check_upload_elements(check, dx, n, &dx_d));
  ZK_TRY(zk_check_upload(check, tokens, (size_t)rows * sizeof *tokens, (void **)&tokens_d));
  ZK_TRY(zk_check_upload(check, want, FLOAT_BYTES(vocab * width), &dtable));
  ZK_TRY(zk_embedding_backward(check->stream, &desc, tokens_d, dx_d, dtable));
  if (apart) zk_reference_embedding_backward_apart(rows, width, vocab, tokens, dx, want);
  else zk_reference_embedding_backward(rows, width, tokens, dx, want);
  return zk_check_compare(check, "dtable", dtable, want, (int64_t)vocab * width);
}

zk_status zk_check_embedding_backward(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++) {
    ZK_TRY(embedding_backward_case(check, (zk_check_data)data, false));
    ZK_TRY(embedding_backward_case(check, (zk_check_data)data, true));
  }
  return ZK_OK;
}

// One forward; of many rows only some are compared, each with the reference of that row alone.
static zk_status rmsnorm_case(zk_check *check, zk_check_data data, int32_t width, int64_t rows, int64_t row_step) {
  const zk_rmsnorm_desc desc = {check->numerics, rows, 1, width, 1e-6f};
  zk_check_case(check, "rows %lld, width %d, %s", (long long)rows, width, zk_check_data_name(data));
  float *x, *weight, *want, want_rstd, *rstd;
  void *x_d, *weight_d, *y;
  ZK_TRY(zk_check_elements(check, data, rows * width, &x));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, width, &weight));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(width), (void **)&want));
  ZK_TRY(zk_check_upload_elements(check, x, rows * width, &x_d));
  ZK_TRY(zk_check_upload_elements(check, weight, width, &weight_d));
  ZK_TRY(zk_check_device_elements(check, rows * width, &y));
  ZK_TRY(zk_check_device(check, FLOAT_BYTES(rows), (void **)&rstd));
  ZK_TRY(zk_rmsnorm_forward(check->stream, &desc, x_d, weight_d, y, rstd));
  for (int64_t r = 0; r < rows; r += row_step) {
    zk_reference_rmsnorm_forward(1, width, 1e-6f, x + r * width, weight, want, &want_rstd);
    const char *y_row = (const char *)y + (size_t)(r * width) * zk_numerics_bytes(check->numerics);
    ZK_TRY(zk_check_compare_elements(check, "y", y_row, want, width));
    ZK_TRY(zk_check_compare(check, "rstd", rstd + r, &want_rstd, 1));
  }
  return ZK_OK;
}

zk_status zk_check_rmsnorm(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int w = 0; w < (check->quick ? NUM(quick_widths) : NUM(widths)); w++)
      for (int r = 0; r < (check->quick ? 1 : NUM(all_rows)); r++)
        ZK_TRY(
            rmsnorm_case(check, data, check->quick ? quick_widths[w] : widths[w], check->quick ? 3 : all_rows[r], 1));
  if (check->quick) return ZK_OK;
  ZK_TRY(rmsnorm_case(check, ZK_CHECK_NORMAL, 2056, 1025, 128));
  ZK_TRY(rmsnorm_case(check, ZK_CHECK_WIDE, 5128, 1030, 147));
  return rmsnorm_case(check, ZK_CHECK_WIDE, 576, 16384, 1023);
}

static zk_status rmsnorm_backward_case(zk_check *check, zk_check_data data, int32_t width, int32_t heads,
                                       const zk_chunks *chunks, int with_addend) {
  const int64_t tokens = chunks->row_start[chunks->num_chunks], rows = tokens * heads, n = rows * width;
  const zk_rmsnorm_desc desc = {check->numerics, tokens, heads, width, 1e-6f};
  zk_check_case(check, "tokens %lld, heads %d, width %d, %s", (long long)tokens, heads, width,
                zk_check_data_name(data));
  float *x, *dy, *weight, *addend, *rstd, *y, *dx, *dw, *rstd_d, *dw_d;
  void *x_d, *dy_d, *weight_d, *addend_d, *dx_d;
  ZK_TRY(zk_check_elements(check, data, n, &x));
  ZK_TRY(zk_check_elements(check, data, n, &dy));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &addend));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, width, &weight));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, width, &dw));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(rows), (void **)&rstd));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&y));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&dx));
  zk_reference_rmsnorm_forward(rows, width, 1e-6f, x, weight, y, rstd);
  ZK_TRY(zk_check_upload_elements(check, x, n, &x_d));
  ZK_TRY(zk_check_upload_elements(check, dy, n, &dy_d));
  ZK_TRY(zk_check_upload_elements(check, addend, n, &addend_d));
  ZK_TRY(zk_check_upload_elements(check, weight, width, &weight_d));
  ZK_TRY(zk_check_upload(check, rstd, FLOAT_BYTES(rows), (void **)&rstd_d));
  ZK_TRY(zk_check_upload(check, dw, FLOAT_BYTES(width), (void **)&dw_d));
  if (width % 256 == 0) dx_d = dy_d; // in place
  else ZK_TRY(zk_check_device_elements(check, n, &dx_d));
  ZK_TRY(zk_rmsnorm_backward(check->stream, &desc, chunks, dy_d, x_d, weight_d, rstd_d, with_addend ? addend_d : NULL,
                             dx_d, dw_d));
  zk_reference_rmsnorm_backward(heads, width, chunks, dy, x, weight, rstd, with_addend ? addend : NULL, dx, dw);
  ZK_TRY(zk_check_compare_elements(check, "dx", dx_d, dx, n));
  ZK_TRY(zk_check_compare(check, "dweight", dw_d, dw, width));
  ZK_TRY(zk_check_upload_elements(check, dy, n, &dy_d)); // of a frozen norm, in place
  ZK_TRY(zk_rmsnorm_backward(check->stream, &desc, chunks, dy_d, x_d, weight_d, rstd_d, with_addend ? addend_d : NULL, dy_d, NULL));
  return zk_check_compare_elements(check, "dx without dweight", dy_d, dx, n);
}

zk_status zk_check_rmsnorm_backward(zk_check *check) {
  static const int32_t starts[] = {0, 64, 64, 193}, long_starts[] = {0, 4096, 5000};
  static const int32_t many_starts[] = {0, 3, 9, 10, 40, 41, 43, 50, 60, 61, 70, 71, 80, 81, 90, 91, 99, 120, 121, 150};
  static const int32_t most_starts[] = {0, 4096, 4096, 8190, 8470}; // a block of rows for each multiprocessor, and more
  const zk_chunks small = {3, starts}, large = {2, long_starts}, many = {NUM(many_starts) - 1, many_starts}, most = {NUM(most_starts) - 1, most_starts};
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int w = 0; w < (check->quick ? 1 : NUM(widths)); w++)
      ZK_TRY(rmsnorm_backward_case(check, data, check->quick ? 129 : widths[w], 1 + w % 3, &small, w % 2));
  if (check->quick) return ZK_OK;
  for (int32_t width = 128; width <= 4096; width *= 2) ZK_TRY(rmsnorm_backward_case(check, ZK_CHECK_WIDE, width, 1, &small, width % 3 == 0));
  ZK_TRY(rmsnorm_backward_case(check, ZK_CHECK_NORMAL, 2560, 1, &many, 1));
  ZK_TRY(rmsnorm_backward_case(check, ZK_CHECK_CANCELLING, 1028, 1, &large, 0));
  const bool is_cpu = zk_device_get_kind(check->device) == ZK_DEVICE_CPU; // which has no multiprocessors to fill
  for (int w = 0; w < NUM(long_widths) && check->numerics == ZK_BF16 && !is_cpu; w++)
    ZK_TRY(rmsnorm_backward_case(check, ZK_CHECK_WIDE, long_widths[w], 1, &most, w % 2));
  return rmsnorm_backward_case(check, ZK_CHECK_WIDE, 128, 2, &large, 1);
}

static zk_status rope_case(zk_check *check, int backward, zk_check_data data, int32_t head_dim, int32_t heads,
                           int64_t rows) {
  const int32_t num_positions = 512, half = head_dim / 2;
  const int64_t n = rows * heads * head_dim, table = (int64_t)num_positions * half;
  const zk_rope_desc desc = {check->numerics, rows, heads, head_dim};
  const zk_rope_params params = {.theta = 10000.0};
  zk_check_case(check, "rows %lld, heads %d, head_dim %d, %s", (long long)rows, heads, head_dim,
                zk_check_data_name(data));
  float *x, *cos_table, *sin_table, *cos_d, *sin_d;
  void *x_d;
  int32_t *positions, *positions_d;
  ZK_TRY(zk_check_elements(check, data, n, &x));
  ZK_TRY(zk_check_integers(check, num_positions, rows, &positions));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(table), (void **)&cos_table));
  ZK_TRY(zk_check_host(check, FLOAT_BYTES(table), (void **)&sin_table));
  zk_rope_build_tables(&params, head_dim, num_positions, cos_table, sin_table);
  ZK_TRY(zk_check_upload_elements(check, x, n, &x_d));
  ZK_TRY(zk_check_upload(check, cos_table, FLOAT_BYTES(table), (void **)&cos_d));
  ZK_TRY(zk_check_upload(check, sin_table, FLOAT_BYTES(table), (void **)&sin_d));
  ZK_TRY(zk_check_upload(check, positions, (size_t)rows * sizeof *positions, (void **)&positions_d));
  ZK_TRY((backward ? zk_rope_backward : zk_rope_forward)(check->stream, &desc, positions_d, cos_d, sin_d, x_d));
  zk_reference_rope(backward, rows, heads, head_dim, positions, cos_table, sin_table, x);
  return zk_check_compare_elements(check, backward ? "dx" : "x", x_d, x, n);
}

static zk_status check_rope(zk_check *check, int backward) {
  static const int32_t dims[] = {64, 2, 14, 128};
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int d = 0; d < (check->quick ? 1 : NUM(dims)); d++)
      ZK_TRY(rope_case(check, backward, data, dims[d], 1 + 4 * (d % 3), 67));
  if (check->quick) return ZK_OK;
  ZK_TRY(rope_case(check, backward, ZK_CHECK_WIDE, 128, 24, 3010));
  return rope_case(check, backward, ZK_CHECK_NORMAL, 64, 3, 16384);
}

zk_status zk_check_rope(zk_check *check) { return check_rope(check, 0); }
zk_status zk_check_rope_backward(zk_check *check) { return check_rope(check, 1); }
