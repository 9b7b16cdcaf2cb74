// Random weights of a new model: a function of seed and element alone, from Philox words, integer sums and IEEE operations, so the same in any
// order and on any device.
//
//   element e: twelve uniforms, whose sum has variance 1 (Irwin and Hall's approximation of the normal distribution, cut at 6 deviations).
//     Three Philox blocks b = 0, 1, 2 of four words: counter ZK_RNG_INIT << 24 | b, e low, e high, 0, key the seed. A word r stands for
//     (r + 1/2) / 2^32, so that the sum's mean is exactly 6. Sum, less 6, is exact in a double.
//   weight: that times scale, rounded to double, then to f32; in bf16 rounded once more.
#ifndef ZK_KERNELS_INIT_H
#define ZK_KERNELS_INIT_H

#include "kernels/device.h"
#include "kernels/rng.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZK_INIT_BLOCKS 3 // of Philox, four uniforms each

ZK_INLINE float zk_init_weight(uint64_t seed, int64_t element, double scale) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  int64_t twice_sum = -(int64_t)(4 * ZK_INIT_BLOCKS) * ((int64_t)1 << 32); // twice, to keep the halves
  for (uint32_t block = 0; block < ZK_INIT_BLOCKS; block++) {
    const uint32_t counter[4] = {(uint32_t)ZK_RNG_INIT << 24 | block, (uint32_t)element, (uint32_t)((uint64_t)element >> 32), 0};
    uint32_t words[4];
    zk_philox4x32(counter, key, words);
    for (int i = 0; i < 4; i++) twice_sum += 2 * (int64_t)words[i] + 1;
  }
  return (float)((double)twice_sum * 0x1p-33 * scale);
}

// out[i] = weight of element first + i, i < n, on the stream's device as `numerics` stores weights; asynchronous.
zk_status zk_init_normal(zk_stream *stream, zk_numerics numerics, uint64_t seed, int64_t first, int64_t n, double scale, void *out);
// The same in f32 in host memory.
void zk_init_normal_host(uint64_t seed, int64_t first, int64_t n, double scale, float *out);

#ifdef __cplusplus
}
#endif
#endif
