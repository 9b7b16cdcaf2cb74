// bf16 attention backward by one kernel, D 64 and 128: scores and their gradients are computed once for dq, dk and dv.
// What its parts share.
//
// Work comes in units: a query head and a tile of 128 keys. A unit walks the query rows from its tile's first in steps
// of 64; dk and dv of its keys stay in registers along the contract's chains, and each step gives the tile's part of
// 64 rows' dq. Units are drawn from a counter, tiles of a sequence ascending and those of a few sequences in turns, by as
// many blocks as there are multiprocessors. The counter decides who computes a unit and when, and reaches no bit:
//   dk, dv   chains over query rows ascending; a part's sum is put away in f32 at each border. A head's sums wait in
//            global memory; the unit that finds those of all heads of its group there adds them, ascending.
//   dq       a tile's chain is complete in one step; the copy engine adds it to the sum of the tiles before it, which
//            lies in global memory, once a counter of these 64 rows says that all of them are in it. So tiles add in
//            ascending order. A unit waits for units drawn before it alone, which run or have ended: it cannot wait for
//            ever.
//
// Threads of a block: four warpgroups, whose products are all of 128 columns (D of 128), with which wgmma is as fast as
// the tensor core.
//   warpgroup 0   warp 0 draws units and copies Q, dO, lse, delta, K and V to shared memory (TMA); one thread each of
//                 warps 1 and 2 adds dq, of every other step
//   warpgroup 1   scores, their gradients and dq (attention_backward_scores.cuh)
//   warpgroup 2, 3   dk and dv of 64 keys each (attention_backward_sums.cuh)
//
// Sums in global memory lie as the threads hold them: a thread's four neighbouring accumulators are 16 bytes, and a
// warpgroup's threads lie side by side.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_FUSED_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_FUSED_CUH

#include "kernels/cuda/attention_bf16.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/tma.cuh"
#include "kernels/cuda/wgmma.cuh"

#define ZK_FUSED_ROWS 64 // query rows of a step
#define ZK_FUSED_KEYS ZK_ATTN_TILE_BF16
#define ZK_FUSED_THREADS 512
#define ZK_FUSED_SCORE_WARPS 4
#define ZK_FUSED_SUM_WARPS 8
static_assert(ZK_FUSED_KEYS == 128, "two warpgroups of 64 keys");
static_assert(ZK_ATTN_PART % ZK_FUSED_KEYS == 0, "a part ends between steps");

struct zk_fused {
  zk_attn at;                  // its plan: tiles of 128 keys
  float c;                     // scale * log2 e
  int32_t num_rows, num_tiles; // of the batch; of the plan, at most
  int32_t seqs_at_once;        // tiles of so many sequences are drawn in turns
  int32_t *order;              // [tile]: which tile of the plan is drawn in this place, of all heads
  float *lse_delta;         // [Hq][tile][2 steps][2: lse, delta][ZK_FUSED_ROWS], as rows lie in tiles of their sequence
  float *dq_sums;           // [Hq][tile][2 steps][ZK_FUSED_ROWS * D]
  float *dk_sums, *dv_sums; // [Hq][tile][ZK_FUSED_KEYS * D]
  uint32_t *next;           // units drawn
  uint32_t *num_added;      // [Hq][tile][2 steps]: tiles in dq_sums
  uint32_t *num_heads_done; // [KV head][tile]: heads of the group in dk_sums and dv_sums
  zk_bf16 *dq, *dk, *dv;
};

// Rows of 64 elements are swizzled (tma.cuh), [D / 64] of them side by side. A barrier `full` says that something has
// come, `empty` that it has been used. Arrays of [2] that belong to steps, and to units, are used in turns.
template <int D> struct zk_fused_shared {
  zk_bf16 k[D / 64][ZK_FUSED_KEYS * 64], v[D / 64][ZK_FUSED_KEYS * 64];
  zk_bf16 q[2][D / 64][ZK_FUSED_ROWS * 64], dout[2][D / 64][ZK_FUSED_ROWS * 64];
  zk_bf16 p[2][ZK_FUSED_ROWS * 64], ds[2][ZK_FUSED_ROWS * 64]; // of 64 keys: [row][key]
  float dq[2][ZK_FUSED_ROWS * D];
  float lse_delta[2][2 * ZK_FUSED_ROWS];
  uint64_t rows_full[2], rows_empty[2]; // Q, dO and lse_delta
  uint64_t dq_full[2], dq_empty[2];
  uint64_t p_full, p_empty, ds_full, ds_empty;
  uint64_t k_full, k_empty, v_full, v_empty;
  uint64_t unit_full[2], unit_empty[2];
  uint32_t unit[2];
  uint32_t joins; // the unit that has ended is the last of its group
};

struct zk_fused_unit {
  int32_t head, tile;          // the tile in the plan
  int32_t key;                 // its first, in the sequence
  int32_t row_start, num_rows; // of the sequence
  int32_t num_steps;
  const int32_t *pages;
};

// False: there is no such unit.
static __device__ __forceinline__ bool zk_fused_find(const zk_fused &f, uint32_t index, zk_fused_unit *u) {
  zk_attn_block b;
  const int32_t place = (int32_t)(index / (uint32_t)f.at.num_heads);
  if (place >= f.at.block_start[f.at.num_seqs]) return false;
  u->head = (int32_t)(index % (uint32_t)f.at.num_heads), u->tile = f.order[place];
  zk_attn_find(f.at, u->tile, 1, ZK_FUSED_KEYS, false, &b);
  u->key = b.begin, u->row_start = b.row_start, u->num_rows = b.num_rows, u->pages = b.pages;
  u->num_steps = (b.num_rows - b.begin + ZK_FUSED_ROWS - 1) / ZK_FUSED_ROWS;
  return true;
}

// The block's unit number `turn`, as warp 0 drew it; by the `lanes` of a warp, of which lane 0 answers.
template <int D>
static __device__ __forceinline__ bool zk_fused_next(const zk_fused &f, zk_fused_shared<D> *shared, int turn,
                                                     uint32_t lanes, zk_fused_unit *u) {
  zk_mbar_wait(&shared->unit_full[turn & 1], (uint32_t)(turn >> 1 & 1));
  const uint32_t index = shared->unit[turn & 1];
  __syncwarp(lanes);
  if (threadIdx.x % 32 == 0) zk_mbar_arrive(&shared->unit_empty[turn & 1]);
  return zk_fused_find(f, index, u);
}

// A place in a ring of two, and the parity of its phase.
struct zk_fused_stage {
  int at = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance() { at ^= 1, parity ^= (uint32_t)(at ^ 1); }
};

#endif
