// label: slow; cost: 30
// Decoding's Hopper kernels on the emulated GPU: rings that the copy engine fills (attention_decode.cu), clusters of blocks that store into each other
// (attention_cluster.cu, attention_token.cu). In each order that a GPU may give them the CPU's bits, and none stands still.
#include "tests/simt/attention_case.h"
#include "tests/simt/order.h"

#include "kernels/backend.h"
#include "kernels/cuda/attention_variant.h"
#include "kernels/rope_attention.h"

// Under the first `num_orders` orders.
static void agrees_in_every_order(zk_cuda_attention_variant variant, problem p, uint64_t num_orders) {
  zk_cuda_attention_force(variant);
  agrees_in_orders(zk_cuda_attention_name(variant), p, num_orders);
  assert_false(zk_cuda_attention_is_idle());
  zk_cuda_attention_force(ZK_CUDA_NUM_ATTENTION);
}

// One row each of sequences whose lengths lie about the ends of tiles, boxes and splits; more of them than blocks, so that a block gets several.
static void short_and_long(zk_cuda_attention_variant variant, int32_t dim, int32_t page_tokens, uint64_t num_orders) {
  static const int32_t len[] = {1, 130, 513, 16, 128, 300, 640, 17, 512, 129, 5, 260};
  problem p = {.heads = 2, .kv_heads = 1, .dim = dim, .page_tokens = page_tokens, .num_seqs = 12};
  for (int i = 0; i < 12; i++) p.len[i] = len[i], p.first[i] = len[i] - 1;
  agrees_in_every_order(variant, p, num_orders);
}

// Several rows a sequence, which see different splits; a sequence without any.
static void several_rows(zk_cuda_attention_variant variant, int32_t dim, uint64_t num_orders) {
  agrees_in_every_order(variant,
                        (problem){.heads = 6, .kv_heads = 2, .dim = dim, .page_tokens = 48, .num_seqs = 4, .len = {1030, 40, 520, 6}, .first = {1020, 40, 506, 0}},
                        num_orders);
}

static void rings(void **state) {
  for (int32_t dim = 64; dim <= 128; dim += 64) {
    short_and_long(ZK_CUDA_ATTENTION_DECODE, dim, dim == 64 ? 16 : 256, 12);
    several_rows(ZK_CUDA_ATTENTION_DECODE, dim, 8);
  }
}

// Neighbours whose first pages are the same are computed together as far as they share whole splits.
static void gangs(void **state) {
  for (int32_t dim = 64; dim <= 128; dim += 64)
    agrees_in_every_order(ZK_CUDA_ATTENTION_DECODE,
                          (problem){.heads = 4, .kv_heads = 2, .dim = dim, .page_tokens = 64, .num_seqs = 6, .len = {600, 530, 1100, 70, 580, 514},
                                    .first = {599, 529, 1099, 69, 579, 513}, .shared = {0, 8, 8, 0, 1, 8}},
                          6);
}

static void clusters(void **state) {
  for (int32_t dim = 64; dim <= 128; dim += 64) {
    short_and_long(ZK_CUDA_ATTENTION_CLUSTER, dim, dim == 64 ? 128 : 16, 6);
    several_rows(ZK_CUDA_ATTENTION_CLUSTER, dim, 4);
  }
}

// ---- one token, with its head norms, RoPE and cache rows

typedef struct {
  int32_t heads, kv_heads, page_tokens, before, room; // keys before the token; how many the page table has room for
  bool norms;
} token;

// out, lse and the token's k and v as attention of the next token reads them: a second token follows the first. The caller frees them.
static char *decode_tokens(zk_device_kind kind, const token *t, size_t *size) {
  enum { DIM = 128, TOKENS = 2 };
  const int32_t pages = t->room / t->page_tokens, zero = 0;
  const problem p = {ZK_BF16, .heads = t->heads, .kv_heads = t->kv_heads, .dim = DIM, .page_tokens = t->page_tokens, .num_seqs = 1, .len = {t->before}};
  const size_t nq = (size_t)(t->heads * DIM), nkv = (size_t)(t->kv_heads * DIM), num_angles = (size_t)(t->before + TOKENS) * DIM / 2;
  zk_rope_cache_desc desc = {.attention = {ZK_BF16, t->heads, t->kv_heads, DIM, t->page_tokens, 0x1p-3f}, .eps = 1e-6f};
  place here = {0}, *at = &here;
  OK(zk_device_open(kind, 0, &at->device));
  OK(zk_stream_open(at->device, ZK_SIDE_NONE, &at->stream));
  int32_t *table = make_table(&p, pages);
  const size_t cache_bytes = zk_kv_cache_bytes(at->device, &desc.attention, pages + 2);
  void *k_cache = upload_nan(at, cache_bytes), *v_cache = upload_nan(at, cache_bytes);
  const zk_attention_batch old = make_batch(at, &p, &zero, pages, table);
  const size_t num_old = nkv * (size_t)t->before;
  if (t->before > 0)
    OK(zk_kv_write(at->stream, &desc.attention, &old, upload_random(at, ZK_BF16, num_old, 1), upload_random(at, ZK_BF16, num_old, 2), k_cache, v_cache));
  float *angles = random_floats(2 * num_angles, 3, 0);
  desc.cos_table = upload(at, angles, 2 * num_angles * sizeof *angles), desc.sin_table = desc.cos_table + num_angles;
  if (t->norms) desc.q_weight = upload_random(at, ZK_BF16, DIM, 4), desc.k_weight = upload_random(at, ZK_BF16, DIM, 5);
  char *result = NULL;
  *size = 0;
  for (int32_t i = 0; i < TOKENS; i++) {
    const int32_t pos = t->before + i;
    problem one = p;
    one.len[0] = pos + 1, one.first[0] = pos;
    const zk_attention_batch batch = make_batch(at, &one, one.first, pages, table);
    desc.positions = upload(at, &pos, sizeof pos);
    void *q = upload_random(at, ZK_BF16, nq, 6 + 3 * (uint32_t)i), *k = upload_random(at, ZK_BF16, nkv, 7 + 3 * (uint32_t)i),
         *v = upload_random(at, ZK_BF16, nkv, 8 + 3 * (uint32_t)i), *out = upload_nan(at, nq * sizeof(zk_bf16));
    float *lse = upload_nan(at, (size_t)t->heads * sizeof *lse);
    const zk_rope_cache_io io = {q, k, v, q, k, NULL, NULL, k_cache, v_cache};
    bool done = true;
    if (kind == ZK_DEVICE_CPU) OK(zk_rope_attention(at->stream, &desc, &batch, &io, out, lse));
    else OK(zk_cuda_rope_attention_fused(at->stream, &desc, &batch, &io, out, lse, &done));
    assert_true(done);
    keep(at, out, nq * sizeof(zk_bf16), &result, size);
    keep(at, lse, (size_t)t->heads * sizeof *lse, &result, size);
  }
  free(table), free(angles);
  close_place(at);
  return result;
}

static void tokens(void **state) {
  static const token cases[] = {{4, 1, 16, 0, 512, true},      {6, 2, 48, 127, 528, false}, {3, 1, 64, 510, 1024, true},
                                {2, 2, 256, 1022, 2048, true}, {4, 1, 16, 1535, 2048, false}};
  zk_cuda_attention_want_token(true);
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    size_t bytes, same;
    char *want = decode_tokens(ZK_DEVICE_CPU, &cases[c], &bytes);
    for (uint64_t order = 0; order < 8; order++) {
      zk_simt_set_order(order);
      char *got = decode_tokens(ZK_DEVICE_CUDA, &cases[c], &same);
      assert_int_equal(bytes, same);
      assert_bits_equal(got, want, bytes / 4, "one token, case %d, order %d", (int)c, (int)order);
      free(got);
    }
    zk_simt_set_order(0);
    free(want);
  }
  zk_cuda_attention_want_token(false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rings),
      cmocka_unit_test(gangs),
      cmocka_unit_test(clusters),
      cmocka_unit_test(tokens),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
