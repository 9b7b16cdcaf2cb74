// bf16: the upper half of an IEEE binary32. Stored activations, working weights and the K/V cache of `numerics: bf16` are made of these.
#ifndef ZK_KERNELS_BF16_H
#define ZK_KERNELS_BF16_H

#include "kernels/math.h"

typedef struct {
  uint16_t bits; // sign, 8 exponent bits, 7 fraction bits
} zk_bf16;

// Exact, subnormals and infinities included.
ZK_INLINE float zk_bf16_to_float(zk_bf16 x) { return zk_bits_float((uint32_t)x.bits << 16); }

// To nearest, ties to even; subnormals kept; above the largest bf16, infinity; every NaN becomes 0x7fff. Selects only.
ZK_INLINE zk_bf16 zk_float_to_bf16(float x) {
  const uint32_t u = zk_float_bits(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  zk_bf16 y;
  y.bits = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded);
  return y;
}

#endif
