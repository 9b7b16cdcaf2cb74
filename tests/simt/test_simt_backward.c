// label: slow; cost: 30
// Attention backward's Hopper kernel (attention_backward_fused.cu) on the emulated GPU, in any order that a GPU may give its warps and its copies: the CPU's
// bits, and none stands still. Tiles of one head wait for each other across blocks.
#include "tests/simt/attention_case.h"

#include "kernels/cuda/attention_backward_variant.h"

static void agrees_in_every_order(problem p, uint64_t num_orders) {
  zk_cuda_attention_backward_force(ZK_CUDA_ATTENTION_BACKWARD_FUSED);
  agrees_in_orders("fused", p, num_orders);
  assert_false(zk_cuda_attention_backward_is_idle());
  zk_cuda_attention_backward_force(ZK_CUDA_NUM_ATTENTION_BACKWARD);
}

static void short_and_long_sequences(void **state) {
  for (int32_t dim = 64; dim <= 128; dim += 64) {
    agrees_in_every_order((problem){.heads = 1, .kv_heads = 1, .dim = dim, .page_tokens = 64, .num_seqs = 4, .len = {300, 20, 129, 64}}, 8);
    agrees_in_every_order((problem){.heads = 3, .kv_heads = 1, .dim = dim, .page_tokens = 16, .num_seqs = 2, .len = {200, 260}}, 4);
  }
}

// One head of one sequence: all blocks are in its tiles.
static void tiles_of_one_head_wait_for_each_other(void **state) {
  agrees_in_every_order((problem){.heads = 1, .kv_heads = 1, .dim = 64, .page_tokens = 256, .num_seqs = 1, .len = {1000}}, 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(short_and_long_sequences),
      cmocka_unit_test(tiles_of_one_head_wait_for_each_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
