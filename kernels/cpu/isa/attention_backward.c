// Attention backward of one query head: every product is recomputed tile by tile from the cache and q.
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa/attention_tile.h"

// Working memory of a task. Rows are those of the sequence.
typedef struct {
  float *q, *dout, *dq;   // [rows][Dp]
  float *dk, *dv;         // [64][Dp], the key tile's chains
  float *weight, *dscore; // [64][64]: query row of the block, key of the tile
  float *delta;           // [rows]
} work;

static work work_at(const zk_attn_shape *s, int32_t num_rows, float *scratch) {
  const size_t matrix = (size_t)num_rows * (size_t)s->padded_dim, tile = (size_t)ZK_ATTN_TILE * (size_t)s->padded_dim;
  work w = {.q = scratch};
  w.dout = w.q + matrix;
  w.dq = w.dout + matrix;
  w.dk = w.dq + matrix;
  w.dv = w.dk + tile;
  w.weight = w.dv + tile;
  w.dscore = w.weight + ZK_ATTN_TILE * ZK_ATTN_TILE;
  w.delta = w.dscore + ZK_ATTN_TILE * ZK_ATTN_TILE;
  return w;
}

static int32_t min_i32(int32_t a, int32_t b) { return a < b ? a : b; }

void ZK_ISA_FN(zk_attn_pack_block)(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t kv_head, int32_t block) {
  const zk_attn_shape *s = &b->shape;
  const size_t dp = (size_t)s->padded_dim, from = zk_kv_block_offset(s, t->pages, kv_head, block);
  const size_t to = ((size_t)kv_head * (size_t)b->packed_rows + (size_t)t->packed_row + (size_t)block * ZK_KV_BLOCK) * dp;
  for (size_t d = 0; d < dp; ++d)
    for (size_t i = 0; i < ZK_KV_BLOCK; ++i) {
      b->packed_k[to + i * dp + d] = b->k_cache[from + d * ZK_KV_BLOCK + i];
      b->packed_v[to + d * ZK_KV_BLOCK + i] = b->v_cache[from + i * dp + d];
    }
}

// Gathers q and dout of rows [begin, end) of the task's head, clears dq, and computes delta.
static void pack_rows(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t begin, int32_t end, const work *w) {
  const zk_attn_shape *s = &b->shape;
  const size_t dp = (size_t)s->padded_dim, bytes = (size_t)s->dim * sizeof(float), pad = (dp - (size_t)s->dim) * sizeof(float);
  for (int32_t r = begin; r < end; ++r) {
    const int64_t from = ((int64_t)(t->first_row + r) * s->num_heads + t->head) * s->dim;
    float *q = w->q + (size_t)r * dp, *dout = w->dout + (size_t)r * dp;
    memcpy(q, b->q + from, bytes);
    memset(q + s->dim, 0, pad);
    memcpy(dout, b->dout + from, bytes);
    memset(dout + s->dim, 0, pad);
    memset(w->dq + (size_t)r * dp, 0, dp * sizeof(float));
    float acc = 0.0f;
    for (int32_t d = 0; d < s->dim; ++d) acc = fmaf(dout[d], b->out[from + d], acc);
    w->delta[r] = acc;
  }
}

// Keys of the tile that query row r sees.
static int32_t num_keys_seen(int32_t tile, int32_t r) { return min_i32(r + 1 - tile * ZK_ATTN_TILE, ZK_ATTN_TILE); }

// Pointers of one key tile.
typedef struct {
  const float *k[ZK_ATTN_TILE_BLOCKS], *v[ZK_ATTN_TILE_BLOCKS]; // [Dp][16]
  const float *k_rows[ZK_ATTN_TILE_BLOCKS];                     // [16][Dp]
} key_tile;

static key_tile key_tile_at(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t tile) {
  const zk_attn_shape *s = &b->shape;
  const int32_t kv_head = t->head / s->group, end = (t->num_rows + ZK_KV_BLOCK - 1) / ZK_KV_BLOCK;
  key_tile out = {{0}, {0}, {0}};
  for (int32_t i = 0; i < ZK_ATTN_TILE_BLOCKS && tile * ZK_ATTN_TILE_BLOCKS + i < end; ++i) {
    const int32_t block = tile * ZK_ATTN_TILE_BLOCKS + i;
    const size_t packed =
        ((size_t)kv_head * (size_t)b->packed_rows + (size_t)t->packed_row + (size_t)block * ZK_KV_BLOCK) * (size_t)s->padded_dim;
    out.k[i] = b->k_cache + zk_kv_block_offset(s, t->pages, kv_head, block);
    out.v[i] = b->packed_v + packed;
    out.k_rows[i] = b->packed_k + packed;
  }
  return out;
}

// weight and dscore of rows [r, r + rows) from raw dots: score in weight, dp in dscore.
static void finish_scores(int rows, int32_t num_cols, float scale, const float *lse, const float *delta, float *restrict weight,
                          float *restrict dscore) {
  for (int i = 0; i < rows; ++i, weight += ZK_ATTN_TILE, dscore += ZK_ATTN_TILE)
    for (int32_t j = 0; j < num_cols; ++j) {
      weight[j] = zk_expf(weight[j] * scale - lse[i]);
      dscore[j] = (weight[j] * (dscore[j] - delta[i])) * scale;
    }
}

// Rows [begin, end) of one block against one key tile: weights, score gradients, and their part of dq.
static void query_side(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t tile, const key_tile *keys, int32_t begin,
                       int32_t end, const work *w) {
  const zk_attn_shape *s = &b->shape;
  const ptrdiff_t dp = s->padded_dim;
  for (int32_t r = begin; r < end;) {
    const int rows = zk_attn_next_rows(end - r);
    float *weight = w->weight + (r - begin) * ZK_ATTN_TILE, *dscore = w->dscore + (r - begin) * ZK_ATTN_TILE;
    const int32_t num_cols = (num_keys_seen(tile, r + rows - 1) + 15) / 16 * 16;
    zk_attn_dots(rows, num_cols, s->dim, w->q + r * dp, dp, keys->k, weight);
    zk_attn_dots(rows, num_cols, s->dim, w->dout + r * dp, dp, keys->v, dscore);
    float lse[ZK_ATTN_MICRO_ROWS];
    for (int i = 0; i < rows; ++i) lse[i] = b->lse[(int64_t)(t->first_row + r + i) * s->num_heads + t->head];
    finish_scores(rows, num_cols, s->scale, lse, w->delta + r, weight, dscore);
    int32_t done = 0; // a row's chain ends with its last key: rows leave one by one
    for (int i = 0; t->want_dq && i < rows; ++i) {
      const int32_t n = num_keys_seen(tile, r + i);
      zk_attn_sums(rows - i, s->padded_dim, done, n, dscore + i * ZK_ATTN_TILE, ZK_ATTN_TILE, 1, keys->k_rows, dp, w->dq + (r + i) * dp, dp);
      done = n;
    }
    r += rows;
  }
}

// The same rows' part of dk and dv. On the diagonal key j begins with row j: keys join one by one.
static void key_side(int32_t padded_dim, int diagonal, int32_t num_rows, const float *q, const float *dout, const work *w) {
  const ptrdiff_t dp = padded_dim;
  const float *q_block[ZK_ATTN_TILE_BLOCKS], *dout_block[ZK_ATTN_TILE_BLOCKS];
  for (int i = 0; i < ZK_ATTN_TILE_BLOCKS; ++i) q_block[i] = q + i * ZK_KV_BLOCK * dp, dout_block[i] = dout + i * ZK_KV_BLOCK * dp;
  const int32_t num_keys = diagonal ? num_rows : ZK_ATTN_TILE;
  for (int32_t j = 0; j < num_keys;) {
    const int keys = zk_attn_next_rows(num_keys - j);
    for (int i = diagonal ? 1 : keys; i <= keys; ++i) {
      const int32_t from = diagonal ? j + i - 1 : 0, to = i < keys ? j + i : num_rows;
      zk_attn_sums(i, padded_dim, from, to, w->weight + j, 1, ZK_ATTN_TILE, dout_block, dp, w->dv + j * dp, dp);
      zk_attn_sums(i, padded_dim, from, to, w->dscore + j, 1, ZK_ATTN_TILE, q_block, dp, w->dk + j * dp, dp);
    }
    j += keys;
  }
}

// Ends a part: the first is the sum itself, the others are added. The chains start again from +0.
static void end_part(int32_t num_rows, int32_t num_cols, int first, float *part, ptrdiff_t part_ld, float *sum, ptrdiff_t sum_ld) {
  for (int32_t r = 0; r < num_rows; ++r)
    for (int32_t d = 0; d < num_cols; ++d) {
      float *to = &sum[r * sum_ld + d], *from = &part[r * part_ld + d];
      *to = first ? *from : *to + *from;
      *from = 0.0f;
    }
}

static void end_key_part(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t tile, int first, const work *w) {
  const ptrdiff_t dp = b->shape.padded_dim;
  const int32_t key = tile * ZK_ATTN_TILE, num_keys = min_i32(ZK_ATTN_TILE, t->num_rows - key);
  const ptrdiff_t at = ((ptrdiff_t)t->head * b->num_rows + t->first_row + key) * dp;
  end_part(num_keys, b->shape.padded_dim, first, w->dk, dp, b->head_dk + at, dp);
  end_part(num_keys, b->shape.padded_dim, first, w->dv, dp, b->head_dv + at, dp);
}

// Rows [begin, end) end the part of dq that covers keys up to a multiple of ZK_ATTN_PART (or their last).
static void end_query_part(const zk_attn_backward *b, const zk_attn_backward_task *t, int32_t begin, int32_t end, int first, const work *w) {
  const zk_attn_shape *s = &b->shape;
  const ptrdiff_t ld = (ptrdiff_t)s->num_heads * s->dim;
  float *dq = b->dq + (t->first_row + begin) * ld + (ptrdiff_t)t->head * s->dim;
  if (begin < end) end_part(end - begin, s->dim, first, w->dq + (ptrdiff_t)begin * s->padded_dim, s->padded_dim, dq, ld);
}

void ZK_ISA_FN(zk_attn_backward_run)(const zk_attn_backward *b, const zk_attn_backward_task *t, float *scratch) {
  const zk_attn_shape *s = &b->shape;
  const ptrdiff_t dp = s->padded_dim;
  const int32_t tiles_a_part = ZK_ATTN_PART / ZK_ATTN_TILE;
  const int32_t first_block = t->block_begin > t->tile_begin ? t->block_begin : t->tile_begin;
  const int32_t row_begin = first_block * ZK_ATTN_TILE, row_end = min_i32(t->block_end * ZK_ATTN_TILE, t->num_rows);
  const work w = work_at(s, t->num_rows, scratch);
  pack_rows(b, t, row_begin, row_end, &w);
  memset(w.dk, 0, 2 * (size_t)ZK_ATTN_TILE * (size_t)dp * sizeof(float)); // dv lies behind
  for (int32_t tile = t->tile_begin; tile < t->tile_end; ++tile) {
    const key_tile keys = key_tile_at(b, t, tile);
    const int32_t from = t->block_begin > tile ? t->block_begin : tile;
    if (t->want_dq && tile > 0 && tile % tiles_a_part == 0) end_query_part(b, t, from * ZK_ATTN_TILE, row_end, tile == tiles_a_part, &w);
    for (int32_t block = from; block < t->block_end; ++block) {
      const int32_t begin = block * ZK_ATTN_TILE, end = min_i32(begin + ZK_ATTN_TILE, t->num_rows);
      if (t->want_dkv && block > from && block % tiles_a_part == 0)
        end_key_part(b, t, tile, block / tiles_a_part == tile / tiles_a_part + 1, &w);
      query_side(b, t, tile, &keys, begin, end, &w);
      if (t->want_dkv) key_side(s->padded_dim, block == tile, end - begin, w.q + begin * dp, w.dout + begin * dp, &w);
    }
    if (t->want_dkv) end_key_part(b, t, tile, (t->block_end - 1) / tiles_a_part == tile / tiles_a_part, &w);
  }
  if (!t->want_dq) return;
  const int32_t cut = row_begin > ZK_ATTN_PART ? row_begin : min_i32(ZK_ATTN_PART, row_end); // rows from here on have had a part
  end_query_part(b, t, row_begin, cut, 1, &w);
  end_query_part(b, t, cut, row_end, 0, &w);
}

void ZK_ISA_FN(zk_attn_sum_heads)(const zk_attn_backward *b, int32_t row) {
  const zk_attn_shape *s = &b->shape;
  for (int32_t g = 0; g < s->num_kv_heads; ++g)
    for (int32_t i = 0; i < s->group; ++i) {
      const size_t from = ((size_t)(g * s->group + i) * (size_t)b->num_rows + (size_t)row) * (size_t)s->padded_dim;
      const ptrdiff_t to = ((ptrdiff_t)row * s->num_kv_heads + g) * s->dim;
      for (int32_t d = 0; d < s->dim; ++d) {
        b->dk[to + d] = i == 0 ? b->head_dk[from + (size_t)d] : b->dk[to + d] + b->head_dk[from + (size_t)d];
        b->dv[to + d] = i == 0 ? b->head_dv[from + (size_t)d] : b->dv[to + d] + b->head_dv[from + (size_t)d];
      }
    }
}
