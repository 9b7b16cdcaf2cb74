// label: slow; cost: 20
// Prefill's Hopper kernel (attention_prefill.cu) on the emulated GPU: its warps meet at barriers that count arrivals and bytes, in any order that a GPU may
// give them. In each the CPU's bits, and none stands still.
#include "tests/simt/attention_case.h"

#include "kernels/cuda/attention_variant.h"

// Under the first `num_orders` orders. 4 multiprocessors: with more pieces of 128 rows than that a block gets several.
static void agrees_in_every_order(problem p, uint64_t num_orders) {
  zk_cuda_attention_force(ZK_CUDA_ATTENTION_PREFILL);
  agrees_in_orders("prefill", p, num_orders);
  assert_false(zk_cuda_attention_is_idle());
  zk_cuda_attention_force(ZK_CUDA_NUM_ATTENTION);
}

// Pieces of one tile of keys and of two, by turns: `len` of each sequence.
static void pieces(const int32_t *len, int num_seqs, int32_t dim, int32_t heads) {
  problem p = {.heads = heads, .kv_heads = 1, .dim = dim, .page_tokens = 64, .num_seqs = num_seqs};
  for (int i = 0; i < num_seqs; i++) p.len[i] = len[i], p.first[i] = len[i] > 128 ? len[i] - 100 : 0;
  agrees_in_every_order(p, 8);
}

static void short_pieces_follow_each_other(void **state) {
  static const int32_t one[] = {40, 90, 128, 3, 77, 128, 50, 60, 90, 20, 128, 64}, two[] = {40, 200, 30, 250, 128, 129, 90, 256, 20, 30, 40, 255};
  for (int32_t dim = 64; dim <= 128; dim += 64) {
    pieces(one, 12, dim, 1);
    pieces(two, 12, dim, 1);
    pieces(two, 5, dim, 3); // queries by threads: 3 does not divide 128
  }
}

static void long_pieces(void **state) {
  agrees_in_every_order((problem){.heads = 4, .kv_heads = 2, .dim = 64, .page_tokens = 48, .num_seqs = 3, .len = {1100, 520, 640}, .first = {400, 300, 0}}, 4);
  agrees_in_every_order((problem){.heads = 2, .kv_heads = 2, .dim = 128, .page_tokens = 256, .num_seqs = 2, .len = {700, 1030}, .first = {0, 900}}, 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(short_pieces_follow_each_other),
      cmocka_unit_test(long_pieces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
