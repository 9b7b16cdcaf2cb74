// The helping warps of the fused attention backward (attention_backward_fused.cuh): what comes to shared memory by the
// copy engine, and dq, which leaves by it. Each walks the block's units and their steps as the computing warpgroups do.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_FETCH_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_FETCH_CUH

#include "kernels/cuda/attention_backward_fused.cuh"
#include "kernels/cuda/words.cuh"

struct zk_fused_maps {
  CUtensorMap q, dout, k, v;
};

// A unit's keys of K or V once those before them are not needed any more. By a warp, the lanes whose box of 16 keys exists being `mine`.
template <int D>
static __device__ __forceinline__ void zk_fused_copy_keys(zk_bf16 (*to)[ZK_FUSED_KEYS * 64], const CUtensorMap *map, uint64_t *full, uint64_t *empty,
                                                          int turn, int boxes, bool mine, int key) {
  const int lane = (int)threadIdx.x % 32;
  zk_mbar_wait(empty, (uint32_t)(turn & 1) ^ 1);
  if (lane == 0) zk_mbar_arrive_expect(full, (uint32_t)boxes * 16 * D * 2);
  __syncwarp();
  if (mine) zk_tma_load_2d(to[lane / 8] + lane % 8 * 16 * 64, map, full, 64 * (lane / 8), key);
  __syncwarp();
}

template <int D>
static __device__ __forceinline__ void zk_fused_copy(const zk_fused &f, const zk_fused_maps &m,
                                                     zk_fused_shared<D> *shared) {
  const int lane = (int)threadIdx.x % 32;
  zk_fused_unit u;
  zk_fused_stage step, unit;
  for (int turn = 0;; ++turn) {
    uint32_t index = 0;
    if (lane == 0) index = atomicAdd(f.next, 1u);
    index = __shfl_sync(0xffffffffu, index, 0);
    const bool found = zk_fused_find(f, index, &u);
    if (lane == 0) {
      zk_mbar_wait(&shared->unit_empty[unit.at], unit.parity ^ 1);
      shared->unit[unit.at] = index;
      zk_mbar_arrive(&shared->unit_full[unit.at]);
    }
    unit.advance();
    if (!found) break;
    const float *lse_delta =
        f.lse_delta + ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * (2 * ZK_FUSED_KEYS);
    for (int i = 0; i < u.num_steps; ++i) {
      const int row = u.row_start + u.key + i * ZK_FUSED_ROWS;
      if (lane == 0) {
        uint64_t *full = &shared->rows_full[step.at];
        zk_mbar_wait(&shared->rows_empty[step.at], step.parity ^ 1);
        zk_mbar_arrive_expect(full, sizeof shared->q[0] + sizeof shared->dout[0] + sizeof shared->lse_delta[0]);
        zk_tma_load(shared->lse_delta[step.at], lse_delta + i * (2 * ZK_FUSED_ROWS), sizeof shared->lse_delta[0], full);
        for (int half = 0; half < D / 64; ++half)
          zk_tma_load_3d(shared->q[step.at][half], &m.q, full, 64 * half, u.head, row);
        for (int half = 0; half < D / 64; ++half)
          zk_tma_load_3d(shared->dout[step.at][half], &m.dout, full, 64 * half, u.head, row);
      }
      step.advance();
      if (i > 0) continue;
      // V, which is free first, and K: lanes have 16 keys each of 64 columns, as so many lie in one page
      const int boxes = zk_attn_min(ZK_FUSED_KEYS / 16, (u.num_rows - u.key + 15) / 16), half = lane / 8, box = lane % 8;
      const bool mine = box < boxes && half < D / 64;
      const int key = mine ? (int)(zk_attn_key(f.at, u.pages, u.head / f.at.group, u.key + 16 * box) / D) : 0;
      zk_fused_copy_keys<D>(shared->v, &m.v, &shared->v_full, &shared->v_empty, turn, boxes, mine, key);
      zk_fused_copy_keys<D>(shared->k, &m.k, &shared->k_full, &shared->k_empty, turn, boxes, mine, key);
    }
  }
}

// One thread: adds dq of the steps of one stage to the sums of the tiles before it once they are all there, and counts
// it once it is there, too. It looks for them before dq has come: as a rule they are there by then.
template <int D>
static __device__ __forceinline__ void zk_fused_add_dq(const zk_fused &f, zk_fused_shared<D> *shared, int stage) {
  const float *dq = shared->dq[stage];
  zk_fused_unit u;
  zk_fused_stage step;
  for (int turn = 0; zk_fused_next<D>(f, shared, turn, 1, &u); ++turn) {
    const uint32_t before = (uint32_t)(u.key / ZK_FUSED_KEYS);
    const size_t first = ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * 2;
    for (int i = 0; i < u.num_steps; ++i, step.advance()) {
      if (step.at != stage) continue;
      float *to = f.dq_sums + (first + i) * (ZK_FUSED_ROWS * D);
      uint32_t *count = f.num_added + first + i, added = 0;
      while (added < before) added = zk_word_acquire(count);
      zk_fence_async_all();
      zk_mbar_wait(&shared->dq_full[stage], step.parity);
      if (before == 0) zk_tma_store(to, dq, sizeof shared->dq[0]);
      else zk_tma_add(to, dq, sizeof shared->dq[0]);
      zk_tma_commit();
      zk_tma_wait_read<0>();
      zk_mbar_arrive(&shared->dq_empty[stage]);
      zk_tma_wait_written<0>();
      zk_word_add_release(count, 1);
    }
  }
}

#endif
