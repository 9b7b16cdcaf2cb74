// Sorted by length, from both ends.
#include "rollout/deal.h"

#include <stdlib.h>

typedef struct {
  uint64_t length;
  int32_t idx;
} item;

static int longest_first(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->length != y->length) return x->length > y->length ? -1 : 1;
  return x->idx < y->idx ? -1 : x->idx > y->idx;
}

zk_status zk_deal_pairs(int32_t num, const uint64_t *lengths, int32_t *order) {
  item *sorted = malloc(((size_t)num + 1) * sizeof *sorted);
  if (!sorted) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the order of %d prompts", num);
  for (int32_t i = 0; i < num; i++) sorted[i] = (item){lengths[i], i};
  qsort(sorted, (size_t)num, sizeof *sorted, longest_first);
  for (int32_t i = 0; i < num; i++) order[i] = sorted[i % 2 ? num - 1 - i / 2 : i / 2].idx;
  free(sorted);
  return ZK_OK;
}
