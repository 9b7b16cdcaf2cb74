// Tiles of C: waiting ones read back, finished ones moved to C with what is added to them.
#include "kernels/cpu/isa/gemm_block.h"

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

void zk_tile_load(const zk_gemm *call, int64_t row, int rows, int64_t col, int vecs, float *tile) {
  const int64_t width = vecs * ZK_VLEN;
  const int64_t valid_rows = min64(rows, call->m - row), valid_cols = min64(width, call->n - col);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < width; j++)
      tile[r * width + j] = r < valid_rows && j < valid_cols ? call->resume[(row + r) * call->ldc + col + j] : 0.0f;
}

void zk_tile_finish(const zk_gemm *call, int64_t row, int rows, int64_t col, int vecs, const float *tile) {
  const int64_t width = vecs * ZK_VLEN;
  const int64_t valid_rows = min64(rows, call->m - row), valid_cols = min64(width, call->n - col);
  const float *bias = call->bias ? call->bias + col : NULL;
  for (int64_t r = 0; r < valid_rows; r++, tile += width) {
    float *c = call->c + (row + r) * call->ldc + col;
    const float *addend = call->addend ? call->addend + (row + r) * call->ld_addend + col : NULL;
    if (valid_cols == width) {
      for (int j = 0; j < vecs; j++) {
        zk_vf v = zk_vf_load(tile + j * ZK_VLEN);
        if (bias) v = zk_vf_add(v, zk_vf_load(bias + j * ZK_VLEN));
        if (addend) v = zk_vf_add(v, zk_vf_load(addend + j * ZK_VLEN));
        zk_vf_store(c + j * ZK_VLEN, v);
      }
    } else {
      for (int64_t j = 0; j < valid_cols; j++) {
        float v = tile[j];
        if (bias) v = v + bias[j];
        if (addend) v = v + addend[j];
        c[j] = v;
      }
    }
  }
}
