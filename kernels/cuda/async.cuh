// What lets the warps of a block work on different things at a time: barriers in shared memory that count arrivals and
// copied bytes (mbarrier), barriers among some warps, clusters of blocks, and registers moved between warpgroups. None
// of it computes anything.
//
// An mbarrier is in phase 0, 1, 2, ...; a phase ends when its arrivals are all there and its expected bytes have
// landed. zk_mbar_wait(bar, parity) returns once the phase of that parity is over: a ring's consumer waits for parity 0
// in its first round, its producer for parity 1, which is over from the start.
//
// The emulated device has its own of all this (tests/simt/include/hopper.h).
#ifndef ZK_KERNELS_CUDA_ASYNC_CUH
#define ZK_KERNELS_CUDA_ASYNC_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#ifndef ZK_SIMT

// An address of shared memory as the instructions below want it.
static __device__ __forceinline__ uint32_t zk_shared_address(const void *p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}

// ---- mbarriers

static __device__ __forceinline__ void zk_mbar_init(uint64_t *bar, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(zk_shared_address(bar)), "r"(arrivals) : "memory");
}
// After the last init, by the thread that made them: the copy engine and the cluster see them (once a barrier of
// threads has followed).
static __device__ __forceinline__ void zk_mbar_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
static __device__ __forceinline__ void zk_mbar_arrive(uint64_t *bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(zk_shared_address(bar)) : "memory");
}
// As so many arrivals.
static __device__ __forceinline__ void zk_mbar_arrive_many(uint64_t *bar, uint32_t count) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(zk_shared_address(bar)), "r"(count) : "memory");
}
// Arrives, and makes the phase wait for so many bytes more.
static __device__ __forceinline__ void zk_mbar_arrive_expect(uint64_t *bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(zk_shared_address(bar)), "r"(bytes)
               : "memory");
}
// Arrives at the same barrier of another block of the cluster (or of this one): says that this thread is done reading.
// It publishes no writes to that block; that would cost a fence of the whole GPU.
static __device__ __forceinline__ void zk_mbar_arrive_at(uint64_t *bar, uint32_t block_in_cluster) {
  asm volatile("{\n"
               ".reg .b32 there;\n"
               "mapa.shared::cluster.u32 there, %0, %1;\n"
               "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
               "}" ::"r"(zk_shared_address(bar)),
               "r"(block_in_cluster)
               : "memory");
}
static __device__ __forceinline__ bool zk_mbar_try(uint64_t *bar, uint32_t parity) {
  uint32_t done;
  asm volatile("{\n"
               ".reg .pred p;\n"
               "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
               "selp.u32 %0, 1, 0, p;\n"
               "}"
               : "=r"(done)
               : "r"(zk_shared_address(bar)), "r"(parity)
               : "memory");
  return done != 0;
}
// The same without waiting at all.
static __device__ __forceinline__ bool zk_mbar_is_over(uint64_t *bar, uint32_t parity) {
  uint32_t done;
  asm volatile("{\n"
               ".reg .pred p;\n"
               "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
               "selp.u32 %0, 1, 0, p;\n"
               "}"
               : "=r"(done)
               : "r"(zk_shared_address(bar)), "r"(parity)
               : "memory");
  return done != 0;
}
static __device__ __forceinline__ void zk_mbar_wait(uint64_t *bar, uint32_t parity) {
#ifdef ZK_SPIN_LIMIT // a wait that never ends becomes an error
  for (int i = 0; !zk_mbar_try(bar, parity); i++)
    if (i == ZK_SPIN_LIMIT) asm volatile("trap;");
#else
  while (!zk_mbar_try(bar, parity)) {}
#endif
}

// ---- threads and proxies

// Shared memory written by this thread's ordinary stores may now be read by the copy engine or wgmma (once a barrier of
// threads has followed).
static __device__ __forceinline__ void zk_fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// What other blocks' copy engines wrote to global memory before they told of it may now be read by this one's.
static __device__ __forceinline__ void zk_fence_async_all() { asm volatile("fence.proxy.async;" ::: "memory"); }

// Queues a copy of 16 bytes of global memory to shared memory, or of zeros; done after zk_copy_wait, for this thread.
static __device__ __forceinline__ void zk_copy_16_or_zero(void *to, const void *from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(zk_shared_address(to)), "l"(from), "r"(there ? 16 : 0)
               : "memory");
}
static __device__ __forceinline__ void zk_copy_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Fetches the cache line to L2.
static __device__ __forceinline__ void zk_prefetch_l2(const void *p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

// A barrier among `threads` threads of the block, whole warps; 0 is __syncthreads's own.
static __device__ __forceinline__ void zk_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// Arrives at such a barrier without waiting for the others.
static __device__ __forceinline__ void zk_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// The same as zk_barrier; whether `holds` held for all of them.
static __device__ __forceinline__ bool zk_barrier_all(int id, int threads, bool holds) {
  uint32_t all;
  asm volatile("{\n"
               ".reg .pred mine, of_all;\n"
               "setp.ne.u32 mine, %3, 0;\n"
               "bar.red.and.pred of_all, %1, %2, mine;\n"
               "selp.u32 %0, 1, 0, of_all;\n"
               "}"
               : "=r"(all)
               : "r"(id), "r"(threads), "r"((uint32_t)holds)
               : "memory");
  return all != 0;
}

// Registers of a warpgroup, given back or taken; a multiple of 8. The kernel needs __launch_bounds__(threads, 1), and
// each role is one branch of one if.
template <int REGISTERS> static __device__ __forceinline__ void zk_registers_give() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS> static __device__ __forceinline__ void zk_registers_take() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// ---- clusters

static __device__ __forceinline__ uint32_t zk_block_in_cluster() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// All threads of all blocks of the cluster.
static __device__ __forceinline__ void zk_cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n"
               "barrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

#endif
#endif
