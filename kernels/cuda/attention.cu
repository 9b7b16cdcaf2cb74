// Attention on a GPU: plans a batch whose row counts only the device knows, shares out scratch memory, and hands over
// to the kernels of the numerics. How rows are cut into blocks, and whether a block walks all splits of its rows or
// one, changes no bit.
#include "kernels/backend.h"
#include "kernels/cuda/attention_cluster.cuh"
#include "kernels/cuda/attention_variant.h"

static_assert(ZK_ATTN_SPLIT == ZK_ATTN_SPLIT_BF16, "one split size");

#define PLAN_THREADS 256
#define DELTA_THREADS 128
#define MOST_SPLITS 65535 // a grid's z
#define MOST_PARTIAL_BYTES ((size_t)256 << 20)

// block_start[s] = blocks of the sequences before s, where a sequence has its rows * factor / units of them, rounded
// up. One block of threads.
static __global__ void __launch_bounds__(PLAN_THREADS)
    plan_blocks(const int32_t *seq_row_start, int32_t num_seqs, int32_t factor, int32_t units, int32_t *block_start) {
  __shared__ int32_t sums[PLAN_THREADS];
  const int32_t t = (int32_t)threadIdx.x;
  int32_t before = 0; // blocks of the sequences of earlier rounds
  for (int32_t begin = 0; begin < num_seqs; begin += PLAN_THREADS) {
    const int32_t s = begin + t;
    const int32_t mine = s < num_seqs ? ((seq_row_start[s + 1] - seq_row_start[s]) * factor + units - 1) / units : 0;
    sums[t] = mine;
    __syncthreads();
    for (int32_t distance = 1; distance < PLAN_THREADS; distance *= 2) {
      const int32_t left = t >= distance ? sums[t - distance] : 0;
      __syncthreads();
      sums[t] = sums[t] + left;
      __syncthreads();
    }
    if (s < num_seqs) block_start[s] = before + sums[t] - mine;
    before += sums[PLAN_THREADS - 1];
    __syncthreads();
  }
  if (t == 0) block_start[num_seqs] = before;
}

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

// Blocks that a plan may hold at most: every sequence may end in a partial one.
static int32_t most_blocks(const zk_attention_batch *b, int32_t factor, int32_t units) {
  const int64_t seqs = b->num_seqs < b->num_rows ? b->num_seqs : b->num_rows;
  return (int32_t)(((int64_t)b->num_rows * factor + seqs * (units - 1)) / units);
}

static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }
static size_t plan_bytes(const zk_attention_batch *b) { return rounded((size_t)(b->num_seqs + 1) * sizeof(int32_t)); }

static zk_status make_plan(zk_stream *stream, zk_attn *a, int32_t factor, int32_t units, void *block_start) {
  a->block_start = (const int32_t *)block_start;
  ZK_LAUNCH(plan_blocks, 1, PLAN_THREADS, 0, stream, a->seq_row_start, a->num_seqs, factor, units,
            (int32_t *)block_start);
  return ZK_OK;
}

static zk_status check(const zk_attention_desc *desc) {
  if (desc->head_dim > ZK_ATTN_MAX_DIM)
    return ZK_FAIL(ZK_UNSUPPORTED, "attention: head_dim %d, and CUDA kernels have at most %d; use device: cpu",
                   desc->head_dim, ZK_ATTN_MAX_DIM);
  return ZK_OK;
}

// Keys of a split in numerics vendor: whole sequences when there are blocks enough or many rows (prefill), else as many splits as fill
// the device. So a row's bits depend on its neighbours, which is what this numerics is there to show.
static int32_t split_by_load(int64_t max_keys, int64_t num_blocks, int64_t enough_blocks, bool few_rows) {
  const int64_t tiles = (max_keys + ZK_ATTN_TILE_BF16 - 1) / ZK_ATTN_TILE_BF16;
  const int64_t splits = few_rows ? (enough_blocks + num_blocks - 1) / num_blocks : 1;
  return (int32_t)((tiles + splits - 1) / splits * ZK_ATTN_TILE_BF16);
}

static zk_cuda_attention_variant forced = ZK_CUDA_NUM_ATTENTION; // written by checks and tests, before they launch anything
static bool forced_is_used;                                       // some call has taken it

const char *zk_cuda_attention_name(zk_cuda_attention_variant variant) {
  static const char *const names[] = {
#define X(name, text) text,
      ZK_CUDA_ATTENTION_LIST(X)
#undef X
  };
  return variant < ZK_CUDA_NUM_ATTENTION ? names[variant] : "preferred";
}

void zk_cuda_attention_force(zk_cuda_attention_variant variant) { forced = variant, forced_is_used = false; }

bool zk_cuda_attention_is_forced(void) { return forced != ZK_CUDA_NUM_ATTENTION; }

bool zk_cuda_attention_is_idle(void) { return forced != ZK_CUDA_NUM_ATTENTION && !forced_is_used; }

// Whether so few rows decide for the kernel that spreads a split over a cluster.
static bool takes_cluster(const zk_attn &a, int32_t num_rows, bool few_rows, int num_sms) {
  const bool wanted = forced == ZK_CUDA_NUM_ATTENTION ? few_rows && zk_attn_cluster_suits(a, num_rows, num_sms)
                                                      : forced == ZK_CUDA_ATTENTION_CLUSTER;
  return wanted && zk_attn_cluster_valid(a, num_rows);
}

// Whether few_rows decides for the decoding kernel; a check may have decided before.
static bool takes_decode(const zk_attn &a, int32_t num_rows, bool few_rows) {
  const bool wanted = forced == ZK_CUDA_NUM_ATTENTION ? few_rows : forced == ZK_CUDA_ATTENTION_DECODE;
  return wanted && zk_attn_decode_valid(a, num_rows);
}

// Whether it decides against the prefill kernel.
static bool takes_prefill(const zk_attn &a, bool few_rows) {
  const bool wanted = forced == ZK_CUDA_NUM_ATTENTION ? !few_rows : forced == ZK_CUDA_ATTENTION_PREFILL;
  return wanted && zk_attn_prefill_valid(a);
}

template <class T>
static zk_status forward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const T *q,
                         const T *k_cache, const T *v_cache, T *out, float *lse) {
  zk_attn a = zk_attn_of(desc, batch);
  const bool few_rows = (int64_t)batch->num_rows * a.group <= 32 * (int64_t)batch->num_seqs;
  const int32_t num_sms = zk_cuda_num_sms(zk_stream_device(stream));
  const bool by_cluster = desc->numerics == ZK_BF16 && takes_cluster(a, batch->num_rows, few_rows, num_sms),
             by_decode = sizeof(T) == 2 && !by_cluster && takes_decode(a, batch->num_rows, few_rows),
             by_prefill = sizeof(T) == 2 && !by_cluster && !by_decode && takes_prefill(a, few_rows);
  forced_is_used |= sizeof(T) == 2 && forced == (by_cluster   ? ZK_CUDA_ATTENTION_CLUSTER
                                                 : by_decode  ? ZK_CUDA_ATTENTION_DECODE
                                                 : by_prefill ? ZK_CUDA_ATTENTION_PREFILL
                                                              : ZK_CUDA_ATTENTION_TILES);
  const int32_t units = by_prefill ? ZK_ATTN_PREFILL_UNITS : zk_attn_units<T>::forward(a.dim, few_rows);
  const int64_t enough_blocks = by_prefill ? num_sms / 2 : 2 * num_sms; // with fewer, splits become blocks of their own
  const int64_t max_keys = (int64_t)batch->max_pages * a.page_tokens;
  const int32_t num_blocks = most_blocks(batch, a.group, units);
  if (desc->numerics == ZK_VENDOR)
    a.split_keys = split_by_load(max_keys, (int64_t)num_blocks * a.num_kv_heads, enough_blocks, few_rows);
  if constexpr (sizeof(T) == 2)
    if (by_cluster) return zk_attn_cluster(stream, a, batch->num_rows, q, k_cache, v_cache, out, lse);
  if constexpr (sizeof(T) == 2)
    if (by_decode) return zk_attn_decode(stream, a, batch->num_rows, q, k_cache, v_cache, out, lse);
  const int64_t num_splits = (max_keys + a.split_keys - 1) / a.split_keys;
  zk_attn_forward_plan plan = {batch->num_rows, num_blocks, few_rows, {NULL, NULL, (int32_t)num_splits}};

  const size_t parts = (size_t)batch->num_rows * (size_t)a.num_heads * (size_t)num_splits;
  const size_t o_bytes = rounded(parts * (size_t)a.dim * sizeof(float)), ml_bytes = rounded(parts * 2 * sizeof(float));
  const bool by_split = num_splits > 1 && num_splits <= MOST_SPLITS &&
                        (int64_t)plan.num_blocks * a.num_kv_heads < enough_blocks &&
                        o_bytes + ml_bytes <= MOST_PARTIAL_BYTES;
  char *scratch;
  ZK_TRY(zk_stream_scratch(stream, plan_bytes(batch) + (by_split ? o_bytes + ml_bytes : 0), (void **)&scratch));
  if (by_split) {
    plan.partials.o = (float *)(scratch + plan_bytes(batch));
    plan.partials.ml = (float *)(scratch + plan_bytes(batch) + o_bytes);
  }
  if constexpr (sizeof(T) == 2)
    if (by_prefill) return zk_attn_prefill(stream, a, plan, q, k_cache, v_cache, out, lse);
  ZK_TRY(make_plan(stream, &a, a.group, units, scratch));
  return zk_attn_forward(stream, a, plan, q, k_cache, v_cache, out, lse);
}

template <class T>
static zk_status backward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const T *q,
                          const T *k_cache, const T *v_cache, const T *out, const T *dout, const float *lse, T *dq,
                          T *dk, T *dv) {
  zk_attn a = zk_attn_of(desc, batch);
  const int32_t n = batch->num_rows * a.num_heads, row_units = zk_attn_units<T>::query(a.dim),
                key_units = zk_attn_units<T>::key(a.dim);
  const size_t delta_bytes = rounded((size_t)n * sizeof(float)),
               kv_bytes = rounded((size_t)batch->num_rows * (size_t)(a.num_kv_heads * a.dim) * sizeof(float));
  const bool parts_wait = sizeof(T) == 2 && batch->num_rows > ZK_ATTN_PART, heads_wait = sizeof(T) == 2 && a.group > 1;
  char *scratch;
  ZK_TRY(zk_stream_scratch(
      stream, plan_bytes(batch) + delta_bytes + (parts_wait ? 2 * kv_bytes : 0) + (heads_wait ? 2 * kv_bytes : 0),
      (void **)&scratch));
  float *delta = (float *)(scratch + plan_bytes(batch));
  char *waiting = scratch + plan_bytes(batch) + delta_bytes;
  zk_attn_sums sums = {NULL, NULL, NULL, NULL};
  if (parts_wait)
    sums.part_dk = (float *)waiting, sums.part_dv = (float *)(waiting + kv_bytes), waiting += 2 * kv_bytes;
  if (heads_wait) sums.heads_dk = (float *)waiting, sums.heads_dv = (float *)(waiting + kv_bytes);
  ZK_LAUNCH((delta_rows<T>), (unsigned)((n + DELTA_THREADS - 1) / DELTA_THREADS), DELTA_THREADS, 0, stream, n, a.dim,
            out, dout, delta);
  const zk_attn_gradient<T> in = {q, k_cache, v_cache, dout, lse, delta};
  ZK_TRY(make_plan(stream, &a, a.group, row_units, scratch));
  ZK_TRY(zk_attn_backward_query(stream, a, most_blocks(batch, a.group, row_units), in, dq));
  ZK_TRY(make_plan(stream, &a, 1, key_units, scratch)); // in stream order: the other plan has been used
  const int32_t num_blocks = most_blocks(batch, 1, key_units);
  if constexpr (sizeof(T) == 2) return zk_attn_backward_key(stream, a, num_blocks, in, sums, dk, dv);
  else return zk_attn_backward_key(stream, a, num_blocks, in, dk, dv);
}

extern "C" zk_status zk_cuda_attention_forward(zk_stream *stream, const zk_attention_desc *desc,
                                               const zk_attention_batch *batch, const void *q, const void *k_cache,
                                               const void *v_cache, void *out, float *lse) {
  ZK_TRY(check(desc));
  if (desc->numerics == ZK_F32)
    return forward(stream, desc, batch, (const float *)q, (const float *)k_cache, (const float *)v_cache, (float *)out,
                   lse);
  return forward(stream, desc, batch, (const zk_bf16 *)q, (const zk_bf16 *)k_cache, (const zk_bf16 *)v_cache,
                 (zk_bf16 *)out, lse);
}

extern "C" zk_status zk_cuda_attention_backward(zk_stream *stream, const zk_attention_desc *desc,
                                                const zk_attention_batch *batch, const void *q, const void *k_cache,
                                                const void *v_cache, const void *out, const void *dout,
                                                const float *lse, void *dq, void *dk, void *dv) {
  ZK_TRY(check(desc));
  if (desc->numerics == ZK_F32)
    return backward(stream, desc, batch, (const float *)q, (const float *)k_cache, (const float *)v_cache,
                    (const float *)out, (const float *)dout, lse, (float *)dq, (float *)dk, (float *)dv);
  return backward(stream, desc, batch, (const zk_bf16 *)q, (const zk_bf16 *)k_cache, (const zk_bf16 *)v_cache,
                  (const zk_bf16 *)out, (const zk_bf16 *)dout, lse, (zk_bf16 *)dq, (zk_bf16 *)dk, (zk_bf16 *)dv);
}
