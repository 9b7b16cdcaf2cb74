// Random weights of a new model: a function of seed and element alone, from Philox words, integer sums and IEEE operations, so the same in any
// order and on any machine.
#ifndef ZK_KERNELS_INIT_H
#define ZK_KERNELS_INIT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// out[i] = scale x element first + i of the seed's normal numbers, i < n: twelve uniforms, whose sum has variance 1 (Irwin and Hall's approximation,
// cut at 6 deviations). Element e: three Philox blocks b of four words, counter use << 24 | b, e low, e high, 0, key the seed; a word r stands for
// (r + 1/2) / 2^32, so that the sum's mean is exactly 6. Sum, less 6, and result are exact in a double; the product is rounded twice, to double, to f32.
void zk_init_normal(uint64_t seed, int64_t first, int64_t n, double scale, float *out);

#ifdef __cplusplus
}
#endif
#endif
