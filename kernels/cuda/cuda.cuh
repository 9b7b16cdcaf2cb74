// What every CUDA file of this folder stands on: errors as statuses, launches, stored types, the device's error word. Kernels and launchers only;
// they use plain C++ and the few built-ins named here, so that tests/simt can run them on a CPU as well.
#ifndef ZK_KERNELS_CUDA_CUH
#define ZK_KERNELS_CUDA_CUH

#include <cuda_runtime.h>

#include "kernels/backend.h"
#include "kernels/bf16.h"
#include "kernels/cuda/native.h"
#include "kernels/cuda/overlap.h"

// Returns ZK_DEVICE with CUDA's text from a function that returns zk_status.
#define ZK_CUDA(call)                                                                                                  \
  do {                                                                                                                 \
    cudaError_t zk_error_ = (call);                                                                                    \
    if (zk_error_ != cudaSuccess) return zk_cuda_fail(zk_error_, #call, __FILE__, __LINE__, __func__);                 \
  } while (0)

extern "C" zk_status zk_cuda_fail(cudaError_t error, const char *call, const char *file, int line, const char *func);
// A stream's error word, in host memory that kernels can write: 0, or what a kernel found wrong (zk_cuda_raise).
extern "C" unsigned long long *zk_cuda_error_word(zk_stream *stream);
extern "C" void **zk_cuda_vendor_handle(zk_stream *stream); // the stream's cuBLAS handle, NULL until one is made
// Counters in device memory for kernels whose blocks share out their work as they go: 0 between kernels, each leaves them so.
#define ZK_CUDA_NUM_COUNTERS 2
extern "C" uint32_t *zk_cuda_counters(zk_stream *stream);
extern "C" int zk_cuda_num_sms(const zk_device *device);
extern "C" int zk_cuda_ordinal(const zk_device *device);

#ifndef ZK_SIMT // tests/simt gives its own
// Launches kernel<<<grid, block, smem>>>(...) on a zk_stream; a statement in a function that returns zk_status. A kernel with a comma in its template
// arguments goes in parentheses.
#define ZK_LAUNCH(kernel, grid, block, smem, stream, ...)                                                              \
  do {                                                                                                                 \
    if ((smem) > 48 * 1024) ZK_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(smem))); \
    kernel<<<(grid), (block), (smem), zk_cuda_stream(stream)>>>(__VA_ARGS__);                                          \
    ZK_CUDA(cudaGetLastError());                                                                                       \
  } while (0)
// The same, of a kernel in which every thread that reads or writes global memory calls zk_wait_for_previous() before it does: on a stream
// that overlaps (zk_cuda_overlap) its blocks may start as the previous kernel's drain. Before that call it may read weights, and what a copy from
// the host brought before such a stretch (a step's arrays).
#define ZK_LAUNCH_DEPENDENT(kernel, grid, block, smem, stream, ...)                                                    \
  ZK_LAUNCH_EARLY(zk_cuda_overlap(stream), kernel, grid, block, smem, stream, __VA_ARGS__)
// The same, but `early` says whether its blocks may start so: true for a kernel that reads nothing at all before it has waited.
#define ZK_LAUNCH_EARLY(early, kernel, grid, block, smem, stream, ...)                                                 \
  do {                                                                                                                 \
    if ((smem) > 48 * 1024) ZK_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(smem))); \
    cudaLaunchAttribute zk_attribute_ = {};                                                                            \
    zk_attribute_.id = cudaLaunchAttributeProgrammaticStreamSerialization;                                             \
    zk_attribute_.val.programmaticStreamSerializationAllowed = 1;                                                      \
    cudaLaunchConfig_t zk_config_ = {};                                                                                \
    zk_config_.gridDim = (grid), zk_config_.blockDim = (block), zk_config_.dynamicSmemBytes = (size_t)(smem);          \
    zk_config_.stream = zk_cuda_stream(stream);                                                                        \
    zk_config_.attrs = &zk_attribute_, zk_config_.numAttrs = (early) ? 1 : 0;                                          \
    ZK_CUDA(cudaLaunchKernelEx(&zk_config_, kernel, __VA_ARGS__));                                                     \
  } while (0)
// As ZK_LAUNCH_DEPENDENT, of a kernel with __cluster_dims__(blocks, 1, 1): it says so itself, to all but the emulated device.
#define ZK_LAUNCH_CLUSTERS(blocks, ...) ZK_LAUNCH_DEPENDENT(__VA_ARGS__)
#define ZK_DYNAMIC_SHARED(type, name)                                                                                  \
  extern __shared__ __align__(1024) unsigned char zk_dynamic_shared_[];                                                \
  type *name = reinterpret_cast<type *>(zk_dynamic_shared_)
// Programmatic dependent launch, in a kernel of ZK_LAUNCH_DEPENDENT (nothing happens in others): waits until all that is ahead on the stream
// has ended and its writes are seen; and lets the next kernel's blocks start where there is room, once every block here has called it or ended.
static __device__ __forceinline__ void zk_wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
static __device__ __forceinline__ void zk_let_next_start() { asm volatile("griddepcontrol.launch_dependents;"); }
#else // blocks of the emulated device run one kernel after the other
#define ZK_LAUNCH_DEPENDENT ZK_LAUNCH
#define ZK_LAUNCH_EARLY(early, ...) ZK_LAUNCH(__VA_ARGS__)
#define ZK_LAUNCH_CLUSTERS(blocks, kernel, grid, block, smem, stream, ...)                                             \
  zk_simt_launch_together(zk_cuda_stream(stream), (grid), (block), (size_t)(smem), (blocks), zk_simt_kernel_of(kernel)(__VA_ARGS__))
static inline void zk_wait_for_previous() {}
static inline void zk_let_next_start() {}
#endif

// Stored elements as floats.
static __device__ __forceinline__ float zk_load(const float *p, int64_t i) { return p[i]; }
static __device__ __forceinline__ float zk_load(const zk_bf16 *p, int64_t i) { return zk_bf16_to_float(p[i]); }
static __device__ __forceinline__ void zk_store(float *p, int64_t i, float v) { p[i] = v; }
static __device__ __forceinline__ void zk_store(zk_bf16 *p, int64_t i, float v) { p[i] = zk_float_to_bf16(v); }

// What a kernel can find wrong with its input. The word keeps the largest code and its smallest index; zk_stream_wait makes it ZK_BAD_INPUT.
typedef enum { ZK_CUDA_BAD_TOKEN = 1, ZK_CUDA_BAD_TARGET = 2 } zk_cuda_problem;
static __device__ __forceinline__ void zk_cuda_raise(unsigned long long *word, zk_cuda_problem problem, int64_t index) {
  atomicMax(word, ((unsigned long long)problem << 56) | (0xffffffffffffffull - (unsigned long long)index));
}

static __host__ __device__ __forceinline__ int64_t zk_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

#endif
