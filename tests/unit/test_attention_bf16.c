// bf16 attention: the kernels against the contract's loops, bit for bit, however rows are cut into steps, pages and threads; other orders and
// wrong pages are noticed.
#include "tests/unit/device_fixture.h"

#include <math.h>

#include "kernels/attention.h"
#include "kernels/reference/attention_reference.h"

// One sequence, its page table in a scattered order, a cache of NaN, and the reference's answers.
typedef struct {
  zk_attention_desc desc;
  zk_attention_reference order;
  int32_t len, num_pages, pages[128];
  zk_bf16 *q, *k, *v, *dout, *out, *want_out, *dq, *dk, *dv;
  float *lse, *want_lse;
  void *k_cache, *v_cache;
  size_t num_q, num_kv, cache_bytes;
} problem;

static void dirty(problem *p) {
  memset(p->k_cache, 0xff, p->cache_bytes);
  memset(p->v_cache, 0xff, p->cache_bytes);
}

static problem make_problem(int32_t heads, int32_t kv_heads, int32_t dim, int32_t page_tokens, int32_t len) {
  problem p = {.desc = {ZK_BF16, heads, kv_heads, dim, page_tokens, (float)(1.0 / sqrt((double)dim))}, .len = len};
  p.order = (zk_attention_reference){len,          0, heads, kv_heads, dim, p.desc.scale, ZK_ATTN_TILE_BF16, ZK_ATTN_SPLIT_BF16,
                                     ZK_ATTN_PART};
  p.num_q = (size_t)(len * heads * dim), p.num_kv = (size_t)(len * kv_heads * dim);
  p.q = random_bf16(p.num_q, 1), p.k = random_bf16(p.num_kv, 2), p.v = random_bf16(p.num_kv, 3), p.dout = random_bf16(p.num_q, 4);
  zk_bf16 **const outs[] = {&p.out, &p.want_out, &p.dq};
  for (int i = 0; i < 3; i++) *outs[i] = calloc(p.num_q + 1, sizeof(zk_bf16));
  p.dk = calloc(p.num_kv + 1, sizeof(zk_bf16)), p.dv = calloc(p.num_kv + 1, sizeof(zk_bf16));
  p.lse = calloc((size_t)(len * heads), sizeof(float)), p.want_lse = calloc((size_t)(len * heads), sizeof(float));
  p.num_pages = (len + page_tokens - 1) / page_tokens;
  assert_true(p.num_pages <= 128);
  for (int32_t i = 0; i < p.num_pages; i++) p.pages[i] = p.num_pages - i; // page 0 is nobody's
  p.cache_bytes = zk_kv_cache_bytes(device, &p.desc, p.num_pages + 1);
  OK(zk_device_alloc(device, p.cache_bytes, "keys", &p.k_cache));
  OK(zk_device_alloc(device, p.cache_bytes, "values", &p.v_cache));
  dirty(&p);
  zk_attention_reference_bf16_forward(&p.order, p.q, p.k, p.v, p.want_out, p.want_lse);
  return p;
}

static void free_problem(problem *p) {
  void *const memory[] = {p->q, p->k, p->v, p->dout, p->out, p->want_out, p->dq, p->dk, p->dv, p->lse, p->want_lse};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  zk_device_free(device, p->k_cache), zk_device_free(device, p->v_cache);
}

static size_t differing(const zk_bf16 *a, const zk_bf16 *b, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) count += a[i].bits != b[i].bits;
  return count;
}

// Writes and attends rows in steps of the given size.
static void play(problem *p, int32_t step) {
  const int32_t q_row = p->desc.num_heads * p->desc.head_dim, kv_row = p->desc.num_kv_heads * p->desc.head_dim;
  for (int32_t pos = 0; pos < p->len; pos += step) {
    const int32_t start[2] = {0, step < p->len - pos ? step : p->len - pos};
    const zk_attention_batch batch = {start[1], 1, p->num_pages, start, &pos, p->pages, NULL};
    OK(zk_kv_write(stream, &p->desc, &batch, p->k + pos * kv_row, p->v + pos * kv_row, p->k_cache, p->v_cache));
    OK(zk_attention_forward(stream, &p->desc, &batch, p->q + pos * q_row, p->k_cache, p->v_cache, p->out + pos * q_row,
                            p->lse + pos * p->desc.num_heads));
  }
}

static void expect_forward(problem *p, int32_t step) {
  dirty(p);
  play(p, step);
  assert_int_equal(differing(p->out, p->want_out, p->num_q), 0);
  assert_bits_equal(p->lse, p->want_lse, (size_t)(p->len * p->desc.num_heads), "lse, %s, steps of %d", zk_device_describe(device), step);
}

static const int32_t shapes[][4] = {{3, 1, 8, 16},  {4, 4, 16, 48}, {6, 2, 64, 32},
                                    {2, 1, 80, 64}, {3, 3, 96, 16}, {8, 1, 128, 128}}; // heads, KV heads, head_dim, page_tokens

static void steps_change_no_bit(void **state) {
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    problem p = make_problem(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], 135);
    FOR_EACH_VARIANT(device, stream) {
      if (isa_ == ZK_CPU_SCALAR && threads_ > 1) continue; // slow
      expect_forward(&p, 135);
      expect_forward(&p, 50);
      if (isa_ != ZK_CPU_SCALAR) expect_forward(&p, 1);
    }
    free_problem(&p);
  }
}

static void borders_of_tiles_and_splits(void **state) {
  static const int32_t lengths[] = {1, 15, 16, 17, 127, 128, 129, 511, 512, 513, 641};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    problem p = make_problem(2, 1, 16, 32, lengths[i]);
    FOR_EACH_VARIANT(device, stream)
    if (isa_ != ZK_CPU_SCALAR || threads_ == 1) expect_forward(&p, lengths[i]);
    free_problem(&p);
  }
}

static void backward(problem *p) {
  const int32_t start[2] = {0, p->len}, zero = 0;
  const zk_attention_batch batch = {p->len, 1, p->num_pages, start, &zero, p->pages, NULL};
  dirty(p);
  OK(zk_kv_write(stream, &p->desc, &batch, p->k, p->v, p->k_cache, p->v_cache));
  OK(zk_attention_backward(stream, &p->desc, &batch, p->q, p->k_cache, p->v_cache, p->want_out, p->dout, p->want_lse, p->dq, p->dk, p->dv));
}

static void gradients_equal_the_reference(void **state) {
  static const int32_t lengths[] = {17, 128, 150};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    problem p = make_problem(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], lengths[i % 3]);
    zk_bf16 *dq = calloc(p.num_q, sizeof *dq), *dk = calloc(p.num_kv, sizeof *dk), *dv = calloc(p.num_kv, sizeof *dv);
    zk_attention_reference_bf16_backward(&p.order, p.q, p.k, p.v, p.want_out, p.dout, p.want_lse, dq, dk, dv);
    FOR_EACH_VARIANT(device, stream) {
      if (isa_ == ZK_CPU_SCALAR && threads_ > 1) continue; // slow
      backward(&p);
      assert_int_equal(differing(p.dq, dq, p.num_q), 0);
      assert_int_equal(differing(p.dk, dk, p.num_kv), 0);
      assert_int_equal(differing(p.dv, dv, p.num_kv), 0);
    }
    free(dq), free(dk), free(dv), free_problem(&p);
  }
}

// Each constant of the order shows in the bits.
static void another_order_is_noticed(void **state) {
  problem p = make_problem(2, 1, 32, 16, 700);
  play(&p, 700);
  zk_attention_reference other = p.order;
  other.tile = 64;
  zk_attention_reference_bf16_forward(&other, p.q, p.k, p.v, p.want_out, p.want_lse);
  assert_true(differing(p.out, p.want_out, p.num_q) > 0);
  other = p.order, other.split = 256;
  zk_attention_reference_bf16_forward(&other, p.q, p.k, p.v, p.want_out, p.want_lse);
  assert_true(differing(p.out, p.want_out, p.num_q) > 0);
  zk_attention_reference_bf16_forward(&p.order, p.q, p.k, p.v, p.want_out, p.want_lse);
  assert_int_equal(differing(p.out, p.want_out, p.num_q), 0);

  backward(&p);
  zk_bf16 *dq = calloc(p.num_q, sizeof *dq), *dk = calloc(p.num_kv, sizeof *dk), *dv = calloc(p.num_kv, sizeof *dv);
  other = p.order, other.tile = 64, other.part = 64;
  zk_attention_reference_bf16_backward(&other, p.q, p.k, p.v, p.want_out, p.dout, p.want_lse, dq, dk, dv);
  assert_true(differing(p.dq, dq, p.num_q) > 0);
  assert_true(differing(p.dk, dk, p.num_kv) > 0);
  assert_true(differing(p.dv, dv, p.num_kv) > 0);
  free(dq), free(dk), free(dv);
  free_problem(&p);
}

// The dirt is real: a page nobody wrote makes NaN of the rows that see it, and of no other.
static void an_unwritten_page_is_noticed(void **state) {
  problem p = make_problem(2, 1, 32, 16, 100);
  play(&p, 100);
  p.pages[3] = 0; // positions 48 to 63
  const int32_t start[2] = {0, 100}, zero = 0;
  const zk_attention_batch batch = {100, 1, p.num_pages, start, &zero, p.pages, NULL};
  OK(zk_attention_forward(stream, &p.desc, &batch, p.q, p.k_cache, p.v_cache, p.out, p.lse));
  for (int32_t t = 64; t < 100; t++) assert_int_equal(p.out[t * 64].bits, 0x7fff);
  free_problem(&p);
}

// Against float64: bf16's rounding of weights and outputs, and nothing worse. A weight is off by at most 2^-8 of itself, so a sum of them is, too.
static void accurate(void **state) {
  enum { LEN = 300, DIM = 64 };
  problem p = make_problem(1, 1, DIM, 16, LEN);
  play(&p, LEN);
  double error = 0.0, size = 0.0;
  for (int t = 0; t < LEN; t++) {
    double out[DIM] = {0}, sum = 0.0;
    for (int j = 0; j <= t; j++) {
      double s = 0.0;
      for (int d = 0; d < DIM; d++) s += (double)zk_bf16_to_float(p.q[t * DIM + d]) * (double)zk_bf16_to_float(p.k[j * DIM + d]);
      const double w = exp(s * (double)p.desc.scale);
      sum += w;
      for (int d = 0; d < DIM; d++) out[d] += w * (double)zk_bf16_to_float(p.v[j * DIM + d]);
    }
    assert_true(fabs((double)p.lse[t] - log2(sum)) < log2(1.0 + 0x1p-8));
    for (int d = 0; d < DIM; d++) {
      const double want = out[d] / sum, off = (double)zk_bf16_to_float(p.out[t * DIM + d]) - want;
      error += off * off, size += want * want;
    }
  }
  assert_true(sqrt(error / size) < 0x1p-8);
  free_problem(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_change_no_bit),           cmocka_unit_test(borders_of_tiles_and_splits),
      cmocka_unit_test(gradients_equal_the_reference), cmocka_unit_test(another_order_is_noticed),
      cmocka_unit_test(an_unwritten_page_is_noticed),  cmocka_unit_test(accurate),
  };
  return cmocka_run_group_tests(tests, open_device, close_device);
}
