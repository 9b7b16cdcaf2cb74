// The tokenizer's containers: an arena for strings, a map from bytes to ids, a map from pairs of ids to merges.
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "shared/tokenizer_internal.h"

struct zk_tok_block {
  zk_tok_block *next;
  char bytes[];
};

char *zk_tok_arena_copy(zk_tok_arena *arena, const char *bytes, size_t num_bytes) {
  if (!arena->blocks || arena->capacity - arena->used < num_bytes + 1) {
    size_t capacity = num_bytes + 1 > 65536 ? num_bytes + 1 : 65536;
    zk_tok_block *block = malloc(sizeof *block + capacity);
    if (!block) return NULL;
    block->next = arena->blocks;
    *arena = (zk_tok_arena){block, 0, capacity};
  }
  char *to = arena->blocks->bytes + arena->used;
  if (num_bytes) memcpy(to, bytes, num_bytes);
  to[num_bytes] = 0;
  arena->used += num_bytes + 1;
  return to;
}

void zk_tok_arena_free(zk_tok_arena *arena) {
  for (zk_tok_block *block = arena->blocks, *next; block; block = next) {
    next = block->next;
    free(block);
  }
  *arena = (zk_tok_arena){0};
}

static struct zk_tok_slot *map_slot(const zk_tok_map *map, const char *key, size_t key_bytes) {
  size_t mask = map->num_slots - 1, i = XXH3_64bits(key, key_bytes) & mask;
  while (map->slots[i].key && (map->slots[i].key_bytes != key_bytes || memcmp(map->slots[i].key, key, key_bytes)))
    i = (i + 1) & mask;
  return &map->slots[i];
}

int32_t zk_tok_map_find(const zk_tok_map *map, const char *key, size_t key_bytes) {
  if (!map->num_slots) return -1;
  const struct zk_tok_slot *slot = map_slot(map, key, key_bytes);
  return slot->key ? slot->id : -1;
}

static zk_status map_grow(zk_tok_map *map) {
  zk_tok_map bigger = {.num_slots = map->num_slots ? map->num_slots * 2 : 1024, .num_keys = map->num_keys};
  bigger.slots = calloc(bigger.num_slots, sizeof *bigger.slots);
  if (!bigger.slots) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a table of %zu tokens", bigger.num_slots);
  for (size_t i = 0; i < map->num_slots; i++)
    if (map->slots[i].key) *map_slot(&bigger, map->slots[i].key, map->slots[i].key_bytes) = map->slots[i];
  free(map->slots);
  *map = bigger;
  return ZK_OK;
}

zk_status zk_tok_map_put(zk_tok_map *map, const char *key, size_t key_bytes, int32_t id) {
  if (map->num_keys * 2 >= map->num_slots) ZK_TRY(map_grow(map));
  struct zk_tok_slot *slot = map_slot(map, key, key_bytes);
  if (!slot->key) map->num_keys++;
  *slot = (struct zk_tok_slot){key, (uint32_t)key_bytes, id};
  return ZK_OK;
}

void zk_tok_map_free(zk_tok_map *map) {
  free(map->slots);
  *map = (zk_tok_map){0};
}

zk_status zk_tok_merges_init(zk_tok_merges *merges, size_t num_merges) {
  size_t num_slots = 16;
  while (num_slots < num_merges * 2) num_slots *= 2;
  merges->slots = malloc(num_slots * sizeof *merges->slots);
  if (!merges->slots) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a table of %zu merges", num_merges);
  merges->num_slots = num_slots;
  for (size_t i = 0; i < num_slots; i++) merges->slots[i].pair = UINT64_MAX;
  return ZK_OK;
}

static zk_tok_merge *merge_slot(const zk_tok_merges *merges, uint64_t pair) {
  uint64_t h = pair * 0x9E3779B97F4A7C15u; // Fibonacci hashing: the high bits are the good ones
  size_t mask = merges->num_slots - 1, i = (h ^ h >> 32) & mask;
  while (merges->slots[i].pair != pair && merges->slots[i].pair != UINT64_MAX) i = (i + 1) & mask;
  return &merges->slots[i];
}

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

void zk_tok_merges_put(zk_tok_merges *merges, int32_t left, int32_t right, uint32_t rank, int32_t id) {
  *merge_slot(merges, pair_of(left, right)) = (zk_tok_merge){pair_of(left, right), rank, id};
}

const zk_tok_merge *zk_tok_merges_find(const zk_tok_merges *merges, int32_t left, int32_t right) {
  const zk_tok_merge *slot = merge_slot(merges, pair_of(left, right));
  return slot->pair == UINT64_MAX ? NULL : slot;
}
