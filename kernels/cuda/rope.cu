// Rotary position embedding on a GPU: a thread turns four neighbouring elements of a head's first half with their
// partners. In bf16, heads of the usual sizes go through rope_rows.cuh, or rope_ring.cuh, alone or with what stands
// around RoPE in a layer.
#include "kernels/rope.h"

#include "kernels/cuda/rope_ring.cuh"
#include "kernels/cuda/values.cuh"
#include "kernels/rope_cache.h"

#define THREADS 128
#define N 4 // elements of each half a thread has

// x [T, num_heads, 2 half] in place; blockIdx.x is the token, blockIdx.y counts its groups of N; sign is +1 or -1
// (backward).
template <typename T>
__global__ void rope_kernel(int32_t num_heads, int32_t half, float sign, const int32_t *positions,
                            const float *cos_table, const float *sin_table, T *x) {
  const int32_t groups = (half + N - 1) / N; // of a head
  const int32_t group = blockIdx.y * THREADS + threadIdx.x, head = group / groups, i = group % groups * N;
  if (head >= num_heads) return;
  const int64_t token = blockIdx.x, row = (int64_t)positions[token] * half;
  T *lower = x + (token * num_heads + head) * 2 * half, *upper = lower + half;
  const zk_values<N> c = zk_load_values<N>(cos_table + row, i, half), s = zk_load_values<N>(sin_table + row, i, half);
  zk_values<N> a = zk_load_values<N>(lower, i, half), b = zk_load_values<N>(upper, i, half);
  for (int j = 0; j < N; j++) {
    const float first = a.at[j], second = b.at[j], sine = sign * s.at[j];
    a.at[j] = fmaf(-second, sine, first * c.at[j]);
    b.at[j] = fmaf(first, sine, second * c.at[j]);
  }
  zk_store_values(lower, i, half, a);
  zk_store_values(upper, i, half, b);
}

// Measured on an H200. Of fewer or smaller tokens, what is done once for each of them is too much. The ring wants to
// be small: 40 KB on their way to each multiprocessor are all that memory can use, and with more it is slower; tokens
// that are still in the L2 cache can use a little more.
enum {
#ifdef ZK_SIMT // where tests have no such calls: few tokens are enough
  RING_LEAST = 1 << 16,
#else
  RING_LEAST = 19 << 20,
#endif
  RING_TOKEN = 6 << 10,
  RING_MANY = 96 << 20,
  RING_BYTES = 44 << 10,
  RING_CACHED = 56 << 10
};

// Many tokens. The stages are as many as tokens at once, so that each is always the same warps'.
template <int DIM>
static zk_status launch_ring(zk_stream *stream, int64_t rows, const zk_rope_rows &r, const zk_attn &a, bool *done) {
  const int32_t heads = r.num_heads + 2 * r.num_kv_heads, bytes = zk_rope_stage_bytes<DIM>(r);
  zk_rope_ring_plan plan = {};
  plan.rows = (int32_t)rows, plan.warps_a_token = (int32_t)zk_ceil_div(heads, ZK_ROPE_RING_HEADS(DIM));
  const int ring = rows * bytes < RING_MANY ? RING_CACHED : RING_BYTES;
  *done = rows * bytes > RING_LEAST && rows < INT32_MAX && bytes >= RING_TOKEN && 2 * bytes <= RING_BYTES &&
          plan.warps_a_token <= ZK_ROPE_RING_WARPS;
  if (!*done) return ZK_OK;
  plan.tokens = zk_attn_min(ring / bytes, ZK_ROPE_RING_WARPS / plan.warps_a_token);
  const int num_sms = zk_cuda_num_sms(zk_stream_device(stream));
  ZK_LAUNCH_DEPENDENT(zk_rope_ring_kernel<DIM>, (unsigned)(rows < num_sms ? rows : num_sms), ZK_ROPE_RING_THREADS,
                      zk_rope_ring_bytes<DIM>(r, plan.tokens), stream, r, a, plan);
  return ZK_OK;
}

template <int DIM> static zk_status launch(zk_stream *stream, int64_t rows, const zk_rope_rows &r, const zk_attn &a) {
  bool done;
  ZK_TRY(launch_ring<DIM>(stream, rows, r, a, &done));
  if (done) return ZK_OK;
  const int32_t heads = r.num_heads + 2 * r.num_kv_heads, at_once = ZK_ROPE_ROWS_THREADS * 16 / DIM;
  ZK_LAUNCH_DEPENDENT(zk_rope_rows_kernel<DIM>, dim3((unsigned)rows, (unsigned)zk_ceil_div(heads, at_once)),
                      ZK_ROPE_ROWS_THREADS, 0, stream, r, a);
  return ZK_OK;
}

static zk_status launch_rows(zk_stream *stream, int64_t rows, int32_t head_dim, const zk_rope_rows &r,
                             const zk_attn &a) {
  return head_dim == 64 ? launch<64>(stream, rows, r, a) : launch<128>(stream, rows, r, a);
}

static zk_status rotate(zk_stream *stream, const zk_rope_desc *desc, float sign, const int32_t *positions,
                        const float *cos_table, const float *sin_table, void *x) {
  if (desc->num_rows == 0) return ZK_OK;
  zk_rope_rows r = {};
  r.num_heads = desc->num_heads, r.sign = sign, r.q_in = r.q = (zk_bf16 *)x;
  r.positions = positions, r.cos_table = cos_table, r.sin_table = sin_table;
  if (zk_has_rope_rows(desc->numerics, desc->head_dim, r))
    return launch_rows(stream, desc->num_rows, desc->head_dim, r, {});
  const int32_t half = desc->head_dim / 2, groups = desc->num_heads * (int32_t)zk_ceil_div(half, N);
  const dim3 grid((unsigned)desc->num_rows, (unsigned)zk_ceil_div(groups, THREADS));
  if (desc->numerics == ZK_F32)
    ZK_LAUNCH(rope_kernel<float>, grid, THREADS, 0, stream, desc->num_heads, half, sign, positions, cos_table,
              sin_table, (float *)x);
  else
    ZK_LAUNCH(rope_kernel<zk_bf16>, grid, THREADS, 0, stream, desc->num_heads, half, sign, positions, cos_table,
              sin_table, (zk_bf16 *)x);
  return ZK_OK;
}

zk_status zk_cuda_rope_forward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions,
                               const float *cos_table, const float *sin_table, void *x) {
  return rotate(stream, desc, 1.0f, positions, cos_table, sin_table, x);
}

zk_status zk_cuda_rope_backward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions,
                                const float *cos_table, const float *sin_table, void *dx) {
  return rotate(stream, desc, -1.0f, positions, cos_table, sin_table, dx);
}

zk_status zk_cuda_rope_cache_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_attention_batch *batch,
                                   const zk_rope_cache_io *io, bool *done) {
  const zk_attention_desc *a = &desc->attention;
  const zk_rope_rows r = zk_rope_rows_of(desc, io);
  *done = zk_has_rope_rows(a->numerics, a->head_dim, r);
  if (!*done || batch->num_rows == 0) return ZK_OK;
  return launch_rows(stream, batch->num_rows, a->head_dim, r, zk_attn_of(a, batch));
}
