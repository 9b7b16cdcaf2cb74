// Takes a tree of sums to its normal form, with the root on the highest level, and hands it over to the device.
#include "kernels/add_tree.h"

#include "kernels/backend.h"

// The node under which all the pieces lie, if they are all that lies there; found by walking the leaves once.
static zk_status find_root(int32_t num_pieces, const zk_tree_piece *pieces, int32_t *level, int32_t *index) {
  if (num_pieces < 1 || num_pieces > ZK_TREE_MAX_PIECES) return ZK_FAIL(ZK_INTERNAL, "a tree of %d pieces", num_pieces);
  const int64_t first = (int64_t)pieces[0].index << pieces[0].level;
  int64_t end = first;
  for (int32_t p = 0; p < num_pieces; p++) {
    if ((int64_t)pieces[p].index << pieces[p].level != end) return ZK_FAIL(ZK_INTERNAL, "piece %d of a tree is not where the last one ends", p);
    end += (int64_t)1 << pieces[p].level;
  }
  *level = 0;
  while ((int64_t)1 << *level < end - first) (*level)++;
  if ((int64_t)1 << *level != end - first || first % (end - first) != 0) return ZK_FAIL(ZK_INTERNAL, "%d pieces are no whole tree", num_pieces);
  *index = (int32_t)(first >> *level);
  return ZK_OK;
}

// The device gets the root at level ZK_TREE_MAX_LEVELS - 1 and index 0, whatever it was.
zk_status zk_add_tree(zk_stream *stream, int64_t num_elements, int32_t num_pieces, const zk_tree_piece *pieces, float *dst) {
  zk_tree_piece lifted[ZK_TREE_MAX_PIECES];
  int32_t level = 0, index = 0;
  ZK_TRY(find_root(num_pieces, pieces, &level, &index));
  for (int32_t p = 0; p < num_pieces; p++) {
    const int32_t below = level - pieces[p].level;
    if (below >= ZK_TREE_MAX_LEVELS) return ZK_FAIL(ZK_INTERNAL, "a tree of more than %d levels", ZK_TREE_MAX_LEVELS);
    lifted[p] = (zk_tree_piece){ZK_TREE_MAX_LEVELS - 1 - below, pieces[p].index - (index << below), pieces[p].data};
  }
  zk_stream_count(stream, ZK_OP_ADD);
  ZK_TRY(stream->device->kernels->add_tree(stream, num_elements, num_pieces, lifted, dst));
  return zk_stream_fault(stream, ZK_OP_ADD, ZK_F32, dst, (size_t)num_elements);
}
