// Buckets: who sends what, and where it is received.
#include "trainer/leaf_exchange.h"

#include <stdlib.h>
#include <string.h>

#include "trainer/sequences.h"

struct zk_leaf_exchange {
  zk_device *device;
  zk_comm_device *link;
  const int64_t *starts;
  int rank, size, num_nodes; // num_nodes: of all ranks
  int64_t longest, width;    // elements of the longest shard, and of it in a bucket
  zk_tree_piece *nodes;      // [num_nodes], of all ranks, leaves ascending; data: of the bucket that is summed
  int *node_start;           // [size + 1]
  float *received[ZK_COMM_SLOTS]; // device [num_nodes - own, width]
  zk_transfer *sends, *recvs;     // of one bucket: [own * size], [num_nodes]
};

// Elements of a bucket: of all nodes' pieces both buffers hold no more than they may, and a piece begins at a multiple of 16 bytes.
static int64_t bucket_width(int64_t longest, int num_nodes) {
  int64_t width = (int64_t)(ZK_LEAF_RECEIVE_BYTES / sizeof(float) / ZK_COMM_SLOTS) / num_nodes & ~(int64_t)63;
  const int64_t most = (longest + 63) & ~(int64_t)63;
  if (width < 64) width = 64;
  return width < most ? width : most;
}

static int count_nodes(int32_t num_leaves, int num_ranks, int rank) {
  zk_tree_piece nodes[ZK_LEAF_MAX_NODES];
  int32_t first, last;
  zk_rank_leaves(num_leaves, rank, num_ranks, &first, &last);
  return zk_leaf_nodes(first, last, nodes);
}

size_t zk_leaf_exchange_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks) {
  int num_nodes = 0;
  for (int r = 0; r < num_ranks; r++) num_nodes += count_nodes(num_leaves, num_ranks, r);
  const int64_t longest = num_elements / num_ranks + 4096; // shards are cut at multiples of that
  return ZK_COMM_SLOTS * (size_t)num_nodes * (size_t)bucket_width(longest, num_nodes) * sizeof(float);
}

static zk_status lay_out(zk_leaf_exchange *x, int32_t num_leaves) {
  x->nodes = calloc((size_t)num_leaves, sizeof *x->nodes);
  x->node_start = calloc((size_t)x->size + 1, sizeof *x->node_start);
  if (!x->nodes || !x->node_start) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange gradients");
  for (int r = 0; r < x->size; r++) {
    int32_t first, last;
    zk_rank_leaves(num_leaves, r, x->size, &first, &last);
    x->node_start[r + 1] = x->node_start[r] + zk_leaf_nodes(first, last, x->nodes + x->node_start[r]);
    if (x->starts[r + 1] - x->starts[r] > x->longest) x->longest = x->starts[r + 1] - x->starts[r];
  }
  x->num_nodes = x->node_start[x->size];
  x->width = bucket_width(x->longest, x->num_nodes);
  const size_t own = (size_t)(x->node_start[x->rank + 1] - x->node_start[x->rank]);
  x->sends = calloc(own * (size_t)x->size, sizeof *x->sends);
  x->recvs = calloc((size_t)x->num_nodes, sizeof *x->recvs);
  if (!x->sends || !x->recvs) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange gradients");
  const size_t bytes = ((size_t)x->num_nodes - own) * (size_t)x->width * sizeof(float);
  for (int slot = 0; slot < ZK_COMM_SLOTS; slot++) ZK_TRY(zk_device_alloc(x->device, bytes, "gradient exchange", (void **)&x->received[slot]));
  return ZK_OK;
}

zk_status zk_leaf_exchange_open(zk_device *device, zk_comm_device *link, int32_t num_leaves, const int64_t *starts, zk_leaf_exchange **out) {
  const zk_comm *comm = zk_comm_device_comm(link);
  zk_leaf_exchange *x = calloc(1, sizeof *x);
  *out = x;
  if (!x) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange gradients");
  *x = (zk_leaf_exchange){.device = device, .link = link, .starts = starts, .rank = zk_comm_rank(comm), .size = zk_comm_size(comm)};
  return lay_out(x, num_leaves);
}

void zk_leaf_exchange_close(zk_leaf_exchange *x) {
  if (!x) return;
  for (int slot = 0; slot < ZK_COMM_SLOTS; slot++) zk_device_free(x->device, x->received[slot]);
  free(x->nodes);
  free(x->node_start);
  free(x->sends);
  free(x->recvs);
  free(x);
}

// Elements of bucket `bucket` in rank r's shard: none where the shard has ended.
static int64_t bucket_elements(const zk_leaf_exchange *x, int r, int64_t bucket) {
  const int64_t left = x->starts[r + 1] - x->starts[r] - bucket * x->width;
  return left < 0 ? 0 : left < x->width ? left : x->width;
}

// Where a bucket's piece of node i, another rank's, is received.
static float *received_piece(const zk_leaf_exchange *x, int slot, int i) {
  const int own = x->node_start[x->rank + 1] - x->node_start[x->rank], at = i < x->node_start[x->rank] ? i : i - own;
  return x->received[slot] + (int64_t)at * x->width;
}

static zk_status send_bucket(zk_leaf_exchange *x, zk_stream *stream, int num_own, const zk_tree_piece *own, int64_t bucket) {
  const int slot = (int)(bucket % ZK_COMM_SLOTS);
  const size_t mine = (size_t)bucket_elements(x, x->rank, bucket) * sizeof(float);
  int num_sends = 0, num_recvs = 0;
  for (int step = 1; step < x->size; step++) { // the neighbour first: no rank is everyone's first target
    const int to = (x->rank + step) % x->size, from = (x->rank + x->size - step) % x->size;
    const size_t theirs = (size_t)bucket_elements(x, to, bucket) * sizeof(float);
    for (int i = 0; i < num_own && theirs > 0; i++)
      x->sends[num_sends++] = (zk_transfer){to, own[i].data + x->starts[to] + bucket * x->width, theirs};
    for (int i = x->node_start[from]; i < x->node_start[from + 1] && mine > 0; i++)
      x->recvs[num_recvs++] = (zk_transfer){from, received_piece(x, slot, i), mine};
  }
  return zk_comm_device_exchange(x->link, stream, slot, x->sends, num_sends, x->recvs, num_recvs);
}

static zk_status sum_bucket(zk_leaf_exchange *x, zk_stream *stream, const zk_tree_piece *own, int64_t bucket, float *shard) {
  const int64_t n = bucket_elements(x, x->rank, bucket), at = bucket * x->width;
  const int first_own = x->node_start[x->rank], end_own = x->node_start[x->rank + 1];
  if (n == 0) return ZK_OK;
  for (int i = 0; i < x->num_nodes; i++)
    x->nodes[i].data = i < first_own || i >= end_own ? received_piece(x, (int)(bucket % ZK_COMM_SLOTS), i)
                                                     : own[i - first_own].data + x->starts[x->rank] + at;
  return zk_leaf_nodes_sum(stream, n, x->num_nodes, x->nodes, shard + at);
}

// Bucket b + 1 is sent while b is summed: its buffer is that of b - 1, whose sum is queued before. A sum that fails here must not keep the others
// waiting; an exchange that fails ends the job.
zk_status zk_leaf_exchange_run(zk_leaf_exchange *x, zk_stream *stream, int num_nodes, const zk_tree_piece *nodes, float *shard) {
  const int64_t num_buckets = (x->longest + x->width - 1) / x->width;
  zk_status local = ZK_OK;
  ZK_TRY(zk_comm_agree(zk_comm_device_comm(x->link), zk_stream_wait(stream)));
  for (int64_t b = 0; b <= num_buckets; b++) {
    if (b < num_buckets) ZK_TRY(send_bucket(x, stream, num_nodes, nodes, b));
    if (b == 0) continue;
    ZK_TRY(zk_comm_device_join(x->link, stream, (int)((b - 1) % ZK_COMM_SLOTS)));
    if (local == ZK_OK) local = sum_bucket(x, stream, nodes, b - 1, shard);
  }
  return zk_comm_device_finish(x->link, stream, local);
}
