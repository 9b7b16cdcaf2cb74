// Words of global memory by which blocks that run at once tell each other something: read, written and counted with the
// order that each needs. Relaxed: the word itself is all that is told. Release and acquire: what the writer's thread
// wrote before is seen by the reader's after.
//
// Who waits for words looks at them again and again, with zk_word_again() in between: nothing on a GPU; on the emulated
// device it waits until somebody has written a word since. zk_word_acquire of one word, twice, does so by itself.
#ifndef ZK_KERNELS_CUDA_WORDS_CUH
#define ZK_KERNELS_CUDA_WORDS_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#ifndef ZK_SIMT

static __device__ __forceinline__ void zk_word_again() {}
static __device__ __forceinline__ uint32_t zk_word_acquire(const uint32_t *from) {
  uint32_t v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}
static __device__ __forceinline__ void zk_word_add_release(uint32_t *to, uint32_t n) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(to), "r"(n) : "memory");
}
// What was there before.
static __device__ __forceinline__ uint32_t zk_word_add_acq_rel(uint32_t *to, uint32_t n) {
  uint32_t before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(to), "r"(n) : "memory");
  return before;
}

static __device__ __forceinline__ void zk_word_put(uint32_t *to, uint32_t v) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(v) : "memory");
}
static __device__ __forceinline__ void zk_word_put(uint64_t *to, uint64_t v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(to), "l"(v) : "memory");
}
static __device__ __forceinline__ void zk_word_put(ulonglong2 *to, uint64_t x, uint64_t y) {
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(x), "l"(y) : "memory");
}
// Four words; each of them is read whole.
static __device__ __forceinline__ uint4 zk_word_get4(const uint32_t *from) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from)
               : "memory");
  return v;
}
static __device__ __forceinline__ uint64_t zk_word_get(const uint64_t *from) {
  uint64_t v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(from) : "memory");
  return v;
}
static __device__ __forceinline__ ulonglong2 zk_word_get(const ulonglong2 *from) {
  ulonglong2 v;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(v.x), "=l"(v.y) : "l"(from) : "memory");
  return v;
}

#else

static inline void zk_word_again() { zk_simt_look_again(); }
static inline uint32_t zk_word_acquire(const uint32_t *from) {
  zk_simt_look_at(from);
  return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}
static inline uint32_t zk_word_add_acq_rel(uint32_t *to, uint32_t n) {
  const uint32_t before = __atomic_fetch_add(to, n, __ATOMIC_ACQ_REL);
  zk_simt_word_is_written();
  return before;
}
static inline void zk_word_add_release(uint32_t *to, uint32_t n) { (void)zk_word_add_acq_rel(to, n); }

template <class T> static inline void zk_word_put(T *to, T v) { __atomic_store_n(to, v, __ATOMIC_RELAXED), zk_simt_word_is_written(); }
static inline void zk_word_put(ulonglong2 *to, uint64_t x, uint64_t y) { *to = {x, y}, zk_simt_word_is_written(); }
static inline uint4 zk_word_get4(const uint32_t *from) { return *(const uint4 *)from; }
static inline uint64_t zk_word_get(const uint64_t *from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }
static inline ulonglong2 zk_word_get(const ulonglong2 *from) { return *from; }

#endif
#endif
