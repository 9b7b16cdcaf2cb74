// LM head of numerics bf16: the products are chains of tensor-core steps; what is done with the logits is the f32 reference's.
#include <stdlib.h>

#include "kernels/reference/lmhead_reference.h"
#include "kernels/tensor_core.h"

void zk_lmhead_reference_bf16_logits(int32_t hidden, int32_t vocab, const zk_bf16 *x, const zk_bf16 *weight, float *logit) {
  for (int64_t v = 0; v < vocab; v++) logit[v] = zk_tc_chain(x, 1, weight + v * hidden, 1, hidden, 0.0f);
}

// One row: dx[K] from dlogit[V].
static void backward_input(int64_t hidden, int64_t vocab, const zk_bf16 *dlogit, const zk_bf16 *weight, zk_bf16 *dx) {
  for (int64_t k = 0; k < hidden; k++) {
    float sum = 0.0f;
    for (int64_t first = 0; first < vocab; first += ZK_VOCAB_CHUNK) {
      const int64_t num = vocab - first < ZK_VOCAB_CHUNK ? vocab - first : ZK_VOCAB_CHUNK;
      const float part = zk_tc_chain(dlogit + first, 1, weight + first * hidden + k, hidden, num, 0.0f);
      sum = first == 0 ? part : sum + part;
    }
    dx[k] = zk_float_to_bf16(sum);
  }
}

bool zk_lmhead_reference_bf16_backward(const zk_lmhead_desc *desc, const zk_chunks *chunks, const zk_bf16 *x, const zk_bf16 *weight,
                                       const int32_t *target, const float *dlogprob, const float *dentropy, zk_bf16 *dx, float *dweight) {
  const int64_t rows = desc->num_rows, hidden = desc->hidden, vocab = desc->vocab;
  zk_bf16 *d = malloc((size_t)(rows * vocab) * sizeof *d);
  float *logit = malloc((size_t)vocab * sizeof *logit);
  bool ok = d != NULL && logit != NULL;
  for (int64_t t = 0; ok && t < rows; t++) {
    zk_lmhead_reference_bf16_logits(desc->hidden, desc->vocab, x + t * hidden, weight, logit);
    ok = zk_lmhead_reference_dlogits(desc, logit, target[t], dlogprob[t], dentropy != NULL ? dentropy + t : NULL);
    for (int64_t v = 0; v < vocab; v++) d[t * vocab + v] = zk_float_to_bf16(logit[v]);
    backward_input(hidden, vocab, d + t * vocab, weight, dx + t * hidden);
  }
  for (int32_t c = 0; ok && c < chunks->num_chunks; c++) {
    const int64_t first = chunks->row_start[c], num = chunks->row_start[c + 1] - first;
    for (int64_t v = 0; v < vocab && num > 0; v++)
      for (int64_t k = 0; k < hidden; k++) {
        const float sum = zk_tc_chain(d + first * vocab + v, vocab, x + first * hidden + k, hidden, num, 0.0f);
        dweight[v * hidden + k] = dweight[v * hidden + k] + sum;
      }
  }
  free(d), free(logit);
  return ok;
}
