// Attention backward on a GPU: chooses the kernels, shares out scratch memory, and hands over.
#include "kernels/backend.h"
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_backward_variant.h"

#define DELTA_THREADS 128

// delta[i] = chain over d of fma(dout[i][d], out[i][d], acc), a thread for each i < num_rows * Hq.
template <class T>
static __global__ void __launch_bounds__(DELTA_THREADS)
    delta_rows(int32_t n, int32_t dim, const T *out, const T *dout, float *delta) {
  const int32_t i = (int32_t)(blockIdx.x * DELTA_THREADS + threadIdx.x);
  if (i >= n) return;
  float acc = 0.0f;
  for (int32_t d = 0; d < dim; ++d) {
    const size_t at = (size_t)i * (size_t)dim + (size_t)d;
    acc = fmaf(zk_load(dout, at), zk_load(out, at), acc);
  }
  delta[i] = acc;
}

static zk_cuda_attention_backward_variant forced =
    ZK_CUDA_NUM_ATTENTION_BACKWARD; // written by checks and tests, before they launch anything
static bool forced_is_used;         // some call has taken it

const char *zk_cuda_attention_backward_name(zk_cuda_attention_backward_variant variant) {
  static const char *const names[] = {
#define X(name, text) text,
      ZK_CUDA_ATTENTION_BACKWARD_LIST(X)
#undef X
  };
  return variant < ZK_CUDA_NUM_ATTENTION_BACKWARD ? names[variant] : "preferred";
}

void zk_cuda_attention_backward_force(zk_cuda_attention_backward_variant variant) {
  forced = variant, forced_is_used = false;
}

bool zk_cuda_attention_backward_is_idle(void) { return forced != ZK_CUDA_NUM_ATTENTION_BACKWARD && !forced_is_used; }

// Any shape: delta, then dq by blocks of rows, then dk and dv by blocks of keys.
template <class T>
static zk_status by_tiles(zk_stream *stream, zk_attn a, const zk_attention_batch *batch, zk_attn_gradient<T> in, T *dq,
                          T *dk, T *dv) {
  const int32_t n = batch->num_rows * a.num_heads, row_units = zk_attn_units<T>::query(a.dim),
                key_units = zk_attn_units<T>::key(a.dim);
  const size_t delta_bytes = zk_attn_rounded((size_t)n * sizeof(float)),
               kv_bytes = zk_attn_rounded((size_t)batch->num_rows * (size_t)(a.num_kv_heads * a.dim) * sizeof(float));
  const bool parts_wait = sizeof(T) == 2 && batch->num_rows > ZK_ATTN_PART, heads_wait = sizeof(T) == 2 && a.group > 1;
  char *scratch;
  ZK_TRY(zk_stream_scratch(stream,
                           zk_attn_plan_bytes(batch) + delta_bytes + (parts_wait ? 2 * kv_bytes : 0) +
                               (heads_wait ? 2 * kv_bytes : 0),
                           (void **)&scratch));
  float *delta = (float *)(scratch + zk_attn_plan_bytes(batch));
  char *waiting = scratch + zk_attn_plan_bytes(batch) + delta_bytes;
  zk_attn_sums sums = {NULL, NULL, NULL, NULL};
  if (parts_wait)
    sums.part_dk = (float *)waiting, sums.part_dv = (float *)(waiting + kv_bytes), waiting += 2 * kv_bytes;
  if (heads_wait) sums.heads_dk = (float *)waiting, sums.heads_dv = (float *)(waiting + kv_bytes);
  ZK_LAUNCH((delta_rows<T>), (unsigned)((n + DELTA_THREADS - 1) / DELTA_THREADS), DELTA_THREADS, 0, stream, n, a.dim,
            in.out, in.dout, delta);
  in.delta = delta;
  ZK_TRY(zk_attn_make_plan(stream, &a, a.group, row_units, scratch));
  ZK_TRY(zk_attn_backward_query(stream, a, zk_attn_most_blocks(batch, a.group, row_units), in, dq));
  ZK_TRY(zk_attn_make_plan(stream, &a, 1, key_units, scratch)); // in stream order: the other plan has been used
  const int32_t num_blocks = zk_attn_most_blocks(batch, 1, key_units);
  if constexpr (sizeof(T) == 2) return zk_attn_backward_key(stream, a, num_blocks, in, sums, dk, dv);
  else return zk_attn_backward_key(stream, a, num_blocks, in, dk, dv);
}

static zk_status backward(zk_stream *stream, zk_attn a, const zk_attention_batch *batch,
                          const zk_attn_gradient<zk_bf16> &in, zk_bf16 *dq, zk_bf16 *dk, zk_bf16 *dv) {
  const int32_t key_units = zk_attn_units<zk_bf16>::key(a.dim), num_tiles = zk_attn_most_blocks(batch, 1, key_units);
#ifdef ZK_SIMT // where it is emulated it takes its time: only who asks for it
  const bool wanted = forced == ZK_CUDA_ATTENTION_BACKWARD_FUSED;
#else
  const bool wanted = forced != ZK_CUDA_ATTENTION_BACKWARD_TILES;
#endif
  const bool fused = wanted && zk_attn_backward_fused_valid(a, batch->num_rows, num_tiles);
  forced_is_used |= forced == (fused ? ZK_CUDA_ATTENTION_BACKWARD_FUSED : ZK_CUDA_ATTENTION_BACKWARD_TILES);
  if (!fused) return by_tiles(stream, a, batch, in, dq, dk, dv);
  char *scratch;
  ZK_TRY(zk_stream_scratch(stream,
                           zk_attn_plan_bytes(batch) + zk_attn_backward_fused_bytes(a, batch->num_rows, num_tiles),
                           (void **)&scratch));
  ZK_TRY(zk_attn_make_plan(stream, &a, 1, key_units, scratch));
  return zk_attn_backward_fused(stream, a, batch->num_rows, num_tiles, in, scratch + zk_attn_plan_bytes(batch), dq, dk,
                                dv);
}

extern "C" zk_status zk_cuda_attention_backward(zk_stream *stream, const zk_attention_desc *desc,
                                                const zk_attention_batch *batch, const void *q, const void *k_cache,
                                                const void *v_cache, const void *out, const void *dout,
                                                const float *lse, void *dq, void *dk, void *dv) {
  ZK_TRY(zk_attn_check(desc));
  const zk_attn a = zk_attn_of(desc, batch);
  if (desc->numerics == ZK_F32)
    return by_tiles<float>(stream, a, batch,
                           {(const float *)q, (const float *)k_cache, (const float *)v_cache, (const float *)out,
                            (const float *)dout, lse, NULL},
                           (float *)dq, (float *)dk, (float *)dv);
  return backward(stream, a, batch,
                  {(const zk_bf16 *)q, (const zk_bf16 *)k_cache, (const zk_bf16 *)v_cache, (const zk_bf16 *)out,
                   (const zk_bf16 *)dout, lse, NULL},
                  (zk_bf16 *)dq, (zk_bf16 *)dk, (zk_bf16 *)dv);
}
