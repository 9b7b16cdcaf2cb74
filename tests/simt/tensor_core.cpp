// The emulated device's tensor cores: mma.sync, and wgmma, whose steps are done when somebody waits for them, as late as a GPU may read what they are made of.
#include "simt_impl.h"

// zk_tc_step without a branch for each product: magnitudes below 2^27 fit words of 32 bits, and so does the sum of 16 of them.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx2", "default"), optimize("O3")))
#endif
static float step_of_numbers(const apart &a, const apart &b, float acc) {
  const uint32_t acc_bits = zk_float_bits(acc), acc_field = acc_bits >> 23 & 255u;
  const int64_t acc_significand = (acc_bits & 0x7fffffu) | (acc_field != 0 ? 0x800000u : 0u);
  const int32_t acc_exponent = (int32_t)(acc_field == 0 ? 1u : acc_field) - 127;
  int32_t products[ZK_TC_STEP], exponents[ZK_TC_STEP], largest = acc_significand != 0 ? acc_exponent : ZK_TC_LEAST_EXPONENT, sum = 0;
  for (int i = 0; i < ZK_TC_STEP; i++) {
    products[i] = a.significand[i] * b.significand[i];
    exponents[i] = products[i] != 0 ? a.exponent[i] + b.exponent[i] : ZK_TC_LEAST_EXPONENT;
    largest = exponents[i] > largest ? exponents[i] : largest;
  }
  for (int i = 0; i < ZK_TC_STEP; i++) {
    const int32_t below = largest - exponents[i], sign = a.sign[i] ^ b.sign[i];
    const uint32_t term = ((uint32_t)products[i] << (ZK_TC_FRACTION_BITS - 14)) >> (below < 31 ? below : 31);
    sum += ((int32_t)term ^ sign) - sign;
  }
  const int64_t of_acc = acc_significand != 0 ? zk_tc_shift(acc_significand, ZK_TC_FRACTION_BITS - 23 - (largest - acc_exponent)) : 0;
  return zk_tc_truncate(sum + (acc_bits >> 31 ? -of_acc : of_acc), largest - ZK_TC_FRACTION_BITS);
}

// What is behind an array's end (zeros) or was never written (NaNs) takes no time.
static float step_apart(const apart &a, const apart &b, float acc) {
  if (a.nan || b.nan || acc != acc) return zk_bits_float(ZK_TC_NAN);
  if (a.special || b.special || (zk_float_bits(acc) & 0x7f800000u) == 0x7f800000u) return zk_tc_step(a.bits, b.bits, acc);
  if (a.zero || b.zero) return acc == 0.0f ? 0.0f : acc;
  return step_of_numbers(a, b, acc);
}

// The operands of a step, of which each lane gave its registers.
static void take_apart(warp *group, const void *all, size_t stride) {
  const auto reg = [&](unsigned lane, unsigned i) {
    uint32_t word;
    memcpy(&word, static_cast<const char *>(all) + lane * stride + 4 * i, 4);
    return word;
  };
  const auto set = [](apart *to, unsigned k, uint32_t word) { to->set((int)k, word & 0xffffu), to->set((int)k + 1, word >> 16); };
  for (unsigned i = 0; i < 16; i++) {
    group->rows[i].begin();
    for (unsigned k = 0; k < 16; k += 2) set(&group->rows[i], k, reg(4 * (i % 8) + k % 8 / 2, i / 8 + 2 * (k / 8)));
  }
  for (unsigned i = 0; i < 8; i++) {
    group->columns[i].begin();
    for (unsigned k = 0; k < 16; k += 2) set(&group->columns[i], k, reg(4 * i + k % 8 / 2, 4 + k / 8));
  }
}

void zk_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
  uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const void *all;
  size_t stride;
  zk_simt_warp_exchange(0xffffffffu, mine, sizeof mine, &all, &stride);
  warp *group = zk_simt_my_warp();
  if (++zk_simt_me()->num_mma != group->num_mma) { // the first lane to go on: none has come to the next step yet
    take_apart(group, all, stride);
    group->num_mma++;
  }
  const unsigned g = zk_simt_lane() / 4, t = zk_simt_lane() % 4; // rows g and g + 8, columns 2t and 2t + 1
  for (unsigned q = 0; q < 4; q++) d[q] = step_apart(group->rows[g + 8 * (q >> 1)], group->columns[2 * t + (q & 1)], d[q]);
}

// ---- wgmma

// An operand in shared memory, as wgmma.cuh describes it: 16 k of row or column i.
static void take_row(const block *of, uint64_t descriptor, bool outer, int i, apart *to) {
  const auto field = [&](int at) { return (uint32_t)(descriptor >> at & 0x3fff) << 4; };
  const uint32_t start = field(0), apart_bytes = field(16), group_bytes = field(32);
  if (descriptor >> 62 != 1) zk_simt_stop("a wgmma operand that is not swizzled by 128 bytes");
  to->begin();
  const uint32_t first = outer ? start + (uint32_t)(i / 64) * apart_bytes + (uint32_t)(i % 64) * 2 : start + (uint32_t)(i / 8) * group_bytes + (uint32_t)(i % 8) * 128;
  const uint32_t half = outer ? group_bytes : 16, next = outer ? 128 : 2; // to 8 k further, and to the next one
  if (first + half + 7 * next + 2 > of->shared_bytes) zk_simt_stop("a wgmma operand %u bytes into shared memory", first);
  for (uint32_t h = 0; h < 2; h++)
    for (uint32_t k = 0; k < 8; k++) {
      const uint32_t at = first + h * half + k * next;
      uint16_t bits;
      memcpy(&bits, of->shared + (at ^ (at >> 7 & 7) << 4), sizeof bits);
      to->set((int)(8 * h + k), bits);
    }
}

static void do_step(wgmma_step *s, const block *of, int warp_of_group) {
  std::vector<apart> columns((size_t)s->n);
  for (int i = 0; i < s->n; i++) take_row(of, s->b, s->b_outer, i, &columns[(size_t)i]);
  if (!s->a_is_here)
    for (int i = 0; i < 16; i++) take_row(of, s->a, s->a_outer, 16 * warp_of_group + i, &s->rows[i]);
  for (int r = 0; r < 16; r++)
    for (int c = 0; c < s->n; c++) {
      float *d = s->d[r % 8 * 4 + c % 8 / 2] + c / 8 * 4 + r / 8 * 2 + c % 2;
      *d = step_apart(s->rows[r], columns[(size_t)c], s->accumulate ? *d : 0.0f);
    }
}

static bool is_first(warp *of) {
  if (++zk_simt_me()->num_wgmma == of->num_wgmma) return false;
  of->num_wgmma++;
  return true;
}

void zk_simt_wgmma(float *d, int n, const uint32_t *a_words, uint64_t a, uint64_t b, bool a_outer, bool b_outer, bool accumulate) {
  struct {
    float *d;
    uint32_t a[4];
  } mine = {d, {}};
  if (a_words != nullptr) memcpy(mine.a, a_words, sizeof mine.a);
  static_assert(sizeof mine <= SLOT_BYTES, "a lane's part fits");
  const void *all;
  size_t stride;
  zk_simt_warp_exchange(0xffffffffu, &mine, sizeof mine, &all, &stride);
  warp *of = zk_simt_my_warp();
  if (!is_first(of)) return;
  of->open.push_back({});
  wgmma_step *s = &of->open.back();
  s->n = n, s->accumulate = accumulate, s->a_is_here = a_words != nullptr, s->a_outer = a_outer, s->b_outer = b_outer, s->a = a, s->b = b;
  const auto lane = [&](int l) { return static_cast<const char *>(all) + (size_t)l * stride; };
  for (int l = 0; l < 32; l++) memcpy(&s->d[l], lane(l), sizeof s->d[l]);
  if (a_words == nullptr) return;
  for (int i = 0; i < 16; i++) {
    s->rows[i].begin();
    for (int k = 0; k < ZK_TC_STEP; k++) {
      uint32_t word;
      memcpy(&word, lane(4 * (i % 8) + k % 8 / 2) + offsetof(decltype(mine), a) + (size_t)(4 * (i / 8 + 2 * (k / 8))), sizeof word);
      s->rows[i].set(k, k % 2 == 0 ? word & 0xffffu : word >> 16);
    }
  }
}

void zk_simt_wgmma_commit(void) {
  __syncwarp();
  warp *of = zk_simt_my_warp();
  if (!is_first(of)) return;
  of->groups.push_back(std::move(of->open));
  of->open.clear();
}

void zk_simt_wgmma_wait(int most) {
  __syncwarp();
  warp *of = zk_simt_my_warp();
  if (!is_first(of)) return;
  const int here = zk_simt_group->current % zk_simt_group->fibers_per_block / 32 % 4;
  for (; (int)of->groups.size() > most; of->groups.pop_front())
    for (wgmma_step &s : of->groups.front()) do_step(&s, zk_simt_my_block(), here);
}
