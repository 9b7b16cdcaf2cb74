// A CUDA GPU as a device: memory, copies, streams, errors. The kernels are in the other files of this folder.
#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/pages.h"
#include "kernels/cuda/queue.h"
#include "kernels/cuda/vendor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int ordinal, num_sms;
} cuda_state;

typedef struct {
  cudaStream_t stream;
  unsigned long long *error_word; // page-locked host memory that kernels write to: read without a copy once they are done
  uint32_t *counters;             // device, zk_cuda_counters, then zk_cuda_arrivals
  void *vendor_handle;
  bool overlap; // zk_cuda_overlap
} cuda_stream_state;

extern "C" zk_status zk_cuda_fail(cudaError_t error, const char *call, const char *file, int line, const char *func) {
  zk_status status = error == cudaErrorMemoryAllocation ? ZK_OUT_OF_MEMORY : ZK_DEVICE;
  const char *way_on = status == ZK_DEVICE ? ": the GPU is lost to this process; what is on disk is whole, the same command goes on from it "
                                              "(CUDA_LAUNCH_BLOCKING=1 names the kernel's place, dmesg a fault of the machine)"
                                            : "";
  status = ZK_FAIL(status, "CUDA: %s (%s) in %s%s", cudaGetErrorString(error), cudaGetErrorName(error), call, way_on);
  return zk_status_frame(status, file, line, func);
}

extern "C" cudaStream_t zk_cuda_stream(zk_stream *stream) {
  return stream->state != NULL ? static_cast<cuda_stream_state *>(stream->state)->stream : cudaStream_t(0);
}
extern "C" uint32_t *zk_cuda_counters(zk_stream *stream) { return static_cast<cuda_stream_state *>(stream->state)->counters; }
extern "C" uint32_t *zk_cuda_arrivals(zk_stream *stream) { return zk_cuda_counters(stream) + ZK_CUDA_NUM_COUNTERS; }
extern "C" unsigned long long *zk_cuda_error_word(zk_stream *stream) { return static_cast<cuda_stream_state *>(stream->state)->error_word; }
extern "C" void **zk_cuda_vendor_handle(zk_stream *stream) { return &static_cast<cuda_stream_state *>(stream->state)->vendor_handle; }
extern "C" void zk_cuda_set_overlap(zk_stream *stream, bool overlap) { static_cast<cuda_stream_state *>(stream->state)->overlap = overlap; }
extern "C" bool zk_cuda_overlap(zk_stream *stream) { return stream->state != NULL && static_cast<cuda_stream_state *>(stream->state)->overlap; }
extern "C" int zk_cuda_ordinal(const zk_device *device) { return static_cast<const cuda_state *>(device->state)->ordinal; }
extern "C" int zk_cuda_num_sms(const zk_device *device) { return static_cast<const cuda_state *>(device->state)->num_sms; }

static int cuda_count(void) {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess) n = 0;
  (void)cudaGetLastError();
  return n;
}

static zk_status no_device(int ordinal) {
  int n = 0;
  cudaError_t error = cudaGetDeviceCount(&n);
  (void)cudaGetLastError();
  if (error == cudaErrorInsufficientDriver)
    return ZK_FAIL(ZK_UNSUPPORTED, "device cuda: the NVIDIA driver is missing or older than this build's CUDA %d.%d: install a newer driver, or use device: cpu",
                   CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  if (error != cudaSuccess || n == 0)
    return ZK_FAIL(ZK_UNSUPPORTED, "device cuda: no GPU is visible (%s): check nvidia-smi and CUDA_VISIBLE_DEVICES, or use device: cpu",
                   error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error));
  if (ordinal < 0 || ordinal >= n)
    return ZK_FAIL(ZK_BAD_INPUT, "device cuda:%d: this machine shows %d GPU%s, numbered from 0", ordinal, n, n == 1 ? "" : "s");
  return ZK_OK;
}

static zk_status cuda_open(zk_device *device, int ordinal) {
  ZK_TRY(no_device(ordinal));
  cudaDeviceProp prop;
  ZK_CUDA(cudaGetDeviceProperties(&prop, ordinal));
  if (prop.major != 9)
    return ZK_FAIL(ZK_UNSUPPORTED, "device cuda:%d: %s has compute capability %d.%d; the kernels of this build are for 9.0 (Hopper): use such a GPU, or device: cpu",
                   ordinal, prop.name, prop.major, prop.minor);
  ZK_CUDA(cudaSetDevice(ordinal));
  cuda_state *state = static_cast<cuda_state *>(calloc(1, sizeof(cuda_state)));
  if (state == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a device");
  state->ordinal = ordinal;
  state->num_sms = prop.multiProcessorCount;
  device->state = state;
  uint64_t halves[2];
  memcpy(halves, &prop.uuid, sizeof halves);
  device->id = zk_mix64(halves[0], halves[1]);
  snprintf(device->description, sizeof device->description, "cuda:%d %.40s, %d SMs, %.0f GiB", ordinal, prop.name, state->num_sms,
           (double)prop.totalGlobalMem / 1073741824.0);
  return ZK_OK;
}

static void cuda_close(zk_device *device) {
  zk_cuda_drop_kept(device);
  free(device->state);
}

static size_t cuda_memory_free(const zk_device *device) {
  size_t available = 0, total = 0;
  if (cudaMemGetInfo(&available, &total) != cudaSuccess) available = 0;
  return available + zk_cuda_kept_bytes(device);
}

static zk_status cuda_alloc(zk_device *device, size_t bytes, void **out) {
  *out = NULL;
  if (cudaMalloc(out, bytes > 0 ? bytes : 64) == cudaSuccess) return ZK_OK;
  (void)cudaGetLastError();
  zk_cuda_drop_kept(device);
  ZK_CUDA(cudaMalloc(out, bytes > 0 ? bytes : 64));
  return ZK_OK;
}

static void cuda_free(zk_device *device, void *memory) { (void)cudaFree(memory); }

static zk_status cuda_copy(zk_stream *stream, void *dst, const void *src, size_t bytes) {
  if (bytes > 0) ZK_CUDA(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, zk_cuda_stream(stream)));
  return ZK_OK;
}

static zk_status cuda_fill(zk_stream *stream, void *dst, unsigned char byte, size_t bytes) {
  if (bytes > 0) ZK_CUDA(cudaMemsetAsync(dst, byte, bytes, zk_cuda_stream(stream)));
  return ZK_OK;
}

// grid: (pieces of a stretch, stretches).
static __global__ void zero_each_kernel(int64_t words, int64_t pitch, uint32_t *dst) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < words) dst[blockIdx.y * pitch + i] = 0;
}

static zk_status cuda_zero_each(zk_stream *stream, void *dst, size_t bytes, size_t pitch, int64_t num) {
  enum { THREADS = 256, MOST = 65535 }; // of a grid's second index
  if ((bytes | pitch | (uintptr_t)dst) % sizeof(uint32_t) != 0) { // a row of bf16, say, of an odd width
    for (int64_t i = 0; i < num; i++) ZK_TRY(cuda_fill(stream, (char *)dst + (size_t)i * pitch, 0, bytes));
    return ZK_OK;
  }
  for (int64_t i = 0; bytes > 0 && i < num; i += MOST)
    ZK_LAUNCH(zero_each_kernel, dim3((unsigned)zk_ceil_div((int64_t)bytes / 4, THREADS), (unsigned)(num - i < MOST ? num - i : MOST)), THREADS, 0, stream,
              (int64_t)bytes / 4, (int64_t)pitch / 4, (uint32_t *)dst + i * ((int64_t)pitch / 4));
  return ZK_OK;
}

// What a kernel raised, as a message; the word is cleared. Whatever could have raised it is done.
extern "C" zk_status zk_cuda_report_problem(zk_stream *stream) {
  volatile unsigned long long *error_word = zk_cuda_error_word(stream);
  const unsigned long long word = *error_word;
  if (word == 0) return ZK_OK;
  *error_word = 0;
  const char *what = word >> 56 == ZK_CUDA_BAD_TOKEN ? "embedding: row %llu has a token id outside the vocabulary"
                                                     : "lm head: row %llu wants a token outside the vocabulary";
  char text[128];
  snprintf(text, sizeof text, what, 0xffffffffffffffull - (word & 0xffffffffffffffull));
  return ZK_FAIL(ZK_BAD_INPUT, "%s", text);
}

static zk_status cuda_wait(zk_stream *stream) {
  ZK_CUDA(cudaStreamSynchronize(zk_cuda_stream(stream)));
  return stream->state != NULL ? zk_cuda_report_problem(stream) : ZK_OK;
}

static zk_status cuda_load_vendor(const zk_device *device) { return zk_cuda_vendor_load(); }

static zk_status cuda_stream_open(zk_stream *stream) {
  cuda_stream_state *state = static_cast<cuda_stream_state *>(calloc(1, sizeof(cuda_stream_state)));
  if (state == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a stream");
  cudaError_t error = cudaStreamCreateWithFlags(&state->stream, cudaStreamNonBlocking);
  if (error == cudaSuccess)
    error = cudaHostAlloc(reinterpret_cast<void **>(&state->error_word), sizeof *state->error_word, cudaHostAllocPortable | cudaHostAllocMapped);
  const size_t counters_bytes = (ZK_CUDA_NUM_COUNTERS + ZK_CUDA_NUM_ARRIVALS) * sizeof *state->counters;
  if (error == cudaSuccess) error = cudaMalloc(reinterpret_cast<void **>(&state->counters), counters_bytes);
  if (error == cudaSuccess) error = cudaMemset(state->counters, 0, counters_bytes);
  if (error == cudaSuccess) error = cudaDeviceSynchronize(); // they are zero before any kernel of this stream
  if (error != cudaSuccess) {
    if (state->stream != NULL) (void)cudaStreamDestroy(state->stream);
    (void)cudaFreeHost(state->error_word);
    (void)cudaFree(state->counters);
    free(state);
    ZK_CUDA(error);
  }
  *state->error_word = 0;
  // Nothing writes weights on a sampler's stream. A trainer's writes them by an ordinary kernel, and what is next reads them after a wait or a copy.
  state->overlap = stream->side != ZK_SIDE_NONE;
  stream->state = state;
  return ZK_OK;
}

static void cuda_stream_close(zk_stream *stream) {
  cuda_stream_state *state = static_cast<cuda_stream_state *>(stream->state);
  (void)cudaStreamSynchronize(state->stream);
  zk_cuda_vendor_close(state->vendor_handle);
  (void)cudaStreamDestroy(state->stream);
  (void)cudaFreeHost(state->error_word);
  (void)cudaFree(state->counters);
  free(state);
}

// The search for an element that is not zero is serial: faults are for tests.
static __global__ void flip_kernel(uint16_t *halves, size_t step, size_t n) {
  size_t i = n / 2;
  while (i + 1 < n && halves[i * step] == 0 && (step == 1 || halves[i * step + 1] == 0)) i++;
  for (; i < n; i += 61) halves[i * step] ^= 1u;
}

static zk_status cuda_flip(zk_stream *stream, void *out, size_t element_bytes, size_t n) {
  ZK_LAUNCH(flip_kernel, 1, 1, 0, stream, static_cast<uint16_t *>(out), element_bytes / sizeof(uint16_t), n);
  return ZK_OK;
}

// A kernel that dies: every later call on the device fails, as after an illegal address.
static __global__ void trap_kernel(void) { __trap(); }

static zk_status cuda_break_down(zk_stream *stream) {
  ZK_LAUNCH(trap_kernel, 1, 1, 0, stream);
  return ZK_OK;
}

extern "C" const zk_backend zk_backend_cuda = {
    cuda_count, cuda_open, cuda_close, cuda_memory_free, cuda_alloc, cuda_free,
    zk_cuda_reserve, zk_cuda_release, zk_cuda_map, zk_cuda_unmap, cuda_copy, cuda_fill, cuda_zero_each, cuda_wait,
    cuda_load_vendor, cuda_stream_open, cuda_stream_close,
    zk_cuda_host_alloc, zk_cuda_host_free, zk_cuda_mark_open, zk_cuda_mark_close, zk_cuda_mark_set, zk_cuda_mark_wait, zk_cuda_mark_seconds,
    zk_cuda_graph_begin, zk_cuda_graph_end, zk_cuda_graph_close, zk_cuda_graph_launch,
    cuda_flip, cuda_break_down,
};

extern "C" const zk_kernels zk_kernels_cuda = {
#define X(f) zk_cuda_##f,
    ZK_DEVICE_FUNCTIONS(X)
#undef X
};
