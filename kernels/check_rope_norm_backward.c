// RoPE and head norms backwards in one call give what the operations give one by one: every byte of dq and dk, and both weights' gradients.
#include "kernels/check_case.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/rope_cache.h"

#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

enum { NUM_POSITIONS = 700, MOST_CHUNKS = 20 };

typedef struct {
  int32_t heads, kv_heads, dim, num_chunks;
  int32_t row_start[MOST_CHUNKS + 1];
} shape;
static const shape shapes[] = {{16, 8, 128, 3, {0, 65, 65, 200}},
                               {5, 1, 128, 1, {0, 1}},
                               {9, 3, 64, 2, {0, 33, 70}},
                               {32, 8, 128, 2, {0, 700, 1207}},
                               {7, 7, 128, 19, {0, 3, 9, 10, 40, 41, 43, 50, 60, 61, 70, 71, 80, 81, 90, 91, 99, 120, 121, 150}},
                               {3, 1, 256, 1, {0, 20}},
                               {16, 8, 128, 1, {0, 4096}}};

// The gradients of q or k: two copies, one for each way; raw rows and their norms' scales.
typedef struct {
  void *raw, *weight, *d[2];
  float *rstd, *dweight[2];
} side;

static zk_status make_side(zk_check *check, zk_check_data data, const shape *s, int32_t heads, side *out) {
  const int64_t rows = (int64_t)s->row_start[s->num_chunks] * heads, n = rows * s->dim;
  const zk_rmsnorm_desc norm = {check->numerics, s->row_start[s->num_chunks], heads, s->dim, 1e-6f};
  float *raw, *weight, *d, *dweight;
  void *normed;
  ZK_TRY(zk_check_elements(check, data, n, &raw));
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, s->dim, &weight));
  ZK_TRY(zk_check_elements(check, data, n, &d));
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, s->dim, &dweight));
  ZK_TRY(zk_check_upload_elements(check, raw, n, &out->raw));
  ZK_TRY(zk_check_upload_elements(check, weight, s->dim, &out->weight));
  ZK_TRY(zk_check_device(check, (size_t)rows * sizeof(float), (void **)&out->rstd));
  ZK_TRY(zk_check_device_elements(check, n, &normed));
  ZK_TRY(zk_rmsnorm_forward(check->helper, &norm, out->raw, out->weight, normed, out->rstd));
  for (int i = 0; i < 2; i++) {
    ZK_TRY(zk_check_upload_elements(check, d, n, &out->d[i]));
    ZK_TRY(zk_check_upload(check, dweight, (size_t)s->dim * sizeof(float), (void **)&out->dweight[i]));
  }
  return zk_stream_wait(check->helper);
}

static zk_status one_by_one(zk_check *check, const zk_rope_cache_desc *d, const zk_chunks *chunks, int32_t heads, const side *s) {
  const int32_t rows = chunks->row_start[chunks->num_chunks];
  const zk_rope_desc rope = {check->numerics, rows, heads, d->attention.head_dim};
  const zk_rmsnorm_desc norm = {check->numerics, rows, heads, d->attention.head_dim, d->eps};
  ZK_TRY(zk_rope_backward(check->helper, &rope, d->positions, d->cos_table, d->sin_table, s->d[1]));
  return zk_rmsnorm_backward(check->helper, &norm, chunks, s->d[1], s->raw, s->weight, s->rstd, NULL, s->d[1], s->dweight[1]);
}

static zk_status compare(zk_check *check, const char *what, const char *weights, const shape *s, int32_t heads, const side *side) {
  const size_t n = (size_t)s->row_start[s->num_chunks] * (size_t)heads * (size_t)s->dim;
  ZK_TRY(zk_check_compare_devices(check, what, side->d[0], side->d[1], n * zk_numerics_bytes(check->numerics)));
  return zk_check_compare_devices(check, weights, side->dweight[0], side->dweight[1], (size_t)s->dim * sizeof(float));
}

static zk_status run_case(zk_check *check, const shape *s, zk_check_data data) {
  const int32_t rows = s->row_start[s->num_chunks], half = s->dim / 2;
  const size_t table = (size_t)NUM_POSITIONS * (size_t)half;
  const zk_rope_params params = {.theta = 10000.0};
  const zk_chunks chunks = {s->num_chunks, s->row_start};
  zk_check_case(check, "rows %d in %d chunks, heads %d/%d, head_dim %d, %s", rows, s->num_chunks, s->heads, s->kv_heads, s->dim, zk_check_data_name(data));
  float *cos_table, *sin_table;
  int32_t *positions;
  side q, k;
  ZK_TRY(make_side(check, data, s, s->heads, &q));
  ZK_TRY(make_side(check, data, s, s->kv_heads, &k));
  ZK_TRY(zk_check_host(check, table * sizeof(float), (void **)&cos_table));
  ZK_TRY(zk_check_host(check, table * sizeof(float), (void **)&sin_table));
  ZK_TRY(zk_check_integers(check, NUM_POSITIONS, rows, &positions));
  zk_rope_build_tables(&params, s->dim, NUM_POSITIONS, cos_table, sin_table);
  zk_rope_cache_desc d = {.attention = {check->numerics, s->heads, s->kv_heads, s->dim, 64, 0.1f}, .q_weight = q.weight, .k_weight = k.weight, .eps = 1e-6f};
  ZK_TRY(zk_check_upload(check, positions, (size_t)rows * sizeof *positions, (void **)&d.positions));
  ZK_TRY(zk_check_upload(check, cos_table, table * sizeof(float), (void **)&d.cos_table));
  ZK_TRY(zk_check_upload(check, sin_table, table * sizeof(float), (void **)&d.sin_table));
  const zk_rope_norm_gradients g = {q.raw, k.raw, q.rstd, k.rstd, q.d[0], k.d[0], q.dweight[0], k.dweight[0]};
  ZK_TRY(zk_rope_norm_backward(check->fused, &d, rows, &chunks, &g));
  ZK_TRY(one_by_one(check, &d, &chunks, s->heads, &q));
  ZK_TRY(one_by_one(check, &d, &chunks, s->kv_heads, &k));
  ZK_TRY(zk_stream_wait(check->fused));
  ZK_TRY(compare(check, "dq", "dweight of q", s, s->heads, &q));
  return compare(check, "dk", "dweight of k", s, s->kv_heads, &k);
}

zk_status zk_check_rope_norm_backward(zk_check *check) {
  const bool is_cpu = zk_device_get_kind(check->device) == ZK_DEVICE_CPU; // where one call is its parts: not the last shape, a large one
  for (int i = 0; i < (check->quick ? 1 : NUM(shapes) - is_cpu); i++)
    for (int data = 0; data < (i < 3 && !check->quick ? ZK_CHECK_NUM_DATA : 2); data++) ZK_TRY(run_case(check, &shapes[i], (zk_check_data)data));
  return ZK_OK;
}
