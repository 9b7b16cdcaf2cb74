// Golden cases of the operations that work row by row: embedding, RMSNorm, RoPE.
#include <stdlib.h>

#include "golden.h"
#include "kernels/embedding.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"

#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))

static zk_status embedding(golden *g, int64_t rows, int32_t width, int32_t vocab) {
  const zk_embedding_desc desc = {g->numerics, rows, width, vocab};
  int32_t *tokens;
  void *table, *x;
  if (!golden_case(g, ZK_OP_EMBEDDING, "rows %lld, width %d, vocabulary %d", (long long)rows, width, vocab))
    return ZK_OK;
  ZK_TRY(golden_integers(g, vocab, rows, &tokens));
  ZK_TRY(golden_elements(g, GOLDEN_WIDE, (int64_t)vocab * width, &table));
  ZK_TRY(golden_zeros(g, golden_bytes(g, rows * width), &x));
  ZK_TRY(zk_embedding_forward(g->stream, &desc, tokens, table, x));
  return golden_elements_line(g, "x", x, rows * width);
}

static zk_status embedding_backward(golden *g, golden_kind kind, int64_t rows, int32_t width, int32_t vocab) {
  const zk_embedding_desc desc = {g->numerics, rows, width, vocab};
  int32_t *tokens;
  void *dx;
  float *dtable;
  if (!golden_case(g, ZK_OP_EMBEDDING_BACKWARD, "rows %lld, width %d, vocabulary %d, %s", (long long)rows, width, vocab,
                   golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(golden_integers(g, vocab, rows, &tokens));
  ZK_TRY(golden_elements(g, kind, rows * width, &dx));
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, (int64_t)vocab * width, &dtable));
  ZK_TRY(zk_embedding_backward(g->stream, &desc, tokens, dx, dtable));
  return golden_floats_line(g, "dtable", dtable, (int64_t)vocab * width);
}

static zk_status rmsnorm(golden *g, golden_kind kind, int64_t tokens, int32_t heads, int32_t width) {
  const int64_t rows = tokens * heads, n = rows * width;
  const zk_rmsnorm_desc desc = {g->numerics, tokens, heads, width, 1e-6f};
  void *x, *weight, *y;
  float *rstd;
  if (!golden_case(g, ZK_OP_RMSNORM, "tokens %lld, heads %d, width %d, %s", (long long)tokens, heads, width,
                   golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(golden_elements(g, kind, n, &x));
  ZK_TRY(golden_elements(g, GOLDEN_NORMAL, width, &weight));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &y));
  ZK_TRY(golden_zeros(g, FLOAT_BYTES(rows), (void **)&rstd));
  ZK_TRY(zk_rmsnorm_forward(g->stream, &desc, x, weight, y, rstd));
  ZK_TRY(golden_elements_line(g, "y", y, n));
  return golden_floats_line(g, "rstd", rstd, rows);
}

static zk_status rmsnorm_backward(golden *g, golden_kind kind, int32_t heads, int32_t width, const zk_chunks *chunks) {
  const int64_t tokens = chunks->row_start[chunks->num_chunks], rows = tokens * heads, n = rows * width;
  const zk_rmsnorm_desc desc = {g->numerics, tokens, heads, width, 1e-6f};
  void *dy, *x, *weight, *addend, *dx;
  float *rstd, *dweight;
  if (!golden_case(g, ZK_OP_RMSNORM_BACKWARD, "tokens %lld in %d chunks, heads %d, width %d, %s", (long long)tokens,
                   chunks->num_chunks, heads, width, golden_kind_name(kind)))
    return ZK_OK;
  ZK_TRY(golden_elements(g, kind, n, &dy));
  ZK_TRY(golden_elements(g, kind, n, &x));
  ZK_TRY(golden_elements(g, GOLDEN_NORMAL, width, &weight));
  ZK_TRY(golden_elements(g, GOLDEN_NORMAL, n, &addend));
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, rows, &rstd));
  ZK_TRY(golden_floats(g, GOLDEN_NORMAL, width, &dweight));
  ZK_TRY(golden_zeros(g, golden_bytes(g, n), &dx));
  ZK_TRY(
      zk_rmsnorm_backward(g->stream, &desc, chunks, dy, x, weight, rstd, width % 2 == 0 ? addend : NULL, dx, dweight));
  ZK_TRY(golden_elements_line(g, "dx", dx, n));
  return golden_floats_line(g, "dweight", dweight, width);
}

static const zk_rope_params rope_params[] = {{.theta = 10000.0},
                                             {.theta = 1e6, .scaling = ZK_ROPE_LINEAR, .factor = 3.0},
                                             {.theta = 500000.0,
                                              .scaling = ZK_ROPE_LLAMA3,
                                              .factor = 8.0,
                                              .low_freq_factor = 1.0,
                                              .high_freq_factor = 4.0,
                                              .original_max_position = 256}};

// The tables are the host's; one case of each shape shows them.
static zk_status rope(golden *g, zk_op op, golden_kind kind, int scaling, int64_t rows, int32_t heads,
                      int32_t head_dim) {
  enum { NUM_POSITIONS = 1024 };
  const int64_t n = rows * heads * head_dim, num_table = (int64_t)NUM_POSITIONS * head_dim / 2;
  const zk_rope_desc desc = {g->numerics, rows, heads, head_dim};
  void *x, *table_d;
  int32_t *positions;
  if (!golden_case(g, op, "rows %lld, heads %d, head_dim %d, scaling %d, %s", (long long)rows, heads, head_dim, scaling,
                   golden_kind_name(kind)))
    return ZK_OK;
  float *table = malloc(FLOAT_BYTES(2 * num_table));
  if (table == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "golden: no memory for the tables of RoPE");
  zk_rope_build_tables(&rope_params[scaling], head_dim, NUM_POSITIONS, table, table + num_table);
  if (op == ZK_OP_ROPE && kind == GOLDEN_NORMAL)
    golden_host_line(g, "cos and sin", sizeof *table, table, 2 * num_table);
  const zk_status status = golden_upload(g, table, FLOAT_BYTES(2 * num_table), &table_d);
  free(table);
  ZK_TRY(status);
  const float *cos_table = table_d, *sin_table = cos_table + num_table;
  ZK_TRY(golden_elements(g, kind, n, &x));
  ZK_TRY(golden_integers(g, NUM_POSITIONS, rows, &positions));
  ZK_TRY((op == ZK_OP_ROPE ? zk_rope_forward : zk_rope_backward)(g->stream, &desc, positions, cos_table, sin_table, x));
  return golden_elements_line(g, op == ZK_OP_ROPE ? "x" : "dx", x, n);
}

zk_status golden_rows(golden *g) {
  static const int32_t widths[] = {1, 80, 128, 129, 1000}, dims[] = {64, 80, 128, 2, 24};
  static const int32_t starts[] = {0, 64, 64, 193}, long_starts[] = {0, 4096, 4200};
  const zk_chunks small = {3, starts}, large = {2, long_starts};
  ZK_TRY(embedding(g, 257, 33, 300));
  ZK_TRY(embedding(g, 7, 576, 70));
  for (golden_kind kind = 0; kind < GOLDEN_NUM_KINDS; kind++) {
    ZK_TRY(embedding_backward(g, kind, 700, 65, kind % 2 == 0 ? 5 : 300));
    for (int i = 0; i < GOLDEN_NUM(widths); i++) {
      ZK_TRY(rmsnorm(g, kind, 5, 1 + i % 3, widths[i]));
      ZK_TRY(rmsnorm_backward(g, kind, 1 + i % 3, widths[i], &small));
      ZK_TRY(rope(g, ZK_OP_ROPE, kind, i % 3, 67, 1 + i % 4, dims[i]));
      ZK_TRY(rope(g, ZK_OP_ROPE_BACKWARD, kind, i % 3, 67, 1 + i % 4, dims[i]));
    }
  }
  return rmsnorm_backward(g, GOLDEN_WIDE, 1, 40, &large);
}
