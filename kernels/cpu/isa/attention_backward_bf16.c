// bf16 attention backward of one KV head of one sequence, by blocks of 128 query rows and tiles of 128 keys.
#include <string.h>

#include "kernels/cpu/isa/attention_bf16_tile.h"
#include "kernels/cpu/simd_exp.h"

enum { TILE = ZK_ATTN_TILE_BF16 };
_Static_assert(ZK_ATTN_PART % TILE == 0, "blocks of query rows cut no part");

// Working memory of a task. Rows are those of the sequence, padded with zeros to Tp, a multiple of 128; q and dout of one query head.
typedef struct {
  zk_bf16 *k, *v, *q, *dout;                  // [Tp][D]
  float *delta, *lse;                         // [Tp]
  float *part_dk, *part_dv;                   // [Tp][D]: chains of the part at work
  float *head_dk, *head_dv, *all_dk, *all_dv; // the head's parts before it; the heads before it
  float *score, *dp;                          // [128 query rows][128 keys]
  zk_bf16 *weight, *dscore;                   // the same, rounded
  float *dq, *dq_tile;                        // [128][D]
  size_t bytes;
} work;

static work work_at(const zk_attn_bf16_shape *s, int32_t num_rows, void *base) {
  const size_t dim = (size_t)s->dim, rows = ((size_t)num_rows + TILE - 1) / TILE * TILE, matrix = rows * dim;
  work w = {0};
  zk_bf16 **const copies[] = {&w.k, &w.v, &w.q, &w.dout};
  for (int i = 0; i < 4; ++i) *copies[i] = zk_attn_bf16_carve(base, &w.bytes, matrix * sizeof(zk_bf16));
  w.delta = zk_attn_bf16_carve(base, &w.bytes, rows * sizeof(float));
  w.lse = zk_attn_bf16_carve(base, &w.bytes, rows * sizeof(float));
  float **const sums[] = {&w.part_dk, &w.part_dv, &w.head_dk, &w.head_dv, &w.all_dk, &w.all_dv};
  for (int i = 0; i < 6; ++i) *sums[i] = zk_attn_bf16_carve(base, &w.bytes, matrix * sizeof(float));
  w.score = zk_attn_bf16_carve(base, &w.bytes, TILE * TILE * sizeof(float));
  w.dp = zk_attn_bf16_carve(base, &w.bytes, TILE * TILE * sizeof(float));
  w.weight = zk_attn_bf16_carve(base, &w.bytes, TILE * TILE * sizeof(zk_bf16));
  w.dscore = zk_attn_bf16_carve(base, &w.bytes, TILE * TILE * sizeof(zk_bf16));
  w.dq = zk_attn_bf16_carve(base, &w.bytes, TILE * dim * sizeof(float));
  w.dq_tile = zk_attn_bf16_carve(base, &w.bytes, TILE * dim * sizeof(float));
  return w;
}

size_t ZK_ISA_FN(zk_attn_bf16_backward_bytes)(const zk_attn_bf16_shape *s, int32_t num_rows) {
  return work_at(s, num_rows, NULL).bytes;
}

static int32_t min_i32(int32_t a, int32_t b) { return a < b ? a : b; }

// Copies of a query head's rows, with their lse and delta.
static void gather_head(const zk_attn_bf16_backward *b, const zk_attn_bf16_task *t, int32_t head, const work *w) {
  const zk_attn_bf16_shape *s = &b->shape;
  const size_t dim = (size_t)s->dim, bytes = dim * sizeof(zk_bf16);
  for (int32_t i = 0; i < t->num_rows; ++i) {
    const size_t row = (size_t)(t->first_row + i) * (size_t)s->num_heads + (size_t)head;
    const zk_bf16 *dout = b->dout + row * dim, *out = b->out + row * dim;
    memcpy(w->q + (size_t)i * dim, b->q + row * dim, bytes);
    memcpy(w->dout + (size_t)i * dim, dout, bytes);
    w->lse[i] = b->lse[row];
    float delta = 0.0f;
    for (size_t d = 0; d < dim; ++d) delta = fmaf(zk_bf16_to_float(dout[d]), zk_bf16_to_float(out[d]), delta);
    w->delta[i] = delta;
  }
}

// One row of a tile: scores become weights, dp becomes the score's gradient, and both are rounded; keys past `seen` get +0.
static void differentiate_row(float c, float lse, float delta, int32_t seen, int32_t num_cols, float *restrict score,
                              float *restrict dp, zk_bf16 *restrict weight, zk_bf16 *restrict dscore) {
  const zk_vf factor = zk_vf_set1(c), base = zk_vf_set1(-lse), centre = zk_vf_set1(delta);
  for (int32_t j = 0; j < num_cols; j += ZK_VLEN) {
    const zk_vf weight = zk_vf_exp2(zk_vf_fma(zk_vf_load(score + j), factor, base));
    zk_vf_store(score + j, weight);
    zk_vf_store(dp + j, zk_vf_mul(weight, zk_vf_sub(zk_vf_load(dp + j), centre)));
  }
  for (int32_t j = seen; j < num_cols; ++j) score[j] = dp[j] = 0.0f;
  for (int32_t j = 0; j < num_cols; ++j) weight[j] = zk_float_to_bf16(score[j]);
  for (int32_t j = 0; j < num_cols; ++j) dscore[j] = zk_float_to_bf16(dp[j]);
}

static void add(size_t n, int first, const float *restrict part, float *restrict sum) {
  if (first) memcpy(sum, part, n * sizeof *sum);
  else
    for (size_t i = 0; i < n; ++i) sum[i] = sum[i] + part[i];
}

// Query rows [row, row + rows) and the key tile at `key`.
static void run_pair(const zk_attn_bf16_shape *s, int32_t num_rows, int32_t row, int32_t rows, int32_t key,
                     const work *w) {
  const int32_t num = min_i32(TILE, num_rows - key), num_cols = (num + 15) / 16 * 16;
  const size_t dim = (size_t)s->dim, at_row = (size_t)row * dim, at_key = (size_t)key * dim;
  zk_attn_bf16_dots(rows, num_cols, s->dim, w->q + at_row, w->k + at_key, w->score);
  zk_attn_bf16_dots(rows, num_cols, s->dim, w->dout + at_row, w->v + at_key, w->dp);
  for (int32_t i = 0; i < rows; ++i)
    differentiate_row(s->c, w->lse[row + i], w->delta[row + i], min_i32(row + i - key + 1, num), num_cols,
                      w->score + i * TILE, w->dp + i * TILE, w->weight + i * TILE, w->dscore + i * TILE);
  zk_attn_bf16_sums(rows, s->dim, num_cols, w->dscore, ZK_GEMM_K_INNER, w->k + at_key, 0, w->dq_tile);
  add((size_t)rows * dim, key == 0, w->dq_tile, w->dq);
  zk_attn_bf16_sums(num, s->dim, rows, w->weight, ZK_GEMM_K_OUTER, w->dout + at_row, 1, w->part_dv + at_key);
  zk_attn_bf16_sums(num, s->dim, rows, w->dscore, ZK_GEMM_K_OUTER, w->q + at_row, 1, w->part_dk + at_key);
}

// Adds the finished parts of keys [0, end) to the head's sums and begins new ones. A key's first part, the one with its own position, is the sum.
static void finish_parts(int32_t part_begin, int32_t end, size_t dim, const work *w) {
  const size_t before = (size_t)part_begin * dim, all = (size_t)end * dim;
  add(before, 0, w->part_dk, w->head_dk);
  add(before, 0, w->part_dv, w->head_dv);
  add(all - before, 1, w->part_dk + before, w->head_dk + before);
  add(all - before, 1, w->part_dv + before, w->head_dv + before);
  memset(w->part_dk, 0, all * sizeof(float));
  memset(w->part_dv, 0, all * sizeof(float));
}

static void run_head(const zk_attn_bf16_backward *b, const zk_attn_bf16_task *t, int32_t head, const work *w) {
  const zk_attn_bf16_shape *s = &b->shape;
  const int32_t dim = s->dim;
  gather_head(b, t, head, w);
  for (int32_t row = 0; row < t->num_rows; row += TILE) {
    const int32_t rows = min_i32(TILE, t->num_rows - row), end = row + rows;
    for (int32_t key = 0; key < end; key += TILE) run_pair(s, t->num_rows, row, rows, key, w);
    for (int32_t i = 0; i < rows; ++i) {
      zk_bf16 *dq = b->dq + ((int64_t)(t->first_row + row + i) * s->num_heads + head) * dim;
      for (int32_t d = 0; d < dim; ++d)
        dq[d] = zk_float_to_bf16((w->dq[(size_t)i * (size_t)dim + (size_t)d] + 0.0f) * s->scale);
    }
    if (end % ZK_ATTN_PART == 0 || end == t->num_rows)
      finish_parts(row / ZK_ATTN_PART * ZK_ATTN_PART, end, (size_t)dim, w);
  }
}

void ZK_ISA_FN(zk_attn_bf16_backward_task)(const zk_attn_bf16_backward *b, const zk_attn_bf16_task *t, void *scratch) {
  const zk_attn_bf16_shape *s = &b->shape;
  const work w = work_at(s, t->num_rows, scratch);
  const int32_t padded = (t->num_rows + TILE - 1) / TILE * TILE;
  const size_t dim = (size_t)s->dim, num = (size_t)t->num_rows * dim, tail = (size_t)padded * dim - num;
  zk_kv_bf16_gather(s, t->pages, t->kv_head, 0, t->num_rows, padded, b->k_cache, w.k);
  zk_kv_bf16_gather(s, t->pages, t->kv_head, 0, t->num_rows, padded, b->v_cache, w.v);
  memset(w.q + num, 0, tail * sizeof *w.q);
  memset(w.dout + num, 0, tail * sizeof *w.dout);
  memset(w.part_dk, 0, num * sizeof(float));
  memset(w.part_dv, 0, num * sizeof(float));
  for (int32_t h = 0; h < s->group; ++h) {
    run_head(b, t, t->kv_head * s->group + h, &w);
    add(num, h == 0, w.head_dk, w.all_dk);
    add(num, h == 0, w.head_dv, w.all_dv);
  }
  for (int32_t i = 0; i < t->num_rows; ++i) {
    const size_t to = ((size_t)(t->first_row + i) * (size_t)s->num_kv_heads + (size_t)t->kv_head) * dim,
                 from = (size_t)i * dim;
    for (size_t d = 0; d < dim; ++d) {
      b->dk[to + d] = zk_float_to_bf16((w.all_dk[from + d] + 0.0f) * s->scale);
      b->dv[to + d] = zk_float_to_bf16(w.all_dv[from + d] + 0.0f);
    }
  }
}
