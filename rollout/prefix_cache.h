// Full pages of keys and values that outlive their sequences: a later one that begins with the same tokens starts on them.
//
// A page is known by its own tokens and by the page before it, as entries with numbers that never come back: nothing rests on a hash being
// right, and a page whose predecessor has gone is never found again. Keys and values are a function of tokens and weights, so a page found
// holds the bits that computing it again would give; when the weights change, all are dropped (zk_engine_check_weights).
#ifndef ZK_ROLLOUT_PREFIX_CACHE_H
#define ZK_ROLLOUT_PREFIX_CACHE_H

#include "rollout/page_pool.h"

typedef struct {
  uint64_t id, before; // id 0: no entry; before 0: it begins a sequence
  int32_t next;        // page of the next entry of its bucket, -1: none
} zk_cached_page;

typedef struct {
  zk_page_pool *pool; // borrowed
  int32_t page_tokens;
  uint64_t num_ids;
  zk_cached_page *entries; // [num_pages] of the pool, by page
  int32_t *tokens;         // [num_pages, page_tokens]
  int32_t *buckets;        // [mask + 1] first page, -1: none
  uint32_t mask;
} zk_prefix_cache;

zk_status zk_prefix_cache_open(zk_page_pool *pool, int32_t page_tokens, zk_prefix_cache *out);
void zk_prefix_cache_close(zk_prefix_cache *cache); // a zeroed cache is fine
// The page that holds tokens[page_tokens] behind entry *id; -1 when there is none. *id becomes its own.
int32_t zk_prefix_cache_find(const zk_prefix_cache *cache, const int32_t *tokens, uint64_t *id);
// Makes a page in use, full of these tokens behind entry *id, an entry, and *id its number.
void zk_prefix_cache_add(zk_prefix_cache *cache, int32_t page, const int32_t *tokens, uint64_t *id);
// A page of the pool with one use, taken from the idle ones when none is free; -1 when all are in use.
int32_t zk_prefix_cache_take(zk_prefix_cache *cache);
void zk_prefix_cache_drop_all(zk_prefix_cache *cache); // pages in use stay with their users

#endif
