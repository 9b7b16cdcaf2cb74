// Order-free hashes of bits. Integer addition commutes, so any shard, thread or device gives the same value.
#ifndef ZK_KERNELS_HASH_H
#define ZK_KERNELS_HASH_H

#include "kernels/device.h"
#include "kernels/math.h"

#ifdef __cplusplus
extern "C" {
#endif

// Mixes `bits` at `index` into 64 well-distributed bits (splitmix64's finaliser, Steele et al. 2014, applied to index, then to the mix with bits).
ZK_INLINE uint64_t zk_mix64_step(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}
ZK_INLINE uint64_t zk_mix64(uint64_t bits, uint64_t index) {
  return zk_mix64_step(zk_mix64_step(index + 0x9e3779b97f4a7c15ull) + bits);
}

// *sum = sum over i of mix64(bits of data[i], first_index + i) modulo 2^64; elements of 4 bytes (f32) or 2 (bf16). Waits.
zk_status zk_hash_elements(zk_stream *stream, int32_t element_bytes, int64_t num_elements, uint64_t first_index, const void *data, uint64_t *sum);

#ifdef __cplusplus
}
#endif
#endif
