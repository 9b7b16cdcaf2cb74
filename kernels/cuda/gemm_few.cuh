// bf16 products of up to 8 rows: y = x W^T, k contiguous in both operands. For a decode step, where each product waits for
// the one before and only the time from x's being there to y's being there counts.
//
// Roles. A block owns tiles of some rows of W, or of two W, and their whole k. Its last warp asks the copy engine for the
// weights before the kernel waits for the one ahead; they lie in a ring of stages, often all of them at once. The other warps
// read x by ordinary loads into shared memory and normalise it there where the product begins with an RMSNorm. Then each
// walks the chains of 16 rows of W (of 8 and 8, where there are two) by mma.sync: weights are its 16 rows, tokens its 8
// columns. (wgmma reads 64 rows of x from shared memory for each step; blocks of one multiprocessor then wait for each other.)
//
// The bits: an output is one chain of k16 steps in a thread's registers, k ascending. The norm is that of kernels/rmsnorm.h,
// which every block makes for itself: 128 lanes, their halving, one rounding where it would have been stored. Columns behind
// the last token are whatever lies there; no output is made of them.
#ifndef ZK_KERNELS_CUDA_GEMM_FEW_CUH
#define ZK_KERNELS_CUDA_GEMM_FEW_CUH

#include "kernels/cuda/ldmatrix.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/rmsnorm_rows.cuh"
#include "kernels/cuda/tma.cuh"

enum { ZK_FEW_TOKENS = 8, ZK_FEW_BOX = 64, ZK_FEW_MOST_PARTS = 3, ZK_FEW_MOST_STAGES = 32, ZK_FEW_MOST_WARPS = 8 };

// A launch. Shared memory holds the ring, then what the offsets say. A stage is, for each W of a tile, [stage_boxes][rows][64
// k], swizzled (tma.cuh); a row of x is 16 bytes longer than it need be: 8 rows at one k then lie in different banks.
typedef struct {
  const zk_bf16 *x, *norm; // norm: the RMSNorm's weight, or NULL
  int64_t ldx;
  float eps;
  int32_t m, k, k_boxes, rows;
  int32_t num_parts, part_end[ZK_FEW_MOST_PARTS], num_tiles,
      n[ZK_FEW_MOST_PARTS]; // tiles of the parts up to this one; all
  int32_t stages, stage_boxes;
  int32_t x_at, x_pitch, norm_at, lanes_at, bars_at;
} zk_few_plan;

typedef struct {
  CUtensorMap w[ZK_FEW_MOST_PARTS]; // of [k / 64][rows][64]: a stage to a copy
} zk_few_maps;

// A block's shared memory and its place in the ring; each warp walks on its own. PAIR: a tile is `rows` rows of w[0] and the
// same of w[1].
template <bool PAIR> struct zk_few_block {
  const zk_few_plan &plan;
  char *ring, *x;
  zk_bf16 *norm;
  float *lanes, *scales;
  uint64_t *full, *empty, *norm_there;
  int half_bytes, stage; // of a stage, one W's
  uint32_t parity;

  __device__ __forceinline__ zk_few_block(const zk_few_plan &of, char *shared)
      : plan(of), ring(shared), x(shared + of.x_at), norm((zk_bf16 *)(shared + of.norm_at)),
        lanes((float *)(shared + of.lanes_at)), half_bytes(of.stage_boxes * of.rows * 128), stage(0), parity(0) {
    scales = lanes + of.m * ZK_LANES;
    full = (uint64_t *)(shared + of.bars_at), empty = full + of.stages, norm_there = empty + of.stages;
  }
  __device__ __forceinline__ void open(int lane, int consumers) const { // a warp
    if (lane < plan.stages) zk_mbar_init(&full[lane], 1), zk_mbar_init(&empty[lane], consumers);
    if (lane == 0) zk_mbar_init(norm_there, 1);
    zk_mbar_init_done();
    __syncwarp();
  }
  __device__ __forceinline__ void next() {
    if (++stage == plan.stages) stage = 0, parity ^= 1;
  }
  __device__ __forceinline__ char *weights() const { return ring + stage * (PAIR ? 2 : 1) * half_bytes; }
  // Which weight a tile is of, and the first of its rows there.
  __device__ __forceinline__ int part(int tile) const {
    int p = 0;
    while (p + 1 < plan.num_parts && tile >= plan.part_end[p]) p++;
    return p;
  }
  __device__ __forceinline__ int first_row(int tile, int part) const {
    return (part > 0 ? tile - plan.part_end[part - 1] : tile) * plan.rows;
  }

  // One thread. What a copy brings from behind the last row or box is zeros.
  __device__ __forceinline__ void ask(const zk_few_maps &maps) {
    for (int t = (int)blockIdx.x; t < plan.num_tiles; t += (int)gridDim.x) {
      const int of = part(t), row = first_row(t, of);
      for (int box = 0; box < plan.k_boxes; box += plan.stage_boxes, next()) {
        zk_mbar_wait(&empty[stage], parity ^ 1);
        zk_mbar_arrive_expect(&full[stage], (uint32_t)((PAIR ? 2 : 1) * half_bytes));
        zk_tma_load_3d(weights(), &maps.w[of], &full[stage], 0, row, box);
        if (PAIR) zk_tma_load_3d(weights() + half_bytes, &maps.w[1], &full[stage], 0, row, box);
      }
    }
  }
  __device__ __forceinline__ void ask_norm() const {
    zk_mbar_arrive_expect(norm_there, (uint32_t)plan.k * 2);
    zk_tma_load(norm, plan.norm, (uint32_t)plan.k * 2, norm_there);
  }

  // x into shared memory by `threads` threads, which meet at barrier 1. It was written by the kernel ahead, perhaps while
  // this block was there already: not read through L1. Every block wants all of it at once, so each begins elsewhere.
  __device__ __forceinline__ void take_x(int threads) const {
    const int pieces = plan.k / 8;
    for (int turn = 0; turn < plan.m; turn++) {
      const int r = (turn + (int)blockIdx.x) % plan.m;
      for (int i = (int)threadIdx.x; i < pieces; i += threads)
        zk_copy_16_or_zero(x + r * plan.x_pitch + i * 16, plan.x + r * plan.ldx + i * 8, true);
    }
    zk_copy_wait();
    zk_barrier(1, threads);
    if (plan.norm != NULL) norm_x(threads);
  }
  // The factor of row r, by a warp.
  __device__ __forceinline__ float scale_of(int r) const {
    const float *of = lanes + r * ZK_LANES + threadIdx.x % 32;
    float sum = (of[0] + of[64]) + (of[32] + of[96]);
#pragma unroll
    for (int away = 16; away > 0; away /= 2) sum = sum + __shfl_xor_sync(0xffffffffu, sum, away);
    return zk_rms_scale(sum, plan.k, plan.eps);
  }
  __device__ __forceinline__ void norm_x(int threads) const {
    const int tid = (int)threadIdx.x, pieces = plan.k / 8;
    for (int i = tid; i < plan.m * ZK_LANES; i += threads) {
      const zk_bf16 *row = (const zk_bf16 *)(x + i / ZK_LANES * plan.x_pitch);
      float sum = 0.0f;
#pragma unroll 8
      for (int h = i % ZK_LANES; h < plan.k; h += ZK_LANES) {
        const float v = zk_load(row, h);
        sum = fmaf(v, v, sum);
      }
      lanes[i] = sum;
    }
    zk_barrier(1, threads);
    float scale = 0.0f; // of a single row, which every warp has for itself
    if (plan.m == 1) scale = scale_of(0);
    else {
      for (int r = tid / 32; r < plan.m; r += threads / 32) {
        const float mine = scale_of(r);
        if (tid % 32 == 0) scales[r] = mine;
      }
      zk_barrier(1, threads);
    }
    zk_mbar_wait(norm_there, 0);
    for (int r = 0; r < plan.m; r++) {
      if (plan.m > 1) scale = scales[r];
      for (int i = tid; i < pieces; i += threads) {
        zk_words<4> *at = (zk_words<4> *)(x + r * plan.x_pitch + i * 16), v = *at;
        zk_rms_apply(v, *(const zk_words<4> *)(norm + i * 8), scale);
        *at = v;
      }
    }
    zk_barrier(1, threads);
  }
};

// Operands of 64 k, four steps: weights as mma.sync's A, x as its B.
struct zk_few_box {
  uint32_t w[4][4], x[8];
};

// The chains of a warp: acc[0], acc[1] of row lane / 4 and tokens lane % 4 * 2 and the next, acc[2], acc[3] of the row 8
// further (PAIR: of the same row of the second W).
template <bool PAIR> struct zk_few_chains {
  float acc[4];

  // Two boxes' operands are asked for before the steps of the two ahead, and a turn of the loop ends when they are there: left
  // to itself, the compiler asks for each shortly before its use.
  __device__ __forceinline__ void walk(zk_few_block<PAIR> &block, int warp) {
    const zk_few_plan &p = block.plan;
    const int lane = (int)threadIdx.x % 32, second = lane / 8 % 2, token = lane % 8, w_box = p.rows * 128;
    const int row = PAIR || p.rows == 8 ? warp * 8 + lane % 8 : warp * 16 + second * 8 + lane % 8;
    const int from = row * 128 + (PAIR ? second * block.half_bytes : 0);
    const char *x = block.x + (token < p.m ? token * p.x_pitch : token * 16) + lane / 8 * 16;
    acc[0] = acc[1] = acc[2] = acc[3] = 0.0f;
    for (int box = 0; box < p.k_boxes; box += p.stage_boxes, block.next()) {
      const int boxes = min(p.stage_boxes, p.k_boxes - box);
      const char *w[4];
#pragma unroll
      for (int s = 0; s < 4; s++) w[s] = block.weights() + from + (((2 * s + lane / 16) ^ (row % 8)) * 16);
      auto load = [&](zk_few_box &to) {
#pragma unroll
        for (int s = 0; s < 4; s++) {
          zk_ldmatrix<false>(w[s], to.w[s]);
          if (s % 2 == 0) zk_ldmatrix<false>(x + s * 32, to.x + s * 2);
        }
        x += ZK_FEW_BOX * 2;
#pragma unroll
        for (int s = 0; s < 4; s++) w[s] += w_box;
      };
      zk_few_box now[2], then[2];
      zk_mbar_wait(&block.full[block.stage], block.parity);
      load(now[0]);
      if (boxes > 1) load(now[1]);
      int b = 2;
#pragma unroll 1
      for (; b + 2 <= boxes; b += 2) {
        load(then[0]), load(then[1]);
        steps(now[0]), steps(now[1]);
        now[0] = then[0], now[1] = then[1];
      }
      if (b < boxes) load(then[0]);
      steps(now[0]);
      if (boxes > 1) steps(now[1]);
      if (b < boxes) steps(then[0]);
      pass(block);
    }
  }
  __device__ __forceinline__ void steps(const zk_few_box &of) {
#pragma unroll
    for (int s = 0; s < 4; s++) zk_mma_bf16(acc, of.w[s], of.x + 2 * s);
  }
  // This warp has read the stage.
  static __device__ __forceinline__ void pass(zk_few_block<PAIR> &block) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) zk_mbar_arrive(&block.empty[block.stage]);
  }
  // A tile of which it has no rows.
  static __device__ __forceinline__ void skip(zk_few_block<PAIR> &block) {
    for (int box = 0; box < block.plan.k_boxes; box += block.plan.stage_boxes, block.next()) {
      zk_mbar_wait(&block.full[block.stage], block.parity);
      pass(block);
    }
  }
};

// Reads a word of each of a parameter's cache lines: what is used behind the wait is then at hand.
template <class T> static __device__ __forceinline__ void zk_few_touch(const T &parameter) {
  const uint32_t *words = (const uint32_t *)&parameter;
#pragma unroll
  for (int i = 0; i < (int)(sizeof(T) / 4); i += 16) asm volatile("" ::"r"(words[i]));
}

// Outputs: PAIR, whether they are made of the chains of two W; begin(part, row, there, m) reads what a lane's outputs need
// besides their chains, before these are walked; end(the same, that, acc) stores them. row is the lane's first; `there`: how
// many rows from it the weight has left.
template <class Outputs>
static __global__ void __launch_bounds__((ZK_FEW_MOST_WARPS + 1) * 32)
    zk_gemm_few_kernel(const __grid_constant__ zk_few_maps maps, const __grid_constant__ zk_few_plan plan,
                       const __grid_constant__ Outputs outputs) {
  constexpr bool PAIR = Outputs::PAIR;
  ZK_DYNAMIC_SHARED(char, shared);
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), lane = (int)threadIdx.x % 32;
  const int consumers = (int)blockDim.x / 32 - 1;
  zk_few_block<PAIR> block(plan, shared);
  if (warp == consumers) block.open(lane, consumers);
  zk_let_next_start();
  if (warp != consumers) zk_few_touch(plan), zk_few_touch(outputs);
  __syncthreads(); // one for all warps: compute-sanitizer takes two at different places for divergence
  if (warp == consumers) {
    if (lane == 0) {
      if (plan.norm != NULL) block.ask_norm();
      block.ask(maps);
    }
    return;
  }
  zk_wait_for_previous();
  block.take_x(consumers * 32);
  for (int t = (int)blockIdx.x; t < plan.num_tiles; t += (int)gridDim.x) {
    const int part = block.part(t), first = warp * (PAIR ? 8 : 16), row = block.first_row(t, part) + first + lane / 4;
    zk_few_chains<PAIR> chains;
    if (first >= plan.rows) {
      chains.skip(block);
      continue;
    }
    const int there = (PAIR ? plan.n[part] : min(plan.n[part], block.first_row(t, part) + plan.rows)) - row;
    const typename Outputs::beside beside = outputs.begin(part, row, there, plan.m);
    chains.walk(block, warp);
    outputs.end(part, row, there, plan.m, beside, chains.acc);
  }
}

#endif
