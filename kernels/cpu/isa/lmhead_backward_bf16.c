// LM head backward for one token chunk in numerics bf16: a slice of logits is formed again, turned into gradients, rounded to bf16, and used
// at once for both products. dX's chains wait in fp32 between slices, which rounds nothing.
#include <omp.h>
#include <string.h>

#include "kernels/cpu/isa/lmhead_tile.h"
#include "kernels/cpu/tc_gemm.h"

enum { COLUMNS = 512, ROWS = 64 }; // formed by a thread at once
_Static_assert(ZK_VOCAB_CHUNK % COLUMNS == 0 && COLUMNS % ZK_VOCAB_TILE == 0, "slices cut no chunk, no tile");
#define SLICE_BYTES ((size_t)16 << 20)

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

typedef struct {
  int32_t slice; // ids in a slice; divides ZK_VOCAB_CHUNK
  size_t slice_bytes, sum_bytes, block_bytes;
} plan;

static plan make_plan(const zk_lmhead_backward_chunk *call) {
  plan p = {.slice = ZK_VOCAB_CHUNK};
  while (p.slice > COLUMNS && (size_t)call->num_rows * (size_t)p.slice * sizeof(zk_bf16) > SLICE_BYTES) p.slice /= 2;
  p.slice_bytes = round64((size_t)call->num_rows * (size_t)p.slice * sizeof(zk_bf16));
  p.sum_bytes = round64((size_t)call->num_rows * (size_t)call->hidden * sizeof(float));
  p.block_bytes = (size_t)ROWS * COLUMNS * sizeof(float);
  return p;
}

size_t ZK_ISA_FN(zk_lmhead_backward_bf16_bytes)(const zk_lmhead_backward_chunk *call) {
  const plan p = make_plan(call);
  return p.slice_bytes + 2 * p.sum_bytes + p.block_bytes * (size_t)call->threads;
}

// Rows [row, row + rows) and `columns` ids from `first` of the gradients of logits, to out[rows][ld].
static void form_block(const zk_lmhead_backward_chunk *call, int64_t row, int64_t rows, int32_t first, int32_t columns, float *block,
                       zk_bf16 *out, int64_t ld) {
  const int64_t hidden = call->hidden;
  const zk_tc_gemm g = {.m = rows,
                        .n = columns,
                        .k = hidden,
                        .a = {(const zk_bf16 *)call->x + row * hidden, hidden, ZK_GEMM_K_INNER},
                        .b = {(const zk_bf16 *)call->weight + first * hidden, hidden, ZK_GEMM_K_INNER},
                        .c = block,
                        .ldc = COLUMNS,
                        .threads = 1};
  ZK_ISA_FN(zk_tc_gemm_run)(&g);
  for (int64_t t = row; t < row + rows; t++, block += COLUMNS, out += ld) {
    zk_lmhead_gradient(call, t, columns, first, block);
    for (int32_t v = 0; v < columns; v++) out[v] = zk_float_to_bf16(block[v]);
  }
}

// slice[num_rows][p->slice] = gradients of the logits of ids [first, first + columns).
static void form_slice(const zk_lmhead_backward_chunk *call, const plan *p, int32_t first, int32_t columns, zk_bf16 *slice, char *blocks) {
  const int64_t num_blocks = (call->num_rows + ROWS - 1) / ROWS, num_parts = (columns + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for schedule(dynamic, 1) num_threads(call->threads)
  for (int64_t i = 0; i < num_blocks * num_parts; i++) {
    const int64_t row = i % num_blocks * ROWS, column = i / num_blocks * COLUMNS;
    form_block(call, row, min64(ROWS, call->num_rows - row), first + (int32_t)column, (int32_t)min64(COLUMNS, columns - column),
               (float *)(blocks + (size_t)omp_get_thread_num() * p->block_bytes), slice + row * p->slice + column, p->slice);
  }
}

// dW of a slice: its rows' chains over the chunk's tokens, added.
static void add_weight(const zk_lmhead_backward_chunk *call, const plan *p, int32_t first, int32_t columns, const zk_bf16 *slice) {
  const int64_t hidden = call->hidden;
  zk_tc_added added = {.sum = call->dweight + first * hidden, .ld = hidden};
  const zk_tc_gemm g = {.m = columns,
                        .n = hidden,
                        .k = call->num_rows,
                        .a = {slice, p->slice, ZK_GEMM_K_OUTER},
                        .b = {call->x, hidden, ZK_GEMM_K_OUTER},
                        .finish = ZK_ISA_FN(zk_tc_finish_added),
                        .finish_arg = &added,
                        .threads = call->threads};
  ZK_ISA_FN(zk_tc_gemm_run)(&g);
}

// The chains of a vocabulary chunk go on through its slices in `part`.
static void continue_input(const zk_lmhead_backward_chunk *call, const plan *p, int32_t first, int32_t columns, const zk_bf16 *slice,
                           float *part) {
  const int64_t hidden = call->hidden;
  const zk_tc_gemm g = {.m = call->num_rows,
                        .n = hidden,
                        .k = columns,
                        .a = {slice, p->slice, ZK_GEMM_K_INNER},
                        .b = {(const zk_bf16 *)call->weight + first * hidden, hidden, ZK_GEMM_K_OUTER},
                        .initial = first % ZK_VOCAB_CHUNK == 0 ? NULL : part,
                        .ld_initial = hidden,
                        .c = part,
                        .ldc = hidden,
                        .threads = call->threads};
  ZK_ISA_FN(zk_tc_gemm_run)(&g);
}

void ZK_ISA_FN(zk_lmhead_backward_bf16_run)(const zk_lmhead_backward_chunk *call, void *scratch) {
  const plan p = make_plan(call);
  char *at = scratch;
  zk_bf16 *slice = (zk_bf16 *)at;
  float *part = (float *)(at += p.slice_bytes), *sum = (float *)(at += p.sum_bytes);
  char *blocks = at + p.sum_bytes;
  const size_t num_x = (size_t)call->num_rows * (size_t)call->hidden;
  for (int32_t first = 0; first < call->vocab; first += p.slice) {
    const int32_t num = (int32_t)min64(p.slice, call->vocab - first), end = first + num;
    form_slice(call, &p, first, num, slice, blocks);
    if (call->dweight) add_weight(call, &p, first, num, slice);
    continue_input(call, &p, first, num, slice, part);
    if (end % ZK_VOCAB_CHUNK != 0 && end != call->vocab) continue;
    if (end <= ZK_VOCAB_CHUNK) memcpy(sum, part, num_x * sizeof *sum);
    else
      for (size_t i = 0; i < num_x; i++) sum[i] = sum[i] + part[i];
  }
  zk_bf16 *dx = call->dx;
  for (size_t i = 0; i < num_x; i++) dx[i] = zk_float_to_bf16(sum[i]);
}
