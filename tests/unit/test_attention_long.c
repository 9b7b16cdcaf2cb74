// label: slow; cost: 70
// Sequences beyond 4,096: the backward pass cuts its chains there, and the forward pass merges many splits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/attention_backward_cases.h"

static const int32_t lens[] = {4096, 4161, 8200};

static void backward_is_cut_at_4096(void **state) {
  const zk_attention_desc d = desc_of(2, 1, 16, 64);
  for (int i = 0; i < 3; ++i) {
    sequence s = make_sequence(&d, lens[i]);
    zk_attention_reference r = reference_of(&d, s.len);
    gradients g = make_gradients(&r, &s);
    for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; ++isa)
      for (int threads = 1; threads <= 2 && zk_cpu_isa_available(isa); ++threads) // one KV head: whole, and cut finely
        assert_int_equal(play_backward(&d, &s, &g, 1, isa, threads), 0);
    if (lens[i] == 4161) { // the control: cut elsewhere, the last rows and the first keys differ
      gradients other = g;
      r.part = 4160;
      other.dq = zero_floats((size_t)(s.len * 32)), other.dk = zero_floats((size_t)(s.len * 16)), other.dv = zero_floats((size_t)(s.len * 16));
      zk_attention_reference_backward(&r, s.q, s.k, s.v, s.out, g.dout, s.lse, other.dq, other.dk, other.dv);
      assert_true(differing(g.dq, other.dq, (size_t)(s.len * 32)) > 100);
      assert_true(differing(g.dk, other.dk, (size_t)(s.len * 16)) > 1000);
      free(other.dq), free(other.dk), free(other.dv);
    }
    free_sequence(&s), free_gradients(&g);
  }
}

static void forward_over_many_splits(void **state) {
  const zk_attention_desc d = desc_of(8, 1, 16, 128);
  sequence s[2] = {make_sequence(&d, 8200), make_sequence(&d, 4097)};
  for (zk_cpu_isa isa = ZK_CPU_SCALAR; isa <= ZK_CPU_AVX512; ++isa)
    for (int threads = 1; threads <= 3 && zk_cpu_isa_available(isa); threads += 2) {
      player p = make_player(&d, 2, 8200, isa, threads);
      assert_int_equal(play_step(&p, s, (const int32_t[]){8000, 4000}), 0);
      assert_int_equal(play_all(&p, s, 9), 0);
      free_player(&p);
    }
  free_sequence(&s[0]), free_sequence(&s[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(backward_is_cut_at_4096), cmocka_unit_test(forward_over_many_splits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
