// KV pages: a pool of page numbers with reference counts, so that the samples of a group share their prompt's pages.
#ifndef ZK_ROLLOUT_PAGE_POOL_H
#define ZK_ROLLOUT_PAGE_POOL_H

#include <stdint.h>

#include "kernels/status.h"

typedef struct {
  int32_t num_pages, num_free;
  int32_t *free_pages; // stack of page numbers
  int32_t *uses;       // [num_pages]
} zk_page_pool;

zk_status zk_page_pool_open(int32_t num_pages, zk_page_pool *out); // all free; ZK_OUT_OF_MEMORY
void zk_page_pool_close(zk_page_pool *pool);                       // a zeroed pool is fine
int32_t zk_page_pool_take(zk_page_pool *pool); // a page with one use, or -1 when none is free
void zk_page_pool_share(zk_page_pool *pool, int32_t page); // one use more
void zk_page_pool_drop(zk_page_pool *pool, int32_t page);  // one use less; free again at none

#endif
