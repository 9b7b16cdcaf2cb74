// bf16 products of a few rows: y = x W^T, up to 128 tokens (rows of x), k contiguous in both operands. The weights are
// read from memory once and set the time, so everything serves that stream: a block owns ROWS rows of W at a time and
// their whole k; a ring of shared memory holds the next boxes of 64 k, as many as fit.
//
// Roles. The last warp's lane 0 asks the copy engine for boxes: W's, and x's beside them. Each warpgroup before it owns
// 64 tokens and makes wgmma's steps, tokens on the side of 64, weights on the side of ROWS, so that any multiple of 8
// weight rows costs what it needs. Up to 8 tokens one group of 8 rows stands for all eight. Between 9 and 63, the rows
// behind the last token are whatever lies there in shared memory; no output is made of them.
//
// The bits: an output is one chain of k16 steps in a thread's registers, k ascending; boxes behind k's end are zeros,
// which change nothing. No chain is split, so no output depends on the shape of the launch.
//
// A cluster of blocks shares x: each block asks for its part of the tokens and the copy engine hands it to all of them.
// A stage is free when every block of the cluster has read it.
//
// The kernel may be launched before the one ahead of it has ended: weights are asked for at once, x after the wait.
#ifndef ZK_KERNELS_CUDA_GEMM_DECODE_CUH
#define ZK_KERNELS_CUDA_GEMM_DECODE_CUH

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/tma.cuh"
#include "kernels/cuda/wgmma.cuh"

#ifndef ZK_SIMT

enum { ZK_DECODE_BOX = 64, ZK_DECODE_MOST_STAGES = 32, ZK_DECODE_MOST_TOKENS = 128 };

// The shape of a launch (gemm_decode_launch.cuh).
typedef struct {
  int32_t k_boxes;       // of 64 k
  int32_t num_tiles;     // of ROWS weight rows
  int32_t rounds;        // tiles a block has, those behind the last one included
  int32_t stages;        // of the ring
  int32_t stage_boxes;   // a stage holds so many of x and of W
  int32_t token_rows;    // of a box of x: the tokens rounded up to 8, or to 8 a block of the cluster
} zk_decode_plan;

// Where a block's stages are and whose turn it is.
struct zk_decode_ring {
  char *base;
  uint64_t *full, *empty;
  int stage;
  uint32_t parity;
  __device__ __forceinline__ void next(int stages) {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
};

// The accumulators of a warpgroup, [64 tokens][ROWS].
template <int ROWS> struct zk_decode_tile {
  float acc[ROWS / 2];

  // f(token, row, value, value of row + 1) for each of the thread's pairs; tokens behind the last are among them.
  template <class F> __device__ __forceinline__ void pairs(F f) const {
    const int lane = (int)threadIdx.x % 32, token = (int)threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < ROWS / 2; i += 2) f(token + i % 4 / 2 * 8, i / 4 * 8 + lane % 4 * 2, acc[i], acc[i + 1]);
  }
};

template <int ROWS, int CLUSTER> struct zk_decode_block {
  const zk_decode_plan &plan;
  const int x_box, w_box; // bytes
  zk_decode_ring ring;

  __device__ __forceinline__ int steps() const { return (plan.k_boxes + plan.stage_boxes - 1) / plan.stage_boxes; }
  __device__ __forceinline__ int boxes(int step) const {
    return min(plan.stage_boxes, plan.k_boxes - step * plan.stage_boxes);
  }
  __device__ __forceinline__ char *x_at(int stage) const {
    return ring.base + stage * plan.stage_boxes * (x_box + w_box);
  }
  __device__ __forceinline__ char *w_at(int stage) const { return x_at(stage) + plan.stage_boxes * x_box; }

  // The producer's requests for one stage: W's boxes of a step, and x's.
  __device__ __forceinline__ void ask_w(const CUtensorMap *map, int stage, int tile, int step) const {
    const int n = boxes(step);
    zk_mbar_arrive_expect(&ring.full[stage], (uint32_t)(n * (x_box + w_box)));
    for (int b = 0; b < n; b++)
      zk_tma_load_2d(w_at(stage) + b * w_box, map, &ring.full[stage],
                     (step * plan.stage_boxes + b) * ZK_DECODE_BOX, tile * ROWS);
  }
  __device__ __forceinline__ void ask_x(const CUtensorMap *map, int stage, int step) const {
    const int n = boxes(step);
    for (int b = 0; b < n; b++) {
      const int k = (step * plan.stage_boxes + b) * ZK_DECODE_BOX;
      char *to = x_at(stage) + b * x_box;
      if (CLUSTER > 1) {
        const int rows = plan.token_rows / CLUSTER, first = (int)zk_block_in_cluster() * rows;
        zk_tma_load_2d_to((1 << CLUSTER) - 1, to + first * 128, map, &ring.full[stage], k, first);
      } else {
        zk_tma_load_2d(to, map, &ring.full[stage], k, 0);
      }
    }
  }
  __device__ __forceinline__ int tile(int round) const { return (int)blockIdx.x + round * (int)gridDim.x; }
  // Blocks of a cluster keep step, so they do a tile behind the last as well (its weights are zeros).
  __device__ __forceinline__ int rounds() const {
    if (CLUSTER > 1) return plan.rounds;
    return (int)blockIdx.x < plan.num_tiles ? (plan.num_tiles - 1 - (int)blockIdx.x) / (int)gridDim.x + 1 : 0;
  }

  __device__ __forceinline__ void produce(const CUtensorMap *x_map, const CUtensorMap *w_map) {
    const int n = steps(), total = rounds() * n, at_once = min(total, plan.stages);
    for (int i = 0; i < at_once; i++) ask_w(w_map, i, tile(i / n), i % n);
    zk_wait_for_previous();
    for (int i = 0; i < at_once; i++) ask_x(x_map, i, i % n);
    ring.stage = 0, ring.parity = 0;
    for (int i = at_once, step = at_once % n, t = tile(at_once / n); i < total; i++) {
      zk_mbar_wait(&ring.empty[ring.stage], ring.parity);
      ask_w(w_map, ring.stage, t, step);
      ask_x(x_map, ring.stage, step);
      ring.next(plan.stages);
      if (++step == n) step = 0, t += (int)gridDim.x;
    }
  }

  // This warp has read the stage.
  __device__ __forceinline__ void release(int stage) const {
    const int lane = (int)threadIdx.x % 32;
    if (CLUSTER > 1) {
      if (lane < CLUSTER) zk_mbar_arrive_at(&ring.empty[stage], (uint32_t)lane);
    } else if (lane == 0) {
      zk_mbar_arrive(&ring.empty[stage]);
    }
  }
  // A tile's chains. A stage is released when the next one's steps are queued: the chain has no gap between stages.
  __device__ __forceinline__ void consume(zk_decode_tile<ROWS> &tile, int warpgroup) {
    const int group = plan.token_rows == 8 ? 0 : 1024;
    int held = -1;
    for (int step = 0; step < steps(); step++) {
      zk_mbar_wait(&ring.full[ring.stage], ring.parity);
      const uint64_t x = zk_wgmma_inner(x_at(ring.stage) + warpgroup * 64 * 128, group);
      const uint64_t w = zk_wgmma_inner(w_at(ring.stage));
      for (int b = 0, n = boxes(step); b < n; b++) {
        zk_wgmma_begin();
#pragma unroll
        for (int s = 0; s < 4; s++)
          zk_wgmma<false, false>(tile.acc, zk_wgmma_step<false>(x + (uint64_t)(b * x_box >> 4), s),
                                 zk_wgmma_step<false>(w + (uint64_t)(b * w_box >> 4), s), (step | b | s) != 0);
      }
      zk_wgmma_commit();
      zk_wgmma_wait<1>();
      if (held >= 0) release(held);
      held = ring.stage;
      ring.next(plan.stages);
    }
    zk_wgmma_wait<0>();
    release(held);
  }
};

// Epilogue: a struct with operator()(tile, first): the outputs of weight rows first .. first + ROWS, in the consumers'
// registers. It may synchronise the threads of its warpgroup (zk_barrier), no others.
template <int ROWS, int CLUSTER, class Epilogue>
static __global__ void __launch_bounds__(2 * 128 + 32) __cluster_dims__(CLUSTER, 1, 1)
    zk_gemm_decode_kernel(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
                          const __grid_constant__ zk_decode_plan plan, const __grid_constant__ Epilogue epilogue) {
  ZK_DYNAMIC_SHARED(char, shared);
  __shared__ uint64_t full[ZK_DECODE_MOST_STAGES], empty[ZK_DECODE_MOST_STAGES];
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), consumers = (int)blockDim.x / 32 - 1;
  if (threadIdx.x == 0) {
    for (int s = 0; s < plan.stages; s++) {
      zk_mbar_init(&full[s], 1);
      zk_mbar_init(&empty[s], consumers * CLUSTER);
    }
    zk_mbar_init_done();
  }
  if (CLUSTER > 1) zk_cluster_sync();
  else __syncthreads();
  zk_let_next_start();
  zk_decode_block<ROWS, CLUSTER> block = {plan, plan.token_rows * 128, ROWS * 128, {shared, full, empty, 0, 0}};
  if (warp == consumers) {
    if (threadIdx.x % 32 == 0) block.produce(&x_map, &w_map);
  } else {
    zk_wait_for_previous();
    const int rounds = block.rounds();
    for (int round = 0; round < rounds; round++) {
      zk_decode_tile<ROWS> tile;
      block.consume(tile, warp / 4);
      epilogue(tile, (int64_t)block.tile(round) * ROWS);
    }
  }
  if (CLUSTER > 1) zk_cluster_sync(); // nobody leaves while others may still copy to it or arrive at it
}

#endif
#endif
