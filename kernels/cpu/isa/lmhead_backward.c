// LM head backward for one token chunk: logits are formed again, a slice of the vocabulary at a time, turned into their
// gradients in place, and used at once for both products. Chains that span slices wait in fp32, which rounds nothing.
#include <omp.h>

#include "kernels/cpu/isa/lmhead_tile.h"

enum {
  BLOCK_COLUMNS = 512, // formed by a thread at once: a multiple of the tile and of the panel
  BLOCK_PANELS = 8,    // by so many row panels
  MIN_SLICE = BLOCK_COLUMNS,
  LD_PADDING = 16, // rows a power of two apart would share one cache set
};
#define SLICE_BYTES ((size_t)16 << 20)
_Static_assert(ZK_VOCAB_CHUNK % BLOCK_COLUMNS == 0 && BLOCK_COLUMNS % ZK_VOCAB_TILE == 0,
               "slices cut no chunk, no tile");

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

typedef struct {
  int width;     // of row panels
  int32_t slice; // ids in a slice; divides ZK_VOCAB_CHUNK
  int64_t ld;    // of the slice's rows
  size_t a_bytes, b_bytes, slice_bytes, part_bytes, product_bytes, thread_bytes;
} plan;

// One block of logits; `x_rows` and `logits` point at its first row (and column).
static zk_gemm logits_call(const zk_lmhead_backward_chunk *call, const plan *p, const float *x_rows, int32_t first,
                           int64_t rows, int32_t columns, float *logits) {
  return (zk_gemm){
      .m = rows,
      .n = columns,
      .k = call->hidden,
      .a = {.data = x_rows, .ld = p->width, .layout = ZK_GEMM_PANELS},
      .b = {.data = call->packed + (size_t)first * (size_t)call->hidden, .ld = ZK_PANEL, .layout = ZK_GEMM_PANELS},
      .c = logits,
      .ldc = p->ld,
      .threads = 1};
}

// dW of a slice: its rows' chains over the chunk's tokens, added.
static zk_gemm weight_call(const zk_lmhead_backward_chunk *call, const plan *p, const float *x_columns, int32_t first,
                           int32_t columns, const float *dlogits) {
  float *dweight = call->dweight ? call->dweight + (size_t)first * (size_t)call->hidden : NULL;
  return (zk_gemm){.m = columns,
                   .n = call->hidden,
                   .k = call->num_rows,
                   .a = {.data = dlogits, .ld = p->ld, .layout = ZK_GEMM_K_OUTER},
                   .b = {.data = x_columns, .ld = ZK_PANEL, .layout = ZK_GEMM_PANELS},
                   .c = dweight,
                   .ldc = call->hidden,
                   .addend = dweight,
                   .ld_addend = call->hidden,
                   .threads = call->threads};
}

// dX: the chains of a vocabulary chunk go on through its slices in `part`; the last slice adds them to dx.
static zk_gemm input_call(const zk_lmhead_backward_chunk *call, const plan *p, int32_t first, int32_t columns,
                          const float *dlogits, float *part) {
  const bool chunk_begins = first % ZK_VOCAB_CHUNK == 0;
  const bool chunk_ends = (first + columns) % ZK_VOCAB_CHUNK == 0 || first + columns == call->vocab;
  return (zk_gemm){
      .m = call->num_rows,
      .n = call->hidden,
      .k = columns,
      .a = {.data = dlogits, .ld = p->ld, .layout = ZK_GEMM_K_INNER},
      .b = {.data = (const float *)call->weight + (size_t)first * (size_t)call->hidden, .ld = call->hidden, .layout = ZK_GEMM_K_OUTER},
      .resume = chunk_begins ? NULL : part,
      .c = chunk_ends ? call->dx : part,
      .ldc = call->hidden,
      .addend = chunk_ends && first >= ZK_VOCAB_CHUNK ? call->dx : NULL,
      .ld_addend = call->hidden,
      .threads = call->threads};
}

// Scratch of the products of one slice.
static size_t product_bytes(const zk_lmhead_backward_chunk *call, const plan *p, int32_t columns) {
  const zk_gemm dw = weight_call(call, p, NULL, 0, columns, NULL), dx = input_call(call, p, 0, columns, NULL, NULL);
  return larger(ZK_ISA_FN(zk_gemm_scratch_bytes)(&dw), ZK_ISA_FN(zk_gemm_scratch_bytes)(&dx));
}

static plan make_plan(const zk_lmhead_backward_chunk *call) {
  plan p = {.width = ZK_ISA_FN(zk_gemm_row_width)(call->num_rows), .slice = ZK_VOCAB_CHUNK};
  const size_t rows = (size_t)call->num_rows, hidden = (size_t)call->hidden;
  while (p.slice > MIN_SLICE && rows * (size_t)p.slice * sizeof(float) > SLICE_BYTES) p.slice /= 2;
  const int32_t columns = (int32_t)min64(p.slice, call->vocab), rest = call->vocab % p.slice;
  p.ld = columns + LD_PADDING;
  p.a_bytes = round64((rows + (size_t)p.width) * hidden * sizeof(float));
  p.b_bytes = round64(zk_gemm_panel_floats(call->hidden, call->num_rows) * sizeof(float));
  p.slice_bytes = round64(rows * (size_t)p.ld * sizeof(float));
  p.part_bytes = round64(rows * hidden * sizeof(float));
  const zk_gemm logits =
      logits_call(call, &p, NULL, 0, min64(call->num_rows, p.width * BLOCK_PANELS), BLOCK_COLUMNS, NULL);
  p.thread_bytes = round64(ZK_ISA_FN(zk_gemm_scratch_bytes)(&logits));
  p.product_bytes = larger(p.thread_bytes * (size_t)call->threads, product_bytes(call, &p, columns));
  if (rest != 0) p.product_bytes = larger(p.product_bytes, product_bytes(call, &p, rest));
  return p;
}

size_t ZK_ISA_FN(zk_lmhead_backward_bytes)(const zk_lmhead_backward_chunk *call) {
  const plan p = make_plan(call);
  return p.a_bytes + p.b_bytes + p.slice_bytes + p.part_bytes + p.product_bytes;
}

// Rows [row, row + rows) and `columns` ids from `first` of the gradients of logits.
static void form_block(const zk_lmhead_backward_chunk *call, const plan *p, const float *x_rows, int64_t row,
                       int64_t rows, int32_t first, int32_t columns, float *out, void *scratch) {
  const zk_gemm g = logits_call(call, p, x_rows + row * call->hidden, first, rows, columns, out);
  ZK_ISA_FN(zk_gemm_run)(&g, scratch);
  for (int64_t t = row; t < row + rows; t++, out += p->ld) zk_lmhead_gradient(call, t, columns, first, out);
}

// slice[num_rows][ld] = gradients of the logits of ids [first, first + columns).
static void form_slice(const zk_lmhead_backward_chunk *call, const plan *p, const float *x_rows, int32_t first,
                       int32_t columns, float *slice, char *scratch) {
  const int64_t block_rows = p->width * BLOCK_PANELS, num_blocks = (call->num_rows + block_rows - 1) / block_rows;
  const int64_t num_parts = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
#pragma omp parallel for schedule(dynamic, 1) num_threads(call->threads)
  for (int64_t i = 0; i < num_blocks * num_parts; i++) {
    const int64_t row = i % num_blocks * block_rows, column = i / num_blocks * BLOCK_COLUMNS;
    form_block(call, p, x_rows, row, min64(block_rows, call->num_rows - row), first + (int32_t)column,
               (int32_t)min64(BLOCK_COLUMNS, columns - column), slice + row * p->ld + column,
               scratch + (size_t)omp_get_thread_num() * p->thread_bytes);
  }
}

void ZK_ISA_FN(zk_lmhead_backward_run)(const zk_lmhead_backward_chunk *call, void *scratch) {
  const plan p = make_plan(call);
  char *at = scratch;
  float *x_rows = (float *)at, *x_columns = (float *)(at += p.a_bytes), *slice = (float *)(at += p.b_bytes);
  float *part = (float *)(at += p.slice_bytes);
  char *product = at + p.part_bytes;
  const zk_gemm_operand rows = {.data = call->x, .ld = call->hidden, .layout = ZK_GEMM_K_INNER};
  const zk_gemm_operand columns = {.data = call->x, .ld = call->hidden, .layout = ZK_GEMM_K_OUTER};
  ZK_ISA_FN(zk_gemm_pack)(&rows, call->num_rows, call->hidden, p.width, call->threads, x_rows);
  ZK_ISA_FN(zk_gemm_pack)(&columns, call->hidden, call->num_rows, ZK_PANEL, call->threads, x_columns);
  for (int32_t first = 0; first < call->vocab; first += p.slice) {
    const int32_t num = (int32_t)min64(p.slice, call->vocab - first);
    form_slice(call, &p, x_rows, first, num, slice, product);
    const zk_gemm dw = weight_call(call, &p, x_columns, first, num, slice),
                  dx = input_call(call, &p, first, num, slice, part);
    if (call->dweight) ZK_ISA_FN(zk_gemm_run)(&dw, product);
    ZK_ISA_FN(zk_gemm_run)(&dx, product);
  }
}
