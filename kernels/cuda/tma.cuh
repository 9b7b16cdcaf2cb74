// Tiles of an array copied between global and shared memory by the copy engine (TMA). A tensor map, made on the host
// and handed to the kernel by value (const __grid_constant__ CUtensorMap), says what the array is and how large a box
// one copy moves. What lies outside the array is read as +0 and not written; a box always counts all its bytes.
//
// With ZK_TMA_SWIZZLE_128 a box row is 128 bytes (64 bf16) and the 16-byte piece c of row r lies at piece c ^ (r % 8)
// of that row, counted from a 1024-byte boundary: what wgmma reads without bank conflicts (wgmma.cuh).
//
// The emulated device has its own of all but the maps' making (tests/simt/include/hopper.h).
#ifndef ZK_KERNELS_CUDA_TMA_CUH
#define ZK_KERNELS_CUDA_TMA_CUH

#include "kernels/cuda/async.cuh"

#ifndef ZK_SIMT
#include <cuda.h>
#endif

#include "kernels/device.h"

// The host's side: a map of a row-major array of `rank` dimensions (2..5), the fastest first. strides[i] is the bytes
// from one index of dimension i + 1 to the next, a multiple of 16; base is a multiple of 16.
#define ZK_TMA_SWIZZLE_128 CU_TENSOR_MAP_SWIZZLE_128B
#define ZK_TMA_SWIZZLE_64 CU_TENSOR_MAP_SWIZZLE_64B
#define ZK_TMA_PLAIN CU_TENSOR_MAP_SWIZZLE_NONE
extern "C" zk_status zk_tma_map(zk_numerics numerics, int rank, const void *base, const uint64_t *dims,
                                const uint64_t *strides, const uint32_t *box, CUtensorMapSwizzle swizzle,
                                CUtensorMap *out);

// Of a matrix: `rows` rows of `columns` elements, `ld` elements from one to the next.
static inline zk_status zk_tma_map_2d(zk_numerics numerics, const void *base, int64_t rows, int64_t columns, int64_t ld,
                                      int box_rows, int box_columns, CUtensorMapSwizzle swizzle, CUtensorMap *out) {
  const uint64_t dims[] = {(uint64_t)columns, (uint64_t)rows};
  const uint64_t strides[] = {(uint64_t)ld * zk_numerics_bytes(numerics)};
  const uint32_t box[] = {(uint32_t)box_columns, (uint32_t)box_rows};
  return zk_tma_map(numerics, 2, base, dims, strides, box, swizzle, out);
}

#ifndef ZK_SIMT

// ---- loads: one thread asks, `bar` (of shared memory) counts the bytes

static __device__ __forceinline__ void zk_tma_prefetch_map(const CUtensorMap *map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// A map that lies in device memory, before a block's first use of it: who made it wrote it as ordinary memory, and the
// copy engine may know what lay there earlier. The block meets afterwards.
static __device__ __forceinline__ void zk_tma_acquire_map(const CUtensorMap *map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}
// `bytes` neighbouring bytes; both addresses and the size are multiples of 16.
static __device__ __forceinline__ void zk_tma_load(void *to, const void *from, uint32_t bytes, uint64_t *bar) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %3, [%2];"
               ::"r"(zk_shared_address(to)), "l"(from), "r"(zk_shared_address(bar)), "r"(bytes)
               : "memory");
}
// The box whose first element is column x of row y.
static __device__ __forceinline__ void zk_tma_load_2d(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
               ::"r"(zk_shared_address(to)), "l"(map), "r"(zk_shared_address(bar)), "r"(x), "r"(y)
               : "memory");
}
static __device__ __forceinline__ void zk_tma_load_3d(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y,
                                                      int z) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
               "[%2];" ::"r"(zk_shared_address(to)),
               "l"(map), "r"(zk_shared_address(bar)), "r"(x), "r"(y), "r"(z)
               : "memory");
}
static __device__ __forceinline__ void zk_tma_load_5d(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y,
                                                      int z, int w, int v) {
  asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
               "%6, %7}], [%2];" ::"r"(zk_shared_address(to)),
               "l"(map), "r"(zk_shared_address(bar)), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v)
               : "memory");
}
// The same into every block of the cluster whose bit is in `blocks`, at the same address, each counting at its own bar.
static __device__ __forceinline__ void zk_tma_load_2d_to(uint16_t blocks, void *to, const CUtensorMap *map,
                                                         uint64_t *bar, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
               "[%1, {%3, %4}], [%2], %5;" ::"r"(zk_shared_address(to)),
               "l"(map), "r"(zk_shared_address(bar)), "r"(x), "r"(y), "h"(blocks)
               : "memory");
}

// ---- stores: what one thread has asked for is one group at its commit

static __device__ __forceinline__ void zk_tma_store_2d(const CUtensorMap *map, const void *from, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
               "r"(zk_shared_address(from)), "r"(x), "r"(y)
               : "memory");
}
// `bytes` neighbouring bytes; both addresses and the size are multiples of 16.
static __device__ __forceinline__ void zk_tma_store(void *to, const void *from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(zk_shared_address(from)),
               "r"(bytes)
               : "memory");
}
// The same, each f32 added to what lies there, rounded to nearest. PTX's text says that subnormals are flushed; an H200 keeps them.
static __device__ __forceinline__ void zk_tma_add(float *to, const float *from, uint32_t bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
               "r"(zk_shared_address(from)), "r"(bytes)
               : "memory");
}
static __device__ __forceinline__ void zk_tma_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until at most GROUPS of this thread's groups have still to read their shared memory.
template <int GROUPS> static __device__ __forceinline__ void zk_tma_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(GROUPS) : "memory");
}

// Until at most GROUPS of this thread's groups have still to be written.
template <int GROUPS> static __device__ __forceinline__ void zk_tma_wait_written() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(GROUPS) : "memory");
}

#endif
#endif
