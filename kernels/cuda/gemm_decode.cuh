// bf16 products of a few rows: y = x W^T, up to 128 tokens (rows of x), k contiguous in both operands. The weights are
// read from memory once and set the time, so everything serves that stream: a block owns ROWS rows of W at a time and
// their whole k; a ring of shared memory holds the next boxes of 64 k, as many as fit. Up to three weights of one x are
// one launch: their tiles follow each other, or, two of a kind, share each tile half and half.
//
// Roles. Two threads ask the copy engine for boxes, of W and of x, a warp each: a request is some hundred cycles of one
// thread, and W's need wait for nothing. Each warpgroup before them owns 64 tokens and makes wgmma's steps, tokens on the
// side of 64, weights on the side of ROWS, so that any multiple of 8 weight rows costs what it needs. Up to 8 tokens one
// group of 8 rows stands for all eight. Between 9 and 63, the rows behind the last token are whatever lies there in
// shared memory; no output is made of them.
//
// The bits: an output is one chain of k16 steps in a thread's registers, k ascending; boxes behind k's end are zeros,
// which change nothing. No chain is split, so no output depends on the shape of the launch.
//
// The kernel may be launched before the one ahead of it has ended: weights are asked for at once, x after the wait.
#ifndef ZK_KERNELS_CUDA_GEMM_DECODE_CUH
#define ZK_KERNELS_CUDA_GEMM_DECODE_CUH

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/tma.cuh"
#include "kernels/cuda/wgmma.cuh"

enum { ZK_DECODE_BOX = 64, ZK_DECODE_MOST_STAGES = 32, ZK_DECODE_MOST_TOKENS = 128, ZK_DECODE_MOST_PARTS = 3 };
enum { ZK_DECODE_BEHIND = 64 * 128 }; // bytes behind the ring: what wgmma reads past a box of fewer than 64 tokens

// The shape of a launch (gemm_decode_launch.cuh).
typedef struct {
  int32_t k_boxes;       // of 64 k
  int32_t num_tiles;     // of ROWS weight rows
  int32_t stages;        // of the ring
  int32_t stage_boxes;   // a stage holds so many of x and of W
  int32_t token_rows;    // of a box of x: the tokens rounded up to 8
  int32_t num_parts;     // weights that follow each other
  int32_t part_end[ZK_DECODE_MOST_PARTS]; // tiles of the parts up to this one
  bool x_folded, w_folded; // the maps are
  bool halves;           // one part: a tile is ROWS / 2 rows of w[0] and the same rows of w[1]
} zk_decode_plan;

// Of matrices, a box to a copy; or, folded, of [k / 64][rows][64], a stage to a copy.
typedef struct {
  CUtensorMap x, w[ZK_DECODE_MOST_PARTS];
} zk_decode_maps;

// The accumulators of a warpgroup, [64 tokens][ROWS].
template <int ROWS> struct zk_decode_tile {
  float acc[ROWS / 2];

  // f(token, row, value, value of row + 1) for each of the thread's pairs; tokens behind the last are among them.
  template <class F> __device__ __forceinline__ void pairs(F f) const {
    const int lane = (int)threadIdx.x % 32, token = (int)threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < ROWS / 2; i += 2) f(token + i % 4 / 2 * 8, i / 4 * 8 + lane % 4 * 2, acc[i], acc[i + 1]);
  }
  // Of halves: f(token, row, values of rows row and row + 1 of the first half, of the second), row < ROWS / 2.
  template <class F> __device__ __forceinline__ void pairs_of_halves(F f) const {
    const int lane = (int)threadIdx.x % 32, token = (int)threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < ROWS / 4; i += 2)
      f(token + i % 4 / 2 * 8, i / 4 * 8 + lane % 4 * 2, acc[i], acc[i + 1], acc[ROWS / 4 + i], acc[ROWS / 4 + i + 1]);
  }
};

// A block's ring and the walk through it. Each role walks on its own, by additions alone: what a lone thread computes
// between two requests the memory waits for.
template <int ROWS> struct zk_decode_block {
  const zk_decode_plan &plan;
  char *ring; // [stages][stage_boxes of x, then of W]
  uint64_t *full, *empty;
  int x_box, w_box, stage_bytes;
  int stage;
  uint32_t parity;

  __device__ __forceinline__ zk_decode_block(const zk_decode_plan &of, char *shared)
      : plan(of), ring(shared), x_box(of.token_rows * 128), w_box(ROWS * 128), stage(0), parity(0) {
    stage_bytes = of.stage_boxes * (x_box + w_box);
    full = (uint64_t *)(shared + of.stages * stage_bytes + ZK_DECODE_BEHIND), empty = full + of.stages;
  }
  // A stage a thread.
  __device__ __forceinline__ void open(int consumer_warps) const {
    const int s = (int)threadIdx.x;
    if (s >= plan.stages) return;
    zk_mbar_init(&full[s], 2); // W's and x's requests
    zk_mbar_init(&empty[s], consumer_warps);
    zk_mbar_init_done();
  }
  __device__ __forceinline__ void next() {
    if (++stage == plan.stages) stage = 0, parity ^= 1;
  }

  // Which weight a tile is of, and the first of its rows there.
  __device__ __forceinline__ int part(int tile) const {
    int p = 0;
    while (p + 1 < plan.num_parts && tile >= plan.part_end[p]) p++;
    return p;
  }
  __device__ __forceinline__ int first_row(int tile, int part) const {
    return (part > 0 ? tile - plan.part_end[part - 1] : tile) * (plan.halves ? ROWS / 2 : ROWS);
  }

  // What a folded copy brings from behind the last box is zeros.
  __device__ __forceinline__ void ask_w(const zk_decode_maps &maps) {
    const CUtensorMap *second = plan.halves ? &maps.w[1] : NULL;
    for (int t = (int)blockIdx.x; t < plan.num_tiles; t += (int)gridDim.x) {
      const int of = part(t), row = first_row(t, of);
      for (int box = 0; box < plan.k_boxes; box += plan.stage_boxes, next()) {
        const int boxes = min(plan.stage_boxes, plan.k_boxes - box);
        char *to = ring + stage * stage_bytes + plan.stage_boxes * x_box;
        zk_mbar_wait(&empty[stage], parity ^ 1);
        zk_mbar_arrive_expect(&full[stage], (uint32_t)((plan.w_folded ? plan.stage_boxes : boxes) * w_box));
        if (plan.w_folded) {
          zk_tma_load_3d(to, &maps.w[of], &full[stage], 0, row, box);
          continue;
        }
#pragma unroll 1
        for (int b = 0; b < boxes; b++, to += w_box) {
          zk_tma_load_2d(to, &maps.w[of], &full[stage], (box + b) * ZK_DECODE_BOX, row);
          if (second) zk_tma_load_2d(to + w_box / 2, second, &full[stage], (box + b) * ZK_DECODE_BOX, row);
        }
      }
    }
  }
  __device__ __forceinline__ void ask_x(const CUtensorMap *map) {
    for (int t = (int)blockIdx.x; t < plan.num_tiles; t += (int)gridDim.x)
      for (int box = 0; box < plan.k_boxes; box += plan.stage_boxes, next()) {
        const int boxes = min(plan.stage_boxes, plan.k_boxes - box);
        char *to = ring + stage * stage_bytes;
        zk_mbar_wait(&empty[stage], parity ^ 1);
        zk_mbar_arrive_expect(&full[stage], (uint32_t)((plan.x_folded ? plan.stage_boxes : boxes) * x_box));
        if (plan.x_folded) {
          zk_tma_load_3d(to, map, &full[stage], 0, 0, box);
          continue;
        }
#pragma unroll 1
        for (int b = 0; b < boxes; b++, to += x_box) zk_tma_load_2d(to, map, &full[stage], (box + b) * ZK_DECODE_BOX, 0);
      }
  }

  // This warp has read the stage.
  __device__ __forceinline__ void release(int stage) const {
    if (threadIdx.x % 32 == 0) zk_mbar_arrive(&empty[stage]);
  }
  // A tile's chains. A stage is released when the first steps of the next are queued: the chain has no gap between them.
  __device__ __forceinline__ void consume(zk_decode_tile<ROWS> &tile, int warpgroup) {
    const int group = plan.token_rows == 8 ? 0 : 1024;
    int held = -1;
    for (int box = 0; box < plan.k_boxes; box += plan.stage_boxes, next()) {
      const char *at = ring + stage * stage_bytes;
      const int boxes = min(plan.stage_boxes, plan.k_boxes - box);
      uint64_t x = zk_wgmma_inner(at + warpgroup * 64 * 128, group), w = zk_wgmma_inner(at + plan.stage_boxes * x_box);
      zk_mbar_wait(&full[stage], parity);
      for (int b = 0; b < boxes; b++, x += (uint64_t)(x_box >> 4), w += (uint64_t)(w_box >> 4)) {
        zk_wgmma_begin();
#pragma unroll
        for (int s = 0; s < 4; s++)
          zk_wgmma<false, false>(tile.acc, zk_wgmma_step<false>(x, s), zk_wgmma_step<false>(w, s), (box | b | s) != 0);
        zk_wgmma_commit();
        if (b == 0 && held >= 0) {
          zk_wgmma_wait<1>();
          release(held);
        }
      }
      held = stage;
    }
    zk_wgmma_wait<0>();
    release(held);
  }
};

// Epilogue: a struct with operator()(tile, part, first): the outputs of rows first .. first + ROWS of that weight (of
// halves: first .. first + ROWS / 2 of both), in the consumers' registers. It may synchronise the threads of its
// warpgroup (zk_barrier), no others.
template <int ROWS, class Epilogue>
static __global__ void __launch_bounds__(2 * 128 + 64)
    zk_gemm_decode_kernel(const __grid_constant__ zk_decode_maps maps, const __grid_constant__ zk_decode_plan plan,
                          const __grid_constant__ Epilogue epilogue) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), consumers = (int)blockDim.x / 32 - 2;
  zk_decode_block<ROWS> block(plan, shared);
  block.open(consumers);
  if (threadIdx.x == 32) {
    for (int p = 0; p < plan.num_parts + (plan.halves ? 1 : 0); p++) zk_tma_prefetch_map(&maps.w[p]);
    zk_tma_prefetch_map(&maps.x);
  }
  __syncthreads();
  zk_let_next_start();
  if (warp == consumers) {
    if (threadIdx.x % 32 == 0) block.ask_w(maps);
  } else if (warp == consumers + 1) {
    if (threadIdx.x % 32 == 0) {
      zk_wait_for_previous();
      block.ask_x(&maps.x);
    }
  } else {
    zk_wait_for_previous();
    for (int t = (int)blockIdx.x; t < plan.num_tiles; t += (int)gridDim.x) {
      zk_decode_tile<ROWS> tile;
      block.consume(tile, warp / 4);
      const int part = block.part(t);
      epilogue(tile, part, block.first_row(t, part));
    }
  }
}

#endif
