// What the tensor core's accumulators say of a row and a tile of 128 ids, read where they are: four neighbouring
// threads (a quad) have a row, thread q of them the ids 8 j + 2 q and 8 j + 2 q + 1 of the tile, j < 16 (mma.cuh,
// wgmma.cuh). kernels/lmhead.h has the orders. A warp reads eight rows at once and never parts ways.
//
// Lane sums: an id is alone in its lane, and ids 64, 32, 16 and 8 apart are in one thread; then 4 and 2 apart are
// threads 2 and 1 apart, and the last two are in one thread.
//
// Beside other warps' products every operation counts, those of f32 most. Hence zk_expf_usual, and zk_expf_below_one
// only if some z of the eight rows is far below its row's largest.
#ifndef ZK_KERNELS_CUDA_LMHEAD_FRAGMENT_CUH
#define ZK_KERNELS_CUDA_LMHEAD_FRAGMENT_CUH

#include "kernels/cuda/lmhead_noise.cuh"

enum { ZK_QUAD_IDS = 32 }; // of a thread; number i is id 8 (i / 2) + 2 q + i % 2 of the tile

// NaN if one of the two is.
static __device__ __forceinline__ float zk_max_or_nan(float a, float b) {
#ifdef __CUDA_ARCH__
  float m;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
#else
  return a != a || a > b ? a : b;
#endif
}

struct zk_lmhead_sums {
  float l, h;
};

// What memory holds of a row and a tile.
struct zk_lmhead_row {
  int32_t target; // when nothing is picked
  float carried;  // else: what the value of some id of the row reaches, or -inf
  uint32_t most;  // and at least the tile's largest random number
};
template <class Best>
static __device__ __forceinline__ zk_lmhead_row zk_lmhead_fetch(const zk_lmhead_block &b, int64_t row, int32_t tile,
                                                                const Best &best) {
  zk_lmhead_row r = {0, -INFINITY, ~0u};
  if (row >= b.num_rows) row = 0;
  if (b.pick == ZK_CUDA_PICK_NOTHING) {
    r.target = b.target[row];
  } else {
    r.carried = best.get(row);
    if (b.most != NULL && tile < b.num_tiles) r.most = b.most[row * b.num_tiles + tile];
  }
  return r;
}

// A row on its way through a thread's registers. `again` gives logits 2 j and 2 j + 1 of the thread once more, from
// where the row was taken: z is not kept while random numbers are drawn.
template <bool DRAWS, class Again> struct zk_lmhead_quad {
  const zk_lmhead_block &b;
  int64_t row; // one that is there
  const zk_lmhead_row &known;
  zk_lmhead_name name; // DRAWS: else it is seldom wanted, and fetched then
  const Again &again;
  int32_t tile;
  float (&z)[ZK_QUAD_IDS];
  float m; // the largest z; NaN if there is one
  int q;

  __device__ __forceinline__ int32_t id(int i) const { return tile * ZK_VOCAB_TILE + i / 2 * 8 + 2 * q + i % 2; }

  __device__ __forceinline__ zk_lmhead_pair z_of(int j) const {
    zk_lmhead_pair z = again(j);
#pragma unroll
    for (int e = 0; e < 2; e++) {
      if (b.dist.scaled) z.at[e] = z.at[e] * b.dist.inv_t;
      if (id(2 * j + e) >= b.vocab) z.at[e] = -INFINITY;
    }
    return z;
  }

  // z = logit * inv_t, -inf past the vocabulary; and m.
  __device__ __forceinline__ void scale() {
    const int32_t count = b.vocab - tile * ZK_VOCAB_TILE;
    if (b.dist.scaled)
#pragma unroll
      for (int i = 0; i < ZK_QUAD_IDS; i++) z[i] = z[i] * b.dist.inv_t;
    if (count < ZK_VOCAB_TILE)
#pragma unroll
      for (int i = 0; i < ZK_QUAD_IDS; i++)
        if (i / 2 * 8 + 2 * q + i % 2 >= count) z[i] = -INFINITY;
    float even = z[0], odd = z[1]; // two chains: a maximum has no order
#pragma unroll
    for (int i = 2; i < ZK_QUAD_IDS; i += 2) even = zk_max_or_nan(even, z[i]), odd = zk_max_or_nan(odd, z[i + 1]);
    m = zk_max_or_nan(even, odd);
    for (int away = 1; away <= 2; away *= 2) m = zk_max_or_nan(m, __shfl_xor_sync(ZK_WARP, m, away));
  }

  // Of logits, before scale().
  __device__ __forceinline__ unsigned long long hash() const {
    unsigned long long sum = 0;
#pragma unroll
    for (int i = 0; i < ZK_QUAD_IDS; i++)
      if (id(i) < b.vocab) sum += zk_mix64(zk_float_bits(z[i]), (uint64_t)id(i));
    for (int away = 1; away <= 2; away *= 2) sum += __shfl_xor_sync(ZK_WARP, sum, away);
    return sum;
  }

  // The part of lanes 8 j + 2 q + e with j = J modulo STEP. An absent id has e^-inf = +0, and -FLT_MAX for z gives
  // fma(0, z, 0) = +0.
  template <int J, int STEP, bool WITH_H, class Exp>
  __device__ __forceinline__ zk_lmhead_sums lanes(int e, const Exp &exp) const {
    if constexpr (STEP < 16) {
      const zk_lmhead_sums x = lanes<J, 2 * STEP, WITH_H>(e, exp), y = lanes<J + STEP, 2 * STEP, WITH_H>(e, exp);
      return {x.l + y.l, WITH_H ? x.h + y.h : 0.0f};
    } else {
      const float v = z[2 * J + e], w = exp(v);
      return {w, WITH_H ? fmaf(w, fmaxf(v, -FLT_MAX), 0.0f) : 0.0f};
    }
  }
  static __device__ __forceinline__ float across(float low, float high) {
    for (int away = 2; away > 0; away /= 2) {
      low = low + __shfl_xor_sync(ZK_WARP, low, away);
      high = high + __shfl_xor_sync(ZK_WARP, high, away);
    }
    return low + high;
  }
  // *usual: false if the sums are not to be used. (The compiler is not to keep what one kind has computed for another.)
  template <bool WITH_H, bool USUAL> __device__ __forceinline__ zk_lmhead_sums sums(bool *usual) const {
    uint32_t seen = ~0u;
    float most = m;
#ifdef __CUDA_ARCH__
    asm volatile("" : "+f"(most));
#endif
    const auto exp = [&](float v) { return USUAL ? zk_expf_usual(v - most, &seen) : zk_expf_below_one(v - most); };
    const zk_lmhead_sums low = lanes<0, 1, WITH_H>(0, exp), high = lanes<0, 1, WITH_H>(1, exp);
    *usual = (seen & ZK_EXPF_USUAL) == ZK_EXPF_USUAL;
    return {across(low.l, high.l), WITH_H ? across(low.h, high.h) : 0.0f};
  }
  __device__ __forceinline__ zk_lmhead_sums sums() const {
    bool usual;
    zk_lmhead_sums out;
    if (b.out.entropy != NULL) out = sums<true, true>(&usual);
    else out = sums<false, true>(&usual);
    return __all_sync(ZK_WARP, usual) ? out : sums<true, false>(&usual);
  }

  // The lowest id with the largest z.
  __device__ __forceinline__ zk_lmhead_best greedy() const {
    uint32_t candidates = 0;
#pragma unroll
    for (int i = 0; i < ZK_QUAD_IDS; i++) candidates |= (uint32_t)(z[i] == m) << i;
    if (candidates == 0) return {-INFINITY, -INFINITY, -1};
    const int i = __ffs((int)candidates) - 1;
    const zk_lmhead_pair pair = z_of(i / 2);
    return {m, i % 2 == 0 ? pair.at[0] : pair.at[1], id(i)};
  }

  // What is picked of this tile, if it may be the row's.
  __device__ __forceinline__ zk_lmhead_best pick(bool wanted) const {
    zk_lmhead_best best = {-INFINITY, -INFINITY, -1};
    const bool greedy_pick = b.pick == ZK_CUDA_PICK_GREEDY;
    if (greedy_pick) wanted = wanted && !(m < known.carried);
    else wanted = wanted && !(m + ZK_GUMBEL_MOST < known.carried) && known.most >= zk_lmhead_least(m, known.carried);
    if (!__any_sync(ZK_WARP, wanted)) return best;
    if (greedy_pick) {
      best = greedy();
    } else {
      const zk_lmhead_draw draw = {b.ids.seed, DRAWS ? name : zk_lmhead_name_of(b, row), tile, q};
      best = draw.among(wanted, m, known.carried, [this](int j) { return z_of(j); });
    }
    for (int away = 1; away <= 2; away *= 2) {
      const zk_lmhead_best other = {__shfl_xor_sync(ZK_WARP, best.value, away), __shfl_xor_sync(ZK_WARP, best.z, away),
                                    __shfl_xor_sync(ZK_WARP, best.id, away)};
      zk_lmhead_better(best, other);
    }
    if (!wanted || !(best.value >= known.carried)) best.id = -1;
    return best;
  }
};

// By whole warps; of a row that is not there nothing is written. What the carried value was raised to by this tile is
// returned.
template <bool DRAWS, class Again>
static __device__ __forceinline__ float zk_lmhead_read_quad(const zk_lmhead_block &b, int64_t row, bool there,
                                                            int32_t tile, const zk_lmhead_row &known,
                                                            float (&logit)[ZK_QUAD_IDS], const Again &again) {
  zk_lmhead_quad<DRAWS, Again> quad = {b, there ? row : 0, known, {}, again, tile, logit, 0.0f, (int)threadIdx.x % 4};
  if (DRAWS && b.pick == ZK_CUDA_PICK_GUMBEL) quad.name = zk_lmhead_name_of(b, quad.row);
  zk_lmhead_partial out = {0.0f, 0.0f, 0.0f, known.carried, -INFINITY, -1, 0};
  if (b.out.logits_hash != NULL) out.hash = quad.hash();
  quad.scale();
  const bool bad = !(quad.m <= FLT_MAX);
  const zk_lmhead_sums sums = quad.sums();
  out.m = bad ? zk_bits_float(0x7fc00000u) : quad.m, out.l = sums.l, out.h = sums.h;
  if (b.pick == ZK_CUDA_PICK_NOTHING) {
    const int32_t at = known.target - tile * ZK_VOCAB_TILE;
    if (there && at >= 0 && at < ZK_VOCAB_TILE && at % 8 / 2 == quad.q) {
      const zk_lmhead_pair pair = quad.z_of(at / 8);
      b.target_z[row] = at % 2 == 0 ? pair.at[0] : pair.at[1];
    }
  } else {
    const zk_lmhead_best best = quad.pick(there && !bad && quad.m != -INFINITY);
    if (best.id >= 0) out.best_value = best.value, out.best_z = best.z, out.best_id = best.id;
  }
  if (there && quad.q == 0) b.partial[row * b.num_tiles + tile] = out;
  return out.best_value;
}

// The best values so far of a row's tiles, whichever blocks read them: kept as integers that order as the values do.
struct zk_lmhead_row_best {
  const zk_lmhead_block &b;
  __device__ __forceinline__ explicit zk_lmhead_row_best(const zk_lmhead_block &block) : b(block) {}
  static __device__ __forceinline__ uint32_t ordered(float v) {
    const uint32_t u = zk_float_bits(v);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
  }
  __device__ __forceinline__ float get(int64_t row) const {
#ifdef __CUDA_ARCH__
    const uint32_t o = __ldcg(b.row_best + row); // as other blocks left it
#else
    const uint32_t o = b.row_best[row];
#endif
    return o == 0 ? -INFINITY : zk_bits_float(o & 0x80000000u ? o & 0x7fffffffu : ~o); // 0: nothing yet
  }
  __device__ __forceinline__ void keep(int64_t row, float value) const {
    if (threadIdx.x % 4 == 0) atomicMax(b.row_best + row, ordered(value));
  }
};

// Copies part `part` of the accumulators, by a branch: a select for each register and part would be more work.
template <int PART = 0, int BLOCKS, int REGISTERS>
static __device__ __forceinline__ void zk_lmhead_take(const float (&acc)[BLOCKS][REGISTERS], int part,
                                                      float (&logit)[ZK_QUAD_IDS]) {
  constexpr int PER_BLOCK = REGISTERS / ZK_QUAD_IDS, PARTS = BLOCKS * PER_BLOCK, IN_BLOCK = PART % PER_BLOCK;
  if (PART + 1 == PARTS || part == PART) {
#ifdef __CUDA_ARCH__
    asm volatile("");
#endif
#pragma unroll
    for (int i = 0; i < ZK_QUAD_IDS; i++)
      logit[i] = acc[PART / PER_BLOCK][IN_BLOCK / 2 * 64 + IN_BLOCK % 2 * 2 + i / 2 * 4 + i % 2];
  } else if constexpr (PART + 1 < PARTS) {
    zk_lmhead_take<PART + 1>(acc, part, logit);
  }
}

// The pair j of [FIRST, FIRST + COUNT), which is not known when the kernel is compiled: registers have no addresses.
template <int FIRST = 0, int COUNT = ZK_QUAD_IDS / 2>
static __device__ __forceinline__ zk_lmhead_pair zk_lmhead_select(const float (&x)[ZK_QUAD_IDS], int j) {
  if constexpr (COUNT == 1) {
    return {{x[2 * FIRST], x[2 * FIRST + 1]}};
  } else {
    const zk_lmhead_pair low = zk_lmhead_select<FIRST, COUNT / 2>(x, j),
                         high = zk_lmhead_select<FIRST + COUNT / 2, COUNT / 2>(x, j);
    const bool second = j & COUNT / 2;
    return {{second ? high.at[0] : low.at[0], second ? high.at[1] : low.at[1]}};
  }
}

// A warp's rows from row0 on, 16 of each block of 64, and one or two tiles from tile0 on, in accumulators as mma.sync
// and wgmma hold them: a thread has two rows of a block, 8 apart. `best` knows a value that some id of a row has, and
// is told of better ones. What memory holds of a row is fetched when the row before it is read, if AHEAD, and then of
// the first row by the caller. The parts take turns in one piece of code: unrolled, it would be larger than the
// instruction cache.
template <bool AHEAD, int BLOCKS, int REGISTERS, class Best>
static __device__ __forceinline__ void zk_lmhead_read_rows(const zk_lmhead_block &b, int64_t row0, int32_t tile0,
                                                           const float (&acc)[BLOCKS][REGISTERS], const Best &best,
                                                           zk_lmhead_row next = {}) {
  constexpr int PER_BLOCK = REGISTERS / ZK_QUAD_IDS, PARTS = BLOCKS * PER_BLOCK;
  const auto first_row = [=](int part) { return row0 + part / PER_BLOCK * 64 + part % 2 * 8; };
  const auto tile_of = [=](int part) { return tile0 + part % PER_BLOCK / 2; };
  const int in_warp = (int)threadIdx.x % 32 / 4;
#pragma unroll 1
  for (int part = 0; part < PARTS; part++) {
    const int64_t first = first_row(part), row = first + in_warp;
    const int32_t tile = tile_of(part);
    const zk_lmhead_row known = AHEAD ? next : zk_lmhead_fetch(b, row, tile, best);
    if (AHEAD && part + 1 < PARTS) next = zk_lmhead_fetch(b, first_row(part + 1) + in_warp, tile_of(part + 1), best);
    if (first >= b.num_rows || tile >= b.num_tiles) continue; // the whole warp
    const bool there = row < b.num_rows;
    float logit[ZK_QUAD_IDS];
    zk_lmhead_take(acc, part, logit);
    const auto again = [&](int j) {
      float copy[ZK_QUAD_IDS];
      zk_lmhead_take(acc, part, copy);
      return zk_lmhead_select(copy, j);
    };
    const float value = zk_lmhead_read_quad<!AHEAD>(b, row, there, tile, known, logit, again);
    if (there && value > known.carried) best.keep(row, value);
  }
}

#endif
