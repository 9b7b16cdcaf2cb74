// Attention backward of one KV head: every product is recomputed tile by tile from the cache and q.
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/attention_tile.h"
#include "kernels/cpu/simd_exp.h"

// Working memory of a task. Rows are those of the sequence, for one query head at a time.
typedef struct {
  float *q, *dout, *dq;     // [rows][Dp]
  float *dk, *dv;           // [64][Dp], the key tile's chains
  float *head_dk, *head_dv; // [64][Dp], the head's parts before them, if any
  float *weight, *dscore;   // [64][64]: query row of the block, key of the tile
  float *delta;             // [rows]
} work;

static work work_at(const zk_attn_shape *s, int32_t num_rows, float *scratch) {
  const size_t matrix = (size_t)num_rows * (size_t)s->padded_dim, tile = (size_t)ZK_ATTN_TILE * (size_t)s->padded_dim;
  work w = {.q = scratch};
  w.dout = w.q + matrix;
  w.dq = w.dout + matrix;
  w.dk = w.dq + matrix;
  w.dv = w.dk + tile;
  w.head_dk = w.dv + tile;
  w.head_dv = w.head_dk + tile;
  w.weight = w.head_dv + tile;
  w.dscore = w.weight + ZK_ATTN_TILE * ZK_ATTN_TILE;
  w.delta = w.dscore + ZK_ATTN_TILE * ZK_ATTN_TILE;
  return w;
}

static int32_t min_i32(int32_t a, int32_t b) { return a < b ? a : b; }

// Floats from the start of packed_k or packed_v to a block of the task.
static size_t packed_offset(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t block) {
  const size_t row = (size_t)t->kv_head * (size_t)b->packed_rows + (size_t)t->packed_row + (size_t)block * ZK_KV_BLOCK;
  return row * (size_t)b->shape.padded_dim;
}

void ZK_ISA_FN(zk_attn_backward_pack)(const zk_attn_backward *b, const zk_attn_backward_task *t) {
  const size_t dp = (size_t)b->shape.padded_dim;
  for (int32_t block = 0; block * ZK_KV_BLOCK < t->num_rows; ++block) {
    const size_t from = zk_kv_block_offset(&b->shape, t->pages, t->kv_head, block);
    const float *restrict k = b->k_cache + from, *restrict v = b->v_cache + from;
    float *restrict k_rows = b->packed_k + packed_offset(b, t, block), *restrict v_block = b->packed_v + packed_offset(b, t, block);
    for (size_t d = 0; d < dp; ++d)
      for (size_t i = 0; i < ZK_KV_BLOCK; ++i) {
        k_rows[i * dp + d] = k[d * ZK_KV_BLOCK + i];
        v_block[d * ZK_KV_BLOCK + i] = v[i * dp + d];
      }
  }
}

// to[n] = from[n], or += from[n].
static void move_row(int32_t n, int add, const float *restrict from, float *restrict to) {
  int32_t d = 0;
  for (; d + ZK_VLEN <= n; d += ZK_VLEN) {
    const zk_vf x = zk_vf_load(from + d);
    zk_vf_store(to + d, add ? zk_vf_add(zk_vf_load(to + d), x) : x);
  }
  for (; d < n; ++d) to[d] = add ? to[d] + from[d] : from[d];
}

#define DELTA_ROWS 8 // chains side by side
static void compute_delta(int32_t dim, int32_t rows, const float *dout, ptrdiff_t dout_ld, const float *out, ptrdiff_t out_ld, float *delta) {
  float acc[DELTA_ROWS] = {0.0f};
  if (rows == DELTA_ROWS) {
    for (int32_t d = 0; d < dim; ++d)
      for (int r = 0; r < DELTA_ROWS; ++r) acc[r] = fmaf(dout[r * dout_ld + d], out[r * out_ld + d], acc[r]);
  } else {
    for (int32_t d = 0; d < dim; ++d)
      for (int r = 0; r < rows; ++r) acc[r] = fmaf(dout[r * dout_ld + d], out[r * out_ld + d], acc[r]);
  }
  memcpy(delta, acc, (size_t)rows * sizeof(float));
}

// Gathers q and dout of rows [begin, end) of a query head, clears dq, and computes delta.
static void pack_rows(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t head, int32_t begin, int32_t end, const work *w) {
  const zk_attn_shape *s = &b->shape;
  const ptrdiff_t dp = s->padded_dim, ld = (ptrdiff_t)s->num_heads * s->dim, first = t->first_row * ld + (ptrdiff_t)head * s->dim;
  if (begin >= end) return;
  memset(w->dq + begin * dp, 0, (size_t)(end - begin) * (size_t)dp * sizeof(float));
  for (int32_t r = begin; r < end; ++r) {
    move_row(s->dim, 0, b->q + first + r * ld, w->q + r * dp);
    move_row(s->dim, 0, b->dout + first + r * ld, w->dout + r * dp);
    for (int32_t d = s->dim; d < s->padded_dim; ++d) w->q[r * dp + d] = w->dout[r * dp + d] = 0.0f;
  }
  for (int32_t r = begin; r < end; r += DELTA_ROWS)
    compute_delta(s->dim, min_i32(DELTA_ROWS, end - r), w->dout + r * dp, dp, b->out + first + r * ld, ld, w->delta + r);
}

// Pointers of one key tile.
typedef struct {
  const float *k[ZK_ATTN_TILE_BLOCKS], *v[ZK_ATTN_TILE_BLOCKS]; // [Dp][16]
  const float *k_rows[ZK_ATTN_TILE_BLOCKS];                     // [16][Dp]
} key_tile;

static key_tile key_tile_at(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t tile) {
  key_tile out = {{0}, {0}, {0}};
  for (int32_t i = 0, block = tile * ZK_ATTN_TILE_BLOCKS; i < ZK_ATTN_TILE_BLOCKS && block * ZK_KV_BLOCK < t->num_rows; ++i, ++block) {
    out.k[i] = b->k_cache + zk_kv_block_offset(&b->shape, t->pages, t->kv_head, block);
    out.v[i] = b->packed_v + packed_offset(b, t, block);
    out.k_rows[i] = b->packed_k + packed_offset(b, t, block);
  }
  return out;
}

// weight and dscore of some rows, from score in weight and dp in dscore. Keys that a row does not see get +0.
static void finish_scores(int rows, int32_t num_cols, const int32_t *seen, float scale, const float *lse, const float *delta,
                          float *weight, float *dscore) {
  const zk_vf scales = zk_vf_set1(scale);
  for (int i = 0; i < rows; ++i, weight += ZK_ATTN_TILE, dscore += ZK_ATTN_TILE) {
    for (int32_t j = 0; j < num_cols; j += ZK_VLEN) {
      const zk_vf w = zk_vf_exp(zk_vf_sub(zk_vf_load(weight + j), zk_vf_set1(lse[i])));
      const zk_vf centred = zk_vf_sub(zk_vf_load(dscore + j), zk_vf_set1(delta[i]));
      zk_vf_store(weight + j, w);
      zk_vf_store(dscore + j, zk_vf_mul(zk_vf_mul(w, centred), scales));
    }
    for (int32_t j = seen[i]; j < ZK_ATTN_TILE; ++j) weight[j] = dscore[j] = 0.0f;
  }
}

// Rows [begin, end) of one block against one key tile: weights, score gradients, and their part of dq.
static void query_side(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t head, int32_t tile, const key_tile *keys,
                       int32_t begin, int32_t end, const work *w) {
  const zk_attn_shape *s = &b->shape;
  const ptrdiff_t dp = s->padded_dim;
  for (int32_t r = begin; r < end;) {
    const int rows = zk_attn_next_rows(end - r);
    float *weight = w->weight + (r - begin) * ZK_ATTN_TILE, *dscore = w->dscore + (r - begin) * ZK_ATTN_TILE;
    float lse[ZK_ATTN_MICRO_ROWS];
    int32_t seen[ZK_ATTN_MICRO_ROWS];
    for (int i = 0; i < rows; ++i) {
      lse[i] = b->lse[(int64_t)(t->first_row + r + i) * s->num_heads + head];
      seen[i] = min_i32(r + i + 1 - tile * ZK_ATTN_TILE, ZK_ATTN_TILE);
    }
    const int32_t num_cols = (seen[rows - 1] + 15) / 16 * 16;
    zk_attn_dots(rows, num_cols, s->dim, w->q + r * dp, dp, keys->k, keys->v, s->scale, weight);
    zk_attn_dots(rows, num_cols, s->dim, w->dout + r * dp, dp, keys->v, keys->k_rows, 1.0f, dscore);
    finish_scores(rows, num_cols, seen, s->scale, lse, w->delta + r, weight, dscore);
    if (t->want_dq) zk_attn_sums(rows, s->padded_dim, 0, seen, dscore, ZK_ATTN_TILE, 1, keys->k_rows, keys->k, dp, w->dq + r * dp, dp);
    r += rows;
  }
}

// The same rows' part of dk and dv. On the diagonal key j begins with row j: the few rows before it within its register block have
// weight +0, and adding +0 times a number to the +0 that a chain starts from changes nothing.
static void key_side(int32_t padded_dim, int diagonal, int32_t num_rows, const float *q, const float *dout, const work *w) {
  const ptrdiff_t dp = padded_dim;
  const float *q_block[ZK_ATTN_TILE_BLOCKS], *dout_block[ZK_ATTN_TILE_BLOCKS];
  for (int i = 0; i < ZK_ATTN_TILE_BLOCKS; ++i) q_block[i] = q + i * ZK_KV_BLOCK * dp, dout_block[i] = dout + i * ZK_KV_BLOCK * dp;
  int32_t end[ZK_ATTN_MICRO_ROWS];
  for (int i = 0; i < ZK_ATTN_MICRO_ROWS; ++i) end[i] = num_rows;
  const int32_t num_keys = diagonal ? num_rows : ZK_ATTN_TILE;
  for (int32_t j = 0; j < num_keys;) {
    const int keys = zk_attn_next_rows(num_keys - j);
    const int32_t from = diagonal ? j : 0;
    zk_attn_sums(keys, padded_dim, from, end, w->weight + j, 1, ZK_ATTN_TILE, dout_block, q_block, dp, w->dv + j * dp, dp);
    zk_attn_sums(keys, padded_dim, from, end, w->dscore + j, 1, ZK_ATTN_TILE, q_block, dout_block, dp, w->dk + j * dp, dp);
    j += keys;
  }
}

static void move_rows(int32_t rows, int32_t cols, int add, const float *from, ptrdiff_t from_ld, float *to, ptrdiff_t to_ld) {
  for (int32_t r = 0; r < rows; ++r) move_row(cols, add, from + r * from_ld, to + r * to_ld);
}

// A part of the key tile's chains ends inside the head: it joins the head's sum, and the chains start again.
static void end_key_part(int32_t padded_dim, int first, const work *w) {
  move_rows(ZK_ATTN_TILE, padded_dim, !first, w->dk, padded_dim, w->head_dk, padded_dim);
  move_rows(ZK_ATTN_TILE, padded_dim, !first, w->dv, padded_dim, w->head_dv, padded_dim);
  memset(w->dk, 0, 2 * ZK_ATTN_TILE * (size_t)padded_dim * sizeof(float)); // dv lies behind
}

// The key tile's chains end: the head's sum is complete and joins those of the heads before it.
static void end_key_head(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t tile, int has_parts, int first_head, const work *w) {
  const zk_attn_shape *s = &b->shape;
  const int32_t key = tile * ZK_ATTN_TILE, num_keys = min_i32(ZK_ATTN_TILE, t->num_rows - key);
  const ptrdiff_t ld = (ptrdiff_t)s->num_kv_heads * s->dim, at = (t->first_row + key) * ld + (ptrdiff_t)t->kv_head * s->dim;
  if (has_parts) end_key_part(s->padded_dim, 0, w);
  move_rows(num_keys, s->dim, !first_head, has_parts ? w->head_dk : w->dk, s->padded_dim, b->dk + at, ld);
  move_rows(num_keys, s->dim, !first_head, has_parts ? w->head_dv : w->dv, s->padded_dim, b->dv + at, ld);
}

// Rows [begin, end) end a part of dq.
static void end_query_part(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t head, int32_t begin, int32_t end, int first,
                           const work *w) {
  const zk_attn_shape *s = &b->shape;
  const ptrdiff_t ld = (ptrdiff_t)s->num_heads * s->dim, dp = s->padded_dim;
  if (begin < end) move_rows(end - begin, s->dim, !first, w->dq + begin * dp, dp, b->dq + (t->first_row + begin) * ld + (ptrdiff_t)head * s->dim, ld);
}

#define TILES_A_PART (ZK_ATTN_PART / ZK_ATTN_TILE)

// One key tile of one query head against the task's row blocks from `block` on.
static void run_tile(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t head, int32_t tile, int32_t block, const work *w) {
  const int32_t dp = b->shape.padded_dim;
  const key_tile keys = key_tile_at(b, t, tile);
  int num_parts = 0;
  if (t->want_dkv) memset(w->dk, 0, 2 * ZK_ATTN_TILE * (size_t)dp * sizeof(float)); // dv lies behind
  for (int32_t i = block; i < t->block_end; ++i) {
    const int32_t begin = i * ZK_ATTN_TILE, end = min_i32(begin + ZK_ATTN_TILE, t->num_rows);
    if (t->want_dkv && i > block && i % TILES_A_PART == 0) end_key_part(dp, num_parts++ == 0, w);
    query_side(b, t, head, tile, &keys, begin, end, w);
    if (t->want_dkv) key_side(dp, i == tile, end - begin, w->q + (ptrdiff_t)begin * dp, w->dout + (ptrdiff_t)begin * dp, w);
  }
  if (t->want_dkv) end_key_head(b, t, tile, num_parts > 0, head % b->shape.group == 0, w);
}

static void run_head(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t head, const work *w) {
  const int32_t first_block = t->block_begin > t->tile_begin ? t->block_begin : t->tile_begin;
  const int32_t row_begin = first_block * ZK_ATTN_TILE, row_end = min_i32(t->block_end * ZK_ATTN_TILE, t->num_rows);
  pack_rows(b, t, head, row_begin, row_end, w);
  for (int32_t tile = t->tile_begin; tile < t->tile_end; ++tile) {
    const int32_t block = t->block_begin > tile ? t->block_begin : tile, row = block * ZK_ATTN_TILE;
    if (t->want_dq && tile > 0 && tile % TILES_A_PART == 0) {
      end_query_part(b, t, head, row, row_end, tile == TILES_A_PART, w);
      memset(w->dq + (ptrdiff_t)row * b->shape.padded_dim, 0, (size_t)(row_end - row) * (size_t)b->shape.padded_dim * sizeof(float));
    }
    run_tile(b, t, head, tile, block, w);
  }
  if (!t->want_dq) return;
  const int32_t cut = row_begin > ZK_ATTN_PART ? row_begin : min_i32(ZK_ATTN_PART, row_end); // rows from here on have had a part
  end_query_part(b, t, head, row_begin, cut, 1, w);
  end_query_part(b, t, head, cut, row_end, 0, w);
}

void ZK_ISA_FN(zk_attn_backward_run)(const zk_attn_backward *b, const zk_attn_backward_task *t, float *scratch) {
  const work w = work_at(&b->shape, t->num_rows, scratch);
  for (int32_t i = 0; i < b->shape.group; ++i) run_head(b, t, t->kv_head * b->shape.group + i, &w);
}
