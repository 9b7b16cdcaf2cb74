// Gradients of logits where wgmma's accumulators hold them (gemm_wgmma.cuh), on their way to memory as bf16. Two epilogues
// of many rows: of a backward pass alone; and of both passes at once, where a row's log-sum-exp is known beforehand.
#ifndef ZK_KERNELS_CUDA_LMHEAD_GRADIENT_CUH
#define ZK_KERNELS_CUDA_LMHEAD_GRADIENT_CUH

#include "kernels/cuda/lmhead_backward.cuh"
#include "kernels/cuda/lmhead_wgmma.cuh"

#ifndef ZK_SIMT
#include "kernels/cuda/gemm_wgmma_store.cuh"

// Exps of a group, in the fewest operations if all of the warp's suit them: -66 <= x <= 21, as it is where lse is the row's own (x is at most
// its rounding above 0 then).
enum { ZK_LMHEAD_GROUP = 8 };
static __device__ __forceinline__ void zk_lmhead_exp_group(const float (&x)[ZK_LMHEAD_GROUP], float (&p)[ZK_LMHEAD_GROUP]) {
  uint32_t all = ~0u, any = 0;
#pragma unroll
  for (int i = 0; i < ZK_LMHEAD_GROUP; i++) {
    uint32_t bits = ~0u;
    p[i] = zk_expf_usual(x[i], &bits);
    all &= bits, any |= bits;
  }
  const bool usual = (all & ZK_EXPF_USUAL) == ZK_EXPF_USUAL && (any & ZK_EXPF_LARGE) == 0;
  if (__all_sync(ZK_WARP, usual)) return;
#pragma unroll
  for (int i = 0; i < ZK_LMHEAD_GROUP; i++) p[i] = zk_expf(x[i]);
}

// What memory holds of the thread's two rows of 64, 8 apart. Rows behind the last are taken for it: nobody stores theirs.
struct zk_lmhead_slopes {
  float lse[2], slope[2];
  int32_t target[2];
};

// Of 64 rows from m0 and N ids: `first` is the id of the launch's column 0, and n0 the first column.
template <int N> struct zk_lmhead_gradient_args {
  CUtensorMap c;
  zk_lmhead_chunk chunk;
  int32_t first, num_ids;
  unsigned long long *error;

  __device__ __forceinline__ int64_t row_of(int m0, int h) const {
    return min((int64_t)m0 + zk_gemm_wgmma_own_row() + 8 * h, chunk.num_rows - 1);
  }
  __device__ __forceinline__ zk_lmhead_slopes fetch(int m0, int n0) const {
    zk_lmhead_slopes s;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int64_t row = row_of(m0, h);
      s.lse[h] = chunk.lse[row], s.slope[h] = chunk.dlogprob[row], s.target[h] = chunk.target[row];
      if (first == 0 && n0 == 0 && threadIdx.x % 4 == 0) zk_lmhead_check_target(chunk, row, error);
    }
    return s;
  }
  // z of logits: times inv_t, and -inf outside the kept set.
  __device__ __forceinline__ void scale(float (&d)[N / 2], int m0, int n0) const {
    const int32_t id0 = first + n0 + zk_gemm_wgmma_own_column();
    if (chunk.dist.filtered)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float last = chunk.kept_logit[row_of(m0, h)];
        const int32_t last_id = chunk.kept_id[row_of(m0, h)];
#pragma unroll
        for (int j = 0; j < N / 8; j++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float &x = d[4 * j + 2 * h + e];
            if (!zk_lmhead_is_kept(x, id0 + 8 * j + e, last, last_id)) x = -INFINITY;
          }
      }
    if (chunk.dist.scaled)
#pragma unroll
      for (int e = 0; e < N / 2; e++) d[e] = d[e] * chunk.dist.inv_t;
  }
  // Gradients of logits in the place of z.
  __device__ __forceinline__ void differentiate(float (&d)[N / 2], const zk_lmhead_slopes &s, int n0) const {
#pragma unroll
    for (int begin = 0; begin < N / 2; begin += ZK_LMHEAD_GROUP) {
      float x[ZK_LMHEAD_GROUP], p[ZK_LMHEAD_GROUP];
#pragma unroll
      for (int i = 0; i < ZK_LMHEAD_GROUP; i++) x[i] = d[begin + i] - s.lse[i / 2 % 2];
      zk_lmhead_exp_group(x, p);
#pragma unroll
      for (int i = 0; i < ZK_LMHEAD_GROUP; i++) d[begin + i] = p[i];
    }
    const int32_t column0 = first + n0, id0 = column0 + zk_gemm_wgmma_own_column();
    const bool here = (uint32_t)(s.target[0] - column0) < (uint32_t)N || (uint32_t)(s.target[1] - column0) < (uint32_t)N;
    if (__any_sync(ZK_WARP, here)) {
#pragma unroll
      for (int e = 0; e < N / 2; e++)
        d[e] = ((id0 + e / 4 * 8 + e % 2 == s.target[e / 2 % 2] ? 1.0f : 0.0f) - d[e]) * s.slope[e / 2 % 2];
    } else {
#pragma unroll
      for (int e = 0; e < N / 2; e++) d[e] = d[e] * -s.slope[e / 2 % 2]; // the same but for a zero's sign
    }
    if (chunk.dist.scaled)
#pragma unroll
      for (int e = 0; e < N / 2; e++) d[e] = d[e] * chunk.dist.inv_t;
  }
};

template <int N> struct zk_lmhead_backward_rows {
  typedef zk_gemm_wgmma_rows<N> Rows;
  static constexpr bool WHOLE = false;
  static constexpr int SHARED = Rows::SHARED;
  typedef zk_lmhead_gradient_args<N> Args;
  typedef zk_lmhead_slopes Fetched;
  Rows rows;

  __device__ __forceinline__ void begin(const Args &args, int m0, int n0, Fetched &to) const { to = args.fetch(m0, n0); }
  __device__ __forceinline__ void store(const Args &args, float (&d)[N / 2], int m0, int n0, Fetched &known, char *shared) {
    args.scale(d, m0, n0);
    args.differentiate(d, known, n0);
    rows.store(&args.c, (int)args.chunk.num_rows, args.num_ids, d, m0 + zk_gemm_wgmma_warp_row(), n0, shared);
  }
  __device__ __forceinline__ void end() { Rows::end(); }
};

// Both passes: what the rows' sums are made of, and the gradients.
template <int BLOCKS> struct zk_lmhead_both_rows {
  static constexpr int N = ZK_VOCAB_TILE;
  typedef zk_lmhead_many_rows<BLOCKS> Forward;
  typedef zk_gemm_wgmma_rows<N> Rows;
  static constexpr bool WHOLE = true;
  static constexpr int SHARED = Rows::SHARED;
  struct Args {
    zk_lmhead_block block;
    zk_lmhead_gradient_args<N> gradient;
  };
  typedef typename Forward::Fetched Fetched;
  Forward forward;
  Rows rows;

  __device__ __forceinline__ void begin(const Args &args, int m0, int n0, Fetched &to) const {
    forward.begin(args.block, m0, args.gradient.first + n0, to);
  }
  template <class Sums>
  __device__ __forceinline__ void store(const Args &args, Sums &d, int m0, int n0, const Fetched &known, char *shared) {
    forward.store(args.block, d, m0, args.gradient.first + n0, known, shared); // d are z now
#pragma unroll
    for (int block = 0; block < BLOCKS; block++) {
      const int first_row = m0 + 64 * block;
      args.gradient.differentiate(d[block], args.gradient.fetch(first_row, n0), n0);
      rows.store(&args.gradient.c, (int)args.gradient.chunk.num_rows, args.gradient.num_ids, d[block],
                 first_row + zk_gemm_wgmma_warp_row(), n0, shared);
    }
  }
  __device__ __forceinline__ void end() { Rows::end(); }
};

#endif
#endif
