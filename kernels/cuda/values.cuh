// A few neighbouring elements at a time: stored as T (float or bf16), worked on as floats, moved by one access of up to 16
// bytes where the address allows it. Which access it was changes no value.
#ifndef ZK_KERNELS_CUDA_VALUES_CUH
#define ZK_KERNELS_CUDA_VALUES_CUH

#include "kernels/cuda/pack.cuh"

template <typename T, int N> struct alignas(N * sizeof(T)) zk_stored {
  T at[N];
};

template <int N> struct zk_values {
  float at[N];
};

// Whether a whole group is moved as words of two bf16.
template <int N, typename T> constexpr bool zk_is_packed = sizeof(T) == 2 && N % 2 == 0;

template <int N, typename T> __device__ __forceinline__ bool zk_is_whole(const T *p, int64_t i, int64_t n) {
  return i + N <= n && (uintptr_t)(p + i) % (N * sizeof(T)) == 0;
}

// p[i .. i + N), of an array of n; elements from n on are absent and read as +0.
template <int N, typename T> __device__ __forceinline__ zk_values<N> zk_load_values(const T *p, int64_t i, int64_t n) {
  zk_values<N> v;
  if (zk_is_whole<N>(p, i, n)) {
    if constexpr (zk_is_packed<N, T>) {
      const zk_words<N / 2> words = *(const zk_words<N / 2> *)(p + i);
      for (int j = 0; j < N; j += 2) v.at[j] = zk_low_bf16(words.w[j / 2]), v.at[j + 1] = zk_high_bf16(words.w[j / 2]);
    } else {
      const zk_stored<T, N> stored = *(const zk_stored<T, N> *)(p + i);
      for (int j = 0; j < N; j++) v.at[j] = zk_load(stored.at, j);
    }
  } else {
    for (int j = 0; j < N; j++) v.at[j] = i + j < n ? zk_load(p, i + j) : 0.0f;
  }
  return v;
}

// The reverse, with the one rounding that T has; absent elements are not written.
template <int N, typename T>
__device__ __forceinline__ void zk_store_values(T *p, int64_t i, int64_t n, const zk_values<N> &v) {
  if (zk_is_whole<N>(p, i, n)) {
    if constexpr (zk_is_packed<N, T>) {
      zk_words<N / 2> words;
      for (int j = 0; j < N; j += 2) words.w[j / 2] = zk_pack_bf16(v.at[j], v.at[j + 1]);
      *(zk_words<N / 2> *)(p + i) = words;
    } else {
      zk_stored<T, N> stored;
      for (int j = 0; j < N; j++) zk_store(stored.at, j, v.at[j]);
      *(zk_stored<T, N> *)(p + i) = stored;
    }
  } else {
    for (int j = 0; j < N && i + j < n; j++) zk_store(p, i + j, v.at[j]);
  }
}

// src[i .. i + N) to dst, bits unchanged.
template <int N, typename T> __device__ __forceinline__ void zk_copy_values(T *dst, const T *src, int64_t i, int64_t n) {
  if (zk_is_whole<N>(dst, i, n) && zk_is_whole<N>(src, i, n)) {
    *(zk_stored<T, N> *)(dst + i) = *(const zk_stored<T, N> *)(src + i);
  } else {
    for (int j = 0; j < N && i + j < n; j++) dst[i + j] = src[i + j];
  }
}

// Elementwise kernels: a thread has one group of N elements, a block 256 threads.
#define ZK_VALUE_THREADS 256
template <int N> static inline unsigned zk_value_blocks(int64_t num_elements) {
  const int64_t a_block = (int64_t)N * ZK_VALUE_THREADS;
  return (unsigned)zk_ceil_div(num_elements, a_block);
}
template <int N> __device__ __forceinline__ int64_t zk_first_value() {
  return ((int64_t)blockIdx.x * ZK_VALUE_THREADS + threadIdx.x) * N;
}

#endif
