// bf16 attention forward of one task: few query rows of a sequence, all heads that share a KV head, over the keys they may see.
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/attention_bf16_tile.h"
#include "kernels/cpu/isa/attention_lanes.h"
#include "kernels/cpu/simd_exp.h"

enum { TILE = ZK_ATTN_TILE_BF16, LANES = 8 };

// Working memory of a task: M micro-rows. (b, l, o) of the split at work and of the splits before it.
typedef struct {
  int32_t num_micro;
  zk_bf16 *q, *k, *v;           // [M][D], [128][D], [128][D]
  float *score;                 // [M][128]
  zk_bf16 *weight;              // [M][128]
  float *o, *b, *lane;          // [M][D], [M], [M][8]
  float *all_o, *all_b, *all_l; // [M][D], [M], [M]
  size_t bytes;
} work;

static work work_at(const zk_attn_bf16_shape *s, int32_t num_rows, void *base) {
  const size_t micro = (size_t)num_rows * (size_t)s->group, dim = (size_t)s->dim, column = micro * sizeof(float);
  work w = {.num_micro = (int32_t)micro};
  w.q = zk_attn_bf16_carve(base, &w.bytes, micro * dim * sizeof(zk_bf16));
  w.k = zk_attn_bf16_carve(base, &w.bytes, TILE * dim * sizeof(zk_bf16));
  w.v = zk_attn_bf16_carve(base, &w.bytes, TILE * dim * sizeof(zk_bf16));
  w.score = zk_attn_bf16_carve(base, &w.bytes, TILE * column);
  w.weight = zk_attn_bf16_carve(base, &w.bytes, TILE * micro * sizeof(zk_bf16));
  w.o = zk_attn_bf16_carve(base, &w.bytes, dim * column);
  w.b = zk_attn_bf16_carve(base, &w.bytes, column);
  w.lane = zk_attn_bf16_carve(base, &w.bytes, LANES * column);
  w.all_o = zk_attn_bf16_carve(base, &w.bytes, dim * column);
  w.all_b = zk_attn_bf16_carve(base, &w.bytes, column);
  w.all_l = zk_attn_bf16_carve(base, &w.bytes, column);
  return w;
}

size_t ZK_ISA_FN(zk_attn_bf16_forward_bytes)(const zk_attn_bf16_shape *s, int32_t num_rows) {
  return work_at(s, num_rows, NULL).bytes;
}

// Index of micro-row i in [T,Hq].
static int64_t head_row_of(const zk_attn_bf16_shape *s, const zk_attn_bf16_task *t, int32_t i) {
  return (int64_t)(t->first_row + i / s->group) * s->num_heads + t->kv_head * s->group + i % s->group;
}

// First micro-row whose position is at least pos.
static int32_t first_micro_at(const zk_attn_bf16_shape *s, const zk_attn_bf16_task *t, int32_t pos) {
  return pos > t->first_pos ? (pos - t->first_pos) * s->group : 0;
}

// One row's scores, seen of them present in columns [0, num_cols), become weights; its (b, lanes, o) move along.
static void softmax_row(float c, int32_t seen, int32_t num_cols, int32_t dim, float *score, zk_bf16 *restrict weight,
                        float *b, float *restrict lane, float *restrict o) {
  for (int32_t j = seen; j < num_cols; ++j) score[j] = -INFINITY;
  const float largest = zk_attn_lanes_max(score, num_cols);
  if (!(fmaf(largest, c, *b) <= -72.0f)) { // so, too, for b = +inf and whatever score
    const float next = fmaf(-largest, c, -80.0f), a = zk_exp2f(next - *b);
    for (int i = 0; i < LANES; ++i) lane[i] = lane[i] * a;
    for (int32_t d = 0; d < dim; ++d) o[d] = o[d] * a;
    *b = next;
  }
  const zk_vf factor = zk_vf_set1(c), base = zk_vf_set1(*b);
  for (int32_t j = 0; j < num_cols; j += ZK_VLEN)
    zk_vf_store(score + j, zk_vf_exp2_bf16(zk_vf_fma(zk_vf_load(score + j), factor, base)));
  for (int32_t j = seen; j < num_cols; ++j) score[j] = 0.0f;
  float l[LANES];
  memcpy(l, lane, sizeof l);
  for (int32_t j = 0; j < num_cols; j += LANES)
    for (int i = 0; i < LANES; ++i) l[i] = l[i] + score[j + i];
  memcpy(lane, l, sizeof l);
  for (int32_t j = 0; j < num_cols; ++j) weight[j].bits = (uint16_t)(zk_float_bits(score[j]) >> 16); // bf16 already
}

// Micro-rows [first, M), all of which see a key of it, take in the tile of num keys at tile_pos.
static void add_tile(const zk_attn_bf16_forward *f, const zk_attn_bf16_task *t, int32_t tile_pos, int32_t num,
                     int32_t first, const work *w) {
  const zk_attn_bf16_shape *s = &f->shape;
  const int32_t num_cols = (num + 15) / 16 * 16, rows = w->num_micro - first;
  const size_t at = (size_t)first * (size_t)s->dim;
  zk_kv_bf16_gather(s, t->pages, t->kv_head, tile_pos, num, num_cols, f->k_cache, w->k);
  zk_kv_bf16_gather(s, t->pages, t->kv_head, tile_pos, num, num_cols, f->v_cache, w->v);
  float *score = w->score + (size_t)first * TILE;
  zk_bf16 *weight = w->weight + (size_t)first * TILE;
  zk_attn_bf16_dots(rows, num_cols, s->dim, w->q + at, w->k, score);
  for (int32_t i = 0; i < rows; ++i) {
    const int32_t seen = t->first_pos + (first + i) / s->group - tile_pos + 1;
    softmax_row(s->c, seen < num ? seen : num, num_cols, s->dim, score + (size_t)i * TILE, weight + (size_t)i * TILE,
                w->b + first + i, w->lane + (size_t)(first + i) * LANES, w->o + at + (size_t)i * (size_t)s->dim);
  }
  zk_attn_bf16_sums(rows, s->dim, num_cols, weight, ZK_GEMM_K_INNER, w->v, 1, w->o + at);
}

// (b, l, o) of a split joins the splits before it.
static void merge_row(int32_t dim, float b, const float *lane, const float *restrict o, float *all_b, float *all_l,
                      float *restrict all_o) {
  const float l = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  if (*all_b == INFINITY) {
    *all_b = b;
    *all_l = l;
    memcpy(all_o, o, (size_t)dim * sizeof *o);
    return;
  }
  const float n = b < *all_b ? b : *all_b, of_total = zk_exp2f(n - *all_b), of_split = zk_exp2f(n - b);
  *all_l = fmaf(*all_l, of_total, l * of_split);
  for (int32_t d = 0; d < dim; ++d) all_o[d] = fmaf(all_o[d], of_total, o[d] * of_split);
  *all_b = n;
}

static void run_split(const zk_attn_bf16_forward *f, const zk_attn_bf16_task *t, int32_t begin, const work *w) {
  const zk_attn_bf16_shape *s = &f->shape;
  const int32_t num_keys = t->first_pos + t->num_rows, first = first_micro_at(s, t, begin);
  const size_t dim = (size_t)s->dim, rows = (size_t)(w->num_micro - first);
  for (int32_t i = first; i < w->num_micro; ++i) w->b[i] = INFINITY;
  memset(w->lane + (size_t)first * LANES, 0, rows * LANES * sizeof(float));
  memset(w->o + (size_t)first * dim, 0, rows * dim * sizeof(float));
  for (int32_t pos = begin; pos < begin + ZK_ATTN_SPLIT_BF16 && pos < num_keys; pos += TILE)
    add_tile(f, t, pos, num_keys - pos < TILE ? num_keys - pos : TILE, first_micro_at(s, t, pos), w);
  for (size_t i = (size_t)first; i < (size_t)w->num_micro; ++i)
    merge_row(s->dim, w->b[i], w->lane + i * LANES, w->o + i * dim, w->all_b + i, w->all_l + i, w->all_o + i * dim);
}

void ZK_ISA_FN(zk_attn_bf16_forward_task)(const zk_attn_bf16_forward *f, const zk_attn_bf16_task *t, void *scratch) {
  const zk_attn_bf16_shape *s = &f->shape;
  const work w = work_at(s, t->num_rows, scratch);
  for (int32_t i = 0; i < w.num_micro; ++i) {
    memcpy(w.q + (size_t)i * (size_t)s->dim, f->q + head_row_of(s, t, i) * s->dim, (size_t)s->dim * sizeof *w.q);
    w.all_b[i] = INFINITY;
  }
  for (int32_t begin = 0; begin < t->first_pos + t->num_rows; begin += ZK_ATTN_SPLIT_BF16) run_split(f, t, begin, &w);
  for (int32_t i = 0; i < w.num_micro; ++i) {
    const int64_t row = head_row_of(s, t, i);
    const float *o = w.all_o + (size_t)i * (size_t)s->dim, l = w.all_l[i];
    zk_bf16 *out = f->out + row * s->dim;
    for (int32_t d = 0; d < s->dim; ++d) out[d] = zk_float_to_bf16((o[d] + 0.0f) / l);
    if (f->lse) f->lse[row] = zk_log2f(l * 0x1p+80f) - (w.all_b[i] + 80.0f);
  }
}
