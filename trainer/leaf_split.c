// The least limit of tokens under which filling the ranks one after another succeeds.
#include "trainer/leaf_split.h"

#include "trainer/leaf_nodes.h"

static int64_t tokens_of(const zk_sequences *s, int32_t num_leaves, int32_t first, int32_t last) {
  int64_t from, to, unused;
  zk_leaf_range(s->num_seqs, num_leaves, first, &from, &unused);
  zk_leaf_range(s->num_seqs, num_leaves, last - 1, &unused, &to);
  return s->offsets[to] - s->offsets[from];
}

// What the split's heaviest rank has.
static int64_t most_tokens(const zk_sequences *s, int32_t num_leaves, int num_ranks, const int32_t *starts) {
  int64_t most = 0;
  for (int r = 0; r < num_ranks; r++) {
    const int64_t tokens = tokens_of(s, num_leaves, starts[r], starts[r + 1]);
    if (tokens > most) most = tokens;
  }
  return most;
}

typedef struct {
  int64_t tokens;
  int buffers;
} limits;

// Every rank takes leaves while it may and enough are left for the others; whether all leaves are taken in the end.
static bool fill(const zk_sequences *s, int32_t num_leaves, int num_ranks, limits allowed, int32_t *starts) {
  starts[0] = 0;
  for (int r = 0; r < num_ranks; r++) {
    const int32_t first = starts[r], end = num_leaves - (num_ranks - 1 - r);
    int32_t last = first + 1;
    if (tokens_of(s, num_leaves, first, last) > allowed.tokens) return false;
    while (last < end && tokens_of(s, num_leaves, first, last + 1) <= allowed.tokens && zk_leaf_buffers_at(first, last) <= allowed.buffers) last++;
    starts[r + 1] = last;
  }
  return starts[num_ranks] == num_leaves;
}

void zk_leaf_split_evenly(int32_t num_leaves, int num_ranks, int32_t *starts) {
  for (int r = 0; r < num_ranks; r++) zk_rank_leaves(num_leaves, r, num_ranks, &starts[r], &starts[r + 1]);
}

int zk_leaf_split_buffers(int32_t num_leaves, int num_ranks) {
  int most = 0;
  for (int r = 0; r < num_ranks; r++) {
    int32_t first, last;
    zk_rank_leaves(num_leaves, r, num_ranks, &first, &last);
    const int buffers = zk_leaf_most_buffers(first, last);
    if (buffers > most) most = buffers;
  }
  return most + (num_ranks > 1 && num_leaves >= 4 * num_ranks);
}

void zk_leaf_split(const zk_sequences *s, int32_t num_leaves, int num_ranks, int32_t *starts) {
  zk_leaf_split_evenly(num_leaves, num_ranks, starts);
  const int64_t even = most_tokens(s, num_leaves, num_ranks, starts);
  const int buffers = zk_leaf_split_buffers(num_leaves, num_ranks);
  int64_t low = 0, high = even; // high: the least limit known to do
  while (low < high) {
    const int64_t tried = low + (high - low) / 2;
    if (fill(s, num_leaves, num_ranks, (limits){tried, buffers}, starts)) high = tried;
    else low = tried + 1;
  }
  if (high == even || !fill(s, num_leaves, num_ranks, (limits){high, buffers}, starts)) zk_leaf_split_evenly(num_leaves, num_ranks, starts);
}
