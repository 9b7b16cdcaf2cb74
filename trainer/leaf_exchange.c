// Buckets: who sends what, and where it is received.
#include "trainer/leaf_exchange.h"

#include <stdlib.h>

#include "trainer/leaf_vendor.h"

struct zk_leaf_exchange {
  zk_device *device;
  zk_comm_device *link;
  zk_stream *sums;
  const zk_stretch *stretches;
  const int64_t *starts;
  int num_stretches, rank, size;
  size_t slot_bytes;
  float *received[ZK_COMM_SLOTS]; // device [slot_bytes]
  int32_t max_nodes;              // of all ranks
  zk_tree_piece *nodes;           // [max_nodes], leaves ascending; own ones: data of whole vectors
  zk_tree_piece *pieces;          // [max_nodes], of the bucket that is summed
  zk_transfer *sends, *recvs;     // of one bucket
  // The sum in hand:
  int num_nodes;
  int *node_start;    // [size + 1] whose nodes are whose
  int64_t width;      // elements of a shard in a bucket
  float *shard;
  int num_done, slot; // stretches whose buckets are queued; the next bucket's slot
  bool is_waiting;    // a bucket is under way whose sum is not queued:
  zk_stretch waiting; // these elements, in the other slot
  zk_status local;    // the first sum that failed here
};

// The most subtrees that all ranks' leaves can fall into.
static int32_t most_nodes(int32_t num_leaves, int num_ranks) {
  int32_t levels = 0;
  while (1 << levels < num_leaves) levels++;
  const int64_t most = (int64_t)num_ranks * (2 * levels + 1);
  return most < num_leaves ? (int32_t)most : num_leaves;
}

// Of one receive buffer: all other ranks' pieces of the longest shard, or less; at least 64 elements of each.
static size_t slot_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks) {
  const size_t nodes = (size_t)most_nodes(num_leaves, num_ranks), most = ZK_LEAF_RECEIVE_BYTES / ZK_COMM_SLOTS;
  const size_t longest = (size_t)(num_elements / num_ranks + 4096) * sizeof(float); // shards are cut at multiples of that
  const size_t all = nodes * longest, least = nodes * 64 * sizeof(float);
  return all < most ? all : most > least ? most : least;
}

size_t zk_leaf_exchange_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks) {
  return ZK_COMM_SLOTS * slot_bytes(num_elements, num_leaves, num_ranks);
}

static zk_status allocate(zk_leaf_exchange *x, int32_t num_leaves) {
  x->max_nodes = most_nodes(num_leaves, x->size);
  const size_t nodes = (size_t)x->max_nodes;
  x->nodes = calloc(nodes, sizeof *x->nodes);
  x->pieces = calloc(nodes, sizeof *x->pieces);
  x->sends = calloc(nodes * (size_t)x->size, sizeof *x->sends);
  x->recvs = calloc(nodes, sizeof *x->recvs);
  x->node_start = calloc((size_t)x->size + 1, sizeof *x->node_start);
  if (!x->nodes || !x->pieces || !x->sends || !x->recvs || !x->node_start) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange gradients");
  x->slot_bytes = slot_bytes(x->starts[x->size], num_leaves, x->size);
  for (int slot = 0; slot < ZK_COMM_SLOTS; slot++) ZK_TRY(zk_device_alloc(x->device, x->slot_bytes, "gradient exchange", (void **)&x->received[slot]));
  return zk_stream_open(x->device, ZK_SIDE_TRAINER, &x->sums);
}

zk_status zk_leaf_exchange_open(zk_device *device, zk_comm_device *link, int32_t num_leaves, const zk_stretch *stretches, int num_stretches,
                                const int64_t *starts, zk_leaf_exchange **out) {
  const zk_comm *comm = zk_comm_device_comm(link);
  zk_leaf_exchange *x = calloc(1, sizeof *x);
  *out = x;
  if (!x) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange gradients");
  *x = (zk_leaf_exchange){.device = device, .link = link, .stretches = stretches, .num_stretches = num_stretches, .starts = starts,
                          .rank = zk_comm_rank(comm), .size = zk_comm_size(comm)};
  return allocate(x, num_leaves);
}

void zk_leaf_exchange_close(zk_leaf_exchange *x) {
  if (!x) return;
  zk_stream_close(x->sums);
  for (int slot = 0; slot < ZK_COMM_SLOTS; slot++) zk_device_free(x->device, x->received[slot]);
  free(x->nodes);
  free(x->pieces);
  free(x->sends);
  free(x->recvs);
  free(x->node_start);
  free(x);
}

void zk_leaf_exchange_begin(zk_leaf_exchange *x, const int32_t *leaf_starts, const zk_tree_piece *own, float *shard) {
  for (int r = 0; r < x->size; r++)
    x->node_start[r + 1] = x->node_start[r] + zk_leaf_nodes(leaf_starts[r], leaf_starts[r + 1], x->nodes + x->node_start[r]);
  x->num_nodes = x->node_start[x->size];
  for (int i = x->node_start[x->rank]; i < x->node_start[x->rank + 1]; i++) x->nodes[i].data = own[i - x->node_start[x->rank]].data;
  int fewest = x->num_nodes;
  for (int r = 0; r < x->size; r++)
    if (x->node_start[r + 1] - x->node_start[r] < fewest) fewest = x->node_start[r + 1] - x->node_start[r];
  x->width = (int64_t)(x->slot_bytes / sizeof(float)) / (x->num_nodes - fewest) & ~(int64_t)63; // the same on every rank
  x->shard = shard;
  x->num_done = x->slot = 0;
  x->is_waiting = false;
  x->local = ZK_OK;
}

// What a stretch has in rank r's shard.
static zk_stretch in_shard(const zk_leaf_exchange *x, int r, const zk_stretch *s) {
  const zk_stretch both = {s->first > x->starts[r] ? s->first : x->starts[r], s->last < x->starts[r + 1] ? s->last : x->starts[r + 1]};
  return both.first < both.last ? both : (zk_stretch){0, 0};
}

// What a stretch's bucket has there.
static zk_stretch in_bucket(const zk_leaf_exchange *x, int r, const zk_stretch *s, int64_t bucket) {
  const zk_stretch all = in_shard(x, r, s);
  const int64_t first = all.first + bucket * x->width;
  if (first >= all.last) return (zk_stretch){0, 0};
  return (zk_stretch){first, all.last - first < x->width ? all.last : first + x->width};
}

static int64_t count_buckets(const zk_leaf_exchange *x, const zk_stretch *s) {
  int64_t most = 0;
  for (int r = 0; r < x->size; r++) {
    const zk_stretch all = in_shard(x, r, s);
    const int64_t n = (all.last - all.first + x->width - 1) / x->width;
    if (n > most) most = n;
  }
  return most;
}

// Where a bucket's piece of node i, another rank's, is received.
static float *received_piece(const zk_leaf_exchange *x, int slot, int i) {
  const int own = x->node_start[x->rank + 1] - x->node_start[x->rank], at = i < x->node_start[x->rank] ? i : i - own;
  return x->received[slot] + (int64_t)at * x->width;
}

static zk_status send_bucket(zk_leaf_exchange *x, const zk_stretch *s, int64_t bucket) {
  const zk_stretch mine = in_bucket(x, x->rank, s, bucket);
  const size_t bytes = (size_t)(mine.last - mine.first) * sizeof(float);
  int num_sends = 0, num_recvs = 0;
  for (int step = 1; step < x->size; step++) { // the neighbour first: no rank is everyone's first target
    const int to = (x->rank + step) % x->size, from = (x->rank + x->size - step) % x->size;
    const zk_stretch theirs = in_bucket(x, to, s, bucket);
    const size_t their_bytes = (size_t)(theirs.last - theirs.first) * sizeof(float);
    for (int i = x->node_start[x->rank]; i < x->node_start[x->rank + 1] && their_bytes > 0; i++)
      x->sends[num_sends++] = (zk_transfer){to, x->nodes[i].data + theirs.first, their_bytes};
    for (int i = x->node_start[from]; i < x->node_start[from + 1] && bytes > 0; i++)
      x->recvs[num_recvs++] = (zk_transfer){from, received_piece(x, x->slot, i), bytes};
  }
  return zk_comm_device_exchange(x->link, x->sums, x->slot, x->sends, num_sends, x->recvs, num_recvs);
}

// A sum that fails here must not keep the others waiting; an exchange that fails ends the job.
static zk_status sum_waiting(zk_leaf_exchange *x) {
  const int slot = (x->slot + ZK_COMM_SLOTS - 1) % ZK_COMM_SLOTS;
  const int64_t n = x->waiting.last - x->waiting.first;
  if (!x->is_waiting) return ZK_OK;
  x->is_waiting = false;
  ZK_TRY(zk_comm_device_join(x->link, x->sums, slot));
  if (n == 0 || x->local != ZK_OK) return ZK_OK;
  for (int i = 0; i < x->num_nodes; i++) {
    x->pieces[i] = x->nodes[i];
    const bool is_own = i >= x->node_start[x->rank] && i < x->node_start[x->rank + 1];
    x->pieces[i].data = is_own ? x->nodes[i].data + x->waiting.first : received_piece(x, slot, i);
  }
  x->local = zk_leaf_nodes_sum(x->sums, n, x->num_nodes, x->pieces, x->shard + (x->waiting.first - x->starts[x->rank]));
  return ZK_OK;
}

// A bucket is sent before the sum of the last one is queued: its buffer is that of the one before, whose sum is queued already.
zk_status zk_leaf_exchange_ready(zk_leaf_exchange *x, zk_stream *stream, int num_stretches) {
  if (num_stretches > x->num_done) ZK_TRY(zk_comm_device_follow(x->link, stream));
  for (; x->num_done < num_stretches; x->num_done++) {
    const zk_stretch *s = &x->stretches[x->num_done];
    const int64_t num_buckets = count_buckets(x, s);
    for (int64_t b = 0; b < num_buckets; b++) {
      ZK_TRY(send_bucket(x, s, b));
      ZK_TRY(sum_waiting(x));
      x->waiting = in_bucket(x, x->rank, s, b);
      x->is_waiting = true;
      x->slot = (x->slot + 1) % ZK_COMM_SLOTS;
    }
  }
  return ZK_OK;
}

// A test build's negative control.
static zk_status sum_by_vendor(zk_leaf_exchange *x) {
#ifdef ZK_WITH_NCCL
  const int first_own = x->node_start[x->rank];
  return zk_leaf_vendor_sum(x->link, x->sums, x->starts[x->size], x->node_start[x->rank + 1] - first_own, x->nodes + first_own, x->starts[x->rank],
                            x->starts[x->rank + 1] - x->starts[x->rank], x->shard);
#else
  return ZK_FAIL(ZK_UNSUPPORTED, "ZK_FAULT=trainer:add:vendor: this build has no NCCL");
#endif
}

zk_status zk_leaf_exchange_finish(zk_leaf_exchange *x) {
  ZK_TRY(sum_waiting(x));
  ZK_TRY(zk_comm_device_finish(x->link, x->sums, x->local));
  return zk_stream_is_vendor(x->sums, ZK_OP_ADD) ? sum_by_vendor(x) : ZK_OK;
}
