// What the tensor core's accumulators say of rows and a tile of 128 ids, read where they are: four neighbouring threads
// (a quad) have a row, thread q of them the ids 8 j + 2 q and 8 j + 2 q + 1 of the tile, j < 16 (mma.cuh, wgmma.cuh).
// A thread has two rows of each block of 64, the parts of its logits; a warp has eight rows of a part, and never parts
// ways. kernels/lmhead.h has the orders.
//
// What every row needs, its largest z and its sums (lmhead_sums.cuh), is one stretch of code without branches for all
// parts. What few rows need, a target or noise, is a loop over parts, whose logits are copied: registers have no
// addresses.
#ifndef ZK_KERNELS_CUDA_LMHEAD_FRAGMENT_CUH
#define ZK_KERNELS_CUDA_LMHEAD_FRAGMENT_CUH

#include "kernels/cuda/lmhead_rows.cuh"
#include "kernels/cuda/lmhead_sums.cuh"

enum { ZK_QUAD_IDS = 32 }; // of a thread and part; number i is id 8 (i / 2) + 2 q + i % 2 of the tile

// The pair j of [FIRST, FIRST + COUNT), which is not known when the kernel is compiled.
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

// A warp's rows from row0 on, 16 of each block of 64, and a tile, in accumulators as mma.sync and wgmma hold them; they
// become z.
template <int BLOCKS> struct zk_lmhead_reader {
  static constexpr int PARTS = 2 * BLOCKS;
  typedef float Sums[BLOCKS][ZK_VOCAB_TILE / 2];

  const zk_lmhead_block &b;
  const int64_t row0;
  const int32_t tile;
  Sums &acc;
  const zk_lmhead_rows<PARTS> &known;
  const int q = (int)threadIdx.x % 4;
  float m[PARTS]; // the largest z; NaN if there is one
  zk_lmhead_lane_sums sum[PARTS];
  int usual; // whether zk_expf_usual gives the exps of the warp's z

  __device__ __forceinline__ float &z(int part, int i) const { return acc[part / 2][part % 2 * 2 + i / 2 * 4 + i % 2]; }
  __device__ __forceinline__ int32_t id(int i) const { return tile * ZK_VOCAB_TILE + i / 2 * 8 + 2 * q + i % 2; }
  __device__ __forceinline__ bool there(int part) const { return zk_lmhead_row_of(row0, part) < b.num_rows; }
  // Of 16 rows alone: whether the second eight are all behind the last.
  __device__ __forceinline__ bool absent(int part) const { return BLOCKS == 1 && part > 0 && row0 + 8 >= b.num_rows; }
  __device__ __forceinline__ int64_t place(int part) const { return zk_lmhead_row_of(row0, part) * b.num_tiles + tile; }

  // A part that is known when the kernel runs, by a branch: a select for each register and part would be more work.
  template <int PART = 0> __device__ __forceinline__ void take(int part, float (&copy)[ZK_QUAD_IDS]) const {
    if (PART + 1 == PARTS || part == PART) {
#ifdef __CUDA_ARCH__
      asm volatile("");
#endif
#pragma unroll
      for (int i = 0; i < ZK_QUAD_IDS; i++) copy[i] = z(PART, i);
    } else if constexpr (PART + 1 < PARTS) {
      take<PART + 1>(part, copy);
    }
  }
  template <class T> static __device__ __forceinline__ T of(const T (&x)[PARTS], int part) {
    T v = x[0];
#pragma unroll
    for (int p = 1; p < PARTS; p++)
      if (part == p) v = x[p];
    return v;
  }

  // Of logits, before scale().
  __device__ __forceinline__ void hash() const {
#pragma unroll 1
    for (int part = 0; part < PARTS; part++) {
      float logit[ZK_QUAD_IDS];
      take(part, logit);
      unsigned long long sum = 0;
#pragma unroll 4 // no more: it is seldom asked for
      for (int i = 0; i < ZK_QUAD_IDS; i++)
        if (id(i) < b.vocab) sum += zk_mix64(zk_float_bits(logit[i]), (uint64_t)id(i));
      for (int away = 1; away <= 2; away *= 2) sum += __shfl_xor_sync(ZK_WARP, sum, away);
      if (there(part) && q == 0) b.partial.hash[place(part)] = sum;
    }
  }

  // z = logit * inv_t, -inf past the vocabulary; and m.
  __device__ __forceinline__ void scale() {
    const int32_t count = b.vocab - tile * ZK_VOCAB_TILE;
    if (b.dist.scaled)
#pragma unroll
      for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int i = 0; i < ZK_QUAD_IDS; i++) z(part, i) = z(part, i) * b.dist.inv_t;
    if (count < ZK_VOCAB_TILE)
#pragma unroll
      for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int i = 0; i < ZK_QUAD_IDS; i++)
          if (i / 2 * 8 + 2 * q + i % 2 >= count) z(part, i) = -INFINITY;
    usual = true;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      if (absent(part)) break;
      float even = z(part, 0), odd = z(part, 1), least = fminf(even, odd); // two chains: a maximum has no order
#pragma unroll
      for (int i = 2; i < ZK_QUAD_IDS; i += 2) {
        even = zk_max_or_nan(even, z(part, i)), odd = zk_max_or_nan(odd, z(part, i + 1));
        least = fminf(least, fminf(z(part, i), z(part, i + 1)));
      }
      m[part] = zk_max_or_nan(even, odd);
      for (int away = 1; away <= 2; away *= 2)
        m[part] = zk_max_or_nan(m[part], __shfl_xor_sync(ZK_WARP, m[part], away));
      uint32_t seen = ~0u;
      (void)zk_expf_usual(least - m[part], &seen);
      usual &= (int)((seen & ZK_EXPF_USUAL) == ZK_EXPF_USUAL) | (int)!there(part);
    }
    usual = __all_sync(ZK_WARP, usual);
  }

  template <bool WITH_H> __device__ __forceinline__ void sums() {
    if (usual) {
      zk_lmhead_exps exps((uint32_t)(b.hidden >> 31));
#pragma unroll
      for (int part = 0; part < PARTS && !absent(part); part++)
        sum[part] =
            zk_lmhead_sums<WITH_H, false>([&](int i) { return z(part, i); }, [&](float v) { return exps.of(v, m[part]); });
      return;
    }
#pragma unroll 1
    for (int part = 0; part < PARTS; part++) {
      float copy[ZK_QUAD_IDS];
      take(part, copy);
      const float most = of(m, part);
      const zk_lmhead_lane_sums exact =
          zk_lmhead_sums<WITH_H, false>([&](int i) { return copy[i]; }, [&](float v) { return zk_expf_below_one(v - most); });
#pragma unroll
      for (int p = 0; p < PARTS; p++)
        if (p == part) sum[p] = exact;
    }
  }

  // Whether something of the row's tile may be wanted: its target, or an id that may be the best.
  __device__ __forceinline__ bool wanted(int part) const {
    const zk_lmhead_row &row = known.of[part];
    if (b.pick == ZK_CUDA_PICK_NOTHING) return row.target >= 0 && row.target / ZK_VOCAB_TILE == tile;
    if (!there(part) || !(m[part] <= FLT_MAX) || m[part] == -INFINITY) return false;
    if (b.pick == ZK_CUDA_PICK_GREEDY) return !(m[part] < row.carried);
    return !(m[part] + row.most < row.carried);
  }

  __device__ __forceinline__ void keep_target(int64_t row, int32_t target, const float (&copy)[ZK_QUAD_IDS]) const {
    const int at = target % ZK_VOCAB_TILE;
    const zk_lmhead_pair pair = zk_lmhead_select(copy, at / 8);
    if (at % 8 / 2 == q) b.target_z[row] = at % 2 == 0 ? pair.at[0] : pair.at[1];
  }

  // The lowest id with the largest z.
  __device__ __forceinline__ zk_lmhead_best greedy(float most, const float (&copy)[ZK_QUAD_IDS]) const {
    uint32_t candidates = 0;
#pragma unroll
    for (int i = 0; i < ZK_QUAD_IDS; i++) candidates |= (uint32_t)(copy[i] == most) << i;
    if (candidates == 0) return {-INFINITY, -INFINITY, -1};
    const int i = __ffs((int)candidates) - 1;
    const zk_lmhead_pair pair = zk_lmhead_select(copy, i / 2);
    return {most, i % 2 == 0 ? pair.at[0] : pair.at[1], id(i)};
  }

  // By whole warps: what is picked of this tile, if it is the row's best so far.
  __device__ __forceinline__ void pick(int part, int64_t row, bool is_wanted, float carried,
                                       const float (&copy)[ZK_QUAD_IDS]) const {
    const float most = of(m, part);
    zk_lmhead_best mine;
    if (b.pick == ZK_CUDA_PICK_GREEDY) {
      mine = greedy(most, copy);
    } else {
      const zk_lmhead_draw draw = {b.ids.seed, zk_lmhead_name_of(b, row < b.num_rows ? row : 0), tile, q};
      mine = draw.among(is_wanted, most, carried, [&](int j) {
        float again[ZK_QUAD_IDS]; // the copy is not kept while numbers are drawn
        take(part, again);
        return zk_lmhead_select(again, j);
      });
    }
    for (int away = 1; away <= 2; away *= 2) {
      const zk_lmhead_best other = {__shfl_xor_sync(ZK_WARP, mine.value, away), __shfl_xor_sync(ZK_WARP, mine.z, away),
                                    __shfl_xor_sync(ZK_WARP, mine.id, away)};
      zk_lmhead_better(mine, other);
    }
    if (!is_wanted || mine.id < 0 || !(mine.value >= carried) || q != 0) return;
    zk_lmhead_keep(b, row, tile, mine);
  }

  // The rows of which something is wanted.
  __device__ __forceinline__ void look() const {
    uint32_t mine = 0, any = 0; // parts, a bit each
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      const bool is_wanted = wanted(part);
      mine |= (uint32_t)is_wanted << part;
      any |= (uint32_t)__any_sync(ZK_WARP, is_wanted) << part;
    }
#pragma unroll 1
    for (; any != 0; any &= any - 1) {
      const int part = __ffs((int)any) - 1;
      const int64_t row = zk_lmhead_row_of(row0, part);
      const bool is_wanted = mine >> part & 1;
      const zk_lmhead_row row_known = of(known.of, part);
      float copy[ZK_QUAD_IDS];
      take(part, copy);
      if (b.pick != ZK_CUDA_PICK_NOTHING) pick(part, row, is_wanted, row_known.carried, copy);
      else if (is_wanted) keep_target(row, row_known.target, copy);
    }
  }

  __device__ __forceinline__ void run() {
    if (b.partial.hash != NULL) hash();
    scale();
    look();
    if (b.partial.h != NULL) sums<true>();
    else sums<false>();
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      if (!there(part) || q != 0) continue;
      b.partial.sum[place(part)] = {m[part] <= FLT_MAX ? m[part] : zk_bits_float(0x7fc00000u), sum[part].l};
      if (b.partial.h != NULL) b.partial.h[place(part)] = sum[part].h;
    }
  }
};

template <int BLOCKS>
static __device__ __forceinline__ void zk_lmhead_read_rows(const zk_lmhead_block &b, int64_t row0, int32_t tile,
                                                           float (&acc)[BLOCKS][ZK_VOCAB_TILE / 2],
                                                           const zk_lmhead_rows<2 * BLOCKS> &known) {
  if (row0 >= b.num_rows) return; // the whole warp
  zk_lmhead_reader<BLOCKS> reader = {b, row0, tile, acc, known};
  reader.run();
}

#endif
