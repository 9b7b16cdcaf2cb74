// Tensor-core multiplication in blocks: threads over blocks of C; outputs that an infinity, a NaN or an overflow may reach are computed in
// integers instead.
#include "kernels/cpu/isa/tc_gemm_tile.h"

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int min_int(int64_t a, int b) { return a < b ? (int)a : b; }

static float initial_of(const zk_tc_gemm *call, int64_t row, int64_t col) {
  return call->initial != NULL ? call->initial[row * call->ld_initial + col] : 0.0f;
}

// One output, in integers.
static float exact_output(const zk_tc_gemm *call, int64_t row, int64_t col) {
  const zk_tc_operand *a = &call->a, *b = &call->b;
  const bool a_inner = a->layout == ZK_GEMM_K_INNER, b_inner = b->layout == ZK_GEMM_K_INNER;
  return zk_tc_chain(a->data + (a_inner ? row * a->ld : row), a_inner ? 1 : a->ld,
                     b->data + (b_inner ? col * b->ld : col), b_inner ? 1 : b->ld, call->k, initial_of(call, row, col));
}

static void deliver(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols, const float *block,
                    int64_t ld) {
  if (call->finish != NULL) {
    call->finish(call->finish_arg, row, rows, col, cols, block, ld);
    return;
  }
  for (int r = 0; r < rows; r++)
    memcpy(call->c + (row + r) * call->ldc + col, block + r * ld, (size_t)cols * sizeof *block);
}

#if defined(ZK_ISA_scalar)
#define BLOCK_COLUMNS ZK_TC_BLOCK_COLUMNS
static void run_block(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols) {
  float block[ZK_TC_BLOCK_ROWS][BLOCK_COLUMNS];
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < cols; j++) block[r][j] = exact_output(call, row + r, col + j);
  deliver(call, row, rows, col, cols, block[0], BLOCK_COLUMNS);
}
#else
#define BLOCK_COLUMNS ZK_TC_COLUMNS
#define SUSPECT 1000 // stands for the exponent of an infinity or a NaN

static int exponent_bound(uint16_t magnitude) { return magnitude >= 0x7f80u ? SUSPECT : zk_tc_exponent(magnitude); }

// Largest sum of exponents of two factors with which a chain of `steps` steps from an accumulator below 2^126 stays finite: a step adds less
// than 16 * 2^(sum + 2).
static int safe_exponent(int64_t k) {
  int doublings = 0;
  while (((int64_t)1 << doublings) < ceil_div(k, ZK_TC_STEP)) doublings++;
  return 126 - 6 - doublings;
}

static void set_initial(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols, zk_tc_tile *tile) {
  for (int r = 0; r < rows; r++) {
    memset(tile->acc[r], 0, sizeof tile->acc[r]);
    if (call->initial == NULL) continue;
    memcpy(tile->acc[r], call->initial + (row + r) * call->ld_initial + col, (size_t)cols * sizeof(float));
  }
}

// Replaces outputs that may not have stayed finite.
static void mend(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols, zk_tc_tile *tile) {
  const int safe = safe_exponent(call->k);
  int b_bound[ZK_TC_COLUMNS], b_largest = -SUSPECT;
  for (int j = 0; j < cols; j++) {
    b_bound[j] = exponent_bound(tile->b_largest[j]);
    if (b_bound[j] > b_largest) b_largest = b_bound[j];
  }
  for (int r = 0; r < rows; r++) {
    uint16_t a_largest = 0;
    for (int k = 0; k < ZK_TC_STEP; k++)
      a_largest = tile->a_largest[r][k] > a_largest ? tile->a_largest[r][k] : a_largest;
    const int a_bound = exponent_bound(a_largest);
    if (call->initial == NULL && a_bound + b_largest <= safe) continue;
    for (int j = 0; j < cols; j++) {
      const uint32_t field = zk_float_bits(initial_of(call, row + r, col + j)) >> 23 & 255u;
      if (a_bound + b_bound[j] > safe || field >= 126 + 127) tile->acc[r][j] = exact_output(call, row + r, col + j);
    }
  }
}

static void run_block(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols) {
  zk_tc_tile tile;
  set_initial(call, row, rows, col, cols, &tile);
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | _MM_ROUND_TOWARD_ZERO); // all arithmetic meanwhile is in another file: none can be moved out
  zk_tc_tile_steps(call, row, rows, col, cols, &tile);
  _mm_setcsr(control);
  mend(call, row, rows, col, cols, &tile);
  deliver(call, row, rows, col, cols, tile.acc[0], ZK_TC_COLUMNS);
}
#endif

void ZK_ISA_FN(zk_tc_gemm_run)(const zk_tc_gemm *call) {
  const int64_t row_blocks = ceil_div(call->m, ZK_TC_BLOCK_ROWS), col_blocks = ceil_div(call->n, BLOCK_COLUMNS);
#pragma omp parallel for schedule(dynamic, 1) num_threads(call->threads) if (call->threads > 1)
  for (int64_t i = 0; i < row_blocks * col_blocks; i++) {
    const int64_t row = i % row_blocks * ZK_TC_BLOCK_ROWS, col = i / row_blocks * BLOCK_COLUMNS;
    run_block(call, row, min_int(call->m - row, ZK_TC_BLOCK_ROWS), col, min_int(call->n - col, BLOCK_COLUMNS));
  }
}
