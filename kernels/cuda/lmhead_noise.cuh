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

// A tile of 128 ids is 32 calls of Philox, which numbers the ids by fours: ids 4 c .. 4 c + 3 are call c. Of a quad's
// thread q, which has ids 8 j + 2 q and the next, they are call 2 j + q / 2. A warp looks at eight rows. If three or
// more are wanted, threads q and q ^ 1 share the calls of their ids; of one or two, the warp's 32 lanes make a row's
// calls at once. Then the quads make those again that had a number which is large enough.
struct zk_lmhead_draw {
  uint64_t seed;
  zk_lmhead_name name;
  int32_t tile;
  int q;

  // The numbers of call c of the tile, of the row `of`.
  __device__ __forceinline__ void random(int c, const zk_lmhead_name &of, uint32_t r[4]) const {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t group = (uint32_t)(tile * (ZK_VOCAB_TILE / 4) + c);
    const uint32_t counter[4] = {((uint32_t)ZK_RNG_SAMPLE << 24) + group, of.position, of.prompt_id, of.sample};
    zk_philox4x32(counter, key, r);
  }

  // The thread's two ids of call c, whose z are z_of(c / 2).
  template <class Z> __device__ __forceinline__ void look(int c, const Z &z_of, zk_lmhead_best &best) const {
    uint32_t r[4];
    random(c, name, r);
    const zk_lmhead_pair z = z_of(c / 2);
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int32_t id = tile * ZK_VOCAB_TILE + c / 2 * 8 + 2 * q + e;
      const zk_lmhead_best next = {z.at[e] + zk_gumbel(q & 1 ? r[2 + e] : r[e]), z.at[e],
                                   z.at[e] == -INFINITY ? -1 : id};
      zk_lmhead_better(best, next);
    }
  }

  static __device__ __forceinline__ uint32_t most_of(const uint32_t r[4]) {
    return max(max(r[0], r[1]), max(r[2], r[3]));
  }

  // The least random number of interest once call `top`, if `mine_too` the thread's, gave a value.
  template <class Z>
  __device__ __forceinline__ uint32_t least_after(int top, bool mine_too, float m, const Z &z_of,
                                                  zk_lmhead_best &mine) const {
    if (mine_too) look(top, z_of, mine);
    float value = mine.value;
    for (int away = 1; away <= 2; away *= 2) value = fmaxf(value, __shfl_xor_sync(ZK_WARP, value, away));
    return zk_lmhead_least(m, fmaxf(value, -FLT_MAX));
  }

  // The calls that may have the best id of the thread's row, a bit each. best: a value of the row, or -inf: then a call
  // with the largest number gives one to compare with.
  template <class Z>
  __device__ __forceinline__ uint32_t of_rows(uint32_t rows, float m, float best, const Z &z_of,
                                              zk_lmhead_best &mine) const {
    const int lane = (int)threadIdx.x % 32;
    uint32_t left = 0, least = zk_lmhead_least(m, best);
#pragma unroll 1
    for (; rows != 0; rows &= rows - 1) {
      const int first = __ffs((int)rows) - 1; // of the row's quad
      const zk_lmhead_name of = {__shfl_sync(ZK_WARP, name.position, first),
                                 __shfl_sync(ZK_WARP, name.prompt_id, first), __shfl_sync(ZK_WARP, name.sample, first)};
      uint32_t r[4];
      random(lane, of, r);
      const uint32_t most = most_of(r);
      const bool here = (lane & ~3) == first;
      if (__shfl_sync(ZK_WARP, best, first) == -INFINITY) {
        uint32_t top = (most & ~31u) | (uint32_t)lane;
        for (int away = 16; away > 0; away /= 2) top = max(top, __shfl_xor_sync(ZK_WARP, top, away));
        const uint32_t after = least_after((int)(top & 31), here && (int)(top & 1) == q / 2, m, z_of, mine);
        if (here) least = after;
      }
      const uint32_t large = __ballot_sync(ZK_WARP, most >= __shfl_sync(ZK_WARP, least, first));
      if (here) left = large & (q < 2 ? 0x55555555u : 0xaaaaaaaau);
    }
    return left;
  }
  template <class Z>
  __device__ __forceinline__ uint32_t of_quads(float m, float best, const Z &z_of, zk_lmhead_best &mine) const {
    const int first = q % 2 * 2 + q / 2; // the thread's calls are first + 4 i
    uint32_t most[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      uint32_t r[4];
      random(first + 4 * i, name, r);
      most[i] = most_of(r);
    }
    uint32_t least = zk_lmhead_least(m, best), left = 0;
    if (__any_sync(ZK_WARP, best == -INFINITY)) {
      uint32_t top = 0;
#pragma unroll
      for (int i = 0; i < 8; i++) top = max(top, (most[i] & ~31u) | (uint32_t)(first + 4 * i));
      top = max(top, __shfl_xor_sync(ZK_WARP, top, 1));
      const uint32_t after = least_after((int)(top & 31), true, m, z_of, mine);
      if (best == -INFINITY) least = after;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) left |= most[i] >= least ? 1u << (first + 4 * i) : 0u;
    return left | __shfl_xor_sync(ZK_WARP, left, 1);
  }

  // By whole warps. The best of the thread's ids among those that may be the best of all; of a row that is not wanted,
  // anything.
  template <class Z>
  __device__ __forceinline__ zk_lmhead_best among(bool wanted, float m, float best, const Z &z_of) const {
    zk_lmhead_best mine = {-INFINITY, -INFINITY, -1};
    const uint32_t rows = __ballot_sync(ZK_WARP, wanted) & 0x11111111u;      // of q = 0
    const bool few = ((rows & (rows - 1)) & ((rows & (rows - 1)) - 1)) == 0; // at most two
    uint32_t left = few ? of_rows(rows, m, best, z_of, mine) : of_quads(m, best, z_of, mine);
    if (!wanted) left = 0;
    for (; left != 0; left &= left - 1) look(__ffs((int)left) - 1, z_of, mine);
    return mine;
  }
};

#endif
