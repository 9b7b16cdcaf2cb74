// RoPE and head norms backwards in bf16, in one pass over the gradients of q and k, which go through registers only.
//
// A row is a head of a token. Half a warp walks a block of 64 rows of a chunk, row after row: its thread t has columns 4 t .. 4 t + 3 of the
// head's first half and their partners in the second, so that it turns them alone and its share of the weights' gradient is a chain of
// its own. A block of threads has neighbouring blocks of rows (block_sums.cuh).
#include "kernels/backend.h"
#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/block_sums.cuh"
#include "kernels/cuda/rope_rows.cuh"
#include "kernels/rope_cache.h"

enum { DIM = 128, HALF = DIM / 2, PIECE = 4, ROW_THREADS = HALF / PIECE, THREADS = 256, BLOCKS = THREADS / ROW_THREADS, AHEAD = 4 };
enum { GROUP = BLOCKS * ZK_GRAD_BLOCK_ROWS };

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

// A thread's columns of a row, as they are stored and widened: of the first half, then of the second.
struct piece {
  zk_words<PIECE / 2> half[2];
};
struct columns {
  float at[2][PIECE];
};
static __device__ __forceinline__ piece load_piece(const zk_bf16 *p) {
  return {{*(const zk_words<PIECE / 2> *)p, *(const zk_words<PIECE / 2> *)(p + HALF)}};
}
static __device__ __forceinline__ columns widen(const piece &p) {
  columns c;
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int i = 0; i < PIECE; i += 2) c.at[h][i] = zk_low_bf16(p.half[h].w[i / 2]), c.at[h][i + 1] = zk_high_bf16(p.half[h].w[i / 2]);
  return c;
}
static __device__ __forceinline__ piece narrow(const columns &c) {
  piece p;
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int i = 0; i < PIECE; i += 2) p.half[h].w[i / 2] = zk_pack_bf16(c.at[h][i], c.at[h][i + 1]);
  return p;
}

// The sum of 128 lanes (lanes.cuh), of which a thread has those of its columns. All threads of a warp call it.
static __device__ __forceinline__ float lanes_sum(const columns &lane) {
  float four[4], two[2], one[1];
#pragma unroll
  for (int i = 0; i < PIECE; i++) four[i] = lane.at[0][i] + lane.at[1][i];
  zk_halve_and_share(four, two, 8);
  zk_halve_and_share(two, one, 4);
  float sum = one[0];
  sum = sum + __shfl_xor_sync(0xffffffffu, sum, 2), sum = sum + __shfl_xor_sync(0xffffffffu, sum, 1);
  sum = sum + __shfl_xor_sync(0xffffffffu, sum, 8), sum = sum + __shfl_xor_sync(0xffffffffu, sum, 4);
  return sum;
}

struct angles {
  float cosine[PIECE], sine[PIECE];
};

// One row, from the gradient after RoPE to the one before the norm; adds to the weights' gradient.
static __device__ __forceinline__ piece walk_row(const piece &dy, const piece &x, float scale, const angles &angle, const columns &w, columns &dw) {
  const columns d = widen(dy), v = widen(x);
  columns turned, lane;
#pragma unroll
  for (int i = 0; i < PIECE; i++) {
    const float a = d.at[0][i], b = d.at[1][i], sine = -angle.sine[i];
    turned.at[0][i] = fmaf(-b, sine, a * angle.cosine[i]);
    turned.at[1][i] = fmaf(a, sine, b * angle.cosine[i]);
  }
  turned = widen(narrow(turned));
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      dw.at[h][i] = fmaf(turned.at[h][i], v.at[h][i] * scale, dw.at[h][i]);
      turned.at[h][i] = turned.at[h][i] * w.at[h][i];
      lane.at[h][i] = fmaf(turned.at[h][i], v.at[h][i], 0.0f);
    }
  const float k = (((lanes_sum(lane) * scale) * scale) * scale) / (float)DIM;
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int i = 0; i < PIECE; i++) lane.at[h][i] = fmaf(-k, v.at[h][i], turned.at[h][i] * scale);
  return narrow(lane);
}

// A half warp's block of `count` rows, which may be 0; the sums of its columns. The halves of a warp go on together.
static __device__ __forceinline__ void walk_block(const args &args, const side &s, int64_t row, int count, columns &dw) {
  const int column = (int)threadIdx.x % ROW_THREADS * PIECE;
  const columns w = widen(load_piece(s.weight + column));
  const int most = max(count, __shfl_xor_sync(0xffffffffu, count, ROW_THREADS));
  int64_t token = row / s.heads, angle_of = -1;
  int32_t head = (int32_t)(row % s.heads);
  angles angle = {};
  for (int i = 0; i < most; i += AHEAD) {
    piece d[AHEAD], x[AHEAD];
    float scale[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      d[j] = x[j] = {}, scale[j] = 0.0f;
      if (i + j < count) {
        const int64_t at = (row + i + j) * DIM + column;
        d[j] = load_piece(s.d + at), x[j] = load_piece(s.x + at), scale[j] = s.rstd[row + i + j];
      }
    }
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const bool there = i + j < count;
      if (there && angle_of != token) {
        const int64_t first = (int64_t)args.positions[token] * HALF + column;
        const float4 cosine = *(const float4 *)(args.cos_table + first), sine = *(const float4 *)(args.sin_table + first);
        angle = {{cosine.x, cosine.y, cosine.z, cosine.w}, {sine.x, sine.y, sine.z, sine.w}}, angle_of = token;
      }
      columns sums = dw;
      const piece dx = walk_row(d[j], x[j], scale[j], angle, w, sums);
      if (!there) continue; // its threads took part in the warp's shuffles
      dw = sums;
      zk_bf16 *to = s.d + (row + i + j) * DIM + column;
      *(zk_words<PIECE / 2> *)to = dx.half[0], *(zk_words<PIECE / 2> *)(to + HALF) = dx.half[1];
      if (++head == s.heads) head = 0, token++;
    }
  }
}

static __global__ void __launch_bounds__(THREADS, 3) rope_norm_backward_kernel(const __grid_constant__ args args) {
  __shared__ float block_sum[BLOCKS][DIM];
  const int32_t of_q = args.sides[0].groups.first_group[args.sides[0].groups.num_chunks];
  const bool is_q = (int32_t)blockIdx.x < of_q;
  const side &s = args.sides[is_q ? 0 : 1];
  const int32_t group = (int32_t)blockIdx.x - (is_q ? 0 : of_q), c = zk_chunk_of_group(s.groups, group);
  const int thread = (int)threadIdx.x, block = thread / ROW_THREADS;
  const int64_t first = s.groups.first_row[c] + (int64_t)(group - s.groups.first_group[c]) * GROUP, end = s.groups.first_row[c + 1];
  const int64_t row = first + block * ZK_GRAD_BLOCK_ROWS, left = end - row;
  zk_wait_for_previous();
  zk_let_next_start();
  columns dw = {};
  walk_block(args, s, row, left < 0 ? 0 : left < ZK_GRAD_BLOCK_ROWS ? (int)left : ZK_GRAD_BLOCK_ROWS, dw);
#pragma unroll
  for (int i = 0; i < 2 * PIECE; i++) block_sum[block][i / PIECE * HALF + thread % ROW_THREADS * PIECE + i % PIECE] = dw.at[i / PIECE][i % PIECE];
  __syncthreads();
  if (thread < HALF) { // a pair of columns each
    zk_sum_pair value[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) value[i] = {block_sum[i][2 * thread], block_sum[i][2 * thread + 1]};
    const int64_t blocks = zk_ceil_div(end - first, ZK_GRAD_BLOCK_ROWS);
    const zk_sum_pair sum = zk_sum_tree(value, blocks < BLOCKS ? (int)blocks : BLOCKS);
    float *partial = s.sums.partials + (int64_t)group * DIM + 2 * thread;
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
  return desc->attention.numerics != ZK_F32 && desc->attention.head_dim == DIM && desc->q_weight != NULL && all % 16 == 0;
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
