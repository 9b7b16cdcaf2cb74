// LM head forward: threads form logits of (row block, vocabulary slice) in their cache and reduce them there; what the
// tiles say is merged in ascending order, row by row, afterwards. With a filter, or a library's product, whole rows of logits are stored first.
#include <omp.h>

#include "kernels/cpu/isa/lmhead_tile.h"
#include "kernels/cpu/tc_gemm.h"
#include "kernels/math.h"

enum {
  SLICE = 512,      // vocabulary columns formed at once: a multiple of the tile and of the panel
  BLOCK_PANELS = 8, // row panels formed at once
  BF16_ROWS = 128,  // or rows, in numerics bf16
  MAX_ROWS = 1024,  // rows whose tile results wait at once
  MERGE_ROWS = 8,   // fewer are merged by one thread: sooner done than shared
};
#define BATCH_BYTES ((size_t)16 << 20)

// What waits for the merge, arrays [tiles][rows of the batch].
typedef struct {
  float *m, *l, *h, *best_value, *best_z;
  int32_t *best_id;
  uint64_t *hash;
} partials;
enum { PARTIAL_BYTES = 6 * 4 + 8 };

typedef struct {
  int64_t num_tiles, num_slices;
  int64_t batch_rows; // rows taken through the head together
  int width;          // of row panels
  int64_t block_rows; // rows of one block of logits
  int64_t padded_vocab;
  bool stored; // whole rows of logits stand in memory
  size_t x_floats, logits_floats, partial_items, gemm_bytes, thread_bytes;
} plan;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

// The multiplication of one block: few rows are read as they are, more are packed.
static zk_gemm block_call(const zk_lmhead_forward *call, const plan *p, int64_t rows, int32_t columns) {
  zk_gemm g = {
      .m = rows, .n = columns, .k = call->hidden, .b = {.ld = ZK_PANEL, .layout = ZK_GEMM_PANELS}, .threads = 1};
  g.a = p->width > 0 ? (zk_gemm_operand){.ld = p->width, .layout = ZK_GEMM_PANELS}
                     : (zk_gemm_operand){.ld = call->hidden, .layout = ZK_GEMM_K_INNER};
  return g;
}

static plan make_plan(const zk_lmhead_forward *call) {
  plan p = {.num_tiles = ceil_div(call->vocab, ZK_VOCAB_TILE), .num_slices = ceil_div(call->vocab, SLICE)};
  p.padded_vocab = p.num_tiles * ZK_VOCAB_TILE;
  p.stored = call->dist.filtered || call->product != NULL;
  const size_t row_bytes =
      p.stored ? (size_t)p.padded_vocab * sizeof(float) : (size_t)p.num_tiles * PARTIAL_BYTES;
  p.batch_rows = min64((int64_t)(BATCH_BYTES / row_bytes), MAX_ROWS);
  p.batch_rows = min64(p.batch_rows < 16 ? 16 : p.batch_rows, call->num_rows);
  const bool panels = call->numerics == ZK_F32 && p.batch_rows > 16;
  p.width = panels ? ZK_ISA_FN(zk_gemm_row_width)(p.batch_rows) : 0;
  p.block_rows = panels ? p.width * BLOCK_PANELS : min64(p.batch_rows, BF16_ROWS);
  p.x_floats = p.width > 0 || call->product != NULL ? (size_t)(p.batch_rows + p.width) * (size_t)call->hidden : 0;
  p.partial_items = (size_t)p.num_tiles * (size_t)p.batch_rows;
  const zk_gemm g = block_call(call, &p, p.block_rows, SLICE);
  p.gemm_bytes = call->numerics == ZK_F32 ? ZK_ISA_FN(zk_gemm_scratch_bytes)(&g) : 0;
  p.logits_floats = p.stored ? (size_t)p.batch_rows * (size_t)p.padded_vocab : 0;
  const size_t block_bytes =
      call->dist.filtered ? zk_lmhead_filter_bytes(call->vocab) : (size_t)p.block_rows * SLICE * sizeof(float);
  p.thread_bytes = round64(p.gemm_bytes) + round64(block_bytes);
  return p;
}

size_t ZK_ISA_FN(zk_lmhead_forward_bytes)(const zk_lmhead_forward *call) {
  const plan p = make_plan(call);
  return round64(p.x_floats * sizeof(float)) + round64(p.logits_floats * sizeof(float)) + 8 * 64 +
         p.partial_items * PARTIAL_BYTES + round64((size_t)p.batch_rows * (sizeof(zk_lmhead_row) + sizeof(float))) +
         64 + p.thread_bytes * (size_t)call->threads;
}

static void *carve(char **at, size_t bytes) {
  void *p = *at;
  *at += round64(bytes);
  return p;
}

// One batch of rows in work.
typedef struct {
  const zk_lmhead_forward *call;
  const plan *plan;
  int64_t first_row, num_rows;
  const float *x_panels; // or NULL
  float *x_wide;         // scratch of a library's product
  float *logits;         // [rows][padded_vocab], if stored
  partials part;
  zk_lmhead_row *row; // [rows]
  float *target_z;    // [rows]
} batch;

static zk_lmhead_row describe_row(const zk_lmhead_forward *call, int64_t t) {
  zk_lmhead_row row = {.dist = &call->dist, .pick = call->pick, .target = -1};
  if (call->pick == ZK_PICK_NOTHING) row.target = call->target[t];
  if (call->pick == ZK_PICK_GUMBEL) {
    row.key[0] = (uint32_t)call->ids->seed, row.key[1] = (uint32_t)(call->ids->seed >> 32);
    row.ctr[0] = call->ids->position[t], row.ctr[1] = call->ids->prompt_id[t];
    row.ctr[2] = call->ids->sample_idx[t] << 20 | call->ids->step[t];
  }
  return row;
}

// Logits of rows [row0, row0 + rows) and slice `slice` into c: the one thing here that differs by numerics.
static void form_logits_bf16(const batch *b, int64_t row0, int64_t rows, int64_t slice, float *c, int64_t ldc) {
  const zk_lmhead_forward *call = b->call;
  const int64_t first = slice * SLICE, hidden = call->hidden;
  const zk_tc_gemm g = {.m = rows,
                        .n = min64(SLICE, call->vocab - first),
                        .k = hidden,
                        .a = {(const zk_bf16 *)call->x + (b->first_row + row0) * hidden, hidden, ZK_GEMM_K_INNER},
                        .b = {(const zk_bf16 *)call->weight + first * hidden, hidden, ZK_GEMM_K_INNER},
                        .c = c,
                        .ldc = ldc,
                        .threads = 1};
  ZK_ISA_FN(zk_tc_gemm_run)(&g);
}

static void form_logits(const batch *b, int64_t row0, int64_t rows, int64_t slice, void *scratch, float *c,
                        int64_t ldc) {
  if (b->call->numerics == ZK_BF16) {
    form_logits_bf16(b, row0, rows, slice, c, ldc);
    return;
  }
  const zk_lmhead_forward *call = b->call;
  const int64_t first = slice * SLICE;
  zk_gemm g = block_call(call, b->plan, rows, (int32_t)min64(SLICE, call->vocab - first));
  g.a.data = b->x_panels != NULL ? b->x_panels + row0 * call->hidden
                                 : (const float *)call->x + (b->first_row + row0) * call->hidden;
  g.b.data = call->packed + first * call->hidden;
  g.c = c, g.ldc = ldc;
  ZK_ISA_FN(zk_gemm_run)(&g, scratch);
}

// Reads tiles [tile0, tile1) of row r, whose logits begin with the first tile's.
static void read_tiles(const batch *b, int64_t r, int64_t tile0, int64_t tile1, const float *logits) {
  const zk_lmhead_forward *call = b->call;
  for (int64_t tile = tile0; tile < tile1; tile++, logits += ZK_VOCAB_TILE) {
    const int32_t first = (int32_t)tile * ZK_VOCAB_TILE;
    const int count = (int)min64(ZK_VOCAB_TILE, call->vocab - first);
    const size_t at = (size_t)(tile * b->num_rows + r);
    zk_lmhead_tile out = {.target_z = 0.0f};
    zk_lmhead_read_tile(&b->row[r], logits, count, first, &out);
    b->part.m[at] = out.m, b->part.l[at] = out.l, b->part.h[at] = out.h;
    b->part.best_value[at] = out.best_value, b->part.best_z[at] = out.best_z, b->part.best_id[at] = out.best_id;
    if (b->row[r].target >= first && b->row[r].target < first + count) b->target_z[r] = out.target_z;
    if (call->out.logits_hash != NULL) b->part.hash[at] = zk_lmhead_hash(logits, count, first);
  }
}

// Of stored logits, where the kept prefix ends.
static void find_kept(const batch *b, int64_t r, void *scratch) {
  const zk_lmhead_forward *call = b->call;
  const float *logits = b->logits + r * b->plan->padded_vocab;
  zk_lmhead_row *row = &b->row[r];
  int bad = 0;
  for (int32_t v = 0; v < call->vocab; v++) bad |= !(logits[v] < INFINITY);
  row->kept_logit = INFINITY, row->kept_id = -1; // nothing
  if (!bad) zk_lmhead_filter(&call->dist, logits, call->vocab, scratch, &row->kept_logit, &row->kept_id);
  if (call->out.kept_logit != NULL) call->out.kept_logit[b->first_row + r] = row->kept_logit;
  if (call->out.kept_id != NULL) call->out.kept_id[b->first_row + r] = row->kept_id;
}

// Tiles ascending: the log-sum-exp's running (m, l, h), the best token, the hash; then what was asked for.
static void merge_row(const batch *b, int64_t r) {
  const zk_lmhead_forward *call = b->call;
  const float nan = zk_bits_float(0x7fc00000u);
  float m = -INFINITY, l = 0.0f, h = 0.0f, best = -INFINITY, z = b->target_z[r];
  int32_t token = -1;
  uint64_t hash = 0;
  bool bad = false;
  for (int64_t tile = 0; tile < b->plan->num_tiles; tile++) {
    const size_t at = (size_t)(tile * b->num_rows + r);
    const float mt = b->part.m[at], lt = b->part.l[at], ht = b->part.h[at];
    if (call->out.logits_hash != NULL) hash += b->part.hash[at];
    bad |= mt != mt;
    if (b->part.best_id[at] >= 0 && (token < 0 || b->part.best_value[at] > best))
      best = b->part.best_value[at], token = b->part.best_id[at], z = b->part.best_z[at];
    if (mt == -INFINITY) continue;
    if (m == -INFINITY) {
      m = mt, l = lt, h = ht;
      continue;
    }
    // The larger of the two is scaled by zk_expf(0), which is 1.
    const float n = mt > m ? mt : m, smaller = zk_expf(mt > m ? m - n : mt - n);
    const float scale = mt > m ? smaller : 1.0f, scale_t = mt > m ? 1.0f : smaller;
    l = fmaf(l, scale, lt * scale_t);
    h = fmaf(h, scale, ht * scale_t);
    m = n;
  }
  const float lse = m + zk_logf(l);
  bad |= !(lse > -INFINITY && lse < INFINITY);
  const int64_t t = b->first_row + r;
  call->out.logprob[t] = bad ? nan : z - lse;
  if (call->token != NULL) call->token[t] = bad ? -1 : token;
  if (call->out.lse != NULL) call->out.lse[t] = bad ? nan : lse;
  if (call->out.entropy != NULL) call->out.entropy[t] = bad ? nan : lse - h / l;
  if (call->out.logits_hash != NULL) call->out.logits_hash[t] = hash;
}

// With a filter: finds where the kept prefix ends. Then reads the row's tiles from whole rows of logits.
static void read_row(const batch *b, int64_t r, void *scratch) {
  if (b->call->dist.filtered) find_kept(b, r, scratch);
  read_tiles(b, r, 0, b->plan->num_tiles, b->logits + r * b->plan->padded_vocab);
}

// Block `i` of logits: rows first, so that a slice of weights stays in the cache that threads share. Stored logits
// stay, others are read at once.
static void run_block(const batch *b, int64_t i, void *gemm_scratch, float *logits) {
  const plan *p = b->plan;
  const int64_t num_blocks = ceil_div(b->num_rows, p->block_rows), slice = i / num_blocks;
  const int64_t row0 = i % num_blocks * p->block_rows, rows = min64(p->block_rows, b->num_rows - row0);
  if (p->stored) {
    float *place = b->logits + row0 * p->padded_vocab + slice * SLICE;
    form_logits(b, row0, rows, slice, gemm_scratch, place, p->padded_vocab);
    return;
  }
  form_logits(b, row0, rows, slice, gemm_scratch, logits, SLICE);
  const int64_t tile0 = slice * (SLICE / ZK_VOCAB_TILE), tile1 = min64(tile0 + SLICE / ZK_VOCAB_TILE, p->num_tiles);
  for (int64_t r = 0; r < rows; r++) read_tiles(b, row0 + r, tile0, tile1, logits + r * SLICE);
}

static void run_batch(const batch *b, char *thread_scratch) {
  const plan *p = b->plan;
  const bool is_formed = b->call->product != NULL;
  const int64_t num_blocks = is_formed ? 0 : ceil_div(b->num_rows, p->block_rows) * p->num_slices;
  if (is_formed) b->call->product(b->call, b->first_row, b->num_rows, b->x_wide, b->logits, p->padded_vocab);
  for (int64_t r = 0; r < b->num_rows; r++) {
    b->row[r] = describe_row(b->call, b->first_row + r);
    b->target_z[r] = -INFINITY;
  }
#pragma omp parallel num_threads(b->call->threads)
  {
    char *gemm_scratch = thread_scratch + (size_t)omp_get_thread_num() * p->thread_bytes;
    char *own = gemm_scratch + round64(p->gemm_bytes); // a block of logits, or a filter's entries
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < num_blocks; i++) run_block(b, i, gemm_scratch, (float *)own);
    if (p->stored) {
#pragma omp for schedule(dynamic, 1)
      for (int64_t r = 0; r < b->num_rows; r++) read_row(b, r, own);
    }
    if (b->num_rows >= MERGE_ROWS) {
#pragma omp for schedule(static)
      for (int64_t r = 0; r < b->num_rows; r++) merge_row(b, r);
    }
  }
  for (int64_t r = 0; r < b->num_rows && b->num_rows < MERGE_ROWS; r++) merge_row(b, r);
}

void ZK_ISA_FN(zk_lmhead_forward_run)(const zk_lmhead_forward *call, void *scratch) {
  if (call->num_rows == 0) return;
  const plan p = make_plan(call);
  char *at = scratch;
  float *x_panels = carve(&at, p.x_floats * sizeof(float));
  batch b = {.call = call, .plan = &p, .x_wide = x_panels};
  b.logits = carve(&at, p.logits_floats * sizeof(float));
  b.part.hash = carve(&at, p.partial_items * sizeof(uint64_t));
  b.part.m = carve(&at, p.partial_items * sizeof(float));
  b.part.l = carve(&at, p.partial_items * sizeof(float));
  b.part.h = carve(&at, p.partial_items * sizeof(float));
  b.part.best_value = carve(&at, p.partial_items * sizeof(float));
  b.part.best_z = carve(&at, p.partial_items * sizeof(float));
  b.part.best_id = carve(&at, p.partial_items * sizeof(int32_t));
  b.row = carve(&at, (size_t)p.batch_rows * sizeof *b.row);
  b.target_z = carve(&at, (size_t)p.batch_rows * sizeof(float));
  for (b.first_row = 0; b.first_row < call->num_rows; b.first_row += p.batch_rows) {
    b.num_rows = min64(p.batch_rows, call->num_rows - b.first_row);
    if (p.width > 0) {
      const zk_gemm_operand x = {
          .data = (const float *)call->x + b.first_row * call->hidden, .ld = call->hidden, .layout = ZK_GEMM_K_INNER};
      ZK_ISA_FN(zk_gemm_pack)(&x, b.num_rows, call->hidden, p.width, call->threads, x_panels);
      b.x_panels = x_panels;
    }
    run_batch(&b, at);
  }
}
