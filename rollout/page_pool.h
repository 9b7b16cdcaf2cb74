// KV pages: a pool of page numbers with reference counts, so that the samples of a group share their prompt's pages. A page may be kept when
// nobody uses it any more (prefix_cache.h): it is idle, and given up when no page is free, the longest idle one first.
#ifndef ZK_ROLLOUT_PAGE_POOL_H
#define ZK_ROLLOUT_PAGE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/status.h"

typedef struct {
  int32_t num_pages, num_free, num_idle;
  int32_t *free_pages;    // stack of page numbers
  int32_t *uses;          // [num_pages]
  bool *kept;             // [num_pages]
  int32_t *before, *after; // [num_pages + 1] the idle ones as a ring through [num_pages], longest idle first
} zk_page_pool;

zk_status zk_page_pool_open(int32_t num_pages, zk_page_pool *out); // all free; ZK_OUT_OF_MEMORY
void zk_page_pool_close(zk_page_pool *pool);                       // a zeroed pool is fine
int32_t zk_page_pool_take(zk_page_pool *pool); // a page with one use, or -1 when none is free
void zk_page_pool_share(zk_page_pool *pool, int32_t page); // one use more; of an idle page the first
void zk_page_pool_drop(zk_page_pool *pool, int32_t page);  // one use less; at none idle if it is kept, else free again
void zk_page_pool_keep(zk_page_pool *pool, int32_t page);  // from now on it is kept; it is in use
int32_t zk_page_pool_longest_idle(const zk_page_pool *pool); // -1: none is
void zk_page_pool_give_up(zk_page_pool *pool, int32_t page); // it is kept no longer, and free if it was idle

#endif
