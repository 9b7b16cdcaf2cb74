// A stack of free page numbers, a use count for each page, and a ring of the idle ones.
#include "rollout/page_pool.h"

#include <stdlib.h>

zk_status zk_page_pool_open(int32_t num_pages, zk_page_pool *out) {
  const size_t n = (size_t)num_pages;
  *out = (zk_page_pool){.num_pages = num_pages, .num_free = num_pages};
  out->free_pages = malloc(n * sizeof *out->free_pages);
  out->uses = calloc(n, sizeof *out->uses);
  out->kept = calloc(n, sizeof *out->kept);
  out->before = malloc((n + 1) * sizeof *out->before);
  out->after = malloc((n + 1) * sizeof *out->after);
  if (!out->free_pages || !out->uses || !out->kept || !out->before || !out->after)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a table of %d KV pages", num_pages);
  for (int32_t i = 0; i < num_pages; i++) out->free_pages[i] = num_pages - 1 - i; // page 0 goes first
  out->before[n] = out->after[n] = num_pages;
  return ZK_OK;
}

void zk_page_pool_close(zk_page_pool *pool) {
  free(pool->free_pages);
  free(pool->uses);
  free(pool->kept);
  free(pool->before);
  free(pool->after);
  *pool = (zk_page_pool){0};
}

static void enter_ring(zk_page_pool *pool, int32_t page) {
  const int32_t head = pool->num_pages, last = pool->before[head];
  pool->before[page] = last, pool->after[page] = head;
  pool->after[last] = pool->before[head] = page;
  pool->num_idle++;
}

static void leave_ring(zk_page_pool *pool, int32_t page) {
  pool->after[pool->before[page]] = pool->after[page];
  pool->before[pool->after[page]] = pool->before[page];
  pool->num_idle--;
}

int32_t zk_page_pool_take(zk_page_pool *pool) {
  if (!pool->num_free) return -1;
  int32_t page = pool->free_pages[--pool->num_free];
  pool->uses[page] = 1;
  return page;
}

void zk_page_pool_share(zk_page_pool *pool, int32_t page) {
  if (pool->uses[page]++ == 0) leave_ring(pool, page);
}

void zk_page_pool_drop(zk_page_pool *pool, int32_t page) {
  if (--pool->uses[page]) return;
  if (pool->kept[page]) enter_ring(pool, page);
  else pool->free_pages[pool->num_free++] = page;
}

void zk_page_pool_keep(zk_page_pool *pool, int32_t page) { pool->kept[page] = true; }

int32_t zk_page_pool_longest_idle(const zk_page_pool *pool) { return pool->num_idle ? pool->after[pool->num_pages] : -1; }

void zk_page_pool_give_up(zk_page_pool *pool, int32_t page) {
  pool->kept[page] = false;
  if (pool->uses[page]) return;
  leave_ring(pool, page);
  pool->free_pages[pool->num_free++] = page;
}
