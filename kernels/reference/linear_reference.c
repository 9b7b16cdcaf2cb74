// Linear layer, written from the order alone.
#include "kernels/reference/linear_reference.h"

#include <math.h>
#include <stddef.h>

float zk_linear_reference_element(int32_t in, const float *x, const float *w, const float *bias, const float *addend) {
  float acc = 0.0f;
  for (int32_t k = 0; k < in; k++) acc = fmaf(x[k], w[k], acc);
  if (bias != NULL) acc = acc + *bias;
  if (addend != NULL) acc = acc + *addend;
  return acc;
}

void zk_linear_reference_forward(int64_t rows, int32_t in, int32_t out, const float *x, const float *weight,
                                 const float *bias, const float *addend, float *y) {
  for (int64_t t = 0; t < rows; t++)
    for (int64_t n = 0; n < out; n++)
      y[t * out + n] = zk_linear_reference_element(in, x + t * in, weight + n * in, bias == NULL ? NULL : bias + n,
                                                   addend == NULL ? NULL : addend + t * out + n);
}

void zk_linear_reference_backward_input(int64_t rows, int32_t in, int32_t out, const float *dy, const float *weight,
                                        const float *addend, float *dx) {
  for (int64_t t = 0; t < rows; t++)
    for (int64_t k = 0; k < in; k++) {
      float acc = 0.0f;
      for (int64_t n = 0; n < out; n++) acc = fmaf(dy[t * out + n], weight[n * in + k], acc);
      if (addend != NULL) acc = acc + addend[t * in + k];
      dx[t * in + k] = acc;
    }
}

// Sum of column n over the chunk's rows: 64-row blocks, then neighbouring pairs, pairs of pairs...
static float bias_chunk(int64_t first, int64_t end, int32_t out, int64_t n, const float *dy) {
  float sums[ZK_CHUNK_TOKENS / 64];
  int64_t num_blocks = 0;
  for (int64_t block = first; block < end; block += 64, num_blocks++) {
    float acc = 0.0f;
    for (int64_t t = block; t < block + 64 && t < end; t++) acc = acc + dy[t * out + n];
    sums[num_blocks] = acc;
  }
  while (num_blocks > 1) {
    for (int64_t i = 0; i < (num_blocks + 1) / 2; i++)
      sums[i] = 2 * i + 1 < num_blocks ? sums[2 * i] + sums[2 * i + 1] : sums[2 * i];
    num_blocks = (num_blocks + 1) / 2;
  }
  return sums[0];
}

void zk_linear_reference_backward_weight(int64_t rows, int32_t in, int32_t out, const zk_chunks *chunks,
                                         const float *dy, const float *x, float *dweight, float *dbias) {
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t first = chunks->row_start[c], end = chunks->row_start[c + 1];
    if (first == end) continue;
    for (int64_t n = 0; n < out; n++) {
      for (int64_t k = 0; k < in; k++) {
        float acc = 0.0f;
        for (int64_t t = first; t < end; t++) acc = fmaf(dy[t * out + n], x[t * in + k], acc);
        dweight[n * in + k] = dweight[n * in + k] + acc;
      }
      if (dbias != NULL) dbias[n] = dbias[n] + bias_chunk(first, end, out, n, dy);
    }
  }
}
