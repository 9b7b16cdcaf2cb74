// Gradients of logits where wgmma's accumulators hold them (gemm_wgmma.cuh), on their way to memory as bf16. Two epilogues
// of a tile: of a backward pass alone; and of both passes (BOTH), where a row's log-sum-exp is known beforehand, with the
// row's sums as the forward pass has them (lmhead_sums.cuh).
//
// The warpgroup that multiplies waits for nothing as long as this takes no longer than a tile's product, so that it is
// short: the tile's blocks of 64 rows go one after another through one stretch of code, which the instruction caches
// hold, and what hardly a logit needs (a filter, a hash, a z far from usual, a target) stands behind a branch of the
// whole warp. No branch here is of less than that: ptxas would order every product behind the one before it.
#ifndef ZK_KERNELS_CUDA_LMHEAD_GRADIENT_CUH
#define ZK_KERNELS_CUDA_LMHEAD_GRADIENT_CUH

#include "kernels/cuda/lmhead_backward.cuh"
#include "kernels/cuda/lmhead_fragment.cuh"
#include "kernels/cuda/gemm_wgmma_store.cuh"

// Exps of v - m in CHAINS: the m of each has the result of its chain's last one among its operands, so that the compiler has
// as many in flight as there are chains. zk_lmhead_exps, whose groups of 8 it may order as it likes, is ended one by one
// here, and takes half as long again. `zero` is 0, in a way that the compiler cannot see.
template <int CHAINS> struct zk_lmhead_exp_chains {
  const uint32_t zero;
  uint32_t last[CHAINS] = {};
  int count = 0;
  __device__ __forceinline__ explicit zk_lmhead_exp_chains(uint32_t nothing) : zero(nothing) {}
  __device__ __forceinline__ float of(float v, float m) {
    uint32_t seen = 0, &before = last[count++ % CHAINS];
    const float w = zk_expf_usual(v - zk_bits_float(zk_float_bits(m) ^ (before & zero)), &seen);
    before = zk_float_bits(w);
    return w;
  }
};

// What memory holds of the thread's rows, two, 8 apart, of each block of 64. Rows behind the last are taken for it:
// nobody stores theirs.
template <int ROWS> struct zk_lmhead_slopes {
  float lse[ROWS], slope[ROWS];
  int32_t target[ROWS];
};

// One block's 64 x 128 logits, which become gradients: number i of the thread's 32 ids of row `part` is at(part, i).
template <bool BOTH> struct zk_lmhead_gradient_block {
  static constexpr int N = ZK_VOCAB_TILE, PARTS = 2;
  const zk_lmhead_chunk &chunk;
  const zk_lmhead_block &forward; // BOTH
  const zk_lmhead_slopes<PARTS> &row;
  const int m0;       // the warp's first row
  const int32_t tile; // of the vocabulary
  float (&d)[N / 2];
  float m[PARTS]; // the largest z
  zk_lmhead_lane_sums sum[PARTS];

  static __device__ __forceinline__ constexpr int at(int part, int i) { return part * 2 + i / 2 * 4 + i % 2; }
  static __device__ __forceinline__ int quad() { return (int)threadIdx.x % 4; }
  __device__ __forceinline__ int32_t id(int e) const { return tile * N + e / 4 * 8 + 2 * quad() + e % 2; }
  __device__ __forceinline__ int64_t row_of(int part) const { return (int64_t)m0 + (int)threadIdx.x % 32 / 4 + part * 8; }
  __device__ __forceinline__ bool there(int part) const { return row_of(part) < chunk.num_rows; }

  __device__ __forceinline__ void hash() const { // as zk_lmhead_reader's
    float copy[N / 2];
#pragma unroll
    for (int e = 0; e < N / 2; e++) copy[e] = d[e];
#pragma unroll 1
    for (int part = 0; part < PARTS; part++) {
      unsigned long long h = 0;
#pragma unroll 1
      for (int i = 0; i < ZK_QUAD_IDS; i++) {
        const int e = at(part, i);
        if (id(e) < chunk.vocab) h += zk_mix64(zk_float_bits(copy[e]), (uint64_t)id(e));
      }
      for (int away = 1; away <= 2; away *= 2) h += __shfl_xor_sync(ZK_WARP, h, away);
      if (there(part) && quad() == 0) forward.partial.hash[row_of(part) * forward.num_tiles + tile] = h;
    }
  }

  // z of logits: times inv_t, and -inf outside the kept set and past the vocabulary.
  __device__ __forceinline__ void scale() const {
    if (!BOTH && chunk.dist.filtered)
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
        const int64_t mine = min(row_of(part), chunk.num_rows - 1);
        const float last = chunk.kept_logit[mine];
        const int32_t last_id = chunk.kept_id[mine];
#pragma unroll
        for (int i = 0; i < ZK_QUAD_IDS; i++) {
          float &x = d[at(part, i)];
          if (!zk_lmhead_is_kept(x, id(at(part, i)), last, last_id)) x = -INFINITY;
        }
      }
    if (chunk.dist.scaled)
#pragma unroll
      for (int e = 0; e < N / 2; e++) d[e] = d[e] * chunk.dist.inv_t;
    if (BOTH && (tile + 1) * N > chunk.vocab)
#pragma unroll
      for (int e = 0; e < N / 2; e++)
        if (id(e) >= chunk.vocab) d[e] = -INFINITY;
  }

  // m; and whether zk_expf_usual gives the exps of all of the warp's z: of its own lse none is much above 0.
  __device__ __forceinline__ bool look() {
    bool mine = true;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      float even = d[at(part, 0)], odd = d[at(part, 1)], least = fminf(even, odd);
#pragma unroll
      for (int i = 2; i < ZK_QUAD_IDS; i += 2) {
        even = zk_max_or_nan(even, d[at(part, i)]), odd = zk_max_or_nan(odd, d[at(part, i + 1)]);
        least = fminf(least, fminf(d[at(part, i)], d[at(part, i + 1)]));
      }
      float most = zk_max_or_nan(even, odd);
      if (BOTH)
        for (int away = 1; away <= 2; away *= 2) most = zk_max_or_nan(most, __shfl_xor_sync(ZK_WARP, most, away));
      m[part] = most;
      mine &= (int)(least - row.lse[part] >= -66.0f) & (int)(most - row.lse[part] <= 1.0f);
      if (BOTH) mine &= least - most >= -66.0f;
    }
    return __all_sync(ZK_WARP, mine);
  }

  // The sums, and p in the place of z.
  __device__ __forceinline__ void take_exps() {
    zk_lmhead_exp_chains<BOTH ? 8 : 5> exps((uint32_t)(chunk.hidden >> 31));
    if (BOTH)
#pragma unroll
      for (int part = 0; part < PARTS; part++)
        sum[part] = zk_lmhead_sums<true, true>([&](int i) { return d[at(part, i)]; }, [&](float v) { return exps.of(v, m[part]); });
#pragma unroll
    for (int e = 0; e < N / 2; e++) d[e] = exps.of(d[e], row.lse[e / 2 % 2]);
  }
  // The same of any z.
  __device__ __forceinline__ void take_any_exps() {
    float copy[N / 2];
    if (BOTH) {
#pragma unroll
      for (int e = 0; e < N / 2; e++) copy[e] = d[e];
#pragma unroll 1
      for (int e = 0; e < N / 2; e++) copy[e] = zk_expf_below_one(copy[e] - (e / 2 % 2 == 0 ? m[0] : m[1]));
#pragma unroll
      for (int part = 0; part < PARTS; part++) {
        int last = 0;
        sum[part] = zk_lmhead_sums<true, false>([&](int i) { return d[last = at(part, i)]; }, [&](float) { return copy[last]; });
      }
    }
#pragma unroll
    for (int e = 0; e < N / 2; e++) copy[e] = d[e];
#pragma unroll 1
    for (int e = 0; e < N / 2; e++) copy[e] = zk_expf(copy[e] - (e / 2 % 2 == 0 ? row.lse[0] : row.lse[1]));
#pragma unroll
    for (int e = 0; e < N / 2; e++) d[e] = copy[e];
  }

  __device__ __forceinline__ void keep_targets() const {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      float z = 0.0f;
      bool mine = false;
#pragma unroll
      for (int i = 0; i < ZK_QUAD_IDS; i++)
        if (id(at(part, i)) == row.target[part]) z = d[at(part, i)], mine = true;
      if (mine && there(part)) forward.target_z[row_of(part)] = z;
    }
  }

  __device__ __forceinline__ void store_sums() const {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
      if (!there(part) || quad() != 0) continue;
      const int64_t place = row_of(part) * forward.num_tiles + tile;
      forward.partial.sum[place] = {m[part] <= FLT_MAX ? m[part] : zk_bits_float(0x7fc00000u), sum[part].l};
      forward.partial.h[place] = sum[part].h;
    }
  }

  __device__ __forceinline__ void run() {
    if (BOTH && forward.partial.hash != NULL) hash();
    scale();
    const bool here = (uint32_t)(row.target[0] - tile * N) < (uint32_t)N || (uint32_t)(row.target[1] - tile * N) < (uint32_t)N;
    const bool any_here = __any_sync(ZK_WARP, here);
    if (BOTH && any_here) keep_targets();
    if (look()) take_exps();
    else take_any_exps();
    if (BOTH) store_sums();
    if (any_here)
#pragma unroll
      for (int e = 0; e < N / 2; e++)
        if (id(e) == row.target[e / 2 % 2]) d[e] = d[e] - 1.0f;
    // (p - 1) (-slope) has the bits of (1 - p) slope, and p (-slope) those of (0 - p) slope but for a zero's sign, which no
    // product sees.
#pragma unroll
    for (int e = 0; e < N / 2; e++) d[e] = d[e] * -row.slope[e / 2 % 2];
    if (chunk.dist.scaled)
#pragma unroll
      for (int e = 0; e < N / 2; e++) d[e] = d[e] * chunk.dist.inv_t;
  }
};

template <bool BOTH> struct zk_lmhead_gradient_rows {
  static constexpr int N = ZK_VOCAB_TILE, BLOCKS = 2, ROWS = 2; // a thread's of a block
  typedef zk_gemm_wgmma_rows<N> Rows;
  static constexpr bool WHOLE = true;
  static constexpr int SHARED = Rows::SHARED;
  struct Args {
    CUtensorMap c;
    zk_lmhead_chunk chunk;
    zk_lmhead_block forward; // BOTH: nothing is picked, nothing filtered
    int32_t first, num_ids;  // the launch's
    unsigned long long *error;
  };
  typedef zk_lmhead_slopes<BLOCKS * ROWS> Fetched;
  Rows rows;

  __device__ __forceinline__ void begin(const Args &args, int m0, int n0, Fetched &to) const {
    const zk_lmhead_chunk &c = args.chunk;
#pragma unroll
    for (int i = 0; i < BLOCKS * ROWS; i++) {
      const int64_t row = min((int64_t)m0 + i / ROWS * 64 + zk_gemm_wgmma_own_row() + i % ROWS * 8, c.num_rows - 1);
      to.lse[i] = c.lse[row], to.slope[i] = c.dlogprob[row], to.target[i] = c.target[row];
      if (args.first == 0 && n0 == 0 && threadIdx.x % 4 == 0) zk_lmhead_check_target(c, row, args.error);
    }
  }
  // Accumulators to where all blocks' logits are read, as registers have no addresses. By instructions that stay where
  // they are, behind the wait for the products, and that leave the accumulators floats: else the compiler moves them as
  // integers, and while they are being added to.
  static __device__ __forceinline__ void take(const float (&d)[N / 2], float (&x)[N / 2]) {
#pragma unroll
    for (int e = 0; e < N / 2; e++)
#ifdef __CUDA_ARCH__
      asm volatile("mov.f32 %0, %1;" : "=f"(x[e]) : "f"(d[e]));
#else
      x[e] = d[e];
#endif
  }
  template <class Sums>
  __device__ __forceinline__ void store(const Args &args, Sums &d, int m0, int n0, const Fetched &known, char *shared) {
    zk_lmhead_slopes<ROWS> row;
    float x[N / 2];
    take(d[0], x);
#pragma unroll
    for (int i = 0; i < ROWS; i++)
      row.lse[i] = known.lse[i], row.slope[i] = known.slope[i], row.target[i] = known.target[i];
#pragma unroll 1
    for (int block = 0; block < BLOCKS; block++) {
      const int m = m0 + 64 * block + zk_gemm_wgmma_warp_row();
      zk_lmhead_gradient_block<BOTH> part = {args.chunk, args.forward, row, m, (args.first + n0) / N, x};
      part.run();
      rows.store(&args.c, (int)args.chunk.num_rows, args.num_ids, x, m, n0, shared);
      take(d[1], x);
#pragma unroll
      for (int i = 0; i < ROWS; i++)
        row.lse[i] = known.lse[ROWS + i], row.slope[i] = known.slope[ROWS + i], row.target[i] = known.target[ROWS + i];
    }
  }
  __device__ __forceinline__ void end() { Rows::end(); }
};

#endif
