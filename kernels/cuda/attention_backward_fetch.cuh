// The helping warps of the fused attention backward (attention_backward_fused.cuh): what comes to shared memory by the
// copy engine, and dq's sums on their way. Each walks the block's units and their steps as the computing warpgroups do.
#ifndef ZK_KERNELS_CUDA_ATTENTION_BACKWARD_FETCH_CUH
#define ZK_KERNELS_CUDA_ATTENTION_BACKWARD_FETCH_CUH

#include "kernels/cuda/attention_backward_fused.cuh"

#ifndef ZK_SIMT

struct zk_fused_maps {
  CUtensorMap q, dout, k, v;
};

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
        zk_mbar_wait(&shared->q_empty[step.at], step.parity ^ 1);
        zk_mbar_arrive_expect(&shared->q_full[step.at], sizeof shared->q[0] + sizeof shared->lse_delta[0]);
        zk_tma_load(shared->lse_delta[step.at], lse_delta + i * (2 * ZK_FUSED_ROWS), sizeof shared->lse_delta[0],
                    &shared->q_full[step.at]);
        for (int half = 0; half < D / 64; ++half)
          zk_tma_load_3d(shared->q[step.at][half], &m.q, &shared->q_full[step.at], 64 * half, u.head, row);
        zk_mbar_wait(&shared->dout_empty[step.at], step.parity ^ 1);
        zk_mbar_arrive_expect(&shared->dout_full[step.at], sizeof shared->dout[0]);
        for (int half = 0; half < D / 64; ++half)
          zk_tma_load_3d(shared->dout[step.at][half], &m.dout, &shared->dout_full[step.at], 64 * half, u.head, row);
      }
      step.advance();
      if (i > 0) continue;
      // K and V: lanes have 16 keys each of 64 columns, as so many lie in one page; 0 .. 15 of K
      const int boxes = zk_attn_min(ZK_FUSED_KEYS / 16, (u.num_rows - u.key + 15) / 16), half = lane / 8 % 2,
                box = lane % 8;
      zk_mbar_wait(&shared->kv_empty, (uint32_t)(turn & 1) ^ 1);
      if (lane == 0) zk_mbar_arrive_expect(&shared->kv_full, (uint32_t)boxes * 2 * 16 * D * 2);
      __syncwarp();
      if (box < boxes && half < D / 64) {
        const int key = (int)(zk_attn_key(f.at, u.pages, u.head / f.at.group, u.key + 16 * box) / D);
        zk_tma_load_2d((lane < 16 ? shared->k : shared->v)[half] + box * 16 * 64, lane < 16 ? &m.k : &m.v,
                       &shared->kv_full, 64 * half, key);
      }
      __syncwarp();
    }
  }
}

// What other blocks wrote by the copy engine before they counted may now be read by it, and the reverse.
static __device__ __forceinline__ void zk_fused_fence_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }

// One thread: waits until the tiles before are in the sum, and brings it.
template <int D>
static __device__ __forceinline__ void zk_fused_bring_dq(const zk_fused &f, zk_fused_shared<D> *shared) {
  zk_fused_unit u;
  zk_fused_stage step;
  for (int turn = 0; zk_fused_next<D>(f, shared, turn, true, &u); ++turn) {
    const uint32_t before = 2 * (uint32_t)(u.key / ZK_FUSED_KEYS);
    const size_t first = ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * 2;
    for (int i = 0; i < u.num_steps; ++i, step.advance()) {
      if (before > 0) {
        uint32_t added;
        do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(added) : "l"(f.num_added + first + i) : "memory");
        while (added < before);
        zk_fused_fence_copies();
      }
      for (int w = 0; w < 2; ++w) {
        uint64_t *full = &shared->dq_full[step.at][w];
        zk_mbar_wait(&shared->dq_empty[step.at][w], step.parity ^ 1);
        if (before == 0) {
          zk_mbar_arrive(full);
          continue;
        }
        zk_mbar_arrive_expect(full, sizeof shared->dq[0][0]);
        zk_tma_load(shared->dq[step.at][w], f.dq_sums + ((first + i) * 2 + w) * (ZK_FUSED_ROWS * D / 2),
                    sizeof shared->dq[0][0], full);
      }
    }
  }
}

// One thread: takes warpgroup w's new sums away, and counts each once it is there. The last tile's is dq itself, and
// stays. While one sum is on its way the next may leave, and is counted with it.
template <int D>
static __device__ __forceinline__ void zk_fused_take_dq(const zk_fused &f, int w, zk_fused_shared<D> *shared) {
  zk_fused_unit u;
  zk_fused_stage step;
  for (int turn = 0; zk_fused_next<D>(f, shared, turn, true, &u); ++turn) {
    const size_t first = ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * 2;
    uint32_t *leaving = NULL; // the counter of a sum that has not been counted
    auto count = [&] {
      zk_fused_fence_copies();
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(leaving) : "memory");
      leaving = NULL;
    };
    for (int i = 0; i < u.num_steps; ++i, step.advance()) {
      uint64_t *done = &shared->dq_done[step.at][w];
      if (leaving != NULL && !zk_mbar_try(done, step.parity)) zk_tma_wait_written<0>(), count();
      zk_mbar_wait(done, step.parity);
      if (i >= 2) {
        zk_tma_store(f.dq_sums + ((first + i) * 2 + w) * (ZK_FUSED_ROWS * D / 2), shared->dq[step.at][w],
                     sizeof shared->dq[0][0]);
        zk_tma_commit();
        zk_tma_wait_read<0>();
      }
      zk_mbar_arrive(&shared->dq_empty[step.at][w]);
      if (i < 2) continue;
      if (leaving != NULL) zk_tma_wait_written<1>(), count();
      leaving = f.num_added + first + i;
    }
    if (leaving != NULL) zk_tma_wait_written<0>(), count();
  }
}

#endif
#endif
