// Sums of exps over a row's tile of 128 ids, 32 of them in a thread of a quad (lmhead_fragment.cuh).
//
// Lane sums: an id is alone in its lane, and ids 64, 32, 16 and 8 apart are in one thread; then 4 and 2 apart are
// threads 2 and 1 apart, and the last two are in one thread.
//
// Beside other warps' products every operation counts, those of f32 most. Hence zk_expf_usual, and zk_expf_below_one
// only if some z of the warp's rows is far below its row's largest. An exp is a chain of 12 operations, so that a warp
// that has its scheduler to itself is busy only with several of them at a time.
#ifndef ZK_KERNELS_CUDA_LMHEAD_SUMS_CUH
#define ZK_KERNELS_CUDA_LMHEAD_SUMS_CUH

#include "kernels/cuda/lmhead_tile.cuh"

// Exps of v - m, of which the compiler is to have two groups in flight, or it would begin as many as there are registers
// for and end them one by one: the m of a group has the first result of the group before among its operands. `zero` is
// 0, in a way that the compiler cannot see.
struct zk_lmhead_exps {
  static constexpr int GROUP = 8;
  const uint32_t zero;
  uint32_t gate = 0, next = 0;
  int count = 0;
  __device__ __forceinline__ explicit zk_lmhead_exps(uint32_t nothing) : zero(nothing) {}
  __device__ __forceinline__ float of(float v, float m) {
    uint32_t seen = 0;
    if (count % GROUP == 0) gate = next;
    const float w = zk_expf_usual(v - zk_bits_float(zk_float_bits(m) ^ (gate & zero)), &seen);
    if (count++ % GROUP == 0) next = zk_float_bits(w);
    return w;
  }
};

struct zk_lmhead_lane_sums {
  float l, h;
};
// The part of lanes 8 j + 2 q + e with j = J modulo STEP, of z(i) and exp(z). An absent id has e^-inf = +0, and -FLT_MAX
// for z gives fma(0, z, 0) = +0; PRESENT: there is none.
template <int J, int STEP, bool WITH_H, bool PRESENT, class Z, class Exp>
static __device__ __forceinline__ zk_lmhead_lane_sums zk_lmhead_lanes(int e, const Z &z, const Exp &exp) {
  if constexpr (STEP < 16) {
    const zk_lmhead_lane_sums x = zk_lmhead_lanes<J, 2 * STEP, WITH_H, PRESENT>(e, z, exp),
                              y = zk_lmhead_lanes<J + STEP, 2 * STEP, WITH_H, PRESENT>(e, z, exp);
    return {x.l + y.l, WITH_H ? x.h + y.h : 0.0f};
  } else {
    const float v = z(2 * J + e), w = exp(v);
    return {w, WITH_H ? fmaf(w, PRESENT ? v : fmaxf(v, -FLT_MAX), 0.0f) : 0.0f};
  }
}
static __device__ __forceinline__ float zk_lmhead_across(float low, float high) {
  for (int away = 2; away > 0; away /= 2) {
    low = low + __shfl_xor_sync(ZK_WARP, low, away);
    high = high + __shfl_xor_sync(ZK_WARP, high, away);
  }
  return low + high;
}
template <bool WITH_H, bool PRESENT, class Z, class Exp>
static __device__ __forceinline__ zk_lmhead_lane_sums zk_lmhead_sums(const Z &z, const Exp &exp) {
  const zk_lmhead_lane_sums low = zk_lmhead_lanes<0, 1, WITH_H, PRESENT>(0, z, exp),
                            high = zk_lmhead_lanes<0, 1, WITH_H, PRESENT>(1, z, exp);
  return {zk_lmhead_across(low.l, high.l), WITH_H ? zk_lmhead_across(low.h, high.h) : 0.0f};
}

#endif
