// Check of trees of sums: whole rows of subtrees, and the uneven ones that 3, 5 or 11 workers leave, against additions one node at a time.
#include <string.h>

#include "kernels/add_tree.h"
#include "kernels/check_case.h"
#include "kernels/reference/rows_reference.h"

#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))

// Largest subtrees of the leaves of each of num_parts contiguous, nearly equal parts; their number.
static int32_t cut(int32_t num_leaves, int32_t num_parts, zk_tree_piece *pieces) {
  int32_t n = 0;
  for (int32_t part = 0; part < num_parts; part++) {
    int32_t first = num_leaves * part / num_parts;
    const int32_t last = num_leaves * (part + 1) / num_parts;
    while (first < last) {
      int32_t level = 0;
      while (first % (2 << level) == 0 && first + (2 << level) <= last) level++;
      pieces[n++] = (zk_tree_piece){level, first >> level, NULL};
      first += 1 << level;
    }
  }
  return n;
}

// The node (level, index), into the memory of its first piece: pieces[*at] and on.
static float *reference_node(int64_t n, const zk_tree_piece *pieces, int32_t *at, int32_t level, int32_t index) {
  if (pieces[*at].level == level) return pieces[(*at)++].data;
  float *left = reference_node(n, pieces, at, level - 1, 2 * index);
  float *right = reference_node(n, pieces, at, level - 1, 2 * index + 1);
  zk_reference_add(n, left, right, left);
  return left;
}

// On the device the result takes the place of the last piece.
static zk_status run_case(zk_check *check, int data, int32_t num_leaves, int32_t num_parts, int64_t n) {
  zk_tree_piece host[ZK_TREE_MAX_PIECES], device[ZK_TREE_MAX_PIECES];
  int32_t level = 0, at = 0;
  zk_check_case(check, "%d leaves in %d parts, elements %lld, %s", num_leaves, num_parts, (long long)n, zk_check_data_name((zk_check_data)data));
  const int32_t num_pieces = cut(num_leaves, num_parts, host);
  memcpy(device, host, sizeof host);
  for (int32_t p = 0; p < num_pieces; p++) {
    ZK_TRY(zk_check_floats(check, (zk_check_data)data, n, &host[p].data));
    ZK_TRY(zk_check_upload(check, host[p].data, FLOAT_BYTES(n), (void **)&device[p].data));
  }
  ZK_TRY(zk_add_tree(check->stream, n, num_pieces, device, device[num_pieces - 1].data));
  while (1 << level < num_leaves) level++;
  const float *want = reference_node(n, host, &at, level, 0);
  return zk_check_compare(check, "sum", device[num_pieces - 1].data, want, n);
}

zk_status zk_check_add_tree(zk_check *check) {
  static const struct {
    int32_t num_leaves, num_parts;
  } trees[] = {{8, 3}, {8, 4}, {1, 1}, {8, 2}, {8, 8}, {16, 5}, {64, 64}, {512, 3}, {4096, 11}};
  static const int64_t lengths[] = {9001, 1, 3, 4097};
  const int num_trees = check->quick ? 2 : (int)(sizeof trees / sizeof trees[0]), num_lengths = check->quick ? 1 : 4;
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int t = 0; t < num_trees; t++)
      for (int l = 0; l < num_lengths; l++) ZK_TRY(run_case(check, data, trees[t].num_leaves, trees[t].num_parts, lengths[l]));
  return ZK_OK;
}
