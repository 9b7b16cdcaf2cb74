// Trees of sums on a CPU: a block of every piece at a time, in sums that stay in the cache.
#include "kernels/add_tree.h"

#include <string.h>

#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

enum { BLOCK = 512 };

// Elements [at, at + n) of dst.
static void sum_block(zk_cpu_isa isa, int32_t num_pieces, const zk_tree_piece *pieces, int64_t at, int64_t n, float *dst) {
  float left[ZK_TREE_MAX_LEVELS][BLOCK], sum[BLOCK]; // left children that wait for the right ones, by level
  for (int32_t p = 0; p < num_pieces; p++) {
    const zk_tree_piece *piece = &pieces[p];
    const int32_t end = piece->level + zk_tree_merges(piece->index);
    memcpy(sum, piece->data + at, (size_t)n * sizeof *sum);
    for (int32_t level = piece->level; level < end; level++) ZK_ISA_CALL(isa, zk_cpu_add, n, left[level], sum, sum);
    memcpy(left[end], sum, (size_t)n * sizeof *sum);
  }
  memcpy(dst + at, left[ZK_TREE_MAX_LEVELS - 1], (size_t)n * sizeof *dst);
}

zk_status zk_cpu_add_tree(zk_stream *stream, int64_t num_elements, int32_t num_pieces, const zk_tree_piece *pieces, float *dst) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const int threads = zk_cpu_threads_for(device, num_elements);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < num_elements; i += BLOCK) sum_block(isa, num_pieces, pieces, i, zk_cpu_min(BLOCK, num_elements - i), dst);
  return ZK_OK;
}
