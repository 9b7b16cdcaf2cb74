// Random words and permutations for tasks: pure functions of seed, purpose and number.
#include "kernels/rng.h"
#include "rollout/task_kind.h"

void zk_draw_begin(zk_draw *draw, uint64_t seed, zk_draw_purpose purpose, uint32_t attempt, uint32_t number) {
  *draw = (zk_draw){.counter = {(uint32_t)ZK_RNG_TASK << 24, attempt, number, (uint32_t)purpose},
                    .key = {(uint32_t)seed, (uint32_t)(seed >> 32)}};
}

uint64_t zk_draw_below(zk_draw *draw, uint64_t bound) {
  if (draw->num_left < 2) {
    zk_philox4x32(draw->counter, draw->key, draw->words);
    draw->counter[0]++;
    draw->num_left = 4;
  }
  draw->num_left -= 2;
  uint64_t low = draw->words[draw->num_left], high = draw->words[draw->num_left + 1];
  return (high << 32 | low) % bound;
}

// A balanced Feistel network on numbers of 2 * half_bits bits; values outside the pool are sent through again (cycle
// walking, Black and Rogaway 2002), so the map is one to one on the pool.
uint32_t zk_task_permute(uint64_t seed, uint32_t epoch, uint32_t index, uint32_t num_items) {
  int half_bits = 1;
  while (half_bits < 16 && (num_items - 1) >> (2 * half_bits) != 0) half_bits++;
  const uint32_t mask = (1u << half_bits) - 1, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint32_t value = index;
  do {
    uint32_t left = value >> half_bits, right = value & mask;
    for (uint32_t round = 0; round < 6; round++) {
      const uint32_t counter[4] = {(uint32_t)ZK_RNG_TASK << 24 | round, right, epoch, ZK_DRAW_PERMUTATION};
      uint32_t words[4];
      zk_philox4x32(counter, key, words);
      uint32_t mixed = left ^ (words[0] & mask);
      left = right;
      right = mixed;
    }
    value = left << half_bits | right;
  } while (value >= num_items);
  return value;
}
