// Attention forward of one task: few query rows of a sequence, all heads that share a KV head, over the keys they may see.
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/attention_lanes.h"
#include "kernels/cpu/isa/attention_tile.h"
#include "kernels/cpu/simd_exp.h"

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

// Index of micro-row i in [T,Hq].
static int64_t head_row_of(const zk_attn_shape *s, const zk_attn_task *t, int32_t i) {
  return (int64_t)(t->first_row + i / s->group) * s->num_heads + t->kv_head * s->group + i % s->group;
}

// q[T,Hq,D] rows of the task, gathered; columns past D are zero.
static void pack_q(const zk_attn_forward *f, const zk_attn_task *t, float *packed) {
  const zk_attn_shape *s = &f->shape;
  for (int32_t i = 0; i < t->num_rows * s->group; ++i) {
    const int64_t head_row = head_row_of(s, t, i);
    float *row = packed + (size_t)i * (size_t)s->padded_dim;
    memcpy(row, f->q + head_row * s->dim, (size_t)s->dim * sizeof(float));
    memset(row + s->dim, 0, (size_t)(s->padded_dim - s->dim) * sizeof(float));
  }
}

// A row whose maximum rises: what it has gathered so far shrinks by exp(m - max).
static void raise_max(float max, int32_t padded_dim, float *m, float *l, float *restrict o) {
  const float a = *m == -INFINITY ? 0.0f : zk_expf(*m - max);
  *m = max;
  *l *= a;
  for (int32_t d = 0; d < padded_dim; d += ZK_VLEN) zk_vf_store(o + d, zk_vf_mul(zk_vf_load(o + d), zk_vf_set1(a)));
}

// Scores of `rows` rows, seen[r] of them present in columns [0, num_cols), become weights; (m, l, o) of the rows move along.
static void softmax_rows(int rows, const int32_t *seen, int32_t num_cols, int32_t padded_dim, float *score, float *m, float *l, float *o) {
  for (int r = 0; r < rows; ++r) {
    float *row = score + r * ZK_ATTN_TILE;
    for (int32_t j = seen[r]; j < num_cols; ++j) row[j] = -INFINITY; // weight +0
    const float max = zk_attn_lanes_max(row, num_cols);
    if (max > m[r]) raise_max(max, padded_dim, m + r, l + r, o + (ptrdiff_t)r * padded_dim);
  }
  for (int r = 0; r < rows; ++r) {
    float *row = score + r * ZK_ATTN_TILE;
    const zk_vf base = zk_vf_set1(m[r]);
    for (int32_t j = 0; j < num_cols; j += ZK_VLEN) zk_vf_store(row + j, zk_vf_exp(zk_vf_sub(zk_vf_load(row + j), base)));
  }
  for (int r = 0; r < rows; ++r) l[r] += zk_attn_lanes_sum(score + r * ZK_ATTN_TILE, num_cols);
}

// Keys of tile `tile_pos` that micro-rows [i, i + rows) see: those up to their own positions.
static void count_keys(const zk_attn_shape *s, const zk_attn_task *t, int32_t tile_pos, int32_t i, int rows, int32_t *seen) {
  int32_t n = t->first_pos + i / s->group - tile_pos + 1, head = i % s->group;
  for (int r = 0; r < rows; ++r) {
    seen[r] = n < ZK_ATTN_TILE ? n : ZK_ATTN_TILE;
    if (++head == s->group) head = 0, ++n;
  }
}

// Blocks of one tile of keys; those past the last key are the first again.
typedef struct {
  const float *k[ZK_ATTN_TILE_BLOCKS], *v[ZK_ATTN_TILE_BLOCKS];
} key_tile;

static key_tile key_tile_at(const zk_attn_forward *f, const zk_attn_task *t, int32_t tile_pos, int32_t last_pos) {
  key_tile out;
  for (int32_t i = 0; i < ZK_ATTN_TILE_BLOCKS; ++i) {
    const int32_t pos = tile_pos + i * ZK_KV_BLOCK;
    const size_t offset = zk_kv_block_offset(&f->shape, t->pages, t->kv_head, (pos <= last_pos ? pos : tile_pos) / ZK_KV_BLOCK);
    out.k[i] = f->k_cache + offset;
    out.v[i] = f->v_cache + offset;
  }
  return out;
}

// Micro-rows [i, i + rows), all of which see a key, take in one tile; `next` is the one after it.
static void add_tile(const zk_attn_shape *s, const zk_attn_task *t, int32_t tile_pos, const key_tile *keys, const key_tile *next, int32_t i,
                     int rows, const work *w) {
  const ptrdiff_t dp = s->padded_dim;
  float *o = w->o + i * dp;
  int32_t seen[ZK_ATTN_MICRO_ROWS];
  count_keys(s, t, tile_pos, i, rows, seen);
  const int32_t num_cols = (seen[rows - 1] + 15) / 16 * 16;
  zk_attn_dots(rows, num_cols, s->dim, w->q + i * dp, dp, keys->k, keys->v, s->scale, w->score);
  softmax_rows(rows, seen, num_cols, s->padded_dim, w->score, w->m + i, w->l + i, o);
  zk_attn_sums(rows, s->padded_dim, 0, seen, w->score, ZK_ATTN_TILE, 1, keys->v, next->k, dp, o, dp);
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
  const int32_t end = begin + ZK_ATTN_SPLIT < last_pos + 1 ? begin + ZK_ATTN_SPLIT : last_pos + 1;
  key_tile keys = key_tile_at(f, t, begin, last_pos);
  for (int32_t tile_pos = begin; tile_pos < end; tile_pos += ZK_ATTN_TILE) {
    const int32_t next_pos = tile_pos + ZK_ATTN_TILE <= last_pos ? tile_pos + ZK_ATTN_TILE : tile_pos;
    const key_tile next = key_tile_at(f, t, next_pos, last_pos);
    for (int32_t i = first_micro_at(s, t, tile_pos); i < w->num_micro;) {
      const int rows = zk_attn_next_rows(w->num_micro - i);
      add_tile(s, t, tile_pos, &keys, &next, i, rows, w);
      i += rows;
    }
    keys = next;
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
  for (int32_t d = 0; d < padded_dim; d += ZK_VLEN) {
    const zk_vf add = zk_vf_mul(zk_vf_load(o + d), zk_vf_set1(b));
    zk_vf_store(all_o + d, zk_vf_fma(zk_vf_load(all_o + d), zk_vf_set1(a), add));
  }
  *all_m = n;
}

// Out of line, so that the compiler knows that no two of the arrays overlap.
static __attribute__((noinline)) void divide(int32_t n, const float *restrict o, float l, float *restrict out) {
  for (int32_t d = 0; d < n; ++d) out[d] = o[d] / l;
}
static __attribute__((noinline)) void log_sums(int32_t n, const float *restrict m, const float *restrict l, float *restrict lse) {
  for (int32_t i = 0; i < n; ++i) lse[i] = m[i] + zk_logf(l[i]);
}

// out and lse of every micro-row of the task.
static void write_rows(const zk_attn_forward *f, const zk_attn_task *t, const work *w) {
  const zk_attn_shape *s = &f->shape;
  if (f->lse) log_sums(w->num_micro, w->all_m, w->all_l, w->m); // the splits are done with m
  for (int32_t i = 0; i < w->num_micro; ++i) {
    const int64_t head_row = head_row_of(s, t, i);
    divide(s->dim, w->all_o + (ptrdiff_t)i * s->padded_dim, w->all_l[i], f->out + head_row * s->dim);
    if (f->lse) f->lse[head_row] = w->m[i];
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
