// Attention of numerics bf16 as kernels/attention.h words it, one tensor-core step at a time.
#include <math.h>

#include "kernels/reference/attention_reference.h"
#include "kernels/reference/exp2_bf16_table.h"
#include "kernels/tensor_core.h"

#define MAX_TILE 256
#define MAX_HEAD_DIM 512
#define STEP 16

typedef struct {
  float b, l, o[MAX_HEAD_DIM];
} partial;

static int32_t min_i32(int32_t a, int32_t b) { return a < b ? a : b; }
static float scale_of_scores(float scale) { return (float)((double)scale * 1.4426950408889634); }

static float dot(const zk_attention_reference *r, const zk_bf16 *a, const zk_bf16 *b) {
  return zk_tc_chain(a, 1, b, 1, r->head_dim, 0.0f);
}
static const zk_bf16 *query_row(const zk_attention_reference *r, const zk_bf16 *q, int32_t t, int32_t h) {
  return q + ((int64_t)t * r->num_heads + h) * r->head_dim;
}
static const zk_bf16 *key_row(const zk_attention_reference *r, const zk_bf16 *k, int32_t j, int32_t kv_head) {
  return k + ((int64_t)j * r->num_kv_heads + kv_head) * r->head_dim;
}

// Keys [begin, end) of one tile join a split's (b, lane[8], o).
static void add_tile(const zk_attention_reference *r, const zk_bf16 *q, const zk_bf16 *k, const zk_bf16 *v,
                     int32_t kv_head, int32_t begin, int32_t end, partial *state, float lane[8]) {
  const float c = scale_of_scores(r->scale);
  const int64_t key_stride = (int64_t)r->num_kv_heads * r->head_dim;
  float score[MAX_TILE], mt = -INFINITY;
  zk_bf16 weight[MAX_TILE];
  for (int32_t j = begin; j < end; ++j) {
    score[j - begin] = dot(r, q, key_row(r, k, j, kv_head));
    if (score[j - begin] > mt) mt = score[j - begin];
  }
  const float most = fmaf(mt, c, state->b);
  if (!(most <= -72.0f)) {
    const float next = fmaf(-mt, c, -80.0f), a = zk_exp2f(next - state->b);
    for (int i = 0; i < 8; ++i) lane[i] = lane[i] * a;
    for (int32_t d = 0; d < r->head_dim; ++d) state->o[d] = state->o[d] * a;
    state->b = next;
  }
  for (int32_t j = 0; j < end - begin; ++j) {
    const float w = zk_exp2_bf16_by_table(fmaf(score[j], c, state->b));
    lane[j % 8] = lane[j % 8] + w;
    weight[j] = zk_float_to_bf16(w); // exact
  }
  for (int32_t d = 0; d < r->head_dim; ++d)
    state->o[d] = zk_tc_chain(weight, 1, key_row(r, v, begin, kv_head) + d, key_stride, end - begin, state->o[d]);
}

static void run_split(const zk_attention_reference *r, const zk_bf16 *q, const zk_bf16 *k, const zk_bf16 *v,
                      int32_t kv_head, int32_t begin, int32_t end, partial *split) {
  float l[8] = {0.0f};
  split->b = INFINITY;
  for (int32_t d = 0; d < r->head_dim; ++d) split->o[d] = 0.0f;
  for (int32_t tile = begin; tile < end; tile += r->tile)
    add_tile(r, q, k, v, kv_head, tile, min_i32(tile + r->tile, end), split, l);
  split->l = ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]));
}

static void merge(const zk_attention_reference *r, const partial *split, partial *total) {
  if (total->b == INFINITY) {
    *total = *split;
    return;
  }
  const float n = split->b < total->b ? split->b : total->b;
  const float of_total = zk_exp2f(n - total->b), of_split = zk_exp2f(n - split->b);
  float right = split->l * of_split;
  total->l = fmaf(total->l, of_total, right);
  for (int32_t d = 0; d < r->head_dim; ++d) {
    right = split->o[d] * of_split;
    total->o[d] = fmaf(total->o[d], of_total, right);
  }
  total->b = n;
}

void zk_attention_reference_bf16_forward(const zk_attention_reference *r, const zk_bf16 *q, const zk_bf16 *k,
                                         const zk_bf16 *v, zk_bf16 *out, float *lse) {
  const int32_t group = r->num_heads / r->num_kv_heads;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int32_t t = 0; t < r->num_rows; ++t)
    for (int32_t h = 0; h < r->num_heads; ++h) {
      const int64_t row = (int64_t)t * r->num_heads + h;
      const int32_t num_keys = r->first_pos + t + 1;
      partial total = {.b = INFINITY}, split;
      for (int32_t s = 0; s < num_keys; s += r->split) {
        run_split(r, query_row(r, q, t, h), k, v, h / group, s, min_i32(s + r->split, num_keys), &split);
        merge(r, &split, &total);
      }
      for (int32_t d = 0; d < r->head_dim; ++d)
        out[row * r->head_dim + d] = zk_float_to_bf16((total.o[d] + 0.0f) / total.l);
      const float weight_of_all = zk_log2f(total.l * 0x1p+80f);
      lse[row] = weight_of_all - (total.b + 80.0f);
    }
}

// The arrays of a backward pass, and a query head of it.
typedef struct {
  const zk_attention_reference *r;
  const zk_bf16 *q, *k, *v, *out, *dout;
  const float *lse;
} arrays;

// bf(w) and ds of query row t, head h and key j; +0 for a key past t.
static void weight_and_dscore(const arrays *a, int32_t t, int32_t h, int32_t j, zk_bf16 *weight, zk_bf16 *dscore) {
  const zk_attention_reference *r = a->r;
  weight->bits = dscore->bits = 0;
  if (j > t) return;
  const int32_t kv_head = h / (r->num_heads / r->num_kv_heads);
  const zk_bf16 *out = query_row(r, a->out, t, h), *dout = query_row(r, a->dout, t, h);
  float delta = 0.0f;
  for (int32_t d = 0; d < r->head_dim; ++d) delta = fmaf(zk_bf16_to_float(dout[d]), zk_bf16_to_float(out[d]), delta);
  const float s = dot(r, query_row(r, a->q, t, h), key_row(r, a->k, j, kv_head));
  const float w = zk_exp2f(fmaf(s, scale_of_scores(r->scale), -a->lse[(int64_t)t * r->num_heads + h]));
  const float centred = dot(r, dout, key_row(r, a->v, j, kv_head)) - delta;
  *weight = zk_float_to_bf16(w);
  *dscore = zk_float_to_bf16(w * centred);
}

// Adds a finished part to a sum: the first part is the sum itself.
static void add_part(int32_t n, int first, const float *part, float *sum) {
  for (int32_t i = 0; i < n; ++i) sum[i] = first ? part[i] : sum[i] + part[i];
}

void zk_attention_reference_bf16_dq(const zk_attention_reference *r, const zk_bf16 *q, const zk_bf16 *k,
                                    const zk_bf16 *v, const zk_bf16 *out, const zk_bf16 *dout, const float *lse,
                                    int32_t t, int32_t h, zk_bf16 *dq) {
  const arrays a = {r, q, k, v, out, dout, lse};
  const int32_t kv_head = h / (r->num_heads / r->num_kv_heads);
  const int64_t key_stride = (int64_t)r->num_kv_heads * r->head_dim;
  float part[MAX_HEAD_DIM], sum[MAX_HEAD_DIM];
  for (int32_t tile = 0; tile <= t; tile += r->tile) {
    const int32_t num = min_i32(r->tile, t + 1 - tile);
    zk_bf16 weight, dscore[MAX_TILE];
    for (int32_t j = 0; j < num; ++j) weight_and_dscore(&a, t, h, tile + j, &weight, &dscore[j]);
    for (int32_t d = 0; d < r->head_dim; ++d)
      part[d] = zk_tc_chain(dscore, 1, key_row(r, k, tile, kv_head) + d, key_stride, num, 0.0f);
    add_part(r->head_dim, tile == 0, part, sum);
  }
  for (int32_t d = 0; d < r->head_dim; ++d) dq[d] = zk_float_to_bf16((sum[d] + 0.0f) * r->scale);
}

// One query head's sums for key j.
static void sum_over_queries(const arrays *a, int32_t j, int32_t h, float *dk, float *dv) {
  const zk_attention_reference *r = a->r;
  const int64_t row_stride = (int64_t)r->num_heads * r->head_dim;
  float part_dk[MAX_HEAD_DIM] = {0.0f}, part_dv[MAX_HEAD_DIM] = {0.0f};
  const int32_t first = j / STEP * STEP;
  for (int32_t begin = first; begin < r->num_rows; begin += STEP) {
    const int32_t num = min_i32(STEP, r->num_rows - begin), end = begin + num;
    const zk_bf16 *q = query_row(r, a->q, begin, h), *dout = query_row(r, a->dout, begin, h);
    zk_bf16 weight[STEP], dscore[STEP];
    for (int32_t i = 0; i < num; ++i) weight_and_dscore(a, begin + i, h, j, &weight[i], &dscore[i]);
    for (int32_t d = 0; d < r->head_dim; ++d) {
      part_dk[d] = zk_tc_chain(dscore, 1, q + d, row_stride, num, part_dk[d]);
      part_dv[d] = zk_tc_chain(weight, 1, dout + d, row_stride, num, part_dv[d]);
    }
    if (end % r->part != 0 && end != r->num_rows) continue;
    const int first_part = begin / r->part == j / r->part;
    add_part(r->head_dim, first_part, part_dk, dk);
    add_part(r->head_dim, first_part, part_dv, dv);
    for (int32_t d = 0; d < r->head_dim; ++d) part_dk[d] = part_dv[d] = 0.0f;
  }
}

void zk_attention_reference_bf16_dkv(const zk_attention_reference *r, const zk_bf16 *q, const zk_bf16 *k,
                                     const zk_bf16 *v, const zk_bf16 *out, const zk_bf16 *dout, const float *lse,
                                     int32_t j, int32_t kv_head, zk_bf16 *dk, zk_bf16 *dv) {
  const arrays a = {r, q, k, v, out, dout, lse};
  const int32_t group = r->num_heads / r->num_kv_heads;
  float head_dk[MAX_HEAD_DIM], head_dv[MAX_HEAD_DIM], sum_dk[MAX_HEAD_DIM], sum_dv[MAX_HEAD_DIM];
  for (int32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    sum_over_queries(&a, j, h, head_dk, head_dv);
    add_part(r->head_dim, h == kv_head * group, head_dk, sum_dk);
    add_part(r->head_dim, h == kv_head * group, head_dv, sum_dv);
  }
  for (int32_t d = 0; d < r->head_dim; ++d) {
    dk[d] = zk_float_to_bf16((sum_dk[d] + 0.0f) * r->scale);
    dv[d] = zk_float_to_bf16(sum_dv[d] + 0.0f);
  }
}

void zk_attention_reference_bf16_backward(const zk_attention_reference *r, const zk_bf16 *q, const zk_bf16 *k,
                                          const zk_bf16 *v, const zk_bf16 *out, const zk_bf16 *dout, const float *lse,
                                          zk_bf16 *dq, zk_bf16 *dk, zk_bf16 *dv) {
#pragma omp parallel for schedule(dynamic)
  for (int32_t t = 0; t < r->num_rows; ++t) {
    for (int32_t h = 0; h < r->num_heads; ++h)
      zk_attention_reference_bf16_dq(r, q, k, v, out, dout, lse, t, h,
                                     dq + ((int64_t)t * r->num_heads + h) * r->head_dim);
    for (int32_t g = 0; g < r->num_kv_heads; ++g) {
      const int64_t at = ((int64_t)t * r->num_kv_heads + g) * r->head_dim;
      zk_attention_reference_bf16_dkv(r, q, k, v, out, dout, lse, t, g, dk + at, dv + at);
    }
  }
}
