// Token embedding on a CPU. Backward: a thread owns the rows of the table whose id is its own modulo the threads, and
// walks all tokens in order, so each row receives its gradients in token order.
#include "kernels/backend.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

static zk_status validate(const zk_embedding_desc *desc, zk_op op, const int32_t *tokens) {
  for (int64_t t = 0; t < desc->num_rows; t++)
    if (tokens[t] < 0 || tokens[t] >= desc->vocab)
      return ZK_FAIL(ZK_BAD_INPUT, "%s: row %lld has token id %d, outside [0, %d)", zk_op_name(op), (long long)t,
                     tokens[t], desc->vocab);
  return ZK_OK;
}

zk_status zk_cpu_embedding_forward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens,
                                   const void *table, void *x) {
  ZK_TRY(validate(desc, ZK_OP_EMBEDDING, tokens));
  const size_t row_bytes = (size_t)desc->width * zk_numerics_bytes(desc->numerics);
  const int threads = zk_cpu_threads_for(zk_stream_device(stream), desc->num_rows * desc->width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t t = 0; t < desc->num_rows; t++)
    memcpy((char *)x + (size_t)t * row_bytes, (const char *)table + (size_t)tokens[t] * row_bytes, row_bytes);
  return ZK_OK;
}

// Every id's tokens in token order: first[id], then next[token]; -1: no more.
static zk_status chain_tokens(const zk_embedding_desc *desc, const int32_t *tokens, int64_t **first, int64_t **next) {
  *first = malloc((size_t)desc->vocab * sizeof **first);
  *next = malloc((size_t)(desc->num_rows + 1) * sizeof **next);
  if (!*first || !*next)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the order of %lld tokens", (long long)desc->num_rows);
  for (int32_t v = 0; v < desc->vocab; v++) (*first)[v] = -1;
  for (int64_t t = desc->num_rows - 1; t >= 0; t--) (*next)[t] = (*first)[tokens[t]], (*first)[tokens[t]] = t;
  return ZK_OK;
}

// A thread owns every so manieth id, and has a row of `sums`.
static zk_status backward_apart(const zk_device *device, const zk_embedding_desc *desc, const int32_t *tokens,
                                const void *dx, float *dtable) {
  const int64_t width = desc->width;
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, desc->num_rows * width);
  int64_t *first = NULL, *next = NULL;
  float *sums = malloc((size_t)threads * (size_t)width * sizeof *sums);
  zk_status st = sums ? chain_tokens(desc, tokens, &first, &next)
                      : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a row of %lld sums", (long long)width);
  const int32_t ids = st == ZK_OK ? desc->vocab : 0;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int32_t v = 0; v < ids; v++) {
    float *sum = sums + omp_get_thread_num() * width, *row = dtable + v * width;
    if (first[v] < 0) continue;
    memset(sum, 0, (size_t)width * sizeof *sum);
    for (int64_t t = first[v]; t >= 0; t = next[t])
      if (desc->numerics == ZK_F32) ZK_ISA_CALL(isa, zk_cpu_add, width, sum, (const float *)dx + t * width, sum);
      else ZK_ISA_CALL(isa, zk_cpu_add_widened, width, (const zk_bf16 *)dx + t * width, sum);
    ZK_ISA_CALL(isa, zk_cpu_add, width, row, sum, row);
  }
  free(first);
  free(next);
  free(sums);
  return st;
}

zk_status zk_cpu_embedding_backward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens,
                                    const void *dx, float *dtable) {
  ZK_TRY(validate(desc, ZK_OP_EMBEDDING_BACKWARD, tokens));
  const zk_device *device = zk_stream_device(stream);
  if (desc->apart) return backward_apart(device, desc, tokens, dx, dtable);
  const int64_t width = desc->width;
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, desc->num_rows * width);
#pragma omp parallel num_threads(threads)
  {
    const int32_t owners = omp_get_num_threads(), mine = omp_get_thread_num();
    for (int64_t t = 0; t < desc->num_rows; t++)
      if (tokens[t] % owners == mine) {
        float *row = dtable + tokens[t] * width;
        if (desc->numerics == ZK_F32) ZK_ISA_CALL(isa, zk_cpu_add, width, row, (const float *)dx + t * width, row);
        else ZK_ISA_CALL(isa, zk_cpu_add_widened, width, (const zk_bf16 *)dx + t * width, row);
      }
  }
  return ZK_OK;
}

zk_status zk_cpu_tokens_follow(zk_stream *stream, int64_t n, const int32_t *drawn, int32_t *tokens) {
  (void)stream;
  for (int64_t i = 0; i < n; i++) {
    if (tokens[i] >= 0) continue;
    const int32_t token = drawn[-1 - tokens[i]];
    tokens[i] = token < 0 ? 0 : token;
  }
  return ZK_OK;
}
