// Dyadic intervals of leaves.
#include "trainer/leaf_nodes.h"

int zk_leaf_nodes(int32_t first, int32_t last, zk_tree_piece *out) {
  int n = 0;
  while (first < last) {
    int32_t level = 0;
    while (first % (2 << level) == 0 && first + (2 << level) <= last) level++;
    out[n++] = (zk_tree_piece){level, first >> level, NULL};
    first += 1 << level;
  }
  return n;
}

int zk_leaf_buffers_at(int32_t first, int32_t leaf) {
  zk_tree_piece nodes[ZK_LEAF_MAX_NODES];
  return zk_leaf_nodes(first, leaf, nodes) + 1;
}

int zk_leaf_most_buffers(int32_t first, int32_t last) {
  int most = 0;
  for (int32_t leaf = first; leaf < last; leaf++) {
    const int n = zk_leaf_buffers_at(first, leaf);
    if (n > most) most = n;
  }
  return most;
}

static int64_t first_leaf(const zk_tree_piece *p) { return (int64_t)p->index << p->level; }

// Too many for one call: the root's children each in the memory of their first piece, then the two.
static zk_status sum_halves(zk_stream *stream, int64_t n, int32_t num_pieces, const zk_tree_piece *pieces, float *dst) {
  const zk_tree_piece *last = &pieces[num_pieces - 1];
  const int64_t begin = first_leaf(pieces), span = first_leaf(last) + ((int64_t)1 << last->level) - begin, middle = begin + span / 2;
  int32_t level = 0, at = 0;
  while ((int64_t)2 << level < span) level++;
  while (first_leaf(&pieces[at]) < middle) at++;
  const zk_tree_piece halves[2] = {{level, (int32_t)(begin >> level), pieces[0].data}, {level, (int32_t)(middle >> level), pieces[at].data}};
  ZK_TRY(zk_leaf_nodes_sum(stream, n, at, pieces, halves[0].data));
  ZK_TRY(zk_leaf_nodes_sum(stream, n, num_pieces - at, pieces + at, halves[1].data));
  return zk_add_tree(stream, n, 2, halves, dst);
}

zk_status zk_leaf_nodes_sum(zk_stream *stream, int64_t num_elements, int32_t num_pieces, const zk_tree_piece *pieces, float *dst) {
  return num_pieces <= ZK_TREE_MAX_PIECES ? zk_add_tree(stream, num_elements, num_pieces, pieces, dst)
                                          : sum_halves(stream, num_elements, num_pieces, pieces, dst);
}
