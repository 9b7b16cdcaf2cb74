// Stands in for the CUDA headers when kernels/cuda/*.cu are compiled for a CPU: the built-ins those files use, and nothing else.
// Threads of a block are fibers of one OS thread (simt.cpp); blocks run one after another on each OS thread.
#ifndef ZK_SIMT_CUDA_RUNTIME_H
#define ZK_SIMT_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define ZK_SIMT 1
#define CUDART_VERSION 0
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline, unused))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local
#define __restrict__ __restrict
#define __grid_constant__

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) ulonglong2 { unsigned long long x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// ---- where a thread is

struct zk_simt_place {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
  void *shared;
};
extern thread_local zk_simt_place *zk_simt_here;
#define threadIdx (zk_simt_here->thread)
#define blockIdx (zk_simt_here->block)
// Not macros: a launch's description has members of these names.
#define ZK_SIMT_EXTENT(name, of)                                                                                       \
  static const struct {                                                                                                \
    struct { operator unsigned() const { return zk_simt_here->of.x; } } x;                                             \
    struct { operator unsigned() const { return zk_simt_here->of.y; } } y;                                             \
    struct { operator unsigned() const { return zk_simt_here->of.z; } } z;                                             \
  } name __attribute__((unused)) = {}
ZK_SIMT_EXTENT(blockDim, block_dim);
ZK_SIMT_EXTENT(gridDim, grid_dim);
#define warpSize 32
#define ZK_DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(zk_simt_here->shared)

// A kernel with its arguments, taken when it is launched: it runs when its stream gets to it.
template <class... P> struct zk_simt_kernel {
  void (*kernel)(P...);
  std::function<void()> operator()(P... p) const {
    return [=, kernel = kernel] { kernel(p...); };
  }
};
template <class... P> static inline zk_simt_kernel<P...> zk_simt_kernel_of(void (*kernel)(P...)) { return {kernel}; }
void zk_simt_launch(struct zk_simt_stream *stream, dim3 grid, dim3 block, size_t shared_bytes, std::function<void()> body);
#define ZK_LAUNCH(kernel, grid, block, smem, stream, ...)                                                              \
  zk_simt_launch(zk_cuda_stream(stream), (grid), (block), (size_t)(smem), zk_simt_kernel_of(kernel)(__VA_ARGS__))

// ---- together with other threads

void __syncthreads(void);
int __syncthreads_or(int predicate);
int __syncthreads_and(int predicate);
int __syncthreads_count(int predicate);
void zk_simt_warp_exchange(unsigned mask, const void *mine, size_t bytes, const void **all, size_t *stride); // every lane's `bytes` bytes, lane i at all + i * stride
static inline void __syncwarp(unsigned mask = 0xffffffffu) {
  const void *all;
  size_t stride;
  zk_simt_warp_exchange(mask, "", 0, &all, &stride);
}
unsigned zk_simt_lane(void);
template <typename T> static inline T zk_simt_from(unsigned mask, T v, unsigned lane) {
  const void *all;
  size_t stride;
  zk_simt_warp_exchange(mask, &v, sizeof v, &all, &stride);
  T out;
  memcpy(&out, static_cast<const char *>(all) + lane % 32 * stride, sizeof out);
  return out;
}
template <typename T> static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
  return zk_simt_from(mask, v, (zk_simt_lane() & ~(unsigned)(width - 1)) | ((unsigned)lane & (unsigned)(width - 1)));
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int = 32) { return zk_simt_from(mask, v, zk_simt_lane() ^ (unsigned)bits); }
template <typename T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const unsigned lane = zk_simt_lane(), to = lane % (unsigned)width + delta;
  return zk_simt_from(mask, v, to < (unsigned)width ? lane + delta : lane);
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const unsigned lane = zk_simt_lane();
  return zk_simt_from(mask, v, lane % (unsigned)width >= delta ? lane - delta : lane);
}
unsigned __ballot_sync(unsigned mask, int predicate);
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
static inline unsigned __activemask(void) { return 0xffffffffu; }
static inline void __threadfence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block(void) {}

template <typename T> static inline T atomicAdd(T *p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
template <typename T> static inline T atomicOr(T *p, T v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }
template <typename T> static inline T atomicExch(T *p, T v) { return __atomic_exchange_n(p, v, __ATOMIC_RELAXED); }
template <typename T> static inline T atomicCAS(T *p, T expected, T v) {
  __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <typename T> static inline T atomicMax(T *p, T v) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (old < v && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return old;
}
template <typename T> static inline T atomicMin(T *p, T v) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (v < old && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return old;
}

// One tensor-core step of a warp, by the integer model (kernels/cuda/mma.cuh says which lane holds what).
void zk_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]);

// ---- numbers

template <typename T> static inline T min(T a, T b) { return b < a ? b : a; }
template <typename T> static inline T max(T a, T b) { return a < b ? b : a; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
static inline int __float_as_int(float x) { return (int)__float_as_uint(x); }
static inline float __int_as_float(int u) { return __uint_as_float((unsigned)u); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned which) { // without the sign's copies
  const uint64_t both = (uint64_t)b << 32 | a;
  unsigned out = 0;
  for (int i = 0; i < 4; i++) out |= (unsigned)(both >> 8 * (which >> 4 * i & 7) & 255) << 8 * i;
  return out;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
template <typename T> static inline T __ldg(const T *p) { return *p; }
template <typename T> static inline T __ldcg(const T *p) { return *p; }

// ---- the host's side

typedef enum { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorInsufficientDriver, cudaErrorInvalidValue, cudaErrorNotSupported, cudaErrorNotReady, cudaErrorLaunchFailure } cudaError_t;
typedef struct zk_simt_stream *cudaStream_t;
typedef enum { cudaMemcpyDefault, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice } cudaMemcpyKind;
enum { cudaStreamNonBlocking = 1 };
enum { cudaHostAllocPortable = 1, cudaHostAllocMapped = 2 };
struct cudaDeviceProp {
  char name[64];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem;
  struct { char bytes[16]; } uuid;
};
cudaError_t cudaMalloc(void **out, size_t bytes);
template <typename T> static inline cudaError_t cudaMalloc(T **out, size_t bytes) { return cudaMalloc(reinterpret_cast<void **>(out), bytes); }
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream = nullptr);
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream = nullptr);
static inline cudaError_t cudaMemset(void *dst, int value, size_t bytes) { return cudaMemsetAsync(dst, value, bytes); }
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int ordinal);
static inline cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
static inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
extern bool zk_simt_is_lost; // a kernel died: the device fails from then on, and says so when it is waited for
static inline void __trap(void) { zk_simt_is_lost = true; }
static inline cudaError_t cudaGetLastError(void) { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize(void);
// A stream keeps what is queued and does it when somebody waits: as late as a GPU may, so that a host which reads too early, or writes over what
// is still to be read, is found out. Events hold the time of the CPU's clock. The default stream's work is done at once.
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, int flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaHostAlloc(void **out, size_t bytes, int flags);
cudaError_t cudaFreeHost(void *memory);
typedef struct zk_simt_event *cudaEvent_t;
cudaError_t cudaEventCreate(cudaEvent_t *out);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop);
// A graph is what was queued while its stream was captured.
typedef struct zk_simt_graph *cudaGraph_t;
typedef struct zk_simt_graph *cudaGraphExec_t;
typedef enum { cudaStreamCaptureModeRelaxed } cudaStreamCaptureMode;
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);
static inline cudaError_t cudaRuntimeGetVersion(int *version) { return *version = CUDART_VERSION, cudaSuccess; }
static inline cudaError_t cudaDriverGetVersion(int *version) { return *version = CUDART_VERSION, cudaSuccess; }
static inline const char *cudaGetErrorString(cudaError_t) { return "error of the emulated device"; }
static inline const char *cudaGetErrorName(cudaError_t) { return "emulated"; }

#include "hopper.h"

#endif
