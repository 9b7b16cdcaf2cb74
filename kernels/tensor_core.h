// One Hopper bf16 tensor-core step (16 products and an accumulator) in integers, and a chain of them: the contract of every matrix
// product of `numerics: bf16`. mma.sync.m16n8k16 and wgmma compute exactly this.
//
// A term is a product or the accumulator; one that is zero takes no part. Exponents are nominal: a product's is the sum of its
// factors' (subnormals: -126 and no implicit bit), whatever its significand. With E the largest, or -133 if they are all below it, each term is truncated
// toward zero to a multiple of 2^(E - 25); the sum is exact; the result is truncated toward zero to f32 (subnormals kept; above the range: infinity). A sum
// of zero is +0. A NaN, infinity times zero, or infinities of both signs give NaN 0x7fffffff; else one infinity gives itself.
#ifndef ZK_KERNELS_TENSOR_CORE_H
#define ZK_KERNELS_TENSOR_CORE_H

#include "kernels/bf16.h"

#define ZK_TC_STEP 16          // products in a step
#define ZK_TC_FRACTION_BITS 25 // of a term below the largest exponent
#define ZK_TC_LEAST_EXPONENT (-133) // of the terms, at least
#define ZK_TC_NAN 0x7fffffffu

// Nominal exponent and significand of bf16 bits: the magnitude is significand * 2^(exponent - 7).
ZK_INLINE int32_t zk_tc_exponent(uint32_t bits) {
  const int32_t field = (int32_t)((bits >> 7) & 255u);
  return (field == 0 ? 1 : field) - 127;
}
ZK_INLINE int32_t zk_tc_significand(uint32_t bits) {
  return (int32_t)((bits & 127u) | ((bits & 0x7f80u) != 0 ? 128u : 0u));
}

// magnitude * 2^left, toward zero; negative counts shift to the right.
ZK_INLINE int64_t zk_tc_shift(int64_t magnitude, int32_t left) {
  return left >= 0 ? magnitude << left : left > -32 ? magnitude >> -left : 0;
}

// sum * 2^exponent toward zero in f32, |sum| < 2^52. Truncating to 24 bits and then to a subnormal's fewer is truncating once.
ZK_INLINE float zk_tc_truncate(int64_t sum, int32_t exponent) {
  if (sum == 0) return 0.0f;
  const uint64_t bits = zk_double_bits((double)sum); // exact
  const uint32_t sign = (uint32_t)(bits >> 63) << 31;
  const uint32_t significand = (uint32_t)(bits >> 29 & 0x7fffffu) | 0x800000u;
  const int32_t e = (int32_t)(bits >> 52 & 0x7ffu) - 1023 + exponent;
  if (e > 127) return zk_bits_float(sign | 0x7f800000u);
  if (e >= -126) return zk_bits_float(sign | (uint32_t)(e + 127) << 23 | (significand & 0x7fffffu));
  return e < -149 ? 0.0f : zk_bits_float(sign | significand >> (-126 - e)); // what vanishes is +0, whatever its sign
}

// The result when an infinity or a NaN takes part; *special says whether one does.
ZK_INLINE float zk_tc_special(const zk_bf16 *a, const zk_bf16 *b, float acc, int *special) {
  const uint32_t acc_bits = zk_float_bits(acc), acc_magnitude = acc_bits & 0x7fffffffu;
  int nan = acc_magnitude > 0x7f800000u, positive = acc_bits == 0x7f800000u, negative = acc_bits == 0xff800000u;
  for (int i = 0; i < ZK_TC_STEP; i++) {
    const uint32_t ma = a[i].bits & 0x7fffu, mb = b[i].bits & 0x7fffu;
    if (ma < 0x7f80u && mb < 0x7f80u) continue;
    if (ma > 0x7f80u || mb > 0x7f80u || ma == 0 || mb == 0) nan = 1;
    else if ((a[i].bits ^ b[i].bits) & 0x8000u) negative = 1;
    else positive = 1;
  }
  *special = nan | positive | negative;
  return zk_bits_float(nan || (positive && negative) ? ZK_TC_NAN : negative ? 0xff800000u : 0x7f800000u);
}

// acc after the step a[0..15] . b[0..15].
ZK_INLINE float zk_tc_step(const zk_bf16 a[ZK_TC_STEP], const zk_bf16 b[ZK_TC_STEP], float acc) {
  int special;
  const float special_result = zk_tc_special(a, b, acc, &special);
  if (special) return special_result;
  const uint32_t acc_bits = zk_float_bits(acc), acc_field = acc_bits >> 23 & 255u;
  const int64_t acc_significand = (acc_bits & 0x7fffffu) | (acc_field != 0 ? 0x800000u : 0u);
  const int32_t acc_exponent = (int32_t)(acc_field == 0 ? 1u : acc_field) - 127;
  int32_t products[ZK_TC_STEP], exponents[ZK_TC_STEP], largest = acc_significand != 0 ? acc_exponent : ZK_TC_LEAST_EXPONENT;
  for (int i = 0; i < ZK_TC_STEP; i++) {
    products[i] = zk_tc_significand(a[i].bits) * zk_tc_significand(b[i].bits);
    exponents[i] = zk_tc_exponent(a[i].bits) + zk_tc_exponent(b[i].bits);
    if (products[i] != 0 && exponents[i] > largest) largest = exponents[i];
  }
  int64_t sum = 0;
  if (acc_significand != 0) {
    const int64_t term = zk_tc_shift(acc_significand, ZK_TC_FRACTION_BITS - 23 - (largest - acc_exponent));
    sum = acc_bits >> 31 ? -term : term;
  }
  for (int i = 0; i < ZK_TC_STEP; i++) {
    if (products[i] == 0) continue;
    const int64_t term = zk_tc_shift(products[i], ZK_TC_FRACTION_BITS - 14 - (largest - exponents[i]));
    sum += (a[i].bits ^ b[i].bits) & 0x8000u ? -term : term;
  }
  return zk_tc_truncate(sum, largest - ZK_TC_FRACTION_BITS);
}

// The chain over k ascending of a[k * stride_a] * b[k * stride_b], from acc: steps of 16 from the first element, the last one padded
// with zeros.
ZK_INLINE float zk_tc_chain(const zk_bf16 *a, int64_t stride_a, const zk_bf16 *b, int64_t stride_b, int64_t k,
                            float acc) {
  for (int64_t k0 = 0; k0 < k; k0 += ZK_TC_STEP) {
    zk_bf16 step_a[ZK_TC_STEP], step_b[ZK_TC_STEP];
    for (int i = 0; i < ZK_TC_STEP; i++) {
      step_a[i].bits = k0 + i < k ? a[(k0 + i) * stride_a].bits : 0;
      step_b[i].bits = k0 + i < k ? b[(k0 + i) * stride_b].bits : 0;
    }
    acc = zk_tc_step(step_a, step_b, acc);
  }
  return acc;
}

#endif
