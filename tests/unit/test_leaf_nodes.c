// The sum of any number of subtrees: that of the leaves one by one, however the leaves were shared out.
#include "tests/unit/device_fixture.h"

#include "kernels/reduce.h"
#include "trainer/leaf_nodes.h"
#include "trainer/sequences.h"

enum { LEAVES = 1024, N = 37 };

static float leaves[LEAVES][N], copy[LEAVES][N];

// The root over all leaves' columns, the tree of kernels/reduce.h.
static void expected(float *want) {
  for (int i = 0; i < N; i++) {
    float column[LEAVES];
    for (int leaf = 0; leaf < LEAVES; leaf++) column[leaf] = leaves[leaf][i];
    want[i] = zk_reduce_tree(column, LEAVES);
  }
}

// Subtrees of num_ranks workers, each summed from its own leaves into its first leaf's row of `copy`.
static int share_out(int num_ranks, zk_tree_piece *nodes) {
  int n = 0;
  memcpy(copy, leaves, sizeof copy);
  for (int r = 0; r < num_ranks; r++) {
    int32_t first, last;
    zk_rank_leaves(LEAVES, r, num_ranks, &first, &last);
    const int own = zk_leaf_nodes(first, last, nodes + n);
    for (int k = n; k < n + own; k++) {
      const int begin = nodes[k].index << nodes[k].level, count = 1 << nodes[k].level;
      nodes[k].data = copy[begin];
      for (int step = 1; step < count; step *= 2)
        for (int leaf = begin; leaf < begin + count; leaf += 2 * step)
          for (int i = 0; i < N; i++) copy[leaf][i] = copy[leaf][i] + copy[leaf + step][i];
    }
    n += own;
  }
  return n;
}

static void any_number_of_workers(void **state) {
  static const int ranks[] = {1, 2, 3, 7, 8, 100, 513, 1024};
  static zk_tree_piece nodes[LEAVES];
  float want[N], got[N];
  for (uint32_t leaf = 0; leaf < LEAVES; leaf++)
    for (uint32_t i = 0; i < N; i++) leaves[leaf][i] = (float)(((leaf * N + i) * 2654435761u >> 8) % 100003) * 1e-3f - 31.0f;
  expected(want);
  for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++) {
    const int n = share_out(ranks[r], nodes);
    OK(zk_leaf_nodes_sum(stream, N, n, nodes, got));
    assert_memory_equal(got, want, sizeof want);
  }
  const int n = share_out(3, nodes); // the negative control: subtrees in other places
  float *data = nodes[0].data;
  nodes[0].data = nodes[n - 1].data, nodes[n - 1].data = data;
  OK(zk_leaf_nodes_sum(stream, N, n, nodes, got));
  assert_memory_not_equal(got, want, sizeof want);
}

static void a_tree_with_a_gap_is_refused(void **state) {
  float x[N] = {0};
  const zk_tree_piece gap[] = {{0, 0, x}, {0, 2, x}}, half[] = {{0, 1, x}, {0, 2, x}};
  assert_int_equal(zk_add_tree(stream, N, 2, gap, x), ZK_INTERNAL);
  assert_int_equal(zk_add_tree(stream, N, 2, half, x), ZK_INTERNAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(any_number_of_workers), cmocka_unit_test(a_tree_with_a_gap_is_refused)};
  return cmocka_run_group_tests(tests, open_device, close_device);
}
