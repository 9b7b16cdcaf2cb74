// Attention as kernels/attention.h words it, one scalar operation at a time.
#include "kernels/reference/attention_reference.h"

#include <math.h>

#include "kernels/math.h"

#define MAX_TILE 256
#define MAX_HEAD_DIM 512

// (m, l, o) of the text: the largest score so far, the sum of weights and the weighted sum of values relative to it.
typedef struct {
  float m, l, o[MAX_HEAD_DIM];
} partial;

static float dot(int32_t n, const float *a, const float *b) {
  float acc = 0.0f;
  for (int32_t d = 0; d < n; ++d) acc = fmaf(a[d], b[d], acc);
  return acc;
}

static int32_t min_i32(int32_t a, int32_t b) { return a < b ? a : b; }

static const float *key_row(const zk_attention_reference *r, const float *k, int32_t j, int32_t kv_head) {
  return k + ((int64_t)j * r->num_kv_heads + kv_head) * r->head_dim;
}

// Sixteen lanes, element j in lane j % 16, then halving.
static float sum_lanes(int32_t n, const float *w) {
  float lane[16] = {0.0f};
  for (int32_t j = 0; j < n; ++j) lane[j % 16] = lane[j % 16] + w[j];
  for (int32_t half = 8; half >= 1; half /= 2)
    for (int32_t i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  return lane[0];
}

static void add_tile(const zk_attention_reference *r, const float *q, const float *k, const float *v, int32_t kv_head, int32_t begin,
                     int32_t end, partial *state) {
  const int32_t dim = r->head_dim;
  float score[MAX_TILE], w[MAX_TILE];
  float mt = -INFINITY;
  for (int32_t j = begin; j < end; ++j) {
    score[j - begin] = dot(dim, q, key_row(r, k, j, kv_head)) * r->scale;
    if (score[j - begin] > mt) mt = score[j - begin];
  }
  if (mt > state->m) {
    float a = state->m == -INFINITY ? 0.0f : zk_expf(state->m - mt);
    state->l *= a;
    for (int32_t d = 0; d < dim; ++d) state->o[d] *= a;
    state->m = mt;
  }
  for (int32_t j = begin; j < end; ++j) {
    w[j - begin] = zk_expf(score[j - begin] - state->m);
    const float *row = key_row(r, v, j, kv_head);
    for (int32_t d = 0; d < dim; ++d) state->o[d] = fmaf(w[j - begin], row[d], state->o[d]);
  }
  state->l = state->l + sum_lanes(end - begin, w);
}

static void merge(int32_t dim, const partial *split, partial *total) {
  if (total->m == -INFINITY) {
    *total = *split;
    return;
  }
  float n = split->m > total->m ? split->m : total->m;
  float a = zk_expf(total->m - n), b = zk_expf(split->m - n);
  float right = split->l * b;
  total->l = fmaf(total->l, a, right);
  for (int32_t d = 0; d < dim; ++d) {
    right = split->o[d] * b;
    total->o[d] = fmaf(total->o[d], a, right);
  }
  total->m = n;
}

static void clear(int32_t dim, partial *state) {
  state->m = -INFINITY;
  state->l = 0.0f;
  for (int32_t d = 0; d < dim; ++d) state->o[d] = 0.0f;
}

void zk_attention_reference_forward(const zk_attention_reference *r, const float *q, const float *k, const float *v, float *out,
                                    float *lse) {
  const int32_t dim = r->head_dim, group = r->num_heads / r->num_kv_heads;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int32_t t = 0; t < r->num_rows; ++t)
    for (int32_t h = 0; h < r->num_heads; ++h) {
      const int64_t row = (int64_t)t * r->num_heads + h;
      const int32_t num_keys = r->first_pos + t + 1;
      partial total;
      clear(dim, &total);
      for (int32_t s = 0; s < num_keys; s += r->split) {
        const int32_t split_end = min_i32(s + r->split, num_keys);
        partial split;
        clear(dim, &split);
        for (int32_t tile = s; tile < split_end; tile += r->tile)
          add_tile(r, q + row * dim, k, v, h / group, tile, min_i32(tile + r->tile, split_end), &split);
        merge(dim, &split, &total);
      }
      for (int32_t d = 0; d < dim; ++d) out[row * dim + d] = total.o[d] / total.l;
      lse[row] = total.m + zk_logf(total.l);
    }
}

// Adds a finished part to a sum: the first part is the sum itself.
static void add_part(int32_t n, int first, const float *part, float *sum) {
  for (int32_t i = 0; i < n; ++i) sum[i] = first ? part[i] : sum[i] + part[i];
}

// w and ds of query row t, head h and key j.
static void weight_and_dscore(const zk_attention_reference *r, const float *q, const float *k, const float *v, const float *out,
                              const float *dout, const float *lse, int32_t t, int32_t h, int32_t j, float *w, float *ds) {
  const int32_t dim = r->head_dim, kv_head = h / (r->num_heads / r->num_kv_heads);
  const int64_t row = (int64_t)t * r->num_heads + h;
  const float *q_row = q + row * dim, *dout_row = dout + row * dim, *out_row = out + row * dim;
  const float *k_row = key_row(r, k, j, kv_head), *v_row = key_row(r, v, j, kv_head);
  float score = 0.0f, delta = 0.0f, dp = 0.0f; // three sums side by side, each in its own order
  for (int32_t d = 0; d < dim; ++d) {
    score = fmaf(q_row[d], k_row[d], score);
    delta = fmaf(dout_row[d], out_row[d], delta);
    dp = fmaf(dout_row[d], v_row[d], dp);
  }
  score = score * r->scale;
  *w = zk_expf(score - lse[row]);
  const float centred = dp - delta;
  const float dweighted = *w * centred;
  *ds = dweighted * r->scale;
}

static void backward_query(const zk_attention_reference *r, const float *q, const float *k, const float *v, const float *out,
                           const float *dout, const float *lse, int32_t t, int32_t h, float *dq) {
  const int32_t dim = r->head_dim, kv_head = h / (r->num_heads / r->num_kv_heads);
  for (int32_t begin = 0; begin <= t; begin += r->part) {
    float part[MAX_HEAD_DIM] = {0.0f};
    for (int32_t j = begin; j < min_i32(begin + r->part, t + 1); ++j) {
      float w, ds;
      weight_and_dscore(r, q, k, v, out, dout, lse, t, h, j, &w, &ds);
      const float *row = key_row(r, k, j, kv_head);
      for (int32_t d = 0; d < dim; ++d) part[d] = fmaf(ds, row[d], part[d]);
    }
    add_part(dim, begin == 0, part, dq);
  }
}

static void backward_key(const zk_attention_reference *r, const float *q, const float *k, const float *v, const float *out,
                         const float *dout, const float *lse, int32_t j, int32_t kv_head, float *dk, float *dv) {
  const int32_t dim = r->head_dim, group = r->num_heads / r->num_kv_heads;
  for (int32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    float head_dk[MAX_HEAD_DIM], head_dv[MAX_HEAD_DIM];
    const int32_t first_part = j / r->part * r->part;
    for (int32_t begin = first_part; begin < r->num_rows; begin += r->part) {
      float part_dk[MAX_HEAD_DIM] = {0.0f}, part_dv[MAX_HEAD_DIM] = {0.0f};
      for (int32_t t = begin > j ? begin : j; t < min_i32(begin + r->part, r->num_rows); ++t) {
        const int64_t row = (int64_t)t * r->num_heads + h;
        float w, ds;
        weight_and_dscore(r, q, k, v, out, dout, lse, t, h, j, &w, &ds);
        for (int32_t d = 0; d < dim; ++d) {
          part_dk[d] = fmaf(ds, q[row * dim + d], part_dk[d]);
          part_dv[d] = fmaf(w, dout[row * dim + d], part_dv[d]);
        }
      }
      add_part(dim, begin == first_part, part_dk, head_dk);
      add_part(dim, begin == first_part, part_dv, head_dv);
    }
    add_part(dim, h == kv_head * group, head_dk, dk);
    add_part(dim, h == kv_head * group, head_dv, dv);
  }
}

void zk_attention_reference_backward(const zk_attention_reference *r, const float *q, const float *k, const float *v,
                                     const float *out, const float *dout, const float *lse, float *dq, float *dk, float *dv) {
  const int32_t dim = r->head_dim;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int32_t t = 0; t < r->num_rows; ++t)
    for (int32_t h = 0; h < r->num_heads; ++h)
      backward_query(r, q, k, v, out, dout, lse, t, h, dq + ((int64_t)t * r->num_heads + h) * dim);
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int32_t j = 0; j < r->num_rows; ++j)
    for (int32_t g = 0; g < r->num_kv_heads; ++g) {
      const int64_t row = (int64_t)j * r->num_kv_heads + g;
      backward_key(r, q, k, v, out, dout, lse, j, g, dk + row * dim, dv + row * dim);
    }
}
