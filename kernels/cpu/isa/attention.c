// Attention forward of one task: few query rows of a sequence, all heads that share a KV head, over the keys they may see.
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/attention_tile.h"

// Working memory of a task: M micro-rows. (m, l, o) of the split at work and of the splits before it.
typedef struct {
  int32_t num_micro;
  float *q;                // [M][Dp]
  float *o, *m, *l;        // [M][Dp], [M], [M]
  float *all_o, *all_m, *all_l;
  float *score;            // [6][64]
} work;

static work work_at(const zk_attn_shape *s, int32_t num_rows, float *scratch) {
  const int32_t num_micro = num_rows * s->group;
  const size_t matrix = (size_t)num_micro * (size_t)s->padded_dim, column = ((size_t)num_micro + 15) / 16 * 16;
  work w = {.num_micro = num_micro, .q = scratch};
  w.o = w.q + matrix;
  w.all_o = w.o + matrix;
  w.score = w.all_o + matrix;
  w.m = w.score + ZK_ATTN_MICRO_ROWS * ZK_ATTN_TILE;
  w.l = w.m + column;
  w.all_m = w.l + column;
  w.all_l = w.all_m + column;
  return w;
}

// q[T,Hq,D] rows of the task, gathered; columns past D are zero.
static void pack_q(const zk_attn_forward *f, const zk_attn_task *t, float *packed) {
  const zk_attn_shape *s = &f->shape;
  for (int32_t i = 0; i < t->num_rows * s->group; ++i) {
    const int64_t head_row = (int64_t)(t->first_row + i / s->group) * s->num_heads + t->kv_head * s->group + i % s->group;
    float *row = packed + (size_t)i * (size_t)s->padded_dim;
    memcpy(row, f->q + head_row * s->dim, (size_t)s->dim * sizeof(float));
    memset(row + s->dim, 0, (size_t)(s->padded_dim - s->dim) * sizeof(float));
  }
}

// One row of raw dots becomes weights, n of them present, and (m, l, o) move to the new maximum.
static void softmax_row(float *restrict score, int32_t n, float scale, float *m, float *l, int32_t padded_dim, float *restrict o) {
  float lane[16];
  for (int32_t j = n; j < ZK_ATTN_TILE; ++j) score[j] = -INFINITY; // weight +0
  for (int32_t j = 0; j < ZK_ATTN_TILE; ++j) score[j] *= scale;
  for (int32_t i = 0; i < 16; ++i) lane[i] = score[i];
  for (int32_t b = 16; b < ZK_ATTN_TILE; b += 16)
    for (int32_t i = 0; i < 16; ++i) lane[i] = score[b + i] > lane[i] ? score[b + i] : lane[i];
  float max = lane[0];
  for (int32_t i = 1; i < 16; ++i) max = lane[i] > max ? lane[i] : max;
  if (max > *m) {
    const float a = *m == -INFINITY ? 0.0f : zk_expf(*m - max);
    *l *= a;
    for (int32_t d = 0; d < padded_dim; ++d) o[d] *= a;
    *m = max;
  }
  const float base = *m;
  for (int32_t j = 0; j < ZK_ATTN_TILE; ++j) score[j] = zk_expf(score[j] - base);
  for (int32_t i = 0; i < 16; ++i) lane[i] = score[i];
  for (int32_t b = 16; b < ZK_ATTN_TILE; b += 16)
    for (int32_t i = 0; i < 16; ++i) lane[i] += score[b + i];
  for (int32_t half = 8; half >= 1; half /= 2)
    for (int32_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  *l += lane[0];
}

// Keys of tile `tile_pos` that micro-row i sees: those up to its own position.
static int32_t num_keys_seen(const zk_attn_shape *s, const zk_attn_task *t, int32_t tile_pos, int32_t i) {
  const int32_t n = t->first_pos + i / s->group - tile_pos + 1;
  return n < ZK_ATTN_TILE ? n : ZK_ATTN_TILE;
}

// Micro-rows [i, i + rows), all of which see a key, take in one tile.
static void add_tile(const zk_attn_shape *s, const zk_attn_task *t, int32_t tile_pos, const float *const *k_block,
                     const float *const *v_block, int32_t i, int rows, const work *w) {
  const int32_t dp = s->padded_dim;
  float *o = w->o + (size_t)i * (size_t)dp;
  const int32_t most = num_keys_seen(s, t, tile_pos, i + rows - 1);
  zk_attn_dots(rows, (most + 15) / 16 * 16, s->dim, w->q + (size_t)i * (size_t)dp, dp, k_block, w->score);
  for (int r = 0; r < rows; ++r)
    softmax_row(w->score + r * ZK_ATTN_TILE, num_keys_seen(s, t, tile_pos, i + r), s->scale, w->m + i + r, w->l + i + r, dp,
                o + (size_t)r * (size_t)dp);
  int32_t done = 0; // a row's chain ends with its last key: rows leave one by one
  for (int r = 0; r < rows; ++r) {
    const int32_t n = num_keys_seen(s, t, tile_pos, i + r);
    zk_attn_sums(rows - r, dp, done, n, w->score + r * ZK_ATTN_TILE, ZK_ATTN_TILE, 1, v_block, dp, o + (size_t)r * (size_t)dp, dp);
    done = n;
  }
}

// First micro-row whose position is at least pos.
static int32_t first_micro_at(const zk_attn_shape *s, const zk_attn_task *t, int32_t pos) {
  return pos > t->first_pos ? (pos - t->first_pos) * s->group : 0;
}

// (m, l, o) of one split, for the micro-rows that see it, from *first on.
static void run_split(const zk_attn_forward *f, const zk_attn_task *t, int32_t split, const work *w, int32_t *first) {
  const zk_attn_shape *s = &f->shape;
  const int32_t begin = split * ZK_ATTN_SPLIT, last_pos = t->first_pos + t->num_rows - 1;
  *first = first_micro_at(s, t, begin);
  for (int32_t i = *first; i < w->num_micro; ++i) w->m[i] = -INFINITY, w->l[i] = 0.0f;
  memset(w->o + (size_t)*first * (size_t)s->padded_dim, 0,
         (size_t)(w->num_micro - *first) * (size_t)s->padded_dim * sizeof(float));
  for (int32_t tile = 0; tile < ZK_ATTN_SPLIT_TILES && begin + tile * ZK_ATTN_TILE <= last_pos; ++tile) {
    const int32_t tile_pos = begin + tile * ZK_ATTN_TILE, first_block = tile_pos / ZK_KV_BLOCK;
    const float *k_block[ZK_ATTN_TILE_BLOCKS] = {0}, *v_block[ZK_ATTN_TILE_BLOCKS] = {0};
    for (int32_t b = 0; b < ZK_ATTN_TILE_BLOCKS && tile_pos + b * ZK_KV_BLOCK <= last_pos; ++b) {
      const size_t offset = zk_kv_block_offset(s, t->pages, t->kv_head, first_block + b);
      k_block[b] = f->k_cache + offset;
      v_block[b] = f->v_cache + offset;
    }
    for (int32_t i = first_micro_at(s, t, tile_pos); i < w->num_micro;) {
      const int rows = zk_attn_next_rows(w->num_micro - i);
      add_tile(s, t, tile_pos, k_block, v_block, i, rows, w);
      i += rows;
    }
  }
}

// (m, l, o) of a split joins the splits before it.
static void merge_row(int32_t padded_dim, float m, float l, const float *restrict o, float *all_m, float *all_l,
                      float *restrict all_o) {
  if (*all_m == -INFINITY) {
    *all_m = m;
    *all_l = l;
    memcpy(all_o, o, (size_t)padded_dim * sizeof(float));
    return;
  }
  const float n = m > *all_m ? m : *all_m;
  const float a = zk_expf(*all_m - n), b = zk_expf(m - n);
  *all_l = fmaf(*all_l, a, l * b);
  for (int32_t d = 0; d < padded_dim; ++d) all_o[d] = fmaf(all_o[d], a, o[d] * b);
  *all_m = n;
}

// out and lse of every micro-row of the task.
static void write_rows(const zk_attn_forward *f, const zk_attn_task *t, const work *w) {
  const zk_attn_shape *s = &f->shape;
  for (int32_t i = 0; i < w->num_micro; ++i) {
    const int64_t head_row = (int64_t)(t->first_row + i / s->group) * s->num_heads + t->kv_head * s->group + i % s->group;
    const float *o = w->all_o + (size_t)i * (size_t)s->padded_dim, l = w->all_l[i];
    float *out = f->out + head_row * s->dim;
    for (int32_t d = 0; d < s->dim; ++d) out[d] = o[d] / l;
    if (f->lse) f->lse[head_row] = w->all_m[i] + zk_logf(l);
  }
}

static void write_partial(const zk_attn_shape *s, const work *w, int32_t first, float *partial) {
  const size_t dp = (size_t)s->padded_dim;
  for (int32_t i = 0; i < w->num_micro; ++i, partial += dp + 2) {
    partial[dp] = i < first ? -INFINITY : w->m[i]; // rows before the split have no part in it
    if (i < first) continue;
    memcpy(partial, w->o + (size_t)i * dp, dp * sizeof(float));
    partial[dp + 1] = w->l[i];
  }
}

void ZK_ISA_FN(zk_attn_forward_task)(const zk_attn_forward *f, const zk_attn_task *t, float *scratch) {
  const zk_attn_shape *s = &f->shape;
  const work w = work_at(s, t->num_rows, scratch);
  const size_t dp = (size_t)s->padded_dim;
  pack_q(f, t, w.q);
  for (int32_t i = 0; i < w.num_micro; ++i) w.all_m[i] = -INFINITY;
  for (int32_t split = t->split_begin; split < t->split_end; ++split) {
    int32_t first;
    run_split(f, t, split, &w, &first);
    if (t->partial) {
      write_partial(s, &w, first, t->partial);
      return;
    }
    for (int32_t i = first; i < w.num_micro; ++i)
      merge_row(s->padded_dim, w.m[i], w.l[i], w.o + (size_t)i * dp, w.all_m + i, w.all_l + i, w.all_o + (size_t)i * dp);
  }
  write_rows(f, t, &w);
}

void ZK_ISA_FN(zk_attn_merge_task)(const zk_attn_forward *f, const zk_attn_task *t, float *scratch) {
  const zk_attn_shape *s = &f->shape;
  const work w = work_at(s, t->num_rows, scratch);
  const size_t dp = (size_t)s->padded_dim;
  for (int32_t i = 0; i < w.num_micro; ++i) {
    w.all_m[i] = -INFINITY;
    for (int32_t split = 0; split < t->split_end; ++split) {
      const float *part = t->partial + ((size_t)split * (size_t)w.num_micro + (size_t)i) * (dp + 2);
      if (split > 0 && part[dp] == -INFINITY) break; // and none after it
      merge_row(s->padded_dim, part[dp], part[dp + 1], part, w.all_m + i, w.all_l + i, w.all_o + (size_t)i * dp);
    }
  }
  write_rows(f, t, &w);
}
