// What becomes of a tile of gemm_decode.cuh: outputs finished as kernels/linear.h says (bias, addend, one rounding) and
// stored; or gate and up, side by side in a tile, made SwiGLU's output, rounded where each would have been stored.
#ifndef ZK_KERNELS_CUDA_GEMM_DECODE_STORE_CUH
#define ZK_KERNELS_CUDA_GEMM_DECODE_STORE_CUH

#include "kernels/cuda/gemm_decode.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/sigmoid.cuh"

struct alignas(8) zk_decode_pair {
  float at[2];
};
static __device__ __forceinline__ zk_decode_pair zk_decode_read(const float *p) { return *(const zk_decode_pair *)p; }
static __device__ __forceinline__ zk_decode_pair zk_decode_read(const zk_bf16 *p) {
  const uint32_t word = *(const uint32_t *)p;
  return {{zk_low_bf16(word), zk_high_bf16(word)}};
}
static __device__ __forceinline__ void zk_decode_write(float *p, zk_decode_pair v) { *(zk_decode_pair *)p = v; }
static __device__ __forceinline__ void zk_decode_write(zk_bf16 *p, zk_decode_pair v) {
  *(uint32_t *)p = zk_pack_bf16(v.at[0], v.at[1]);
}

// Every n, ld and address is even: a pair is never cut.
template <class T> struct zk_decode_store {
  struct {
    const zk_bf16 *bias;
    const T *addend;
    T *c;
    int64_t ldaddend, ldc;
    int32_t n;
  } to[ZK_DECODE_MOST_PARTS];
  int32_t num_tokens;

  template <class Tile> __device__ __forceinline__ void operator()(const Tile &tile, int part, int first) const {
    const auto &out = to[part];
    tile.pairs([&](int token, int row, float v0, float v1) {
      const int j = first + row;
      if (token >= num_tokens || j >= out.n) return;
      zk_decode_pair v = {{v0, v1}};
      if (out.bias != NULL) {
        const zk_decode_pair b = zk_decode_read(out.bias + j);
        v.at[0] = v.at[0] + b.at[0], v.at[1] = v.at[1] + b.at[1];
      }
      if (out.addend != NULL) {
        const zk_decode_pair a = zk_decode_read(out.addend + token * out.ldaddend + j);
        v.at[0] = v.at[0] + a.at[0], v.at[1] = v.at[1] + a.at[1];
      }
      zk_decode_write(out.c + token * out.ldc + j, v);
    });
  }
};

// c = SwiGLU of the two halves (kernels/swiglu.h).
struct zk_decode_store_swiglu {
  zk_bf16 *c;
  int64_t ldc;
  int32_t n, num_tokens;

  template <class Tile> __device__ __forceinline__ void operator()(const Tile &tile, int, int first) const {
    tile.pairs_of_halves([&](int token, int row, float g0, float g1, float u0, float u1) {
      const int j = first + row;
      if (token >= num_tokens || j >= n) return;
      const uint32_t gates = zk_pack_bf16(g0, g1), ups = zk_pack_bf16(u0, u1);
      const float g[2] = {zk_low_bf16(gates), zk_high_bf16(gates)};
      float s[2];
      zk_sigmoid<2>(g, s);
      const float v0 = (g[0] * s[0]) * zk_low_bf16(ups), v1 = (g[1] * s[1]) * zk_high_bf16(ups);
      *(uint32_t *)(c + token * ldc + j) = zk_pack_bf16(v0, v1);
    });
  }
};

#endif
