// Counter-based randomness: Philox4x32-10 (Salmon et al., SC'11). A random number is a pure function of what it is for.
//
// Layout. key = (seed low, seed high). counter:
//   c0 = use << 24 | index / 4        use: zk_rng_use; index: vocabulary id or element group (< 2^26)
//   c1 = position                     of the drawn token in its sequence
//   c2 = prompt id
//   c3 = sample_idx << 20 | step      sample_idx < 4,096, step < 2^20
// and output word index % 4 is used.
#ifndef ZK_KERNELS_RNG_H
#define ZK_KERNELS_RNG_H

#include <stdint.h>

#include "kernels/math.h"

typedef enum { ZK_RNG_SAMPLE = 1, ZK_RNG_INIT = 2, ZK_RNG_TASK = 3, ZK_RNG_SHUFFLE = 4, ZK_RNG_TEST = 5, ZK_RNG_ADAPTER = 6 } zk_rng_use;

ZK_INLINE uint64_t zk_multiply_wide(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__ // one instruction, which nvcc does not always find
  uint64_t product;
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
  return product;
#else
  return (uint64_t)a * b;
#endif
}

ZK_INLINE void zk_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = zk_multiply_wide(0xD2511F53u, c0), p1 = zk_multiply_wide(0xCD9E8D57u, c2);
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// Uniform in (0, 1) with 23 bits: (r >> 9 + 0.5) * 2^-23, exact in f32, never 0 and never 1 for any of the 2^32 inputs.
ZK_INLINE float zk_uniform(uint32_t r) { return ((float)(int32_t)(r >> 9) + 0.5f) * 1.1920928955078125e-7f; }
// Standard Gumbel noise -log(-log(u)): finite for all inputs. u is in [2^-24, 1 - 2^-24], so -log(u) is in [2^-24, 16.7]: both logarithms
// have positive normal arguments.
ZK_INLINE float zk_gumbel(uint32_t r) { return -zk_logf_normal(-zk_logf_normal(zk_uniform(r))); }

// No noise is larger: the largest is 16.6355, of u = 1 - 2^-24.
#define ZK_GUMBEL_MOST 16.64f
// The least random number whose noise may exceed h: noise of a smaller one is at most h. With u = 1 - w, w = (j + 1/2) 2^-23, j = 2^23 - 1 - (r >> 9):
// as -log(1 - w) >= w, the noise -log(-log(u)) is at most -log(w), which is less than h - 8e-6 when j >= 1.00001 e^-h 2^23, and zk_gumbel is off by
// less than 2e-6 (kernels/math.h). Hence only j below that count. 0: all may.
ZK_INLINE uint32_t zk_gumbel_least(float h) {
  float j = zk_expf(-h) * 8388692.0f; // 1.00001 * 2^23
  j = j < 8388606.0f ? j : 8388606.0f;
  return 0u - (((uint32_t)j + 2u) << 9);
}

#endif
