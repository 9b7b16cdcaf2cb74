// What the tensor core's accumulators say of a row and a tile of 128 ids, read where they are: four neighbouring
// threads (a quad) have a row, thread q of them the ids 8 j + 2 q and 8 j + 2 q + 1 of the tile, j < 16 (mma.cuh,
// wgmma.cuh). kernels/lmhead.h has the orders.
//
// Lane sums: an id is alone in its lane, and ids 64, 32, 16 and 8 apart are in one thread; then 4 and 2 apart are
// threads 2 and 1 apart, and the last two are in one thread.
//
// Which ids need their noise. Let `best` be the value z + gumbel of some id of the row, m the tile's largest z, and h a
// number with m + h < best when rounded as values are. An id whose noise is at most h has a value of at most m + h
// (rounding keeps order), less than best: it is not the largest, nor tied with it, whichever id best came from and
// whenever it was found. So ids are left out by comparing their random number, and no bit depends on which were:
//   u = 1 - w, w = (j + 1/2) 2^-23 with j = 2^23 - 1 - (r >> 9). As -log(1 - w) >= w, the noise -log(-log(u)) <=
//   -log(w), which is less than h - 8e-6 when j >= 1.00001 e^-h 2^23; zk_gumbel is off by less than 2e-6
//   (kernels/math.h). Hence only j below that count. No noise exceeds ZK_GUMBEL_MOST: with h beyond it the whole tile
//   is left out.
// `best` is what some tiles of the row gave so far, whichever they were.
#ifndef ZK_KERNELS_CUDA_LMHEAD_FRAGMENT_CUH
#define ZK_KERNELS_CUDA_LMHEAD_FRAGMENT_CUH

#include "kernels/cuda/lmhead_tile.cuh"

enum { ZK_QUAD_IDS = 32 }; // of a thread; number i is id 8 (i / 2) + 2 q + i % 2 of the tile

// Among the four threads of a row: other rows of the warp may be elsewhere.
template <typename T> static __device__ __forceinline__ T zk_quad_shuffle(T v, int away) {
  return __shfl_xor_sync(0xfu << (threadIdx.x % 32 / 4 * 4), v, away);
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

struct zk_lmhead_name { // of a row's random numbers
  uint32_t key[2], counter[3];
};

// A row on its way through a thread's registers.
struct zk_lmhead_quad {
  const zk_lmhead_block &b;
  int64_t row;
  int32_t tile;
  float (&z)[ZK_QUAD_IDS];
  float m; // the largest z; NaN if there is one
  int q;
  zk_lmhead_name name;

  __device__ __forceinline__ int32_t id(int i) const { return tile * ZK_VOCAB_TILE + i / 2 * 8 + 2 * q + i % 2; }

  // z of number FIRST + i % COUNT, which is not known when the kernel is compiled: registers have no addresses.
  template <int FIRST = 0, int COUNT = ZK_QUAD_IDS> __device__ __forceinline__ float z_at(int i) const {
    if constexpr (COUNT == 1) return z[FIRST];
    else return i & COUNT / 2 ? z_at<FIRST + COUNT / 2, COUNT / 2>(i) : z_at<FIRST, COUNT / 2>(i);
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
    m = z[0];
#pragma unroll
    for (int i = 1; i < ZK_QUAD_IDS; i++) m = zk_max_or_nan(m, z[i]);
    for (int away = 1; away <= 2; away *= 2) m = zk_max_or_nan(m, zk_quad_shuffle(m, away));
  }

  // Of logits, before scale().
  __device__ __forceinline__ unsigned long long hash() const {
    unsigned long long sum = 0;
#pragma unroll
    for (int i = 0; i < ZK_QUAD_IDS; i++)
      if (id(i) < b.vocab) sum += zk_mix64(zk_float_bits(z[i]), (uint64_t)id(i));
    for (int away = 1; away <= 2; away *= 2) sum += zk_quad_shuffle(sum, away);
    return sum;
  }

  // The part of lanes 8 j + 2 q + e with j = J modulo STEP. An absent id has e^-inf = +0, and -FLT_MAX for z gives
  // fma(0, z, 0) = +0.
  template <int J, int STEP, bool WITH_Z> __device__ __forceinline__ float lanes(int e) const {
    if constexpr (STEP < 16) {
      return lanes<J, 2 * STEP, WITH_Z>(e) + lanes<J + STEP, 2 * STEP, WITH_Z>(e);
    } else {
      const float v = z[2 * J + e], w = zk_expf_below_one(v - m);
      return WITH_Z ? fmaf(w, fmaxf(v, -FLT_MAX), 0.0f) : w;
    }
  }
  template <bool WITH_Z> __device__ __forceinline__ float sum() const {
    float low = lanes<0, 1, WITH_Z>(0), high = lanes<0, 1, WITH_Z>(1);
    for (int away = 2; away > 0; away /= 2) {
      low = low + zk_quad_shuffle(low, away);
      high = high + zk_quad_shuffle(high, away);
    }
    return low + high;
  }

  // Philox numbers the ids by fours: thread q and its neighbour have two each of ids 8 j + 4 (q / 2) .. + 3 of the
  // tile.
  __device__ __forceinline__ void random(int j, uint32_t r[4]) const {
    const uint32_t counter[4] = {((uint32_t)ZK_RNG_SAMPLE << 24) +
                                     (uint32_t)(tile * (ZK_VOCAB_TILE / 4) + 2 * j + q / 2),
                                 name.counter[0], name.counter[1], name.counter[2]};
    zk_philox4x32(counter, name.key, r);
  }

  // Which numbers have a random number of at least `least`: a bit each. The two neighbours share the work: one takes
  // the even j, the other the odd ones, and each gives the other its bits.
  __device__ __forceinline__ uint32_t candidates(uint32_t least) const {
    const int odd = q & 1;
    uint32_t low = 0, high = 0; // of the neighbour with even q, and with odd q
#pragma unroll 4
    for (int i = 7; i >= 0; i--) {
      uint32_t r[4];
      random(2 * i + odd, r);
      low = low << 4 | (r[0] >= least ? 1u : 0u) | (r[1] >= least ? 2u : 0u);
      high = high << 4 | (r[2] >= least ? 1u : 0u) | (r[3] >= least ? 2u : 0u);
    }
    const uint32_t kept = odd ? high : low, theirs = zk_quad_shuffle(odd ? low : high, 1);
    return odd ? kept << 2 | theirs : kept | theirs << 2;
  }

  // The least random number with which an id of this tile may have a value of `best` or more.
  __device__ __forceinline__ uint32_t threshold(float best) const {
    const float h = (best - m) - 0.01f;
    if (!(m + h < best)) return 0;                               // the two are too large to tell
    const float j = fminf(zk_expf(-h) * 8388692.0f, 8388606.0f); // 1.00001 * 2^23; all pass above
    return 0u - (((uint32_t)j + 2u) << 9);
  }

  // The best of the row's ids in this thread, if it has one that may be the best of all. The first time, a sixteenth of
  // the ids gives a value to compare with.
  __device__ __forceinline__ zk_lmhead_best gumbel(float best) const {
    zk_lmhead_best mine = {-INFINITY, -INFINITY, -1};
    for (bool first = best == -INFINITY;; first = false) {
      uint32_t left = candidates(first ? 0xf0000000u : threshold(best));
      while (left != 0) {
        const int i = __ffs((int)left) - 1;
        left &= left - 1;
        uint32_t r[4];
        random(i / 2, r);
        const uint32_t number = q & 1 ? (i & 1 ? r[3] : r[2]) : (i & 1 ? r[1] : r[0]);
        const float v = z_at(i);
        const zk_lmhead_best next = {v + zk_gumbel(number), v, v == -INFINITY ? -1 : id(i)};
        zk_lmhead_better(mine, next);
      }
      if (!first) return mine;
      best = fmaxf(mine.value, -FLT_MAX); // not even one: all are looked at
      for (int away = 1; away <= 2; away *= 2) best = fmaxf(best, zk_quad_shuffle(best, away));
    }
  }

  // The lowest id with the largest z.
  __device__ __forceinline__ zk_lmhead_best greedy() const {
    uint32_t candidates = 0;
#pragma unroll
    for (int i = 0; i < ZK_QUAD_IDS; i++) candidates |= (uint32_t)(z[i] == m) << i;
    if (candidates == 0) return {-INFINITY, -INFINITY, -1};
    const int i = __ffs((int)candidates) - 1;
    return {m, z_at(i), id(i)};
  }
};

static __device__ __forceinline__ zk_lmhead_name zk_lmhead_name_of(const zk_lmhead_block &b, int64_t row) {
  if (b.pick != ZK_CUDA_PICK_GUMBEL) return {};
  return {{(uint32_t)b.ids.seed, (uint32_t)(b.ids.seed >> 32)},
          {b.ids.position[row], b.ids.prompt_id[row], b.ids.sample_idx[row] << 20 | b.ids.step[row]}};
}

// By whole warps; of a row that is not there nothing is written. carried: a value that some id of this row has, or
// -inf; what it was raised to by this tile is returned.
static __device__ __forceinline__ float zk_lmhead_read_quad(const zk_lmhead_block &b, int64_t row, bool there,
                                                            int32_t tile, float carried, float (&logit)[ZK_QUAD_IDS]) {
  zk_lmhead_quad quad = {
      b, there ? row : 0, tile, logit, 0.0f, (int)threadIdx.x % 4, zk_lmhead_name_of(b, there ? row : 0)};
  zk_lmhead_partial out = {0.0f, 0.0f, 0.0f, carried, -INFINITY, -1, 0};
  if (b.out.logits_hash != NULL) out.hash = quad.hash();
  quad.scale();
  const bool bad = !(quad.m <= FLT_MAX);
  out.m = bad ? zk_bits_float(0x7fc00000u) : quad.m;
  out.l = quad.sum<false>();
  if (b.out.entropy != NULL) out.h = quad.sum<true>();
  if (b.pick == ZK_CUDA_PICK_NOTHING) {
    const int32_t at = b.target[quad.row] - tile * ZK_VOCAB_TILE;
    if (there && at >= 0 && at < ZK_VOCAB_TILE && at % 8 / 2 == quad.q)
      b.target_z[row] = quad.z_at(at / 8 * 2 + at % 2);
  } else if (there && !bad && quad.m != -INFINITY) {
    zk_lmhead_best best = {-INFINITY, -INFINITY, -1};
    if (b.pick == ZK_CUDA_PICK_GREEDY && quad.m >= carried) best = quad.greedy();
    if (b.pick == ZK_CUDA_PICK_GUMBEL && !(quad.m + ZK_GUMBEL_MOST < carried)) best = quad.gumbel(carried);
    for (int away = 1; away <= 2; away *= 2) {
      const zk_lmhead_best other = {zk_quad_shuffle(best.value, away), zk_quad_shuffle(best.z, away),
                                    zk_quad_shuffle(best.id, away)};
      zk_lmhead_better(best, other);
    }
    if (best.id >= 0 && best.value >= carried) out.best_value = best.value, out.best_z = best.z, out.best_id = best.id;
  }
  if (there && quad.q == 0) b.partial[quad.row * b.num_tiles + tile] = out;
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
    const uint32_t o = *(const volatile uint32_t *)(b.row_best + row);
    return o == 0 ? -INFINITY : zk_bits_float(o & 0x80000000u ? o & 0x7fffffffu : ~o); // 0: nothing yet
  }
  __device__ __forceinline__ void keep(int64_t row, float value) const {
    if (threadIdx.x % 4 == 0) atomicMax(b.row_best + row, ordered(value));
  }
};

// A warp's 16 rows from row0 on and one or two tiles from tile0 on, in accumulators as mma.sync and wgmma hold them: a
// thread has two rows, 8 apart. `best` knows a value that some id of a row has, and is told of better ones. The parts
// take turns in one piece of code: unrolled, it would be larger than the instruction cache.
template <int REGISTERS, class Best>
static __device__ __forceinline__ void zk_lmhead_read_rows(const zk_lmhead_block &b, int64_t row0, int32_t tile0,
                                                           const float (&acc)[REGISTERS], const Best &best) {
  constexpr int PARTS = REGISTERS / ZK_QUAD_IDS;
#pragma unroll 1
  for (int part = 0; part < PARTS; part++) {
    const int32_t tile = tile0 + part / 2;
    const int64_t first = row0 + part % 2 * 8, row = first + threadIdx.x % 32 / 4;
    if (first >= b.num_rows || tile >= b.num_tiles) continue; // the whole warp
    const bool there = row < b.num_rows, picks = b.pick != ZK_CUDA_PICK_NOTHING && there;
    const float carried = picks ? best.get(row) : -INFINITY;
    float logit[ZK_QUAD_IDS];
#pragma unroll
    for (int i = 0; i < ZK_QUAD_IDS; i++) {
      const int at = i / 2 * 4 + i % 2;
      logit[i] = acc[at];
#pragma unroll
      for (int other = 1; other < PARTS; other++)
        logit[i] = part == other ? acc[other / 2 * 64 + other % 2 * 2 + at] : logit[i];
    }
    const float value = zk_lmhead_read_quad(b, row, there, tile, carried, logit);
    if (picks && value > carried) best.keep(row, value);
  }
}

#endif
