// Rows of stored logits turned into their gradients, as bf16 would store them.
#include "kernels/bf16.h"
#include "kernels/cpu/isa/lmhead_tile.h"

void ZK_ISA_FN(zk_lmhead_gradient_rows)(const zk_lmhead_backward_chunk *call, int32_t first, int32_t columns,
                                        float *logits, int64_t ld) {
#pragma omp parallel for schedule(static) num_threads(call->threads)
  for (int64_t t = 0; t < call->num_rows; t++) {
    float *row = logits + t * ld;
    zk_lmhead_gradient(call, t, columns, first, row);
    for (int32_t v = 0; v < columns; v++) row[v] = zk_bf16_to_float(zk_float_to_bf16(row[v]));
  }
}
