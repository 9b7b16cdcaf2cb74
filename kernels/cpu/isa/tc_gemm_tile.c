// The tensor-core step for a row of neighbouring outputs, in f64 rounded toward zero.
//
// With E the largest exponent of a step, P = 2^(E + 27) has its last bit at 2^(E - 25). Adding a positive term to a number in [P, 2P) therefore
// truncates the term just as the contract says, and adds it: one fma. Negative terms go to a second number, which starts at -P. The
// two cannot leave their binades (17 terms below 2^(E + 2)), and their sum, the step's, is exact; converting it to f32 truncates it.
// Which of the two a product belongs to follows from the signs of its factors: b is kept twice, its positive and its negative part, and the
// sign of a says which part feeds which number.
#include "kernels/cpu/isa/tc_gemm_tile.h"

#if !defined(ZK_ISA_scalar)

enum { COLUMNS = ZK_TC_COLUMNS, QUARTER = ZK_TC_QUARTER, HALF = COLUMNS / 2 };

// Nominal exponents of bf16 magnitudes, in 16-bit lanes.
static inline zk_tc_words b_exponents(zk_tc_words magnitude) {
  const zk_tc_words field = ZK_TC_OP(max_epi16)(ZK_TC_OP(srli_epi16)(magnitude, 7), ZK_TC_OP(set1_epi16)(1));
  const zk_tc_words e = ZK_TC_OP(sub_epi16)(field, ZK_TC_OP(set1_epi16)(127));
  return zk_tc_words_unless_zero(magnitude, e, ZK_TC_OP(set1_epi16)(ZK_TC_ZERO));
}
static inline __m256i a_exponents(__m256i magnitude) {
  const __m256i field = _mm256_max_epi16(_mm256_srli_epi16(magnitude, 7), _mm256_set1_epi16(1));
  const __m256i e = _mm256_sub_epi16(field, _mm256_set1_epi16(127));
  return _mm256_blendv_epi8(e, _mm256_set1_epi16(ZK_TC_ZERO), _mm256_cmpeq_epi16(magnitude, _mm256_setzero_si256()));
}

static void expand_b(zk_tc_tile *tile) {
  const zk_tc_vd zero = ZK_TC_OP(setzero_pd)();
  zk_tc_words largest = zk_tc_words_load(tile->b_largest);
  for (int k = 0; k < ZK_TC_STEP; k++) {
    const zk_tc_words magnitude = zk_tc_words_and(zk_tc_words_load(tile->b[k]), ZK_TC_OP(set1_epi16)(0x7fff));
    largest = ZK_TC_OP(max_epu16)(largest, magnitude);
    zk_tc_words_store(tile->b_exponent[k], b_exponents(magnitude));
    for (int j = 0; j < COLUMNS; j += QUARTER) {
      const zk_tc_vd x = zk_tc_widen_bf16(&tile->b[k][j]);
      ZK_TC_OP(store_pd)(&tile->b_signed[k][0][j], ZK_TC_OP(max_pd)(x, zero));
      ZK_TC_OP(store_pd)(&tile->b_signed[k][1][j], ZK_TC_OP(min_pd)(x, zero));
    }
  }
  zk_tc_words_store(tile->b_largest, largest);
}

// The factors a of one row's step, ready to be broadcast.
typedef struct {
  double value[ZK_TC_STEP];
  int16_t exponent[ZK_TC_STEP][2]; // twice side by side: a 32-bit broadcast fills 16-bit lanes
  uint16_t
      other[ZK_TC_STEP]; // distance to the part of b that makes positive products: 0, or COLUMNS when a is negative
} __attribute__((aligned(64))) row_factors;

static inline void expand_row(const uint16_t a[ZK_TC_STEP], uint16_t largest[ZK_TC_STEP], row_factors *out) {
  const __m256i x = _mm256_load_si256((const __m256i *)a), magnitude = _mm256_and_si256(x, _mm256_set1_epi16(0x7fff));
  const __m256i e = a_exponents(magnitude);
  const __m256i low = _mm256_unpacklo_epi16(e, e), high = _mm256_unpackhi_epi16(e, e);
  _mm256_store_si256((__m256i *)largest, _mm256_max_epu16(_mm256_load_si256((const __m256i *)largest), magnitude));
  _mm256_store_si256((__m256i *)out->exponent[0], _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_store_si256((__m256i *)out->exponent[8], _mm256_permute2x128_si256(low, high, 0x31));
  _mm256_store_si256((__m256i *)out->other, _mm256_and_si256(_mm256_srai_epi16(x, 15), _mm256_set1_epi16(COLUMNS)));
#pragma GCC unroll 4
  for (int k = 0; k < ZK_TC_STEP; k += QUARTER) ZK_TC_OP(store_pd)(&out->value[k], zk_tc_widen_bf16(a + k));
}

// E of each output, in 16-bit lanes, without the accumulator's part.
static inline zk_tc_words largest_exponents(const zk_tc_tile *tile, const row_factors *a) {
  zk_tc_words e = ZK_TC_OP(set1_epi16)(ZK_TC_LEAST_EXPONENT);
#pragma GCC unroll 16
  for (int k = 0; k < ZK_TC_STEP; k++) {
    int32_t pair;
    memcpy(&pair, a->exponent[k], sizeof pair);
    e = ZK_TC_OP(max_epi16)(e, ZK_TC_OP(add_epi16)(zk_tc_words_load(tile->b_exponent[k]), ZK_TC_OP(set1_epi32)(pair)));
  }
  return e;
}

// Biased f64 exponent of P for half an output row: E with the accumulator's part.
static inline zk_tc_vi biased_exponents(zk_tc_words products, int h, zk_tc_vf acc) {
  const zk_tc_vi magnitude = zk_tc_and(zk_tc_bits(acc), ZK_TC_OP(set1_epi32)(0x7fffffff));
  const zk_tc_vi field = ZK_TC_OP(max_epi32)(ZK_TC_OP(srli_epi32)(magnitude, 23), ZK_TC_OP(set1_epi32)(1));
  const zk_tc_vi e = zk_tc_unless_zero(magnitude, ZK_TC_OP(sub_epi32)(field, ZK_TC_OP(set1_epi32)(127)),
                                       ZK_TC_OP(set1_epi32)(ZK_TC_LEAST_EXPONENT));
  return ZK_TC_OP(add_epi32)(ZK_TC_OP(max_epi32)(e, zk_tc_half(products, h)), ZK_TC_OP(set1_epi32)(1023 + ZK_TC_ABOVE));
}

static inline void row_step(const zk_tc_tile *tile, const row_factors *a, float *acc) {
  const zk_tc_vd zero = ZK_TC_OP(setzero_pd)();
  const zk_tc_words products = largest_exponents(tile, a);
  zk_tc_vd positive[4], negative[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; q++) {
    const zk_tc_vf old = ZK_TC_OP(load_ps)(acc + q / 2 * HALF);
    const zk_tc_vd p = zk_tc_power(biased_exponents(products, q / 2, old), q % 2), x = zk_tc_widen(old, q % 2);
    positive[q] = ZK_TC_OP(add_pd)(p, ZK_TC_OP(max_pd)(x, zero));
    negative[q] = ZK_TC_OP(sub_pd)(ZK_TC_OP(min_pd)(x, zero), p);
  }
#pragma GCC unroll 16
  for (int k = 0; k < ZK_TC_STEP; k++) {
    const zk_tc_vd x = ZK_TC_OP(set1_pd)(a->value[k]);
    const double *for_positive = tile->b_signed[k][0] + a->other[k], *for_negative = tile->b_signed[k][1] - a->other[k];
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
      positive[q] = ZK_TC_OP(fmadd_pd)(x, ZK_TC_OP(load_pd)(for_positive + q * QUARTER), positive[q]);
      negative[q] = ZK_TC_OP(fmadd_pd)(x, ZK_TC_OP(load_pd)(for_negative + q * QUARTER), negative[q]);
    }
  }
#pragma GCC unroll 2
  for (int h = 0; h < 2; h++)
    ZK_TC_OP(store_ps)
    (acc + h * HALF, zk_tc_narrow(ZK_TC_OP(add_pd)(positive[2 * h], negative[2 * h]),
                                  ZK_TC_OP(add_pd)(positive[2 * h + 1], negative[2 * h + 1])));
}

void zk_tc_tile_steps(const zk_tc_gemm *call, int64_t row, int rows, int64_t col, int cols, zk_tc_tile *tile) {
  memset(tile->a_largest, 0, sizeof tile->a_largest);
  memset(tile->b_largest, 0, sizeof tile->b_largest);
  for (int64_t k0 = 0; k0 < call->k; k0 += ZK_TC_STEP) {
    zk_tc_load_step(call, row, rows, col, cols, k0, tile);
    expand_b(tile);
    for (int r = 0; r < rows; r++) {
      row_factors a;
      expand_row(tile->a[r], tile->a_largest[r], &a);
      row_step(tile, &a, tile->acc[r]);
    }
  }
}

#endif
