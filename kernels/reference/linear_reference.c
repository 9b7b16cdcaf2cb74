// Linear layer, written from the order alone.
#include "kernels/reference/linear_reference.h"

#include <math.h>
#include <stddef.h>

#include "kernels/tensor_core.h"

// The chain over i < n of a[i * stride_a] and b[i * stride_b] from +0: of fma, or of tensor-core steps of 16.
static float chain(zk_numerics numerics, int64_t n, const float *a, int64_t stride_a, const float *b, int64_t stride_b) {
  float acc = 0.0f;
  if (numerics == ZK_F32) {
    for (int64_t i = 0; i < n; i++) acc = fmaf(a[i * stride_a], b[i * stride_b], acc);
    return acc;
  }
  for (int64_t first = 0; first < n; first += ZK_TC_STEP) {
    zk_bf16 x[ZK_TC_STEP] = {{0}}, y[ZK_TC_STEP] = {{0}};
    for (int64_t i = first; i < n && i < first + ZK_TC_STEP; i++) {
      x[i - first] = zk_float_to_bf16(a[i * stride_a]);
      y[i - first] = zk_float_to_bf16(b[i * stride_b]);
    }
    acc = zk_tc_step(x, y, acc);
  }
  return acc;
}

static float stored(zk_numerics numerics, float x) {
  return numerics == ZK_F32 ? x : zk_bf16_to_float(zk_float_to_bf16(x));
}

float zk_linear_reference_element(zk_numerics numerics, int32_t in, const float *x, const float *w, const float *bias,
                                  const float *addend) {
  float acc = chain(numerics, in, x, 1, w, 1);
  if (bias != NULL) acc = acc + *bias;
  if (addend != NULL) acc = acc + *addend;
  return stored(numerics, acc);
}

void zk_linear_reference_forward(zk_numerics numerics, int64_t rows, int32_t in, int32_t out, const float *x,
                                 const float *weight, const float *bias, const float *addend, float *y) {
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t t = 0; t < rows; t++)
    for (int64_t n = 0; n < out; n++)
      y[t * out + n] =
          zk_linear_reference_element(numerics, in, x + t * in, weight + n * in, bias == NULL ? NULL : bias + n,
                                      addend == NULL ? NULL : addend + t * out + n);
}

void zk_linear_reference_backward_input(zk_numerics numerics, int64_t rows, int32_t in, int32_t out, const float *dy,
                                        const float *weight, const float *addend, float *dx) {
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t t = 0; t < rows; t++)
    for (int64_t k = 0; k < in; k++) {
      float acc = chain(numerics, out, dy + t * out, 1, weight + k, in);
      if (addend != NULL) acc = acc + addend[t * in + k];
      dx[t * in + k] = stored(numerics, acc);
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

void zk_linear_reference_backward_weight(zk_numerics numerics, int64_t rows, int32_t in, int32_t out,
                                         const zk_chunks *chunks, const float *dy, const float *x, float *dweight,
                                         float *dbias) {
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t first = chunks->row_start[c], end = chunks->row_start[c + 1];
    if (first == end) continue;
    for (int64_t n = 0; n < out; n++) {
      for (int64_t k = 0; k < in; k++)
        dweight[n * in + k] = dweight[n * in + k] +
                              chain(numerics, end - first, dy + first * out + n, out, x + first * in + k, in);
      if (dbias != NULL) dbias[n] = dbias[n] + bias_chunk(first, end, out, n, dy);
    }
  }
}
