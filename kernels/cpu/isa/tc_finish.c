// What a bf16 linear layer does with finished blocks.
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tc_gemm.h"

void ZK_ISA_FN(zk_tc_finish_rounded)(void *rounded, int64_t row, int64_t rows, int64_t col, int64_t cols,
                                     const float *block, int64_t ld) {
  const zk_tc_rounded *out = rounded;
  const zk_bf16 *bias = out->bias != NULL ? out->bias + col : NULL;
  for (int64_t r = 0; r < rows; r++, block += ld) {
    zk_bf16 *y = out->y + (row + r) * out->ld + col;
    const zk_bf16 *addend = out->addend != NULL ? out->addend + (row + r) * out->ld + col : NULL;
    float sums[ZK_TC_BLOCK_COLUMNS];
    for (int64_t j = 0; j < cols; j++) sums[j] = block[j];
    if (bias != NULL)
      for (int64_t j = 0; j < cols; j++) sums[j] = sums[j] + zk_bf16_to_float(bias[j]);
    if (addend != NULL)
      for (int64_t j = 0; j < cols; j++) sums[j] = sums[j] + zk_bf16_to_float(addend[j]);
    for (int64_t j = 0; j < cols; j++) y[j] = zk_float_to_bf16(sums[j]);
  }
}

void ZK_ISA_FN(zk_tc_finish_added)(void *added, int64_t row, int64_t rows, int64_t col, int64_t cols,
                                   const float *block, int64_t ld) {
  const zk_tc_added *out = added;
  for (int64_t r = 0; r < rows; r++, block += ld) {
    float *sum = out->sum + (row + r) * out->ld + col;
    ZK_INDEPENDENT_LOOP
    for (int64_t j = 0; j < cols; j++) sum[j] = sum[j] + block[j];
  }
}
