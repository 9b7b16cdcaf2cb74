// What blocks of a cluster tell each other: their common barrier in two halves, and stores into another's shared memory.
// The emulated device has its own of all this (tests/simt/include/hopper.h).
#ifndef ZK_KERNELS_CUDA_CLUSTER_CUH
#define ZK_KERNELS_CUDA_CLUSTER_CUH

#include "kernels/cuda/async.cuh"

#ifndef ZK_SIMT

// All threads of all blocks of the cluster arrive, and each waits for all, whole warps together. It publishes no writes:
// that would wait for all of the thread's stores and copies (zk_cluster_sync).
static __device__ __forceinline__ void zk_cluster_arrive() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
static __device__ __forceinline__ void zk_cluster_wait() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }
// The address, in block `block` of the cluster, of what lies at p in this one.
static __device__ __forceinline__ uint32_t zk_cluster_address(const void *p, uint32_t block) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(zk_shared_address(p)), "r"(block));
  return there;
}
// Stores there; `bar`, an mbarrier of that block, counts the bytes once they have landed.
static __device__ __forceinline__ void zk_cluster_store_async(uint32_t to, uint32_t bar, float x) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %2, [%1];" ::"r"(to), "r"(bar), "f"(x)
               : "memory");
}
static __device__ __forceinline__ void zk_cluster_store_async(uint32_t to, uint32_t bar, float x, float y) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%2, %3}, [%1];" ::"r"(to), "r"(bar),
               "f"(x), "f"(y)
               : "memory");
}

#endif
#endif
