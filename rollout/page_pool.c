// A stack of free page numbers and a use count for each page.
#include "rollout/page_pool.h"

#include <stdlib.h>

zk_status zk_page_pool_open(int32_t num_pages, zk_page_pool *out) {
  *out = (zk_page_pool){.num_pages = num_pages, .num_free = num_pages};
  out->free_pages = malloc((size_t)num_pages * sizeof *out->free_pages);
  out->uses = calloc((size_t)num_pages, sizeof *out->uses);
  if (!out->free_pages || !out->uses) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a table of %d KV pages", num_pages);
  for (int32_t i = 0; i < num_pages; i++) out->free_pages[i] = num_pages - 1 - i; // page 0 goes first
  return ZK_OK;
}

void zk_page_pool_close(zk_page_pool *pool) {
  free(pool->free_pages);
  free(pool->uses);
  *pool = (zk_page_pool){0};
}

int32_t zk_page_pool_take(zk_page_pool *pool) {
  if (!pool->num_free) return -1;
  int32_t page = pool->free_pages[--pool->num_free];
  pool->uses[page] = 1;
  return page;
}

void zk_page_pool_share(zk_page_pool *pool, int32_t page) { pool->uses[page]++; }

void zk_page_pool_drop(zk_page_pool *pool, int32_t page) {
  if (--pool->uses[page] == 0) pool->free_pages[pool->num_free++] = page;
}
