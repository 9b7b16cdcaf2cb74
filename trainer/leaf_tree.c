// The binary counter of subtrees.
#include "trainer/leaf_tree.h"

#include <stdlib.h>

#include "kernels/reduce.h"
#include "trainer/leaf_exchange.h"
#include "trainer/leaf_nodes.h"
#include "trainer/sequences.h"

struct zk_leaf_tree {
  zk_device *device;
  zk_comm *comm;
  zk_leaf_exchange *exchange; // NULL with one rank
  int64_t num_elements;
  int num_nodes, num_spare;
  zk_tree_piece nodes[ZK_LEAF_MAX_NODES]; // this rank's, leaves ascending
  float *spare[ZK_LEAF_MAX_NODES];        // buffers not in use
};

zk_status zk_leaf_tree_open(zk_device *device, zk_comm_device *link, int64_t num_elements, int32_t num_leaves, const int64_t *shard_starts,
                            zk_leaf_tree **out) {
  zk_leaf_tree *t = calloc(1, sizeof *t);
  *out = t;
  if (!t) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the gradient tree");
  *t = (zk_leaf_tree){.device = device, .comm = zk_comm_device_comm(link), .num_elements = num_elements};
  return zk_comm_size(t->comm) > 1 ? zk_leaf_exchange_open(device, link, num_leaves, shard_starts, &t->exchange) : ZK_OK;
}

void zk_leaf_tree_close(zk_leaf_tree *t) {
  if (!t) return;
  zk_leaf_exchange_close(t->exchange);
  for (int i = 0; i < t->num_nodes; i++) zk_device_free(t->device, t->nodes[i].data);
  for (int i = 0; i < t->num_spare; i++) zk_device_free(t->device, t->spare[i]);
  free(t);
}

size_t zk_leaf_tree_bytes(int64_t num_elements, int32_t num_leaves, int num_ranks) {
  int most = 0;
  for (int r = 0; r < num_ranks; r++) {
    int32_t first, last;
    zk_rank_leaves(num_leaves, r, num_ranks, &first, &last);
    const int buffers = zk_leaf_most_buffers(first, last);
    if (buffers > most) most = buffers;
  }
  const size_t exchanged = num_ranks > 1 ? zk_leaf_exchange_bytes(num_elements, num_leaves, num_ranks) : 0;
  return (size_t)num_elements * sizeof(float) * (size_t)most + exchanged;
}

zk_status zk_leaf_tree_buffer(zk_leaf_tree *t, float **out) {
  if (t->num_spare) {
    *out = t->spare[--t->num_spare];
    return ZK_OK;
  }
  return zk_side_alloc(t->device, ZK_SIDE_TRAINER, (size_t)t->num_elements * sizeof(float), "gradients", (void **)out);
}

zk_status zk_leaf_tree_push(zk_leaf_tree *t, zk_stream *stream, int32_t leaf, float *buffer) {
  t->nodes[t->num_nodes++] = (zk_tree_piece){0, leaf, buffer};
  while (t->num_nodes > 1) {
    zk_tree_piece *right = &t->nodes[t->num_nodes - 1], *left = right - 1;
    if (left->level != right->level || left->index % 2 || right->index != left->index + 1) break;
    ZK_TRY(zk_add(stream, ZK_F32, t->num_elements, left->data, right->data, left->data));
    left->level++, left->index /= 2;
    t->spare[t->num_spare++] = right->data;
    t->num_nodes--;
  }
  return ZK_OK;
}

// One rank: the counter has already summed the whole tree.
static zk_status take_root(zk_leaf_tree *t, zk_stream *stream, float *shard) {
  ZK_TRY(zk_copy_on_device(stream, shard, t->nodes[0].data, (size_t)t->num_elements * sizeof(float)));
  return zk_stream_wait(stream);
}

zk_status zk_leaf_tree_reduce(zk_leaf_tree *t, zk_stream *stream, float *shard) {
  const zk_status st = t->exchange ? zk_leaf_exchange_run(t->exchange, stream, t->num_nodes, t->nodes, shard) : take_root(t, stream, shard);
  for (int i = 0; i < t->num_nodes; i++) t->spare[t->num_spare++] = t->nodes[i].data;
  t->num_nodes = 0;
  return st;
}
