// A hash table of pages, chained through the pages themselves.
#include "rollout/prefix_cache.h"

#include <stdlib.h>
#include <string.h>

zk_status zk_prefix_cache_open(zk_page_pool *pool, int32_t page_tokens, zk_prefix_cache *out) {
  const size_t n = (size_t)pool->num_pages;
  uint32_t size = 64;
  while (size < n) size *= 2;
  *out = (zk_prefix_cache){.pool = pool, .page_tokens = page_tokens, .mask = size - 1};
  out->entries = calloc(n, sizeof *out->entries);
  out->tokens = malloc(n * (size_t)page_tokens * sizeof *out->tokens);
  out->buckets = malloc(size * sizeof *out->buckets);
  if (!out->entries || !out->tokens || !out->buckets) {
    zk_prefix_cache_close(out);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to remember what %zu KV pages hold", n);
  }
  memset(out->buckets, 0xff, size * sizeof *out->buckets);
  return ZK_OK;
}

void zk_prefix_cache_close(zk_prefix_cache *c) {
  free(c->entries);
  free(c->tokens);
  free(c->buckets);
  *c = (zk_prefix_cache){0};
}

static int32_t *tokens_of(const zk_prefix_cache *c, int32_t page) { return c->tokens + (size_t)page * (size_t)c->page_tokens; }

static int32_t *bucket_of(const zk_prefix_cache *c, const int32_t *tokens, uint64_t before) {
  uint64_t h = before;
  for (int32_t i = 0; i < c->page_tokens; i++) {
    h = (h ^ (uint32_t)tokens[i]) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 29;
  }
  return &c->buckets[(uint32_t)(h >> 16) & c->mask];
}

int32_t zk_prefix_cache_find(const zk_prefix_cache *c, const int32_t *tokens, uint64_t *id) {
  for (int32_t page = *bucket_of(c, tokens, *id); page >= 0; page = c->entries[page].next)
    if (c->entries[page].before == *id && !memcmp(tokens_of(c, page), tokens, (size_t)c->page_tokens * sizeof *tokens)) {
      *id = c->entries[page].id;
      return page;
    }
  return -1;
}

void zk_prefix_cache_add(zk_prefix_cache *c, int32_t page, const int32_t *tokens, uint64_t *id) {
  int32_t *bucket = bucket_of(c, tokens, *id);
  memcpy(tokens_of(c, page), tokens, (size_t)c->page_tokens * sizeof *tokens);
  c->entries[page] = (zk_cached_page){.id = ++c->num_ids, .before = *id, .next = *bucket};
  *bucket = page;
  *id = c->num_ids;
  zk_page_pool_keep(c->pool, page);
}

static void forget(zk_prefix_cache *c, int32_t page) {
  zk_cached_page *entry = &c->entries[page];
  int32_t *at = bucket_of(c, tokens_of(c, page), entry->before);
  while (*at != page) at = &c->entries[*at].next;
  *at = entry->next;
  *entry = (zk_cached_page){0};
  zk_page_pool_give_up(c->pool, page);
}

int32_t zk_prefix_cache_take(zk_prefix_cache *c) {
  int32_t page = zk_page_pool_take(c->pool);
  if (page >= 0 || !c->pool->num_idle) return page;
  forget(c, zk_page_pool_longest_idle(c->pool));
  return zk_page_pool_take(c->pool);
}

void zk_prefix_cache_drop_all(zk_prefix_cache *c) {
  for (int32_t page = 0; c->entries && page < c->pool->num_pages; page++)
    if (c->entries[page].id) forget(c, page);
}
