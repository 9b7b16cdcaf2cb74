// The emulated device's own of what kernels/cuda/async.cuh, cluster.cuh, tma.cuh, wgmma.cuh and words.cuh wrap of Hopper's instructions; what each does is
// said there. Copies land, and steps are done, as late as they may, or at random (order.h).
#ifndef ZK_SIMT_HOPPER_H
#define ZK_SIMT_HOPPER_H

#include "kernels/device.h"

// ---- async.cuh

uint32_t zk_shared_address(const void *p); // bytes into the block's shared memory
void zk_mbar_init(uint64_t *bar, int arrivals);
static inline void zk_mbar_init_done() {}
void zk_mbar_arrive(uint64_t *bar);
void zk_mbar_arrive_many(uint64_t *bar, uint32_t count);
void zk_mbar_arrive_expect(uint64_t *bar, uint32_t bytes);
void zk_mbar_arrive_at(uint64_t *bar, uint32_t block_in_cluster);
bool zk_mbar_try(uint64_t *bar, uint32_t parity);
bool zk_mbar_is_over(uint64_t *bar, uint32_t parity);
void zk_mbar_wait(uint64_t *bar, uint32_t parity);
static inline void zk_fence_async() {}
static inline void zk_fence_async_all() {}
static inline void zk_prefetch_l2(const void *) {}
void zk_copy_16_or_zero(void *to, const void *from, bool there);
void zk_copy_wait(void);
void zk_barrier(int id, int threads);
void zk_barrier_arrive(int id, int threads);
bool zk_barrier_all(int id, int threads, bool holds);
template <int REGISTERS> static inline void zk_registers_give() {}
template <int REGISTERS> static inline void zk_registers_take() {}
uint32_t zk_block_in_cluster(void);
void zk_cluster_sync(void);

// ---- cluster.cuh

void zk_cluster_arrive(void);
void zk_cluster_wait(void);
uint32_t zk_cluster_address(const void *p, uint32_t block);
void zk_cluster_store_async(uint32_t to, uint32_t bar, float x);
void zk_cluster_store_async(uint32_t to, uint32_t bar, float x, float y);

// ---- tma.cuh

typedef enum { CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B } CUtensorMapSwizzle;
struct alignas(64) CUtensorMap {
  const void *base;
  uint64_t dims[5], strides[4];
  uint32_t box[5];
  int32_t rank, element_bytes;
  CUtensorMapSwizzle swizzle;
};
void zk_simt_load_box(uint32_t blocks, void *to, const CUtensorMap *map, uint64_t *bar, int rank, const int (&first)[5]); // blocks 0: this one
void zk_simt_wait_stores(int most, bool written);
static inline void zk_tma_prefetch_map(const CUtensorMap *) {}
static inline void zk_tma_acquire_map(const CUtensorMap *) {}
void zk_tma_load(void *to, const void *from, uint32_t bytes, uint64_t *bar);
static inline void zk_tma_load_2d(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y) { zk_simt_load_box(0, to, map, bar, 2, {x, y}); }
static inline void zk_tma_load_3d(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y, int z) { zk_simt_load_box(0, to, map, bar, 3, {x, y, z}); }
static inline void zk_tma_load_5d(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y, int z, int w, int v) {
  zk_simt_load_box(0, to, map, bar, 5, {x, y, z, w, v});
}
static inline void zk_tma_load_2d_to(uint16_t blocks, void *to, const CUtensorMap *map, uint64_t *bar, int x, int y) {
  zk_simt_load_box(blocks, to, map, bar, 2, {x, y});
}
void zk_tma_store_2d(const CUtensorMap *map, const void *from, int x, int y);
void zk_tma_store(void *to, const void *from, uint32_t bytes);
void zk_tma_add(float *to, const float *from, uint32_t bytes);
void zk_tma_commit(void);
template <int GROUPS> static inline void zk_tma_wait_read() { zk_simt_wait_stores(GROUPS, false); }
template <int GROUPS> static inline void zk_tma_wait_written() { zk_simt_wait_stores(GROUPS, true); }

// ---- wgmma.cuh

void zk_simt_wgmma(float *d, int n, const uint32_t *a_words, uint64_t a, uint64_t b, bool a_outer, bool b_outer, bool accumulate);
void zk_simt_wgmma_commit(void);
void zk_simt_wgmma_wait(int most);
static inline void zk_wgmma_begin() {}
static inline void zk_wgmma_commit() { zk_simt_wgmma_commit(); }
template <int GROUPS> static inline void zk_wgmma_wait() { zk_simt_wgmma_wait(GROUPS); }
template <int FROM = 0, int TO = -1, int N> static inline void zk_wgmma_settle(float (&)[N]) {}
template <int N> static inline void zk_wgmma_forget(float (&d)[N]) {
  for (float &x : d) x = 0.0f;
}
template <bool A_OUTER, bool B_OUTER, int REGISTERS> static inline void zk_wgmma(float (&d)[REGISTERS], uint64_t a, uint64_t b, int accumulate) {
  zk_simt_wgmma(d, 2 * REGISTERS, nullptr, a, b, A_OUTER, B_OUTER, accumulate != 0);
}
template <bool B_OUTER, int REGISTERS> static inline void zk_wgmma_ra(float (&d)[REGISTERS], const uint32_t a[4], uint64_t b, int accumulate) {
  zk_simt_wgmma(d, 2 * REGISTERS, a, 0, b, false, B_OUTER, accumulate != 0);
}

// ---- words.cuh: the emulated device's memory is as strong as the CPU's

void zk_simt_look_again(void); // between two looks at words that somebody may still have to write: waits if none has been written since the last time
void zk_simt_look_at(const void *word); // before a look at one: the same, if the thread's last look was at it
void zk_simt_word_is_written(void);

// ---- launches of several blocks at once

struct cudaLaunchAttributeValue {
  int cooperative;
  struct { unsigned x, y, z; } clusterDim;
  int programmaticStreamSerializationAllowed;
};
typedef enum { cudaLaunchAttributeCooperative, cudaLaunchAttributeClusterDimension, cudaLaunchAttributeProgrammaticStreamSerialization } cudaLaunchAttributeID;
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute *attrs;
  unsigned numAttrs;
};
typedef enum { cudaFuncAttributeMaxDynamicSharedMemorySize } cudaFuncAttribute;
template <class F> static inline cudaError_t cudaFuncSetAttribute(F, cudaFuncAttribute, int) { return cudaSuccess; }
void zk_simt_launch_together(zk_simt_stream *stream, dim3 grid, dim3 block, size_t shared_bytes, int blocks_at_once, std::function<void()> body);
template <class... P, class... A> static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...), A... a) {
  int at_once = 1;
  for (unsigned i = 0; i < config->numAttrs; i++) {
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension) at_once = (int)config->attrs[i].val.clusterDim.x;
    if (config->attrs[i].id == cudaLaunchAttributeCooperative) at_once = (int)(config->gridDim.x * config->gridDim.y * config->gridDim.z);
  }
  zk_simt_launch_together(config->stream, config->gridDim, config->blockDim, config->dynamicSmemBytes, at_once, zk_simt_kernel_of(kernel)(a...));
  return cudaSuccess;
}
template <class F> static inline cudaError_t cudaOccupancyMaxActiveClusters(int *out, F, const cudaLaunchConfig_t *) { return *out = 2, cudaSuccess; }

#endif
