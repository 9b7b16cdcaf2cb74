// Writing keys and values to their pages on a GPU. Layout: attention.cuh.
#include "kernels/backend.h"
#include "kernels/cuda/attention.cuh"

#define THREADS 256

extern "C" size_t zk_cuda_kv_cache_bytes(const zk_device *device, const zk_attention_desc *desc, int32_t num_pages) {
  size_t bytes = zk_numerics_bytes(desc->numerics);
  const int32_t factors[] = {num_pages, desc->num_kv_heads, desc->page_tokens, desc->head_dim};
  for (int32_t factor : factors)
    if (__builtin_mul_overflow(bytes, (size_t)factor, &bytes)) return SIZE_MAX; // no allocation succeeds
  return bytes;
}

// One thread a 16-byte piece of a token's K and V: [T, Hkv, D] to pages. `vec` elements are 16 bytes.
template <class T>
static __global__ void __launch_bounds__(THREADS)
    kv_write(zk_attn a, int64_t num_pieces, const T *k, const T *v, T *k_cache, T *v_cache) {
  constexpr int vec = 16 / (int)sizeof(T);
  const int64_t piece = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  if (piece >= num_pieces) return;
  const int32_t per_head = a.dim / vec;
  const int32_t d = (int32_t)(piece % per_head) * vec, kv_head = (int32_t)(piece / per_head % a.num_kv_heads),
                row = (int32_t)(piece / per_head / a.num_kv_heads);
  const int32_t s = zk_attn_bisect(a.seq_row_start, a.num_seqs, row);
  const int32_t pos = a.seq_first_pos[s] + row - a.seq_row_start[s];
  const size_t to = zk_attn_key(a, a.page_table + (size_t)s * (size_t)a.max_pages, kv_head, pos) + (size_t)d;
  *(zk_vec16 *)(k_cache + to) = *(const zk_vec16 *)(k + piece * vec);
  *(zk_vec16 *)(v_cache + to) = *(const zk_vec16 *)(v + piece * vec);
}

template <class T>
static zk_status write_pages(zk_stream *stream, const zk_attn &a, int32_t num_rows, const void *k, const void *v,
                             void *k_cache, void *v_cache) {
  const int64_t num_pieces = (int64_t)num_rows * a.num_kv_heads * a.dim * (int64_t)sizeof(T) / 16;
  const unsigned grid = (unsigned)((num_pieces + THREADS - 1) / THREADS);
  ZK_LAUNCH((kv_write<T>), grid, THREADS, 0, stream, a, num_pieces, (const T *)k, (const T *)v, (T *)k_cache,
            (T *)v_cache);
  return ZK_OK;
}

extern "C" zk_status zk_cuda_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch,
                                      const void *k, const void *v, void *k_cache, void *v_cache) {
  if (batch->num_rows == 0) return ZK_OK;
  const zk_attn a = zk_attn_of(desc, batch);
  return desc->numerics == ZK_F32 ? write_pages<float>(stream, a, batch->num_rows, k, v, k_cache, v_cache)
                                  : write_pages<zk_bf16>(stream, a, batch->num_rows, k, v, k_cache, v_cache);
}

extern "C" zk_status zk_cuda_kv_copy_page(zk_stream *stream, const zk_attention_desc *desc, int32_t src, int32_t dst,
                                          void *k_cache, void *v_cache) {
  const size_t bytes = zk_cuda_kv_cache_bytes(zk_stream_device(stream), desc, 1);
  ZK_TRY(
      zk_copy_on_device(stream, (char *)k_cache + (size_t)dst * bytes, (char *)k_cache + (size_t)src * bytes, bytes));
  return zk_copy_on_device(stream, (char *)v_cache + (size_t)dst * bytes, (char *)v_cache + (size_t)src * bytes, bytes);
}
