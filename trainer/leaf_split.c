// The least limit of tokens under which the ranks' leaves reach to the last one.
//
// Under a limit, the leaves that r ranks can take together end anywhere up to some furthest place: what the r-th reaches from any place up to where those
// before it reach. A rank that stops short of its limit may so let the next one reach further, for which gradient buffers a rank needs depends on where its
// leaves begin. A higher limit reaches no less far, so that halving finds the least.
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

enum { MAX_LEAVES = 4096 }; // trainer.grad_leaves at most

typedef struct {
  const zk_sequences *seqs;
  int32_t num_leaves;
  int num_ranks;
  int32_t ends[MAX_LEAVES]; // how far a rank's leaves may go from here, by the buffers that they need
} problem;

static void find_ends(problem *p, int buffers) {
  for (int32_t first = 0; first < p->num_leaves; first++) {
    int32_t last = first + 1;
    while (last < p->num_leaves && zk_leaf_buffers_at(first, last) <= buffers) last++;
    p->ends[first] = last;
  }
}

static bool may_take(const problem *p, int32_t first, int32_t last, int64_t tokens) {
  return last <= p->ends[first] && tokens_of(p->seqs, p->num_leaves, first, last) <= tokens;
}

// starts[r]: the furthest place that r ranks reach. Whether all ranks reach the last leaf.
static bool reach(const problem *p, int64_t tokens, int32_t *starts) {
  int32_t first = 0, last = 0, furthest = 0; // last: how far leaves go from `first`, by their tokens
  starts[0] = 0;
  for (int r = 0; r < p->num_ranks; r++) {
    for (; first <= starts[r] && first < p->num_leaves; first++) {
      while (last < p->num_leaves && tokens_of(p->seqs, p->num_leaves, first, last + 1) <= tokens) last++;
      if (last == first) return false; // one leaf is too much
      const int32_t end = last < p->ends[first] ? last : p->ends[first];
      if (end > furthest) furthest = end;
    }
    starts[r + 1] = furthest;
  }
  return furthest == p->num_leaves;
}

// After `reach`: a rank after the other, from the last, begins as late as may be and no further than those before it reach.
static void settle(const problem *p, int64_t tokens, int32_t *starts) {
  for (int r = p->num_ranks - 1; r > 0; r--) {
    if (starts[r] >= starts[r + 1]) starts[r] = starts[r + 1] - 1;
    while (!may_take(p, starts[r], starts[r + 1], tokens)) starts[r]--;
  }
}

static void split(problem *p, int32_t *starts) {
  const int64_t even = most_tokens(p->seqs, p->num_leaves, p->num_ranks, starts);
  int64_t low = 0, high = even; // high: the least limit known to do
  find_ends(p, zk_leaf_split_buffers(p->num_leaves, p->num_ranks));
  while (low < high) {
    const int64_t tried = low + (high - low) / 2;
    if (reach(p, tried, starts)) high = tried;
    else low = tried + 1;
  }
  zk_leaf_split_evenly(p->num_leaves, p->num_ranks, starts);
  if (high < even && reach(p, high, starts)) settle(p, high, starts);
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
  if (num_ranks < 2 || num_leaves > MAX_LEAVES) return;
  problem p;
  p.seqs = s, p.num_leaves = num_leaves, p.num_ranks = num_ranks;
  split(&p, starts);
}
