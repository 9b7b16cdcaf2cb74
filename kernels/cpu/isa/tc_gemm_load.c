// One step's factors from either layout: a as [row][k], b as [k][column]; copied where the source runs that way, else
// transposed 16 x 16.
#include "kernels/cpu/isa/tc_gemm_tile.h"

#if !defined(ZK_ISA_scalar)

static int min_int(int64_t a, int b) { return a < b ? (int)a : b; }

// out[r][c] = in[r][c] for r < rows and c < width; zeros outside `valid_rows` and `valid_cols`.
static inline void copy(const zk_bf16 *in, int64_t ld, int valid_rows, int valid_cols, int rows, const int width,
                        uint16_t *out) {
  if (valid_rows >= rows && valid_cols >= width) {
    for (int r = 0; r < rows; r++) memcpy(out + r * width, in + r * ld, (size_t)width * sizeof *out);
    return;
  }
  memset(out, 0, (size_t)rows * (size_t)width * sizeof *out);
  for (int r = 0; r < rows && r < valid_rows; r++)
    memcpy(out + r * width, in + r * ld, (size_t)min_int(valid_cols, width) * sizeof *out);
}

// Three perfect shuffles transpose 8 x 8 words in each 128-bit half.
static inline void shuffle(const __m256i in[8], __m256i out[8]) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    out[2 * i] = _mm256_unpacklo_epi16(in[i], in[i + 4]);
    out[2 * i + 1] = _mm256_unpackhi_epi16(in[i], in[i + 4]);
  }
}

// out[c][r] = in[r][c], 16 x 16.
static void transpose(const zk_bf16 *in, int64_t ld, int valid_rows, int valid_cols, uint16_t *out, int64_t ld_out) {
  uint16_t padded[16 * 16];
  const uint16_t *from = (const uint16_t *)in;
  if (valid_rows < 16 || valid_cols < 16) {
    copy(in, ld, valid_rows, valid_cols, 16, 16, padded);
    from = padded, ld = 16;
  }
  __m256i x[2][8], y[8];
#pragma GCC unroll 2
  for (int half = 0; half < 2; half++) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) x[half][r] = _mm256_loadu_si256((const __m256i *)(from + (8 * half + r) * ld));
    shuffle(x[half], y), shuffle(y, x[half]), shuffle(x[half], y);
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) x[half][r] = y[r];
  }
#pragma GCC unroll 8
  for (int c = 0; c < 8; c++) {
    _mm256_storeu_si256((__m256i *)(out + c * ld_out), _mm256_permute2x128_si256(x[0][c], x[1][c], 0x20));
    _mm256_storeu_si256((__m256i *)(out + (c + 8) * ld_out), _mm256_permute2x128_si256(x[0][c], x[1][c], 0x31));
  }
}

void zk_tc_load_step(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols, int64_t k0,
                     zk_tc_tile *tile) {
  const zk_tc_operand *a = &call->a, *b = &call->b;
  const int steps = min_int(call->k - k0, ZK_TC_STEP);
  if (a->layout == ZK_GEMM_K_INNER)
    copy(a->data + row * a->ld + k0, a->ld, rows, steps, rows, ZK_TC_STEP, (uint16_t *)tile->a);
  else
    for (int r = 0; r < rows; r += 16)
      transpose(a->data + k0 * a->ld + row + r, a->ld, steps, rows - r, (uint16_t *)tile->a + r * ZK_TC_STEP,
                ZK_TC_STEP);
  if (b->layout == ZK_GEMM_K_OUTER)
    copy(b->data + k0 * b->ld + col, b->ld, steps, cols, ZK_TC_STEP, ZK_TC_COLUMNS, (uint16_t *)tile->b);
  else
    for (int c = 0; c < ZK_TC_COLUMNS; c += 16)
      transpose(b->data + (c < cols ? col + c : col) * b->ld + k0, b->ld, c < cols ? cols - c : 0, steps,
                (uint16_t *)tile->b + c, ZK_TC_COLUMNS);
}

#endif
