// Philox4x32-10 against the known answers of the Random123 distribution, and noise that is finite for every input.
#include "tests/unit/kernel_fixture.h"

#include <math.h>

#include "kernels/cpu/math_map.h"

static void known_answers(void **state) {
  static const struct {
    uint32_t ctr[4], key[2], want[4];
  } kat[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof kat / sizeof kat[0]; i++) {
    uint32_t out[4];
    zk_philox4x32(kat[i].ctr, kat[i].key, out);
    assert_memory_equal(out, kat[i].want, sizeof out);
  }
  uint32_t out[4], ctr[4] = {1, 0, 0, 0}; // the negative control: another counter
  zk_philox4x32(ctr, kat[0].key, out);
  assert_memory_not_equal(out, kat[0].want, sizeof out);
}

// zk_uniform and zk_gumbel see only the upper 23 bits: all of them.
static void noise_is_finite_for_every_input(void **state) {
  enum { n = 4096 };
  uint32_t r[n];
  float y[n], z[n], previous = -INFINITY;
  for (uint32_t first = 0; first < 1u << 23; first += n) {
    for (uint32_t i = 0; i < n; i++) r[i] = (first + i) << 9 | (i * 2654435761u >> 23);
    zk_cpu_map_gumbel_scalar(n, r, y);
    for (uint32_t i = 0; i < n; i++) {
      float u = zk_uniform(r[i]);
      assert_true(u > 0.0f && u < 1.0f);
      assert_true(zk_float_bits(y[i]) == zk_float_bits(-zk_logf(-zk_logf(u))));
      assert_true(isfinite(y[i]) && y[i] >= previous - 1e-6f);
      previous = y[i];
    }
    for (int isa = ZK_CPU_AVX2; isa <= ZK_CPU_AVX512; isa++) {
      if (!zk_cpu_isa_available((zk_cpu_isa)isa)) continue;
      (isa == ZK_CPU_AVX2 ? zk_cpu_map_gumbel_avx2 : zk_cpu_map_gumbel_avx512)(n, r, z);
      assert_memory_equal(y, z, sizeof y);
    }
  }
  assert_true(previous > 16.0f && previous < 17.0f); // -ln(2^-24)
}

// What lets a sampler leave ids out by their random number alone: noise above h needs zk_gumbel_least(h) or more; all numbers of one noise agree.
static void large_noise_needs_a_large_number(void **state) {
  for (uint32_t larger = 0; larger < 1u << 23; larger += larger < 1000 ? 1 : 13) {
    const uint32_t number = ((1u << 23) - 1 - larger) << 9;
    const float noise = zk_gumbel(number);
    assert_true(noise <= ZK_GUMBEL_MOST);
    assert_true(zk_gumbel_least(noise) <= number && zk_gumbel_least(noise - 1e-3f) <= number);
    assert_true(noise > 3.0f ? zk_gumbel_least(noise + 0.1f) > number - (1 << 12) : true); // it leaves most of the others out
    assert_true(zk_gumbel_least(noise) % 512 == 0);
  }
  assert_true(zk_gumbel(0xffffffffu) > ZK_GUMBEL_MOST - 0.01f);
  assert_true(zk_gumbel_least(-INFINITY) == 0 && zk_gumbel_least(-4.0f) == 0 && zk_gumbel_least(INFINITY) >= 0xfffffc00u);
}

// The naive uniform rounds to 1 for the largest inputs, and its noise is infinite there.
static void the_naive_uniform_is_not_finite(void **state) {
  float u = (float)(((double)0xffffffffu + 0.5) * 0x1p-32);
  assert_true(u == 1.0f);
  assert_false(isfinite(-zk_logf(-zk_logf(u))));
}

static void gumbel_has_its_mean_and_variance(void **state) {
  const uint32_t key[2] = {5, 6};
  double sum = 0.0, squares = 0.0;
  const int n = 1 << 16;
  for (int i = 0; i < n; i += 4) {
    uint32_t ctr[4] = {(uint32_t)i, 0, 0, 0}, r[4];
    zk_philox4x32(ctr, key, r);
    for (int j = 0; j < 4; j++) {
      double g = zk_gumbel(r[j]);
      sum += g, squares += g * g;
    }
  }
  double mean = sum / n, variance = squares / n - mean * mean; // Euler's constant, pi^2 / 6
  assert_true(fabs(mean - 0.5772156649) < 0.02);
  assert_true(fabs(variance - 1.6449340668) < 0.06);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(noise_is_finite_for_every_input),
      cmocka_unit_test(large_noise_needs_a_large_number),
      cmocka_unit_test(the_naive_uniform_is_not_finite),
      cmocka_unit_test(gumbel_has_its_mean_and_variance),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
