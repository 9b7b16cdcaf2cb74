// Sampling from logits in registers (lmhead_fragment.cuh): only the ids that may win get their noise.
//
// Let `best` be no larger than the value z + gumbel of some id of the row, m the largest z of the ids at hand, and h a
// number with m + h < best when rounded as values are. An id whose noise is at most h has a value of at most m + h
// (rounding keeps order), less than best: it is not the largest, nor tied with it, wherever best came from and whenever
// it was found. So ids are left out by comparing their random number (zk_gumbel_least), and no bit depends on which
// were. No noise exceeds ZK_GUMBEL_MOST: with h beyond it no id is left.
// `best` is what some tiles of the row gave so far, whichever they were, or what lmhead_draw.cu began with.
#ifndef ZK_KERNELS_CUDA_LMHEAD_NOISE_CUH
#define ZK_KERNELS_CUDA_LMHEAD_NOISE_CUH

#include "kernels/cuda/lmhead_tile.cuh"

// The least random number with which an id of at most m may have a value of `best` or more.
static __device__ __forceinline__ uint32_t zk_lmhead_least(float m, float best) {
  const float h = (best - m) - 0.01f;
  return m + h < best ? zk_gumbel_least(h) : 0; // else the two are too large to tell
}

struct zk_lmhead_name { // of a row's random numbers: words 1 to 3 of its counters
  uint32_t position, prompt_id, sample;
};
static __device__ __forceinline__ zk_lmhead_name zk_lmhead_name_of(const zk_lmhead_block &b, int64_t row) {
  return {b.ids.position[row], b.ids.prompt_id[row], b.ids.sample_idx[row] << 20 | b.ids.step[row]};
}

struct zk_lmhead_pair {
  float at[2];
};

// A quad's tile of 128 ids. Philox numbers the ids by fours: threads q and q ^ 1 have two each of ids 8 j + 4 (q / 2)
// .. + 3, j < 16, whose four numbers are one call. They share the calls: one makes those of even j, the other of odd j,
// and each tells the other which of them had a number that is large enough; those are made again by both.
struct zk_lmhead_draw {
  uint64_t seed;
  zk_lmhead_name name;
  int32_t tile;
  int q;

  // The numbers of call j.
  __device__ __forceinline__ void random(int j, uint32_t r[4]) const {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t group = (uint32_t)(tile * (ZK_VOCAB_TILE / 4) + 2 * j + q / 2);
    const uint32_t counter[4] = {((uint32_t)ZK_RNG_SAMPLE << 24) + group, name.position, name.prompt_id, name.sample};
    zk_philox4x32(counter, key, r);
  }

  // The thread's two ids of call j, whose z are z_of(j).
  template <class Z> __device__ __forceinline__ void look(int j, const Z &z_of, zk_lmhead_best &best) const {
    uint32_t r[4];
    random(j, r);
    const zk_lmhead_pair z = z_of(j);
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int32_t id = tile * ZK_VOCAB_TILE + 8 * j + 2 * q + e;
      const zk_lmhead_best next = {z.at[e] + zk_gumbel(q & 1 ? r[2 + e] : r[e]), z.at[e],
                                   z.at[e] == -INFINITY ? -1 : id};
      zk_lmhead_better(best, next);
    }
  }

  // By whole warps. The best of the thread's ids among those that may be the best of all; of a row that is not wanted,
  // anything. best: a value of the row, or -inf: then the pair's largest number gives one to compare with.
  template <class Z>
  __device__ __forceinline__ zk_lmhead_best among(bool wanted, float m, float best, const Z &z_of) const {
    const int odd = q & 1;
    uint32_t most[8]; // of a call's four numbers
#pragma unroll
    for (int i = 0; i < 8; i++) {
      uint32_t r[4];
      random(2 * i + odd, r);
      most[i] = max(max(r[0], r[1]), max(r[2], r[3]));
    }
    zk_lmhead_best mine = {-INFINITY, -INFINITY, -1};
    if (__any_sync(ZK_WARP, wanted && best == -INFINITY)) {
      uint32_t top = 0;
#pragma unroll
      for (int i = 0; i < 8; i++) top = max(top, (most[i] & ~15u) | (uint32_t)(2 * i + odd));
      top = max(top, __shfl_xor_sync(ZK_WARP, top, 1));
      look((int)(top & 15), z_of, mine);
      float value = mine.value;
      for (int away = 1; away <= 2; away *= 2) value = fmaxf(value, __shfl_xor_sync(ZK_WARP, value, away));
      if (best == -INFINITY) best = fmaxf(value, -FLT_MAX);
    }
    const uint32_t least = zk_lmhead_least(m, best);
    uint32_t left = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) left |= most[i] >= least ? 1u << (2 * i) : 0u;
    left <<= odd;
    left |= __shfl_xor_sync(ZK_WARP, left, 1);
    if (!wanted) left = 0;
    for (; left != 0; left &= left - 1) look(__ffs((int)left) - 1, z_of, mine);
    return mine;
  }
};

#endif
