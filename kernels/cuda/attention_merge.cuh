// Splits of a row: which of them a block walks, and the merge of those that different blocks computed.
#ifndef ZK_KERNELS_CUDA_ATTENTION_MERGE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_MERGE_CUH

#include "kernels/cuda/attention.cuh"

#define ZK_MERGE_THREADS 64

struct zk_attn_splits {
  int32_t begin, end;
};

// Of a block of rows with keys [0, num_keys): split z alone where partials are kept (none when there is no such split),
// else all.
static __device__ __forceinline__ zk_attn_splits zk_attn_splits_of(const zk_attn_partials &partials, int32_t num_keys,
                                                                   int32_t split_keys, int32_t z) {
  const int32_t num_splits = (num_keys + split_keys - 1) / split_keys;
  if (partials.o == NULL) return {0, num_splits};
  return {z, zk_attn_min(z + 1, num_splits)};
}

// (m, l) of a split into the running (M, L), m and M as Exp keeps them. A and B are the factors of O and of the split's
// o, unless it is copied: true.
template <class Exp>
static __device__ __forceinline__ bool zk_attn_merge(const Exp &weight, float m, float l, float *M, float *L, float *A,
                                                     float *B) {
  const bool copy = *M == Exp::none();
  const float n = Exp::join(*M, m);
  *A = weight(*M, n);
  *B = weight(m, n);
  *L = copy ? l : fmaf(*L, *A, l * *B);
  *M = copy ? m : n;
  return copy;
}

// One block a row of [T * Hq]: splits ascending, a thread for each d.
template <class Exp, class T>
static __global__ void __launch_bounds__(ZK_MERGE_THREADS)
    zk_attn_merge_rows(zk_attn a, zk_attn_partials partials, Exp weight, T *out, float *lse) {
  const int32_t token = (int32_t)(blockIdx.x / (unsigned)a.num_heads);
  const int32_t s = zk_attn_bisect(a.seq_row_start, a.num_seqs, token);
  const int32_t num_splits = (a.seq_first_pos[s] + token - a.seq_row_start[s]) / a.split_keys + 1;
  const size_t row = blockIdx.x, first = row * (size_t)partials.num_splits;
  for (int32_t d = (int32_t)threadIdx.x; d < a.dim; d += ZK_MERGE_THREADS) {
    float M = Exp::none(), L = 0.0f, O = 0.0f;
    for (int32_t i = 0; i < num_splits; ++i) {
      const size_t part = first + (size_t)i;
      const float o = partials.o[part * (size_t)a.dim + (size_t)d];
      float A, B;
      const bool copy = zk_attn_merge(weight, partials.ml[2 * part], partials.ml[2 * part + 1], &M, &L, &A, &B);
      O = copy ? o : fmaf(O, A, o * B);
    }
    zk_store(out, row * (size_t)a.dim + (size_t)d, weight.out(O, L));
    if (d == 0 && lse != NULL) lse[row] = weight.lse(M, L);
  }
}

// Merges the partials of a forward call, if there are any.
template <class Exp, class T>
static zk_status zk_attn_merge_splits(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan,
                                      const Exp &weight, T *out, float *lse) {
  if (plan.partials.o == NULL) return ZK_OK;
  const unsigned grid = (unsigned)(plan.num_rows * a.num_heads);
  ZK_LAUNCH((zk_attn_merge_rows<Exp, T>), grid, ZK_MERGE_THREADS, 0, stream, a, plan.partials, weight, out, lse);
  return ZK_OK;
}

#endif
