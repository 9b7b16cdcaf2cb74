// RoPE and head norms backwards in bf16, in one pass over the gradients of q and k, which go through registers only.
//
// A row is a head of a token. Half a warp walks a block of 64 rows of a chunk, row after row: its thread t has columns 4 t .. 4 t + 3 of the
// head's first half and their partners in the second, so that it turns them alone and its share of the weights' gradient is a chain of
// its own. A block of threads has neighbouring blocks of rows (block_sums.cuh).
//
// Rows lie one behind the other, so the copy engine brings them, a few of both halves of a warp at a time, to a ring of the warp's own. Angles
// are loaded a batch ahead where a batch's rows are all of one token.
#include "kernels/backend.h"
#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/block_sums.cuh"
#include "kernels/cuda/rope_rows.cuh"
#include "kernels/cuda/tma.cuh"
#include "kernels/rope_cache.h"

enum { DIM = 128, HALF = DIM / 2, PIECE = 4, ROW_THREADS = HALF / PIECE, THREADS = 256, BLOCKS = THREADS / ROW_THREADS };
enum { GROUP = BLOCKS * ZK_GRAD_BLOCK_ROWS, BATCH = 4, STAGES = 2 };
static_assert(ZK_GRAD_BLOCK_ROWS == ROW_THREADS * BATCH, "a thread has the scales of a batch");

// Rows of both halves of a warp.
typedef struct {
  zk_bf16 d[2][BATCH][DIM], x[2][BATCH][DIM];
} stage;
enum { SHARED = THREADS / 32 * STAGES * (int)(sizeof(stage) + sizeof(uint64_t)) };

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
static __device__ __forceinline__ void store_piece(zk_bf16 *p, const piece &x) {
#pragma unroll
  for (int h = 0; h < 2; h++)
#ifdef ZK_SIMT
    *(zk_words<PIECE / 2> *)(p + h * HALF) = x.half[h];
#else // which the compiler would take apart
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(p + h * HALF), "r"(x.half[h].w[0]), "r"(x.half[h].w[1]) : "memory");
#endif
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
static __device__ __forceinline__ angles load_angles(const args &args, int32_t position, int column) {
  const int64_t first = (int64_t)position * HALF + column;
  const float4 cosine = *(const float4 *)(args.cos_table + first), sine = *(const float4 *)(args.sin_table + first);
  return {{cosine.x, cosine.y, cosine.z, cosine.w}, {sine.x, sine.y, sine.z, sine.w}};
}

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

// A warp's ring. Where there is no copy engine its lanes copy.
struct ring {
  stage *stages;
  uint64_t *full;
  int64_t row; // of the first half's block; the second's is the next one
  int count[2];

  // row, count: of the thread's block.
  __device__ __forceinline__ ring(char *shared, int64_t row_, int count_) {
    const int warp = (int)threadIdx.x / 32;
    row = __shfl_sync(0xffffffffu, row_, 0), count[0] = __shfl_sync(0xffffffffu, count_, 0), count[1] = __shfl_sync(0xffffffffu, count_, ROW_THREADS);
    stages = (stage *)shared + warp * STAGES, full = (uint64_t *)((stage *)shared + THREADS / 32 * STAGES) + warp * STAGES;
    if (threadIdx.x % 32 == 0) {
      for (int i = 0; i < STAGES; i++) zk_mbar_init(full + i, 1);
      zk_mbar_init_done();
    }
    __syncwarp();
  }
  __device__ __forceinline__ int rows_of(int half, int batch) const { return max(min(count[half] - batch * BATCH, (int)BATCH), 0); }
  // All lanes call these; fetch when none of them reads what the stage held before.
  __device__ __forceinline__ void fetch(const side &s, int batch) {
    stage &to = stages[batch % STAGES];
    if (threadIdx.x % 32 != 0) return;
    const uint32_t bytes[2] = {(uint32_t)(rows_of(0, batch) * DIM * 2), (uint32_t)(rows_of(1, batch) * DIM * 2)};
    zk_mbar_arrive_expect(full + batch % STAGES, 2 * (bytes[0] + bytes[1]));
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (bytes[half] == 0) continue;
      const int64_t at = (row + half * ZK_GRAD_BLOCK_ROWS + batch * BATCH) * DIM;
      zk_tma_load(to.d[half], s.d + at, bytes[half], full + batch % STAGES);
      zk_tma_load(to.x[half], s.x + at, bytes[half], full + batch % STAGES);
    }
  }
  __device__ __forceinline__ void wait(int batch) {
    zk_mbar_wait(full + batch % STAGES, (uint32_t)(batch / STAGES) % 2);
  }
};

// A half warp's block of `count` rows, which may be 0; the sums of its columns. The halves of a warp go on together.
static __device__ __forceinline__ void walk_block(const args &args, const side &s, int64_t row, int count, char *shared, columns &dw) {
  const int lane = (int)threadIdx.x % 32, half = lane / ROW_THREADS, thread = lane % ROW_THREADS, column = thread * PIECE;
  const columns w = widen(load_piece(s.weight + column));
  ring ring(shared, row, count);
  const int batches = (max(ring.count[0], ring.count[1]) + BATCH - 1) / BATCH, whole = min(ring.count[0], ring.count[1]) / BATCH;
  for (int i = 0; i < STAGES && i < batches; i++) ring.fetch(s, i);
  float scales[BATCH]; // of the rows of batch `thread`
#pragma unroll
  for (int j = 0; j < BATCH; j++) scales[j] = thread * BATCH + j < count ? s.rstd[row + thread * BATCH + j] : 0.0f;
  const bool one_token = s.heads % BATCH == 0; // for all rows of a batch
  int32_t head = (int32_t)(row % s.heads), token = (int32_t)(row / s.heads); // of the next batch's first row
  const int32_t last = count > 0 ? (int32_t)((row + count - 1) / s.heads) : 0;
  auto next_position = [&]() {
    for (head += BATCH; head >= s.heads; head -= s.heads) token++;
    return args.positions[min(token, last)];
  };
  angles next = {};
  if (count > 0) next = load_angles(args, args.positions[token], column);
  int32_t position = next_position();
  zk_bf16 *to = s.d + row * DIM + column;
  for (int batch = 0; batch < batches; batch++) {
    ring.wait(batch);
    const stage &from = ring.stages[batch % STAGES];
    angles angle = next;
    if (one_token) next = load_angles(args, position, column), position = next_position();
    const bool plain = batch < whole && one_token;
#pragma unroll
    for (int j = 0; plain && j < BATCH; j++)
      store_piece(to + j * DIM, walk_row(load_piece(&from.d[half][j][column]), load_piece(&from.x[half][j][column]),
                                         __shfl_sync(0xffffffffu, scales[j], half * ROW_THREADS + batch), angle, w, dw));
#pragma unroll 1
    for (int j = 0; !plain && j < BATCH; j++) {
      const bool there = batch * BATCH + j < count;
      const float scale = __shfl_sync(0xffffffffu, j == 0 ? scales[0] : j == 1 ? scales[1] : j == 2 ? scales[2] : scales[3], half * ROW_THREADS + batch);
      if (there && !one_token) angle = load_angles(args, args.positions[(row + batch * BATCH + j) / s.heads], column);
      columns sums = dw;
      const piece dx = walk_row(load_piece(&from.d[half][j][column]), load_piece(&from.x[half][j][column]), scale, angle, w, sums);
      if (there) dw = sums, store_piece(to + j * DIM, dx);
    }
    to += BATCH * DIM;
    __syncwarp();
    if (batch + STAGES < batches) ring.fetch(s, batch + STAGES);
  }
}

static __global__ void __launch_bounds__(THREADS, 3) rope_norm_backward_kernel(const __grid_constant__ args args) {
  ZK_DYNAMIC_SHARED(char, shared); // the warps' rings, then the blocks' sums
  float(*block_sum)[DIM] = (float(*)[DIM])shared;
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
  walk_block(args, s, row, left < 0 ? 0 : left < ZK_GRAD_BLOCK_ROWS ? (int)left : ZK_GRAD_BLOCK_ROWS, shared, dw);
  __syncthreads();
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
    ZK_LAUNCH_DEPENDENT(rope_norm_backward_kernel, (unsigned)(of_q + of_k), THREADS, SHARED, stream, a);
  }
  return ZK_OK;
}
