// RoPE and head norms backwards in bf16, in one pass over the gradients of q and k, which go through registers only.
//
// A row is a head of a token. A warp walks a block of 64 rows of a chunk, row after row: thread t has columns 2 t and 2 t + 1 of the
// head's first half and their partners in the second, so that it turns them alone and its share of the
// weights' gradient is a chain of its own. The warps of a block have neighbouring blocks of rows (block_sums.cuh).
#include "kernels/backend.h"
#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/block_sums.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/rope_cache.h"

enum { DIM = 128, HALF = DIM / 2, WARPS = 8, THREADS = 32 * WARPS, GROUP = WARPS * ZK_GRAD_BLOCK_ROWS, AHEAD = 4 };

// Of q or of k.
typedef struct {
  int32_t heads;
  const zk_bf16 *x, *weight; // x: before the norm
  const float *rstd;
  zk_bf16 *d; // [T, heads, DIM], in place
  zk_sum_groups groups;
  zk_block_sums sums;
} side;

typedef struct {
  side sides[2];
  const int32_t *positions;
  const float *cos_table, *sin_table;
} args;

static __device__ __forceinline__ zk_sum_pair widen(uint32_t word) { return {zk_low_bf16(word), zk_high_bf16(word)}; }
static __device__ __forceinline__ zk_sum_pair load_pair(const float *p) {
  const float2 pair = *(const float2 *)p;
  return {pair.x, pair.y};
}

// The sum of 128 lanes (lanes.cuh), of which a thread has 2 t, 2 t + 1, and those 64 further.
static __device__ __forceinline__ float lanes_sum(zk_sum_pair low, zk_sum_pair high) {
  const zk_sum_pair sum = zk_sum_add(low, high);
  const bool upper = threadIdx.x & 16;
  float mine = (upper ? sum.high : sum.low) + __shfl_xor_sync(0xffffffffu, upper ? sum.low : sum.high, 16);
  for (int away = 8; away > 0; away /= 2) mine = mine + __shfl_xor_sync(0xffffffffu, mine, away);
  return mine + __shfl_xor_sync(0xffffffffu, mine, 16);
}

// One row: dy and x as stored, from the gradient after RoPE to the one before the norm; adds to the weights' gradient.
static __device__ __forceinline__ void walk_row(uint32_t (&d)[2], const uint32_t (&x)[2], float scale, zk_sum_pair cosine, zk_sum_pair sine,
                                                const zk_sum_pair (&w)[2], zk_sum_pair (&dw)[2]) {
  const zk_sum_pair a = widen(d[0]), b = widen(d[1]), v[2] = {widen(x[0]), widen(x[1])};
  const zk_sum_pair turned[2] = {
      widen(zk_pack_bf16(fmaf(-b.low, -sine.low, a.low * cosine.low), fmaf(-b.high, -sine.high, a.high * cosine.high))),
      widen(zk_pack_bf16(fmaf(a.low, -sine.low, b.low * cosine.low), fmaf(a.high, -sine.high, b.high * cosine.high)))};
  zk_sum_pair lane[2], dyw[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    dw[h] = {fmaf(turned[h].low, v[h].low * scale, dw[h].low), fmaf(turned[h].high, v[h].high * scale, dw[h].high)};
    dyw[h] = {turned[h].low * w[h].low, turned[h].high * w[h].high};
    lane[h] = {fmaf(dyw[h].low, v[h].low, 0.0f), fmaf(dyw[h].high, v[h].high, 0.0f)};
  }
  const float k = (((lanes_sum(lane[0], lane[1]) * scale) * scale) * scale) / (float)DIM;
#pragma unroll
  for (int h = 0; h < 2; h++)
    d[h] = zk_pack_bf16(fmaf(-k, v[h].low, dyw[h].low * scale), fmaf(-k, v[h].high, dyw[h].high * scale));
}

// This warp's block of rows; the sums of its columns.
static __device__ __forceinline__ void walk_block(const args &args, const side &s, int64_t row, int count, zk_sum_pair (&dw)[2]) {
  const int column = (int)threadIdx.x % 32 * 2;
  const zk_sum_pair w[2] = {widen(*(const uint32_t *)(s.weight + column)), widen(*(const uint32_t *)(s.weight + HALF + column))};
  int64_t token = row / s.heads, angles_of = -1;
  int32_t head = (int32_t)(row % s.heads);
  zk_sum_pair cosine = {}, sine = {};
  for (int i = 0; i < count; i += AHEAD) {
    uint32_t d[AHEAD][2], x[AHEAD][2];
    float scale[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++)
      if (i + j < count) {
        const int64_t at = (row + i + j) * DIM + column;
        d[j][0] = *(const uint32_t *)(s.d + at), d[j][1] = *(const uint32_t *)(s.d + at + HALF);
        x[j][0] = *(const uint32_t *)(s.x + at), x[j][1] = *(const uint32_t *)(s.x + at + HALF);
        scale[j] = s.rstd[row + i + j];
      }
#pragma unroll
    for (int j = 0; j < AHEAD; j++)
      if (i + j < count) {
        if (angles_of != token) {
          const int64_t angle = (int64_t)args.positions[token] * HALF + column;
          cosine = load_pair(args.cos_table + angle), sine = load_pair(args.sin_table + angle), angles_of = token;
        }
        walk_row(d[j], x[j], scale[j], cosine, sine, w, dw);
        const int64_t at = (row + i + j) * DIM + column;
        *(uint32_t *)(s.d + at) = d[j][0], *(uint32_t *)(s.d + at + HALF) = d[j][1];
        if (++head == s.heads) head = 0, token++;
      }
  }
}

static __global__ void __launch_bounds__(THREADS) rope_norm_backward_kernel(const __grid_constant__ args args) {
  __shared__ zk_sum_pair block_sum[WARPS][2][32];
  const int32_t of_q = args.sides[0].groups.first_group[args.sides[0].groups.num_chunks];
  const bool is_q = (int32_t)blockIdx.x < of_q;
  const side &s = args.sides[is_q ? 0 : 1];
  const int32_t group = (int32_t)blockIdx.x - (is_q ? 0 : of_q), c = zk_chunk_of_group(s.groups, group);
  const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
  const int64_t first = s.groups.first_row[c] + (int64_t)(group - s.groups.first_group[c]) * GROUP, end = s.groups.first_row[c + 1];
  const int64_t row = first + warp * ZK_GRAD_BLOCK_ROWS, left = end - row;
  zk_wait_for_previous();
  zk_let_next_start();
  if (left > 0) {
    zk_sum_pair dw[2] = {};
    walk_block(args, s, row, left < ZK_GRAD_BLOCK_ROWS ? (int)left : ZK_GRAD_BLOCK_ROWS, dw);
    block_sum[warp][0][lane] = dw[0], block_sum[warp][1][lane] = dw[1];
  }
  __syncthreads();
  if (warp < 2) { // a half of the columns
    zk_sum_pair value[WARPS];
    for (int i = 0; i < WARPS; i++) value[i] = block_sum[i][warp][lane];
    const int64_t blocks = zk_ceil_div(end - first, ZK_GRAD_BLOCK_ROWS);
    const zk_sum_pair sum = zk_sum_tree(value, blocks < WARPS ? (int)blocks : WARPS);
    float *partial = s.sums.partials + (int64_t)group * DIM + warp * HALF + 2 * lane;
    partial[0] = sum.low, partial[1] = sum.high;
  }
  zk_sums_arrive<DIM / 2>(s.groups, s.sums, DIM, 0, s.sums.arrived, (uint32_t)s.groups.first_group[s.groups.num_chunks]);
}

static side side_of(const zk_chunks *chunks, int32_t chunk, int32_t heads, const void *x, const void *weight, const float *rstd, void *d,
                    float *dweight, uint32_t *arrived) {
  side s = {heads, (const zk_bf16 *)x, (const zk_bf16 *)weight, rstd, (zk_bf16 *)d, zk_sum_groups_of(chunks, chunk, heads, GROUP), {}};
  s.sums = {NULL, dweight, arrived};
  return s;
}

static bool fits(const zk_rope_cache_desc *desc, const zk_rope_norm_gradients *g) {
  const uintptr_t all = (uintptr_t)g->q_raw | (uintptr_t)g->k_raw | (uintptr_t)g->dq | (uintptr_t)g->dk | (uintptr_t)desc->q_weight |
                        (uintptr_t)desc->k_weight | (uintptr_t)desc->cos_table | (uintptr_t)desc->sin_table;
  return desc->attention.numerics != ZK_F32 && desc->attention.head_dim == DIM && desc->q_weight != NULL && all % 8 == 0;
}

zk_status zk_cuda_rope_norm_backward_fused(zk_stream *stream, const zk_rope_cache_desc *desc, const zk_chunks *chunks,
                                           const zk_rope_norm_gradients *g, bool *done) {
  *done = fits(desc, g);
  if (!*done) return ZK_OK;
  uint32_t *arrived = zk_cuda_arrivals(stream);
  for (int32_t chunk = 0; chunk < chunks->num_chunks; chunk += ZK_SUMS_CHUNKS) {
    args a = {{side_of(chunks, chunk, desc->attention.num_heads, g->q_raw, desc->q_weight, g->rstd_q, g->dq, g->dq_weight, arrived),
               side_of(chunks, chunk, desc->attention.num_kv_heads, g->k_raw, desc->k_weight, g->rstd_k, g->dk, g->dk_weight, arrived + 1)},
              desc->positions, desc->cos_table, desc->sin_table};
    const int32_t of_q = a.sides[0].groups.first_group[a.sides[0].groups.num_chunks], of_k = a.sides[1].groups.first_group[a.sides[1].groups.num_chunks];
    void *partials;
    if (of_q + of_k == 0) continue;
    ZK_TRY(zk_stream_scratch(stream, (size_t)(of_q + of_k) * DIM * sizeof(float), &partials));
    a.sides[0].sums.partials = (float *)partials, a.sides[1].sums.partials = (float *)partials + (int64_t)of_q * DIM;
    ZK_LAUNCH_DEPENDENT(rope_norm_backward_kernel, (unsigned)(of_q + of_k), THREADS, 0, stream, a);
  }
  return ZK_OK;
}
