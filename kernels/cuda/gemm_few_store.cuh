// What becomes of the chains of gemm_few.cuh: outputs finished as kernels/linear.h says (bias, addend, one rounding) and
// stored; or gate and up made SwiGLU's output, rounded where each would have been stored. A lane has tokens lane % 4 * 2 and
// the next of its row, and of the row 8 further.
#ifndef ZK_KERNELS_CUDA_GEMM_FEW_STORE_CUH
#define ZK_KERNELS_CUDA_GEMM_FEW_STORE_CUH

#include "kernels/cuda/gemm_few.cuh"
#include "kernels/cuda/sigmoid.cuh"

struct zk_few_store {
  static constexpr bool PAIR = false;
  struct {
    const zk_bf16 *bias, *addend;
    zk_bf16 *c;
    int64_t ldaddend, ldc;
  } to[ZK_FEW_MOST_PARTS];
  struct beside {
    uint16_t bias[2], addend[4]; // as stored: nothing waits for them before the chains are walked
  };
  static __device__ __forceinline__ int token(int i) { return (int)threadIdx.x % 4 * 2 + i % 2; }

  __device__ __forceinline__ beside begin(int part, int row, int there, int m) const {
    const auto &out = to[part];
    beside b = {};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int more = i / 2 * 8;
      if (more >= there || token(i) >= m) continue;
      if (out.bias != NULL) b.bias[i / 2] = out.bias[row + more].bits;
      if (out.addend != NULL) b.addend[i] = __ldcg((const uint16_t *)out.addend + token(i) * out.ldaddend + row + more);
    }
    return b;
  }
  __device__ __forceinline__ void end(int part, int row, int there, int m, const beside &b,
                                      const float (&acc)[4]) const {
    const auto &out = to[part];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int more = i / 2 * 8;
      if (more >= there || token(i) >= m) continue;
      float v = acc[i];
      if (out.bias != NULL) v = v + zk_low_bf16(b.bias[i / 2]);
      if (out.addend != NULL) v = v + zk_low_bf16(b.addend[i]);
      zk_store(out.c, token(i) * out.ldc + row + more, v);
    }
  }
};

// c = SwiGLU of gate's and up's outputs (kernels/swiglu.h).
struct zk_few_store_swiglu {
  static constexpr bool PAIR = true;
  zk_bf16 *c;
  int64_t ldc;
  struct beside {};
  __device__ __forceinline__ beside begin(int, int, int, int) const { return {}; }
  __device__ __forceinline__ void end(int, int row, int there, int m, const beside &, const float (&acc)[4]) const {
    const uint32_t gates = zk_pack_bf16(acc[0], acc[1]), ups = zk_pack_bf16(acc[2], acc[3]);
    const float g[2] = {zk_low_bf16(gates), zk_high_bf16(gates)};
    const int token = zk_few_store::token(0);
    float s[2];
    zk_sigmoid<2>(g, s);
    if (there <= 0) return;
    if (token < m) zk_store(c, token * ldc + row, (g[0] * s[0]) * zk_low_bf16(ups));
    if (token + 1 < m) zk_store(c, (token + 1) * ldc + row, (g[1] * s[1]) * zk_high_bf16(ups));
  }
};

#endif
