// label: slow; cost: 220
// kernels/math.h on all 2^32 inputs: the stated error, and equal bits on every instruction set.
#include "tests/unit/math_fixture.h"

// With the address sanitizer, which looks at the code's accesses and not at its values, every 257th input.
#ifdef __SANITIZE_ADDRESS__
#define STRIDE 257
#else
#define STRIDE 1
#endif
#define BLOCK 65536 // inputs
#define NUM_BLOCKS (65536 / STRIDE)

typedef struct {
  uint32_t bad_input; // valid when num_bad > 0
  uint64_t num_bad;
  double worst;
} outcome;

// One block of bit patterns, STRIDE apart.
static void run_block(const math_function *f, uint32_t block, outcome *out) {
  float x[2048], y[2048], z[2048];
  for (uint32_t at = 0; at < BLOCK; at += 2048) {
    uint32_t first = (block * BLOCK + at) * STRIDE;
    for (uint32_t i = 0; i < 2048; i++) x[i] = zk_bits_float(first + i * STRIDE);
    f->by_isa[0](2048, x, y);
    for (uint32_t i = 0; i < 2048; i++)
      if (!accurate(f, x[i], y[i], &out->worst)) out->num_bad++, out->bad_input = first + i * STRIDE;
    for (int isa = ZK_CPU_AVX2; isa <= ZK_CPU_AVX512; isa++) {
      if (!zk_cpu_isa_available((zk_cpu_isa)isa)) continue;
      f->by_isa[isa](2048, x, z);
      if (memcmp(y, z, sizeof y) == 0) continue;
      for (uint32_t i = 0; i < 2048; i++)
        if (!same(y[i], z[i])) out->num_bad++, out->bad_input = first + i * STRIDE;
    }
  }
}

static void all_inputs(void **state) {
  for (size_t k = 0; k < sizeof math_functions / sizeof math_functions[0]; k++) {
    const math_function *f = &math_functions[k];
    outcome all = {0};
#pragma omp parallel for schedule(dynamic, 64)
    for (int32_t block = 0; block < NUM_BLOCKS; block++) {
      outcome mine = {0};
      run_block(f, (uint32_t)block, &mine);
#pragma omp critical
      {
        if (mine.num_bad > 0) all.bad_input = mine.bad_input, all.num_bad += mine.num_bad;
        if (mine.worst > all.worst) all.worst = mine.worst;
      }
    }
    print_message("%s: worst error of the inputs %.4f ulp\n", f->name, all.worst);
    if (all.num_bad > 0)
      fail_msg("%s: %llu inputs, one is 0x%08x", f->name, (unsigned long long)all.num_bad, all.bad_input);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(all_inputs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
