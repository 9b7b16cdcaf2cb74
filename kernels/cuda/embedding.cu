// Token embedding on a GPU. Backward: the rows of the batch are sorted by id; the block at an id's first row owns that
// row of the table and adds the gradients in token order, with no atomic operation.
#include "kernels/embedding.h"

#include "kernels/cuda/token_order.cuh"
#include "kernels/cuda/values.cuh"

#define THREADS 128
#define N 4     // columns a thread adds
#define AHEAD 8 // gradients a thread reads before it adds them

// x [T, width]: a block a token, two 16-byte groups a thread at a time, both read before either is written. An id
// outside the vocabulary is raised and reads row 0. WHOLE: rows are whole groups at multiples of 16 bytes.
template <typename T, bool WHOLE>
__global__ void embedding_forward_kernel(int32_t width, int32_t vocab, const int32_t *tokens, const T *table, T *x,
                                         unsigned long long *error_word) {
  const int group = 16 / sizeof(T);
  const int64_t row = blockIdx.x, step = (int64_t)blockDim.x * group;
  zk_wait_for_previous();
  zk_let_next_start();
  int32_t token = tokens[row];
  if (token < 0 || token >= vocab) {
    if (threadIdx.x == 0) zk_cuda_raise(error_word, ZK_CUDA_BAD_TOKEN, row);
    token = 0;
  }
  const T *from = table + (int64_t)token * width;
  x += row * width;
  for (int64_t h = (int64_t)threadIdx.x * group; h < width; h += 2 * step) {
    if (WHOLE) {
      const bool second = h + step < width;
      zk_words<4> a = *(const zk_words<4> *)(from + h), b = {};
      if (second) b = *(const zk_words<4> *)(from + h + step);
      *(zk_words<4> *)(x + h) = a;
      if (second) *(zk_words<4> *)(x + h + step) = b;
    } else {
      zk_copy_values<group>(x, from, h, width);
      if (h + step < width) zk_copy_values<group>(x, from, h + step, width);
    }
  }
}

// dtable [vocab, width] += dx [T, width]: blockIdx.x is a place in `keys` [T] (token_order.cuh), blockIdx.y counts N *
// THREADS columns. apart: the sum of dx, then += it.
template <typename T>
__global__ void embedding_backward_kernel(int64_t num_rows, int32_t width, const unsigned long long *keys, const T *dx,
                                          bool apart, float *dtable) {
  const int64_t first = blockIdx.x;
  const unsigned long long token = keys[first] >> 32;
  if (token == ZK_NO_TOKEN >> 32 || (first > 0 && keys[first - 1] >> 32 == token)) return;
  const int32_t h = (blockIdx.y * THREADS + threadIdx.x) * N;
  if (h >= width) return;
  float *row = dtable + (int64_t)token * width;
  const zk_values<N> before = zk_load_values<N>(row, h, width);
  zk_values<N> sum = before;
  for (int j = 0; apart && j < N; j++) sum.at[j] = 0.0f;
  int count = AHEAD;
  for (int64_t at = first; count == AHEAD; at += AHEAD) {
    zk_values<N> ahead[AHEAD];
    count = 0; // of rows with this id among the next AHEAD, which come first
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      if (at + i >= num_rows || keys[at + i] >> 32 != token) continue;
      ahead[i] = zk_load_values<N>(dx + (int64_t)(keys[at + i] & 0xffffffffu) * width, h, width);
      count++;
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++)
      if (i < count)
        for (int j = 0; j < N; j++) sum.at[j] = sum.at[j] + ahead[i].at[j];
  }
  for (int j = 0; apart && j < N; j++) sum.at[j] = before.at[j] + sum.at[j];
  zk_store_values(row, h, width, sum);
}

template <typename T>
static zk_status forward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *table,
                         void *x) {
  const int64_t groups = zk_ceil_div(desc->width, 16 / (int64_t)sizeof(T));
  const unsigned grid = (unsigned)desc->num_rows, most = 256, wanted = (unsigned)zk_ceil_div(groups, 64) * 32,
                 threads = wanted < most ? wanted : most;
  const bool whole = desc->width % (16 / (int)sizeof(T)) == 0 && ((uintptr_t)table | (uintptr_t)x) % 16 == 0;
  if (whole)
    ZK_LAUNCH_DEPENDENT((embedding_forward_kernel<T, true>), grid, threads, 0, stream, desc->width, desc->vocab, tokens,
                        (const T *)table, (T *)x, zk_cuda_error_word(stream));
  else
    ZK_LAUNCH_DEPENDENT((embedding_forward_kernel<T, false>), grid, threads, 0, stream, desc->width, desc->vocab,
                        tokens, (const T *)table, (T *)x, zk_cuda_error_word(stream));
  return ZK_OK;
}

template <typename T>
static zk_status backward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens, const void *dx,
                          float *dtable) {
  const unsigned long long *keys;
  ZK_TRY(zk_cuda_token_order(stream, desc->num_rows, desc->vocab, tokens, &keys));
  const dim3 grid((unsigned)desc->num_rows, (unsigned)zk_ceil_div(desc->width, N * THREADS));
  ZK_LAUNCH(embedding_backward_kernel<T>, grid, THREADS, 0, stream, desc->num_rows, desc->width, keys, (const T *)dx,
            desc->apart, dtable);
  return ZK_OK;
}

zk_status zk_cuda_embedding_forward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens,
                                    const void *table, void *x) {
  if (desc->num_rows == 0) return ZK_OK;
  return desc->numerics == ZK_F32 ? forward<float>(stream, desc, tokens, table, x)
                                  : forward<zk_bf16>(stream, desc, tokens, table, x);
}

zk_status zk_cuda_embedding_backward(zk_stream *stream, const zk_embedding_desc *desc, const int32_t *tokens,
                                     const void *dx, float *dtable) {
  if (desc->num_rows == 0) return ZK_OK;
  return desc->numerics == ZK_F32 ? backward<float>(stream, desc, tokens, dx, dtable)
                                  : backward<zk_bf16>(stream, desc, tokens, dx, dtable);
}
