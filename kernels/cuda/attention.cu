// Attention forward on a GPU: plans a batch whose row counts only the device knows, shares out scratch memory, and hands over
// to the kernels of the numerics. How rows are cut into blocks, and whether a block walks all splits of its rows or
// one, changes no bit.
#include "kernels/backend.h"
#include "kernels/cuda/attention_cluster.cuh"
#include "kernels/cuda/attention_variant.h"

static_assert(ZK_ATTN_SPLIT == ZK_ATTN_SPLIT_BF16, "one split size");

#define PLAN_THREADS 256
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

zk_status zk_attn_make_plan(zk_stream *stream, zk_attn *a, int32_t factor, int32_t units, void *block_start) {
  a->block_start = (const int32_t *)block_start;
  ZK_LAUNCH(plan_blocks, 1, PLAN_THREADS, 0, stream, a->seq_row_start, a->num_seqs, factor, units,
            (int32_t *)block_start);
  return ZK_OK;
}

zk_status zk_attn_check(const zk_attention_desc *desc) {
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
#ifdef ZK_SIMT // where it is emulated it takes its time: only who asks for it
  const bool wanted = forced == ZK_CUDA_ATTENTION_CLUSTER;
#else
  const bool wanted = forced == ZK_CUDA_NUM_ATTENTION ? few_rows && zk_attn_cluster_suits(a, num_rows, num_sms)
                                                      : forced == ZK_CUDA_ATTENTION_CLUSTER;
#endif
  return wanted && zk_attn_cluster_valid(a, num_rows);
}

// Whether few_rows decides for the decoding kernel; a check may have decided before.
static bool takes_decode(const zk_attn &a, int32_t num_rows, bool few_rows) {
  const bool wanted = forced == ZK_CUDA_NUM_ATTENTION ? few_rows : forced == ZK_CUDA_ATTENTION_DECODE;
  return wanted && zk_attn_decode_valid(a, num_rows);
}

// Whether it decides against the prefill kernel.
static bool takes_prefill(const zk_attn &a, bool few_rows) {
#ifdef ZK_SIMT // likewise
  const bool wanted = forced == ZK_CUDA_ATTENTION_PREFILL;
#else
  const bool wanted = forced == ZK_CUDA_NUM_ATTENTION ? !few_rows : forced == ZK_CUDA_ATTENTION_PREFILL;
#endif
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
  const int32_t num_blocks = zk_attn_most_blocks(batch, a.group, units);
  if (desc->numerics == ZK_VENDOR)
    a.split_keys = split_by_load(max_keys, (int64_t)num_blocks * a.num_kv_heads, enough_blocks, few_rows);
  if constexpr (sizeof(T) == 2)
    if (by_cluster) return zk_attn_cluster(stream, a, batch->num_rows, q, k_cache, v_cache, out, lse);
  if constexpr (sizeof(T) == 2)
    if (by_decode) return zk_attn_decode(stream, a, batch->num_rows, q, k_cache, v_cache, out, lse);
  const int64_t num_splits = (max_keys + a.split_keys - 1) / a.split_keys;
  zk_attn_forward_plan plan = {batch->num_rows, num_blocks, few_rows, {NULL, NULL, (int32_t)num_splits}};

  const size_t parts = (size_t)batch->num_rows * (size_t)a.num_heads * (size_t)num_splits;
  const size_t o_bytes = zk_attn_rounded(parts * (size_t)a.dim * sizeof(float)), ml_bytes = zk_attn_rounded(parts * 2 * sizeof(float));
  const bool by_split = num_splits > 1 && num_splits <= MOST_SPLITS &&
                        (int64_t)plan.num_blocks * a.num_kv_heads < enough_blocks &&
                        o_bytes + ml_bytes <= MOST_PARTIAL_BYTES;
  char *scratch;
  ZK_TRY(zk_stream_scratch(stream, zk_attn_plan_bytes(batch) + (by_split ? o_bytes + ml_bytes : 0), (void **)&scratch));
  if (by_split) {
    plan.partials.o = (float *)(scratch + zk_attn_plan_bytes(batch));
    plan.partials.ml = (float *)(scratch + zk_attn_plan_bytes(batch) + o_bytes);
  }
  if constexpr (sizeof(T) == 2)
    if (by_prefill) return zk_attn_prefill(stream, a, plan, q, k_cache, v_cache, out, lse);
  ZK_TRY(zk_attn_make_plan(stream, &a, a.group, units, scratch));
  return zk_attn_forward(stream, a, plan, q, k_cache, v_cache, out, lse);
}

extern "C" zk_status zk_cuda_attention_forward(zk_stream *stream, const zk_attention_desc *desc,
                                               const zk_attention_batch *batch, const void *q, const void *k_cache,
                                               const void *v_cache, void *out, float *lse) {
  ZK_TRY(zk_attn_check(desc));
  if (desc->numerics == ZK_F32)
    return forward(stream, desc, batch, (const float *)q, (const float *)k_cache, (const float *)v_cache, (float *)out,
                   lse);
  return forward(stream, desc, batch, (const zk_bf16 *)q, (const zk_bf16 *)k_cache, (const zk_bf16 *)v_cache,
                 (zk_bf16 *)out, lse);
}
