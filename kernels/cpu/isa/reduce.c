// Sums of squares, the search for what is not finite, and hashes over a block.
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/rows.h"
#include "kernels/hash.h"

float ZK_ISA_FN(zk_cpu_sum_squares)(int64_t n, const float *x) { return zk_lanes_sum_squares(x, n); }

int ZK_ISA_FN(zk_cpu_all_finite)(int64_t n, const float *x) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t magnitude = zk_float_bits(x[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest < 0x7f800000u;
}

uint64_t ZK_ISA_FN(zk_cpu_hash32)(int64_t n, uint64_t first_index, const uint32_t *data) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; i++) sum += zk_mix64(data[i], first_index + (uint64_t)i);
  return sum;
}

uint64_t ZK_ISA_FN(zk_cpu_hash16)(int64_t n, uint64_t first_index, const uint16_t *data) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; i++) sum += zk_mix64(data[i], first_index + (uint64_t)i);
  return sum;
}
