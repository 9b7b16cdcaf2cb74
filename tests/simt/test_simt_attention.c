// label: slow; cost: 10
// Attention of the emulated GPU against the CPU's where `zerokl check` does not look: the largest heads, blocks that
// walk several splits, sums over more than 4,096 query rows and several heads, copied pages.
#include "tests/simt/attention_case.h"

static void in_both_numerics(problem p) {
  p.numerics = ZK_F32;
  devices_agree(p);
  p.numerics = ZK_BF16;
  devices_agree(p);
}

static void largest_heads(void **state) {
  in_both_numerics((problem){.heads = 2, .kv_heads = 1, .dim = 256, .page_tokens = 32, .num_seqs = 2, .len = {70, 33}});
  in_both_numerics((problem){.heads = 3, .kv_heads = 3, .dim = 136, .page_tokens = 16, .num_seqs = 1, .len = {40}});
}

// Enough blocks for the device: each walks all the splits of its rows; and too few: a block for each split.
static void splits_by_one_block_or_many(void **state) {
  problem p = {.heads = 3, .kv_heads = 1, .dim = 16, .page_tokens = 80, .num_seqs = MAX_SEQS};
  for (int i = 0; i < MAX_SEQS; i++) p.len[i] = 500 + 40 * i, p.first[i] = p.len[i] - 1;
  in_both_numerics(p);
  p.num_seqs = 3;
  in_both_numerics(p);
  in_both_numerics((problem){
      .heads = 4, .kv_heads = 2, .dim = 8, .page_tokens = 48, .num_seqs = 2, .len = {1100, 520}, .first = {400, 513}});
}

// Few rows a sequence with the head sizes of the decoding kernel: blocks of rows that see different splits, sequences of
// one split and of several, pages of several boxes and boxes of several pages.
static void decoding(void **state) {
  devices_agree((problem){ZK_BF16, .heads = 8, .kv_heads = 2, .dim = 128, .page_tokens = 48, .num_seqs = 5,
                          .len = {1, 130, 513, 1100, 640}, .first = {0, 129, 512, 1096, 630}});
  devices_agree((problem){ZK_BF16, .heads = 20, .kv_heads = 1, .dim = 64, .page_tokens = 256, .num_seqs = 3,
                          .len = {515, 40, 1029}, .first = {510, 39, 1028}});
  problem p = {ZK_BF16, .heads = 3, .kv_heads = 3, .dim = 64, .page_tokens = 16, .num_seqs = MAX_SEQS};
  for (int i = 0; i < MAX_SEQS; i++) p.len[i] = 1 + 37 * i, p.first[i] = i % 4 == 1 ? p.len[i] : p.len[i] - 1;
  devices_agree(p); // some sequences have no rows
}

// out of one row of each of three sequences of 600 keys. The second begins with the first one's pages; `told`: how many the batch says that it does.
static void *decode_shared(const int32_t told[3], size_t *bytes) {
  enum { PAGE = 64, PAGES = 10, KEYS = 600, SEQS = 3, HEADS = 4, DIM = 64 };
  const zk_attention_desc desc = {ZK_BF16, HEADS, 2, DIM, PAGE, 0x1p-3f};
  const problem p = {ZK_BF16, .heads = HEADS, .kv_heads = 2, .dim = DIM, .page_tokens = PAGE, .num_seqs = SEQS, .len = {KEYS, KEYS, KEYS},
                     .first = {KEYS - 1, KEYS - 1, KEYS - 1}};
  place here = {0}, *at = &here;
  OK(zk_device_open(ZK_DEVICE_CUDA, 0, &at->device));
  OK(zk_stream_open(at->device, ZK_SIDE_NONE, &at->stream));
  const size_t n = zk_kv_cache_bytes(at->device, &desc, SEQS * PAGES + 2) / sizeof(zk_bf16), nq = SEQS * HEADS * DIM;
  int32_t *table = make_table(&p, PAGES);
  memcpy(table + PAGES, table, 8 * sizeof *table);
  zk_attention_batch batch = make_batch(at, &p, p.first, PAGES, table);
  batch.seq_shared_pages = upload(at, told, SEQS * sizeof *told);
  void *k = upload_random(at, ZK_BF16, n, 1), *v = upload_random(at, ZK_BF16, n, 2), *q = upload_random(at, ZK_BF16, nq, 3),
       *out = upload_nan(at, nq * sizeof(zk_bf16));
  float *lse = upload_nan(at, SEQS * HEADS * sizeof *lse);
  OK(zk_attention_forward(at->stream, &desc, &batch, q, k, v, out, lse));
  char *result = NULL;
  *bytes = 0;
  keep(at, out, nq * sizeof(zk_bf16), &result, bytes);
  free(table);
  close_place(at);
  return result;
}

// Pages that neighbours share are read once, for both, with the bits that each has alone. That they are is seen by a batch that does not tell the
// truth: the third sequence then gets the second one's keys.
static void shared_pages_are_read_once(void **state) {
  size_t bytes;
  char *alone = decode_shared((int32_t[]){0, 0, 0}, &bytes), *together = decode_shared((int32_t[]){0, 8, 0}, &bytes),
       *lied_to = decode_shared((int32_t[]){0, 8, 8}, &bytes);
  assert_memory_equal(together, alone, bytes);
  assert_memory_equal(lied_to, alone, bytes / 3 * 2);
  assert_memory_not_equal(lied_to + bytes / 3 * 2, alone + bytes / 3 * 2, bytes / 3);
  free(alone), free(together), free(lied_to);
}

// Numerics vendor: a prefill is one split, so that where bf16 has no second it has the same bits; a decoded row is cut as the load asks, so
// that what its neighbours are reaches its bits (of out and lse: lse is not rounded to bf16).
static void vendor_cuts_by_load(void **state) {
  size_t bytes, same;
  problem p = {ZK_BF16, .heads = 3, .kv_heads = 1, .dim = 16, .page_tokens = 32, .num_seqs = 2, .len = {300, 140}};
  char *want = compute(ZK_DEVICE_CUDA, &p, 0x1p-3f, &bytes);
  p.numerics = ZK_VENDOR;
  char *got = compute(ZK_DEVICE_CUDA, &p, 0x1p-3f, &same);
  assert_int_equal(bytes, same);
  assert_memory_equal(got, want, bytes);
  free(want), free(got);

  p = (problem){.heads = 16, .kv_heads = 1, .dim = 16, .page_tokens = 80, .num_seqs = MAX_SEQS};
  for (int i = 0; i < MAX_SEQS; i++) p.len[i] = 1000, p.first[i] = 999;
  int moved[2];
  for (int v = 0; v < 2; v++) {
    p.numerics = v == 0 ? ZK_BF16 : ZK_VENDOR;
    p.num_seqs = 1;
    char *alone = compute(ZK_DEVICE_CUDA, &p, 0x1p-3f, &bytes);
    p.num_seqs = MAX_SEQS;
    char *among = compute(ZK_DEVICE_CUDA, &p, 0x1p-3f, &bytes);
    const size_t out_bytes = 16 * 16 * sizeof(zk_bf16), lse_bytes = 16 * sizeof(float); // of the first sequence
    moved[v] = memcmp(alone, among, out_bytes) != 0 || memcmp(alone + out_bytes, among + MAX_SEQS * out_bytes, lse_bytes) != 0;
    free(alone), free(among);
  }
  assert_int_equal(moved[0], 0);
  assert_int_equal(moved[1], 1);
}

static void sums_over_parts_and_heads(void **state) {
  devices_agree(
      (problem){ZK_BF16, .heads = 2, .kv_heads = 1, .dim = 8, .page_tokens = 64, .num_seqs = 1, .len = {4100}});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(largest_heads),
      cmocka_unit_test(splits_by_one_block_or_many),
      cmocka_unit_test(decoding),
      cmocka_unit_test(shared_pages_are_read_once),
      cmocka_unit_test(vendor_cuts_by_load),
      cmocka_unit_test(sums_over_parts_and_heads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
