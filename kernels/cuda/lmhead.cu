// LM head forward on the GPU: rows are taken a block at a time, so that what waits for the merge fits a bounded
// scratch.
#include "kernels/backend.h"
#include "kernels/cuda/lmhead.cuh"

#define PARTIAL_BYTES ((size_t)64 << 20) // of a block's partials
#define LOGITS_BYTES ((size_t)128 << 20) // of a block's logits, if stored
enum { MIN_ROWS = 16, ROW_STEP = 256 };  // ROW_STEP: rows of a pair of blocks of the large product

static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

// Bytes that wait for the merge, of a row and tile.
static size_t partial_bytes(const zk_lmhead_block *b) {
  return sizeof(zk_lmhead_sum) + (b->out.entropy != NULL ? sizeof(float) : 0) +
         (b->pick != ZK_CUDA_PICK_NOTHING ? sizeof(float) : 0) +
         (b->out.logits_hash != NULL ? sizeof(unsigned long long) : 0);
}

// Rows of a block: whole tiles of the product where there is room for more than one.
static int64_t rows_in_block(int64_t num_rows, int32_t num_tiles, size_t partial, bool stored_logits) {
  int64_t rows = (int64_t)(PARTIAL_BYTES / ((size_t)num_tiles * partial));
  const int64_t stored = (int64_t)(LOGITS_BYTES / ((size_t)num_tiles * ZK_VOCAB_TILE * sizeof(float)));
  if (stored_logits && stored < rows) rows = stored;
  if (rows > ROW_STEP) rows = rows / ROW_STEP * ROW_STEP;
  if (rows > 65535 / ROW_STEP * ROW_STEP) rows = 65535 / ROW_STEP * ROW_STEP; // rows are a grid's second index
  if (rows < MIN_ROWS) rows = MIN_ROWS;
  return rows < num_rows ? rows : num_rows;
}

static void *carve(char **at, size_t bytes) {
  void *p = *at;
  *at += round64(bytes);
  return p;
}

// The block's arrays begin `rows` further on.
static void advance(zk_lmhead_block *b, int64_t rows) {
  b->first_row += rows;
  b->x = (const char *)b->x + (size_t)rows * (size_t)b->hidden * zk_numerics_bytes(b->numerics);
#define STEP(p) b->p = b->p == NULL ? NULL : b->p + rows
  STEP(target), STEP(token);
  STEP(ids.step), STEP(ids.prompt_id), STEP(ids.sample_idx), STEP(ids.position);
  STEP(out.logprob), STEP(out.lse), STEP(out.entropy), STEP(out.kept_logit), STEP(out.kept_id), STEP(out.logits_hash);
#undef STEP
}

// Everything of `b` but its rows' number and its scratch is given.
static zk_status run_forward(zk_stream *stream, const zk_lmhead_desc *desc, zk_lmhead_block b, const void *x,
                             const void *weight, const zk_lmhead_out *out) {
  if (desc->num_rows == 0) return ZK_OK;
  b.numerics = desc->numerics, b.hidden = desc->hidden, b.vocab = desc->vocab;
  b.num_tiles = (desc->vocab + ZK_VOCAB_TILE - 1) / ZK_VOCAB_TILE;
  b.dist = zk_lmhead_make_dist(desc);
  b.x = x, b.weight = weight, b.out = *out;
  const bool stored_logits = b.dist.filtered || b.numerics == ZK_VENDOR;
  const int64_t max_rows = rows_in_block(desc->num_rows, b.num_tiles, partial_bytes(&b), stored_logits);
  const size_t rows = (size_t)max_rows, tiles = (size_t)b.num_tiles;
  const bool draws = b.numerics == ZK_BF16 && b.pick == ZK_CUDA_PICK_GUMBEL && !stored_logits;
  const size_t partials = rows * tiles * partial_bytes(&b) + 4 * 64;
  const size_t most = draws ? round64(rows * tiles * sizeof(float)) : 0;
  const size_t logits = stored_logits ? rows * tiles * ZK_VOCAB_TILE * sizeof(float) : 0;
  void *scratch;
  ZK_TRY(zk_stream_scratch(stream, partials + 5 * round64(rows * 4) + most + logits, &scratch));
  char *at = (char *)scratch;
  b.partial.sum = (zk_lmhead_sum *)carve(&at, rows * tiles * sizeof(zk_lmhead_sum));
  if (out->entropy != NULL) b.partial.h = (float *)carve(&at, rows * tiles * sizeof(float));
  if (b.pick != ZK_CUDA_PICK_NOTHING) b.partial.z = (float *)carve(&at, rows * tiles * sizeof(float));
  if (out->logits_hash != NULL)
    b.partial.hash = (unsigned long long *)carve(&at, rows * tiles * sizeof(unsigned long long));
  b.target_z = (float *)carve(&at, rows * sizeof(float));
  b.row_best = (unsigned long long *)carve(&at, rows * sizeof(unsigned long long));
  b.kept_logit = (float *)carve(&at, rows * sizeof(float));
  b.kept_id = (int32_t *)carve(&at, rows * sizeof(int32_t));
  b.most = draws ? (float *)carve(&at, most) : NULL;
  b.logits = (float *)at;
  for (int64_t row = 0; row < desc->num_rows; row += max_rows) {
    b.num_rows = desc->num_rows - row < max_rows ? desc->num_rows - row : max_rows;
    ZK_TRY(stored_logits ? zk_lmhead_read(stream, &b) : zk_lmhead_tiles(stream, &b));
    ZK_TRY(zk_lmhead_merge(stream, &b));
    advance(&b, b.num_rows);
  }
  return ZK_OK;
}

zk_status zk_cuda_lmhead_logprob(zk_stream *stream, const zk_lmhead_desc *desc, const void *x, const void *weight,
                                 const void *packed, const int32_t *target, const zk_lmhead_out *out) {
  (void)packed;
  zk_lmhead_block b = {};
  b.pick = ZK_CUDA_PICK_NOTHING, b.target = target;
  return run_forward(stream, desc, b, x, weight, out);
}

zk_status zk_cuda_lmhead_sample(zk_stream *stream, const zk_lmhead_desc *desc, const zk_sample_ids *ids, const void *x,
                                const void *weight, const void *packed, int32_t *token, const zk_lmhead_out *out) {
  (void)packed;
  zk_lmhead_block b = {};
  b.pick = desc->temperature == 0.0 ? ZK_CUDA_PICK_GREEDY : ZK_CUDA_PICK_GUMBEL;
  b.ids = *ids, b.token = token;
  return run_forward(stream, desc, b, x, weight, out);
}
