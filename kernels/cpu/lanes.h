// The lane sums of kernels/reduce.h for files of cpu/isa/: 128 accumulators held in as many vectors as that takes.
#ifndef ZK_KERNELS_CPU_LANES_H
#define ZK_KERNELS_CPU_LANES_H

#include "kernels/cpu/simd.h"
#include "kernels/reduce.h"

// The halving 64, 32, .., 1 of kernels/reduce.h. Overwrites lane[].
ZK_INLINE float zk_lanes_finish(float lane[ZK_LANES]) {
  int half = ZK_LANES / 2;
  for (; half >= ZK_VLEN; half /= 2)
    for (int j = 0; j < half; j += ZK_VLEN)
      zk_vf_store(lane + j, zk_vf_add(zk_vf_load(lane + j), zk_vf_load(lane + j + half)));
  for (; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] = lane[j] + lane[j + half];
  return lane[0];
}

// Lanes over fma(x, x, lane).
ZK_INLINE float zk_lanes_sum_squares(const float *x, int64_t n) {
  zk_vf acc[ZK_LANES / ZK_VLEN];
  float lane[ZK_LANES];
  int64_t i = 0;
  for (int j = 0; j < ZK_LANES / ZK_VLEN; j++) acc[j] = zk_vf_zero();
  for (; i + ZK_LANES <= n; i += ZK_LANES)
    for (int j = 0; j < ZK_LANES / ZK_VLEN; j++) {
      zk_vf v = zk_vf_load(x + i + j * ZK_VLEN);
      acc[j] = zk_vf_fma(v, v, acc[j]);
    }
  for (int j = 0; j < ZK_LANES / ZK_VLEN; j++) zk_vf_store(lane + j * ZK_VLEN, acc[j]);
  for (int j = 0; i < n; i++, j++) lane[j] = fmaf(x[i], x[i], lane[j]);
  return zk_lanes_finish(lane);
}

// Lanes over fma(a * b, c, lane), the product rounded.
ZK_INLINE float zk_lanes_sum_products(const float *a, const float *b, const float *c, int64_t n) {
  zk_vf acc[ZK_LANES / ZK_VLEN];
  float lane[ZK_LANES];
  int64_t i = 0;
  for (int j = 0; j < ZK_LANES / ZK_VLEN; j++) acc[j] = zk_vf_zero();
  for (; i + ZK_LANES <= n; i += ZK_LANES)
    for (int j = 0; j < ZK_LANES / ZK_VLEN; j++) {
      int64_t k = i + j * ZK_VLEN;
      acc[j] = zk_vf_fma(zk_vf_mul(zk_vf_load(a + k), zk_vf_load(b + k)), zk_vf_load(c + k), acc[j]);
    }
  for (int j = 0; j < ZK_LANES / ZK_VLEN; j++) zk_vf_store(lane + j * ZK_VLEN, acc[j]);
  for (int j = 0; i < n; i++, j++) lane[j] = fmaf(a[i] * b[i], c[i], lane[j]);
  return zk_lanes_finish(lane);
}

#endif
