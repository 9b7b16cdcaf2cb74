// The binary counter of subtrees.
#include "trainer/leaf_tree.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/leaf_exchange.h"
#include "trainer/leaf_nodes.h"
#include "trainer/leaf_split.h"

struct zk_leaf_tree {
  zk_device *device;
  zk_leaf_exchange *exchange; // NULL with one rank
  const zk_stretch *stretches;
  int64_t num_elements;
  int num_stretches, rank, num_ranks;
  int num_nodes, num_spare;
  zk_tree_piece nodes[ZK_LEAF_MAX_NODES]; // this rank's, leaves ascending
  float *spare[ZK_LEAF_MAX_NODES];        // buffers not in use
  // The sum in hand:
  int32_t *leaf_starts;        // [num_ranks + 1]
  int32_t next_leaf, end_leaf; // of this rank
  float *shard;
  zk_stream *stream; // of the leaf that is computed
  // The leaf that is computed: the nodes that it completes, and it: the pieces of nodes[num_nodes - 1].
  zk_tree_piece pieces[ZK_LEAF_MAX_NODES];
  int num_pieces, num_ready; // 0: none is computed; the stretches that are added
};

static zk_status take_buffer(zk_leaf_tree *t, float **out) {
  if (t->num_spare) {
    *out = t->spare[--t->num_spare];
    return ZK_OK;
  }
  return zk_side_alloc(t->device, ZK_SIDE_TRAINER, (size_t)t->num_elements * sizeof(float), "gradients", (void **)out);
}

zk_status zk_leaf_tree_open(zk_device *device, zk_comm_device *link, const zk_stretch *stretches, int num_stretches, int32_t num_leaves,
                            const int64_t *shard_starts, zk_leaf_tree **out) {
  zk_leaf_tree *t = calloc(1, sizeof *t);
  *out = t;
  if (!t) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the gradient tree");
  const zk_comm *comm = zk_comm_device_comm(link);
  *t = (zk_leaf_tree){.device = device, .stretches = stretches, .num_stretches = num_stretches, .rank = zk_comm_rank(comm), .num_ranks = zk_comm_size(comm)};
  for (int i = 0; i < num_stretches; i++) t->num_elements += stretches[i].last - stretches[i].first;
  t->leaf_starts = calloc((size_t)t->num_ranks + 1, sizeof *t->leaf_starts);
  if (!t->leaf_starts) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the gradient tree");
  return t->num_ranks > 1 ? zk_leaf_exchange_open(device, link, num_leaves, stretches, num_stretches, shard_starts, &t->exchange) : ZK_OK;
}

// A buffer becomes spare, unless it is the shard.
static void give_back(zk_leaf_tree *t, float *data) {
  if (data != t->shard) t->spare[t->num_spare++] = data;
}

// All buffers become spare.
static void empty(zk_leaf_tree *t) {
  for (int i = 0; i < t->num_nodes; i++) give_back(t, t->nodes[i].data);
  for (int i = 1; i < t->num_pieces; i++) give_back(t, t->pieces[i].data);
  t->num_nodes = t->num_pieces = t->num_ready = 0;
}

void zk_leaf_tree_close(zk_leaf_tree *t) {
  if (!t) return;
  zk_leaf_exchange_close(t->exchange);
  empty(t);
  for (int i = 0; i < t->num_spare; i++) zk_device_free(t->device, t->spare[i]);
  free(t->leaf_starts);
  free(t);
}

bool zk_leaf_tree_exchanges(const zk_leaf_tree *t) { return t->exchange != NULL; }

size_t zk_leaf_tree_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks) {
  const size_t exchanged = num_ranks > 1 ? zk_leaf_exchange_bytes(num_elements, num_leaves, num_ranks) : 0;
  return (size_t)num_elements * sizeof(float) * (size_t)(zk_leaf_split_buffers(num_leaves, num_ranks) - (num_ranks == 1)) + exchanged; // alone, one is the shard
}

void zk_leaf_tree_begin(zk_leaf_tree *t, const int32_t *leaf_starts, float *shard) {
  empty(t);
  memcpy(t->leaf_starts, leaf_starts, ((size_t)t->num_ranks + 1) * sizeof *leaf_starts);
  t->next_leaf = leaf_starts[t->rank], t->end_leaf = leaf_starts[t->rank + 1];
  t->shard = shard;
}

// The nodes that leaf `leaf`, in `buffer`, completes become its pieces, and their sum the last node, in the first one's memory.
static void add_leaf(zk_leaf_tree *t, int32_t leaf, float *buffer) {
  zk_tree_piece sum = {0, leaf, buffer};
  int first = t->num_nodes;
  for (; first > 0; first--) {
    const zk_tree_piece *left = &t->nodes[first - 1];
    if (left->level != sum.level || left->index + 1 != sum.index || sum.index % 2 == 0) break;
    sum = (zk_tree_piece){sum.level + 1, sum.index / 2, left->data};
  }
  t->num_pieces = t->num_nodes - first + 1;
  memcpy(t->pieces, t->nodes + first, (size_t)(t->num_nodes - first) * sizeof *t->pieces);
  t->pieces[t->num_pieces - 1] = (zk_tree_piece){0, leaf, buffer};
  t->nodes[first] = sum;
  t->num_nodes = first + 1;
}

// Alone, a rank sums the root where its first leaf is: in the shard, which is all elements.
zk_status zk_leaf_tree_leaf(zk_leaf_tree *t, zk_stream *stream, float **out) {
  *out = t->shard;
  if (t->exchange || t->num_nodes > 0) ZK_TRY(take_buffer(t, out));
  add_leaf(t, t->next_leaf++, *out);
  t->stream = stream;
  t->num_ready = 0;
  if (t->exchange && t->next_leaf == t->end_leaf) zk_leaf_exchange_begin(t->exchange, t->leaf_starts, t->nodes, t->shard);
  return ZK_OK;
}

static zk_status add_stretch(zk_leaf_tree *t, const zk_stretch *s, float *dst) {
  zk_tree_piece pieces[ZK_LEAF_MAX_NODES];
  for (int i = 0; i < t->num_pieces; i++) {
    pieces[i] = t->pieces[i];
    pieces[i].data += s->first;
  }
  return zk_leaf_nodes_sum(t->stream, s->last - s->first, t->num_pieces, pieces, dst + s->first);
}

zk_status zk_leaf_tree_ready(zk_leaf_tree *t, int num_stretches) {
  const bool is_last = t->next_leaf == t->end_leaf;
  for (; t->num_ready < num_stretches; t->num_ready++)
    if (t->num_pieces > 1) ZK_TRY(add_stretch(t, &t->stretches[t->num_ready], t->pieces[0].data));
  if (is_last && t->exchange) ZK_TRY(zk_leaf_exchange_ready(t->exchange, t->stream, num_stretches));
  if (num_stretches < t->num_stretches) return ZK_OK;
  for (int i = 1; i < t->num_pieces; i++) t->spare[t->num_spare++] = t->pieces[i].data;
  t->num_pieces = 0;
  return ZK_OK;
}

zk_status zk_leaf_tree_give_up(zk_leaf_tree *t, zk_stream *stream) {
  if (!t->exchange) return ZK_OK;
  if (t->next_leaf < t->end_leaf) {
    zk_tree_piece owed[ZK_LEAF_MAX_NODES];
    float *any = t->num_nodes ? t->nodes[0].data : NULL; // whatever it holds
    if (!any) {
      ZK_TRY(take_buffer(t, &any));
      t->spare[t->num_spare++] = any;
    }
    const int n = zk_leaf_nodes(t->leaf_starts[t->rank], t->end_leaf, owed);
    for (int i = 0; i < n; i++) owed[i].data = any;
    zk_leaf_exchange_begin(t->exchange, t->leaf_starts, owed, t->shard);
    t->next_leaf = t->end_leaf;
  }
  return zk_leaf_exchange_ready(t->exchange, stream, t->num_stretches);
}

zk_status zk_leaf_tree_finish(zk_leaf_tree *t, zk_stream *stream) {
  const zk_status st = t->exchange ? zk_leaf_exchange_finish(t->exchange) : zk_stream_wait(stream);
  empty(t);
  return st;
}
