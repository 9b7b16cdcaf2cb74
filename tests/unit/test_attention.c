// Paged attention: the fast kernels against the contract's loops, bit for bit, however rows are cut into steps, pages and threads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernels/resident.h"
#include "kernels/rope_attention.h"
#include "tests/unit/attention_cases.h"

static const int32_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 511, 512, 513, 700, 1100};
#define NUM_LENGTHS ((int)(sizeof lengths / sizeof lengths[0]))

static void whole_prefill_at_every_length(void **state) {
  const zk_attention_desc d = desc_of(3, 1, 32, 64);
  for (int i = 0; i < NUM_LENGTHS; ++i) {
    sequence s = make_sequence(&d, lengths[i]);
    FOR_EACH_ISA_AND_THREADS(isa, threads) {
      player p = make_player(&d, 1, s.len, isa, threads);
      assert_int_equal(play_all(&p, &s, s.len), 0);
      free_player(&p);
    }
    free_sequence(&s);
  }
}

static void page_size_changes_no_bit(void **state) {
  const int32_t page_tokens[] = {16, 32, 48, 64, 128, 192};
  const zk_attention_desc d = desc_of(3, 1, 16, 64);
  sequence s = make_sequence(&d, 700);
  for (int i = 0; i < 6; ++i) {
    const zk_attention_desc paged = desc_of(3, 1, 16, page_tokens[i]);
    FOR_EACH_ISA_AND_THREADS(isa, threads) {
      player p = make_player(&paged, 1, s.len, isa, threads);
      assert_int_equal(play_all(&p, &s, 150), 0);
      free_player(&p);
    }
  }
  free_sequence(&s);
}

static void chunking_changes_no_bit(void **state) {
  const zk_attention_desc d = desc_of(3, 1, 32, 32);
  sequence s = make_sequence(&d, 530);
  const int32_t most[] = {1, 7, 100, 520};
  for (int i = 0; i < 4; ++i)
    FOR_EACH_ISA_AND_THREADS(isa, threads) {
      player p = make_player(&d, 1, s.len, isa, threads);
      assert_int_equal(play_all(&p, &s, most[i]), 0);
      free_player(&p);
    }
  free_sequence(&s);
}

static void head_shapes(void **state) {
  const int32_t shapes[][3] = {{4, 4, 16}, {9, 3, 32}, {8, 2, 96}, {8, 1, 128}, {8, 1, 64}, {3, 3, 40}, {2, 1, 8}, {2, 2, 256}, {40, 1, 16}};
  for (int i = 0; i < 9; ++i) {
    const zk_attention_desc d = desc_of(shapes[i][0], shapes[i][1], shapes[i][2], 48);
    sequence s[2] = {make_sequence(&d, 45), make_sequence(&d, 200)};
    FOR_EACH_ISA_AND_THREADS(isa, threads) {
      player p = make_player(&d, 2, 200, isa, threads);
      assert_int_equal(play_all(&p, s, 90), 0);
      free_player(&p);
    }
    free_sequence(&s[0]), free_sequence(&s[1]);
  }
}

static void mixed_batches(void **state) {
  const zk_attention_desc d = desc_of(9, 3, 32, 32);
  sequence s[6];
  for (int i = 0; i < 6; ++i) s[i] = make_sequence(&d, (const int32_t[]){40, 1, 100, 64, 530, 129}[i]);
  FOR_EACH_ISA_AND_THREADS(isa, threads) {
    for (int32_t most = 5; most <= 64; most += 50) {
      player p = make_player(&d, 6, 555, isa, threads);
      assert_int_equal(play_all(&p, s, most), 0);
      free_player(&p);
    }
  }
  for (int i = 0; i < 6; ++i) free_sequence(&s[i]);
}

// Few rows, many keys: threads take splits, and their partial results are merged.
static void long_decode(void **state) {
  const zk_attention_desc d = desc_of(8, 1, 64, 64);
  sequence s[2] = {make_sequence(&d, 1100), make_sequence(&d, 1030)};
  FOR_EACH_ISA_AND_THREADS(isa, threads) {
    player p = make_player(&d, 2, 1100, isa, threads);
    assert_int_equal(play_step(&p, s, (const int32_t[]){1020, 1020}), 0);
    for (int i = 0; i < 5; ++i) assert_int_equal(play_step(&p, s, (const int32_t[]){1, i % 2}), 0); // across 1,024
    assert_int_equal(play_step(&p, s, (const int32_t[]){30, 0}), 0);
    free_player(&p);
  }
  free_sequence(&s[0]), free_sequence(&s[1]);
}

// Two sequences with a common prompt of 40 tokens: full pages are shared, the last one is copied, then they part.
static void shared_and_copied_pages(void **state) {
  const zk_attention_desc d = desc_of(6, 2, 32, 16);
  const int32_t prompt = 40, len = 70;
  sequence a = make_sequence(&d, len), b = make_sequence(&d, len);
  memcpy(b.q, a.q, (size_t)(prompt * 6 * 32) * sizeof(float));
  memcpy(b.k, a.k, (size_t)(prompt * 2 * 32) * sizeof(float));
  memcpy(b.v, a.v, (size_t)(prompt * 2 * 32) * sizeof(float));
  const zk_attention_reference r = reference_of(&d, len);
  zk_attention_reference_forward(&r, b.q, b.k, b.v, b.out, b.lse);
  for (int copy = 0; copy < 2; ++copy) {
    const sequence s[2] = {a, b};
    player p = make_player(&d, 2, len, ZK_CPU_SCALAR, 2);
    assert_int_equal(play_step(&p, s, (const int32_t[]){prompt, 0}), 0);
    memcpy(p.page_table + p.max_pages, p.page_table, 2 * sizeof(int32_t));
    int32_t *own = &p.page_table[p.max_pages + 2];
    if (copy)
      assert_int_equal(zk_kv_copy_page(p.stream, &d, p.page_table[2], *own, p.k_cache, p.v_cache), ZK_OK);
    else
      *own = p.page_table[2]; // the control: written by both
    p.done[1] = prompt;
    size_t bad = 0;
    for (int32_t i = prompt; i < len; ++i) bad += play_step(&p, s, (const int32_t[]){1, 1});
    if (copy)
      assert_int_equal(bad, 0);
    else
      assert_true(bad > 0);
    free_player(&p);
  }
  free_sequence(&a), free_sequence(&b);
}

// Another tile or split size is another order: its bits differ.
static void another_order_is_noticed(void **state) {
  const zk_attention_desc d = desc_of(3, 1, 32, 16);
  sequence s = make_sequence(&d, 1100);
  const size_t n = (size_t)(s.len * 3 * 32);
  float *out = zero_floats(n), *lse = zero_floats((size_t)(s.len * 3));
  zk_attention_reference r = reference_of(&d, s.len);
  r.split = 256;
  zk_attention_reference_forward(&r, s.q, s.k, s.v, out, lse);
  assert_true(differing(out, s.out, n) > n / 10);
  r.split = ZK_ATTN_SPLIT, r.tile = 32;
  zk_attention_reference_forward(&r, s.q, s.k, s.v, out, lse);
  assert_true(differing(out, s.out, n) > n / 10);
  free(out), free(lse), free_sequence(&s);
}

// One wrong bit in a page, and a page that belongs to another sequence.
static void a_stale_page_is_noticed(void **state) {
  const zk_attention_desc d = desc_of(3, 1, 32, 16);
  sequence s[2] = {make_sequence(&d, 100), make_sequence(&d, 100)};
  for (int wrong = 0; wrong < 3; ++wrong) {
    player p = make_player(&d, 2, 100, ZK_CPU_SCALAR, 1);
    assert_int_equal(play_step(&p, s, (const int32_t[]){80, 80}), 0);
    const size_t page_floats = zk_kv_cache_bytes(p.device, &d, 1) / sizeof(float);
    uint32_t *bits = (uint32_t *)(wrong == 1 ? p.k_cache : p.v_cache) + (size_t)p.page_table[0] * page_floats;
    if (wrong == 0) p.page_table[3] = p.page_table[p.max_pages + 3];
    if (wrong > 0) bits[7] ^= 1u << 20;
    assert_true(play_step(&p, s, (const int32_t[]){20, 0}) > 0);
    free_player(&p);
  }
  free_sequence(&s[0]), free_sequence(&s[1]);
}

// Against float64 without any order, at the shape of a 135M Llama: accuracy, not bits.
static void accurate_at_real_shapes(void **state) {
  const zk_attention_desc d = desc_of(9, 3, 64, 64);
  sequence s = make_sequence(&d, 1100);
  double all_norm = 0.0, all_error = 0.0;
  for (int32_t t = 0; t < s.len; t += 7)
    for (int32_t h = 0; h < 9; ++h) {
      double score[1100], max = -INFINITY, sum = 0.0, o[64] = {0.0};
      const float *q = s.q + (t * 9 + h) * 64;
      for (int32_t j = 0; j <= t; ++j) {
        score[j] = 0.0;
        for (int32_t e = 0; e < 64; ++e) score[j] += (double)q[e] * (double)s.k[(j * 3 + h / 3) * 64 + e];
        score[j] *= 0.125;
        max = fmax(max, score[j]);
      }
      for (int32_t j = 0; j <= t; ++j) {
        const double w = exp(score[j] - max);
        sum += w;
        for (int32_t e = 0; e < 64; ++e) o[e] += w * (double)s.v[(j * 3 + h / 3) * 64 + e];
      }
      for (int32_t e = 0; e < 64; ++e) {
        all_norm += pow(o[e] / sum, 2.0);
        all_error += pow((double)s.out[(t * 9 + h) * 64 + e] - o[e] / sum, 2.0);
      }
      assert_true(fabs((double)s.lse[t * 9 + h] - (max + log(sum))) < 2e-6);
    }
  assert_true(sqrt(all_error / all_norm) < 1e-6);
  player p = make_player(&d, 1, s.len, ZK_CPU_SCALAR, 2);
  if (zk_cpu_isa_available(ZK_CPU_AVX2)) assert_int_equal(zk_device_set_isa(p.device, ZK_CPU_AVX2), ZK_OK);
  assert_int_equal(play_all(&p, &s, s.len), 0);
  free_player(&p);
  free_sequence(&s);
}

static void refuses_what_it_cannot_do(void **state) {
  player p = make_player(&(zk_attention_desc){ZK_F32, 2, 1, 16, 16, 0.25f}, 1, 16, ZK_CPU_SCALAR, 1);
  const zk_attention_desc bad[] = {desc_of(4, 3, 16, 16), desc_of(4, 0, 16, 16), desc_of(4, 2, 12, 16), desc_of(4, 2, 16, 24),
                                   {ZK_F32, 2, 1, 16, 16, -1.0f}};
  const zk_attention_batch none = {0};
  for (int i = 0; i < 5; ++i) {
    const zk_rope_cache_desc rope = {.attention = bad[i]};
    const zk_rope_cache_io io = {.k_cache = p.k_cache, .v_cache = p.v_cache};
    const zk_resident_desc step = {.attention = bad[i], .num_layers = 1, .hidden = 64, .intermediate = 64, .max_tokens = 16};
    const zk_resident_layer_memory layer = {0};
    zk_resident *resident;
    const zk_status statuses[] = {zk_attention_forward(p.stream, &bad[i], &none, NULL, p.k_cache, p.v_cache, NULL, NULL),
                                  zk_rope_attention(p.stream, &rope, &none, &io, NULL, NULL),
                                  zk_resident_open(p.stream, &step, &layer, &resident)};
    for (int s = 0; s < 3; ++s) assert_true(statuses[s] == ZK_BAD_INPUT || statuses[s] == ZK_UNSUPPORTED);
  }
  assert_int_equal(zk_attention_forward(p.stream, &p.desc, &none, NULL, p.k_cache, p.v_cache, NULL, NULL), ZK_OK);
  assert_int_equal(zk_stream_calls(p.stream, ZK_OP_ATTENTION), 1);
  const zk_attention_desc huge = desc_of(1 << 20, 1 << 20, 1 << 12, 1 << 20);
  assert_true(zk_kv_cache_bytes(p.device, &huge, 1 << 20) == SIZE_MAX);
  free_player(&p);
}

// ZK_FAULT on either operation changes the attention's output.
static void faults_are_noticed(void **state) {
  const char *faults[] = {"sampler:attention", "sampler:kv_write", "trainer:attention"};
  const zk_attention_desc d = desc_of(3, 1, 32, 16);
  sequence s = make_sequence(&d, 1);
  for (int i = 0; i < 3; ++i) {
    setenv("ZK_FAULT", faults[i], 1);
    player p = make_player(&d, 1, s.len, ZK_CPU_SCALAR, 1);
    assert_int_equal(play_all(&p, &s, s.len) > 0, i < 2);
    free_player(&p);
  }
  unsetenv("ZK_FAULT");
  free_sequence(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_prefill_at_every_length), cmocka_unit_test(page_size_changes_no_bit),
      cmocka_unit_test(chunking_changes_no_bit),       cmocka_unit_test(head_shapes),
      cmocka_unit_test(mixed_batches),                 cmocka_unit_test(long_decode),
      cmocka_unit_test(shared_and_copied_pages),
      cmocka_unit_test(another_order_is_noticed),      cmocka_unit_test(a_stale_page_is_noticed),
      cmocka_unit_test(accurate_at_real_shapes),       cmocka_unit_test(refuses_what_it_cannot_do),
      cmocka_unit_test(faults_are_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
