// The binary counter of subtrees, and the bucketed exchange that finishes the tree.
#include "trainer/leaf_tree.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/reduce.h"
#include "trainer/sequences.h"

#define MAX_NODES 64                              // of one rank: two for each level of the tree
#define RECEIVE_BYTES ((size_t)64 << 20)          // of all nodes' pieces in one bucket

// Node `index` of `level`: leaves [index << level, (index + 1) << level).
typedef struct {
  int32_t level, index;
  float *data;
} node;

struct zk_leaf_tree {
  zk_device *device;
  zk_comm *comm;
  zk_comm_device *link;
  int64_t num_elements;
  int32_t num_leaves;
  const int64_t *starts;
  int num_nodes, num_spare;
  node nodes[MAX_NODES];   // this rank's, leaves ascending
  float *spare[MAX_NODES]; // buffers not in use
};

zk_status zk_leaf_tree_open(zk_device *device, zk_comm_device *link, int64_t num_elements, int32_t num_leaves, const int64_t *shard_starts,
                            zk_leaf_tree **out) {
  zk_leaf_tree *t = calloc(1, sizeof *t);
  if (!t) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the gradient tree");
  *t = (zk_leaf_tree){.device = device, .comm = zk_comm_device_comm(link), .link = link, .num_elements = num_elements, .num_leaves = num_leaves, .starts = shard_starts};
  *out = t;
  return ZK_OK;
}

void zk_leaf_tree_close(zk_leaf_tree *t) {
  if (!t) return;
  for (int i = 0; i < t->num_nodes; i++) zk_device_free(t->device, t->nodes[i].data);
  for (int i = 0; i < t->num_spare; i++) zk_device_free(t->device, t->spare[i]);
  free(t);
}

// The subtrees that leaves [first, last) fall into, ascending: largest aligned dyadic intervals.
static int decompose(int32_t first, int32_t last, node *out) {
  int n = 0;
  while (first < last) {
    int32_t level = 0;
    while (first % (2 << level) == 0 && first + (2 << level) <= last) level++;
    out[n++] = (node){level, first >> level, NULL};
    first += 1 << level;
  }
  return n;
}

// Buffers that a rank with leaves [first, last) holds at most: the subtrees so far, and the leaf that comes.
static int most_buffers(int32_t first, int32_t last) {
  int most = 0;
  for (int32_t leaf = first; leaf < last; leaf++) {
    node nodes[MAX_NODES];
    int n = decompose(first, leaf, nodes) + 1;
    if (n > most) most = n;
  }
  return most;
}

size_t zk_leaf_tree_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks) {
  int most = 0;
  size_t all_nodes = 0, own_nodes = 0;
  for (int r = 0; r < num_ranks; r++) {
    int32_t first, last;
    node nodes[MAX_NODES];
    zk_rank_leaves(num_leaves, r, num_ranks, &first, &last);
    int buffers = most_buffers(first, last);
    size_t n = (size_t)decompose(first, last, nodes);
    if (buffers > most) most = buffers;
    if (n > own_nodes) own_nodes = n;
    all_nodes += n;
  }
  size_t gradient = (size_t)num_elements * sizeof(float), width = RECEIVE_BYTES / all_nodes;
  if (width > gradient / (size_t)num_ranks) width = gradient / (size_t)num_ranks;
  size_t exchanged = num_ranks > 1 ? (all_nodes + own_nodes * (size_t)num_ranks) * width : 0;
  return gradient * (size_t)most + exchanged;
}

zk_status zk_leaf_tree_buffer(zk_leaf_tree *t, float **out) {
  if (t->num_spare) {
    *out = t->spare[--t->num_spare];
    return ZK_OK;
  }
  return zk_device_alloc(t->device, (size_t)t->num_elements * sizeof(float), "gradients", (void **)out);
}

zk_status zk_leaf_tree_push(zk_leaf_tree *t, zk_stream *stream, int32_t leaf, float *buffer) {
  t->nodes[t->num_nodes++] = (node){0, leaf, buffer};
  while (t->num_nodes > 1) {
    node *right = &t->nodes[t->num_nodes - 1], *left = right - 1;
    if (left->level != right->level || left->index % 2 || right->index != left->index + 1) break;
    ZK_TRY(zk_add(stream, ZK_F32, t->num_elements, left->data, right->data, left->data));
    left->level++, left->index /= 2;
    t->spare[t->num_spare++] = right->data;
    t->num_nodes--;
  }
  return ZK_OK;
}

// Every rank's nodes, ascending by leaves: all of the tree's leaves, once.
static int all_nodes(const zk_leaf_tree *t, node *nodes, int *node_start) {
  int n = 0;
  for (int r = 0; r < zk_comm_size(t->comm); r++) {
    int32_t first, last;
    node_start[r] = n;
    zk_rank_leaves(t->num_leaves, r, zk_comm_size(t->comm), &first, &last);
    n += decompose(first, last, nodes + n);
  }
  node_start[zk_comm_size(t->comm)] = n;
  return n;
}

// Adds the pieces in tree order; the sum of (level, index) ends up in the data of its first node.
static zk_status sum_subtree(zk_stream *stream, const node *nodes, int *at, int32_t level, int32_t index, int64_t n, float **sum) {
  if (nodes[*at].level == level && nodes[*at].index == index) {
    *sum = nodes[(*at)++].data;
    return ZK_OK;
  }
  float *left, *right;
  ZK_TRY(sum_subtree(stream, nodes, at, level - 1, 2 * index, n, &left));
  ZK_TRY(sum_subtree(stream, nodes, at, level - 1, 2 * index + 1, n, &right));
  ZK_TRY(zk_add(stream, ZK_F32, n, left, right, left));
  *sum = left;
  return ZK_OK;
}

typedef struct {
  size_t *send_bytes, *send_offsets, *recv_bytes, *recv_offsets; // [num_ranks]
  char *send, *recv;                                             // device
} exchange;

// Elements [at, at + n) of shard r, n <= width.
static size_t piece_bytes(const zk_leaf_tree *t, int r, int64_t at, int64_t width) {
  int64_t n = t->starts[r + 1] - t->starts[r] - at;
  return (size_t)(n < 0 ? 0 : n < width ? n : width) * sizeof(float);
}

// This rank's nodes' pieces of every shard, side by side in x->send, rank after rank.
static zk_status pack_bucket(zk_leaf_tree *t, zk_stream *stream, exchange *x, const int *node_start, int64_t at, int64_t width) {
  const int size = zk_comm_size(t->comm);
  const size_t own = piece_bytes(t, zk_comm_rank(t->comm), at, width);
  size_t sent = 0, received = 0;
  for (int r = 0; r < size; r++) {
    size_t n = piece_bytes(t, r, at, width);
    x->send_offsets[r] = sent, x->send_bytes[r] = (size_t)t->num_nodes * n;
    x->recv_offsets[r] = received, x->recv_bytes[r] = (size_t)(node_start[r + 1] - node_start[r]) * own;
    sent += x->send_bytes[r], received += x->recv_bytes[r];
  }
  for (int r = 0; r < size; r++)
    for (int i = 0; i < t->num_nodes; i++) {
      size_t n = piece_bytes(t, r, at, width);
      if (n) ZK_TRY(zk_copy_on_device(stream, x->send + x->send_offsets[r] + (size_t)i * n, t->nodes[i].data + t->starts[r] + at, n));
    }
  return zk_stream_wait(stream);
}

// Elements [at, at + width) of every shard (less where a shard is shorter): pack, exchange, sum, store.
static zk_status reduce_bucket(zk_leaf_tree *t, zk_stream *stream, exchange *x, node *nodes, const int *node_start, int64_t at, int64_t width,
                               float *shard) {
  const int size = zk_comm_size(t->comm);
  const size_t own = piece_bytes(t, zk_comm_rank(t->comm), at, width);
  ZK_TRY(zk_comm_agree(t->comm, pack_bucket(t, stream, x, node_start, at, width)));
  ZK_TRY(zk_comm_device_all_to_all(t->link, stream, x->send, x->send_bytes, x->send_offsets, x->recv, x->recv_bytes, x->recv_offsets));
  if (!own) return ZK_OK;
  for (int i = 0; i < node_start[size]; i++) nodes[i].data = (float *)(x->recv + (size_t)i * own);
  int first = 0, level = 0;
  float *sum = NULL;
  while ((1 << level) < t->num_leaves) level++;
  ZK_TRY(sum_subtree(stream, nodes, &first, level, 0, (int64_t)(own / sizeof(float)), &sum));
  ZK_TRY(zk_copy_on_device(stream, shard + at, sum, own));
  return zk_stream_wait(stream);
}

static zk_status reduce_all(zk_leaf_tree *t, zk_stream *stream, node *nodes, const int *node_start, exchange *x, float *shard) {
  const int size = zk_comm_size(t->comm);
  int64_t longest = 0, width = (int64_t)(RECEIVE_BYTES / sizeof(float)) / node_start[size];
  for (int r = 0; r < size; r++)
    if (t->starts[r + 1] - t->starts[r] > longest) longest = t->starts[r + 1] - t->starts[r];
  if (width > longest) width = longest;
  if (width < 1) width = 1;
  const size_t bytes = (size_t)width * sizeof(float);
  zk_status st = zk_device_alloc(t->device, (size_t)(t->num_nodes * size) * bytes, "gradient exchange", (void **)&x->send);
  if (st == ZK_OK) st = zk_device_alloc(t->device, (size_t)node_start[size] * bytes, "gradient exchange", (void **)&x->recv);
  ZK_TRY(zk_comm_agree(t->comm, st));
  for (int64_t at = 0; at < longest; at += width)
    ZK_TRY(zk_comm_agree(t->comm, reduce_bucket(t, stream, x, nodes, node_start, at, width, shard)));
  return ZK_OK;
}

zk_status zk_leaf_tree_reduce(zk_leaf_tree *t, zk_stream *stream, float *shard) {
  int size = zk_comm_size(t->comm);
  zk_status st = ZK_OK;
  if (size == 1) { // the counter has already summed the whole tree
    st = zk_copy_on_device(stream, shard, t->nodes[0].data, (size_t)t->num_elements * sizeof(float));
    if (st == ZK_OK) st = zk_stream_wait(stream);
  } else {
    node *nodes = calloc((size_t)t->num_leaves + 1, sizeof *nodes);
    int *node_start = calloc((size_t)size + 1, sizeof *node_start);
    size_t *counts = calloc(4 * (size_t)size, sizeof *counts);
    exchange x = {counts, counts + size, counts + 2 * size, counts + 3 * size, NULL, NULL};
    if (!nodes || !node_start || !counts) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory to exchange gradients");
    st = zk_comm_agree(t->comm, st);
    if (st == ZK_OK) {
      all_nodes(t, nodes, node_start);
      st = reduce_all(t, stream, nodes, node_start, &x, shard);
    }
    free(nodes);
    free(node_start);
    free(counts);
    zk_device_free(t->device, x.send);
    zk_device_free(t->device, x.recv);
  }
  for (int i = 0; i < t->num_nodes; i++) t->spare[t->num_spare++] = t->nodes[i].data;
  t->num_nodes = 0;
  return st;
}
