// AdamW of a shard in one call gives what AdamW stretch by stretch and the hashes of its outputs give: every byte, and both sums.
#include <math.h>

#include "kernels/adamw_shard.h"
#include "kernels/check_case.h"
#include "kernels/hash.h"

enum { MOST_FIXED = 6 };

// A shard of `total` elements, and what weight decay leaves alone: at its edges, inside a group of four, several in a tile, beyond it.
typedef struct {
  int64_t first, count, total;
  int32_t num_fixed;
  zk_adamw_range fixed[MOST_FIXED];
} shape;
static const shape shapes[] = {
    {0, 5, 5, 0, {{0, 0}}},
    {4096, 4096, 9001, 2, {{4000, 4100}, {8192, 9001}}},
    {0, 70001, 70001, 6, {{0, 1}, {1023, 1026}, {1029, 1030}, {2048, 3072}, {5001, 9999}, {70000, 70001}}},
    {11890688, 9000, 12000000, 1, {{11897000, 11897001}}}, // in its fifth tile the sums that are hashed differ from bit 30 on
    {8192, 1300003, 2000000, 5, {{10, 11}, {8190, 8200}, {20003, 20005}, {600000, 900001}, {1308190, 2000000}}},
};

typedef struct {
  float *master, *m, *v;
  void *working;
} tensors;

static zk_status upload(zk_check *check, const float *w, const float *m, const float *v, int64_t n, tensors *t) {
  ZK_TRY(zk_check_upload(check, w, (size_t)n * sizeof(float), (void **)&t->master));
  ZK_TRY(zk_check_upload(check, m, (size_t)n * sizeof(float), (void **)&t->m));
  ZK_TRY(zk_check_upload(check, v, (size_t)n * sizeof(float), (void **)&t->v));
  return zk_check_device_elements(check, n, &t->working);
}

// Element after element where it must be: each stretch is one call.
static zk_status by_stretches(zk_check *check, const shape *s, const zk_adamw_params *params, const tensors *t, const float *grad) {
  const size_t element = zk_numerics_bytes(check->numerics);
  for (int64_t at = 0; at < s->count;) {
    int64_t end = s->count;
    int decays = 1;
    for (int32_t r = 0; r < s->num_fixed; r++) {
      const int64_t from = s->fixed[r].first - s->first, to = s->fixed[r].end - s->first;
      if (from <= at && at < to) decays = 0, end = to < end ? to : end;
      else if (from > at && from < end) end = from;
    }
    ZK_TRY(zk_adamw(check->helper, check->numerics, params, decays, end - at, t->master + at, t->m + at, t->v + at, grad + at,
                    (char *)t->working + (size_t)at * element));
    at = end;
  }
  return ZK_OK;
}

static zk_status hashes_of(zk_check *check, const shape *s, const tensors *t, zk_adamw_hashes *out) {
  const uint64_t first = (uint64_t)s->first, total = (uint64_t)s->total;
  const float *const parts[] = {t->master, t->m, t->v};
  uint64_t sum;
  ZK_TRY(zk_hash_elements(check->helper, (int32_t)zk_numerics_bytes(check->numerics), s->count, first, t->working, &out->working));
  out->state = 0;
  for (uint64_t i = 0; i < 3; i++) {
    ZK_TRY(zk_hash_elements(check->helper, 4, s->count, i * total + first, parts[i], &sum));
    out->state += sum;
  }
  return ZK_OK;
}

static zk_status run_case(zk_check *check, const shape *s, zk_check_data data, int64_t step) {
  const int64_t n = s->count;
  const size_t bytes = (size_t)n * sizeof(float);
  float *w, *m, *v, *grad, *grad_d;
  tensors got, want;
  zk_adamw_params params;
  zk_adamw_hashes hashes, expected;
  zk_check_case(check, "elements %lld of %lld, from %lld on, %s", (long long)n, (long long)s->total, (long long)s->first, zk_check_data_name(data));
  zk_adamw_scalars(1e-3, 0.9, 0.999, 1e-8, 0.1, step, 4.0f, 1.0, &params);
  ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, n, &w));
  ZK_TRY(zk_check_floats(check, data, n, &m));
  ZK_TRY(zk_check_floats(check, data, n, &v));
  ZK_TRY(zk_check_floats(check, data, n, &grad));
  for (int64_t i = 0; i < n; i++) v[i] = fabsf(v[i]);
  ZK_TRY(zk_check_upload(check, grad, bytes, (void **)&grad_d));
  ZK_TRY(upload(check, w, m, v, n, &got));
  ZK_TRY(upload(check, w, m, v, n, &want));
  const zk_adamw_shard_desc desc = {check->numerics, s->first, n, s->total, s->fixed, s->num_fixed, got.master, got.m, got.v, grad_d, got.working};
  ZK_TRY(zk_adamw_shard(check->fused, &params, &desc, &hashes));
  ZK_TRY(by_stretches(check, s, &params, &want, grad_d));
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(hashes_of(check, s, &want, &expected));
  ZK_TRY(zk_check_compare_devices(check, "master", got.master, want.master, bytes));
  ZK_TRY(zk_check_compare_devices(check, "m", got.m, want.m, bytes));
  ZK_TRY(zk_check_compare_devices(check, "v", got.v, want.v, bytes));
  ZK_TRY(zk_check_compare_devices(check, "working", got.working, want.working, (size_t)n * zk_numerics_bytes(check->numerics)));
  zk_check_compare_u64(check, "hash of working weights", hashes.working, expected.working);
  zk_check_compare_u64(check, "hash of the state", hashes.state, expected.state);
  return ZK_OK;
}

zk_status zk_check_adamw_shard(zk_check *check) {
  const int num_shapes = check->quick ? 2 : (int)(sizeof shapes / sizeof shapes[0]);
  for (int i = 0; i < num_shapes; i++)
    for (int data = 0; data < (i == 3 ? 2 : ZK_CHECK_NUM_DATA); data++) ZK_TRY(run_case(check, &shapes[i], (zk_check_data)data, 1 + data));
  return ZK_OK;
}
