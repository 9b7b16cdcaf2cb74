// Random inputs on the GPU, and the time of calls by its events: a graph of many calls is replayed several times, and
// the median counts.
#include "kernels/cuda/bench.h"

#include <stdlib.h>

#include "kernels/cuda/cuda.cuh"

enum { FILL_THREADS = 256, MOST_CALLS = 32, MOST_SAMPLES = 40 };

template <class T>
static __global__ void __launch_bounds__(FILL_THREADS) fill(int64_t n, float scale, uint64_t seed, T *x) {
  const int64_t step = (int64_t)gridDim.x * FILL_THREADS;
  for (int64_t i = (int64_t)blockIdx.x * FILL_THREADS + threadIdx.x; i < n; i += step)
    zk_store(x, i, (float)(int32_t)(zk_mix64(seed, (uint64_t)i) >> 32) * 0x1p-31f * scale);
}

extern "C" zk_status zk_cuda_bench_fill(zk_stream *stream, zk_numerics numerics, int64_t n, float scale, uint64_t seed,
                                        void *x) {
  if (n == 0) return ZK_OK;
  const int64_t blocks = zk_ceil_div(n, FILL_THREADS);
  const unsigned grid = (unsigned)(blocks < 4096 ? blocks : 4096);
  if (numerics == ZK_F32)
    ZK_LAUNCH((fill<float>), grid, FILL_THREADS, 0, stream, n, scale, seed, static_cast<float *>(x));
  else ZK_LAUNCH((fill<zk_bf16>), grid, FILL_THREADS, 0, stream, n, scale, seed, static_cast<zk_bf16 *>(x));
  return ZK_OK;
}

#ifdef ZK_SIMT
extern "C" void *zk_cuda_bench_handle(zk_stream *stream) { return NULL; }
#else
extern "C" void *zk_cuda_bench_handle(zk_stream *stream) { return zk_cuda_stream(stream); }
#endif

extern "C" void zk_cuda_bench_versions(int *runtime, int *driver) {
  *runtime = *driver = 0;
  (void)cudaRuntimeGetVersion(runtime);
  (void)cudaDriverGetVersion(driver);
}

// ---- time

typedef struct {
  zk_stream *stream;
  zk_bench_call *call;
  void *arg;
  int calls;            // in one sample
  cudaGraphExec_t exec; // NULL: they are launched one by one
  cudaEvent_t start, stop;
} timer;

static zk_status call_all(const timer *t) {
  for (int i = 0; i < t->calls; i++) ZK_TRY(t->call(t->arg));
  return ZK_OK;
}

// Makes the graph, or leaves t->exec NULL when the call cannot be captured.
static void capture(timer *t) {
  cudaGraph_t graph = NULL;
  if (cudaStreamBeginCapture(zk_cuda_stream(t->stream), cudaStreamCaptureModeRelaxed) == cudaSuccess) {
    const zk_status called = call_all(t);
    const cudaError_t ended = cudaStreamEndCapture(zk_cuda_stream(t->stream), &graph);
    if (called == ZK_OK && ended == cudaSuccess && cudaGraphInstantiate(&t->exec, graph, 0) != cudaSuccess)
      t->exec = NULL;
    if (graph != NULL) (void)cudaGraphDestroy(graph);
  }
  (void)cudaGetLastError();
}

static zk_status sample(timer *t, double *us) {
  ZK_CUDA(cudaEventRecord(t->start, zk_cuda_stream(t->stream)));
  if (t->exec != NULL) ZK_CUDA(cudaGraphLaunch(t->exec, zk_cuda_stream(t->stream)));
  else ZK_TRY(call_all(t));
  ZK_CUDA(cudaEventRecord(t->stop, zk_cuda_stream(t->stream)));
  ZK_TRY(zk_stream_wait(t->stream));
  float ms = 0.0f;
  ZK_CUDA(cudaEventElapsedTime(&ms, t->start, t->stop));
  *us = (double)ms * 1e3 / t->calls;
  return ZK_OK;
}

static int by_size(const void *a, const void *b) {
  const double x = *static_cast<const double *>(a), y = *static_cast<const double *>(b);
  return (x > y) - (x < y);
}

// ---- the clock

#ifdef ZK_SIMT
static zk_status let_recover(zk_stream *stream) { return ZK_OK; }
#else
// The multiprocessors' clock in kHz, counted for some milliseconds by one thread, in *clock.
static __global__ void count_cycles(unsigned long long *clock) {
  enum { NANOSECONDS = 2000000 };
  unsigned long long start, now;
  const long long first = clock64();
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start)::"memory");
  do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)::"memory");
  while (now - start < NANOSECONDS);
  *clock = (unsigned long long)(clock64() - first) * 1000000 / (now - start);
}

// Waits until the multiprocessors' clock is back: large products take it down by a quarter, and it needs up to a tenth
// of a second afterwards, longer than many a row is measured for. A GPU that never gets there is not waited for long.
static zk_status let_recover(zk_stream *stream) {
  enum { MOST_TRIES = 100 };
  int device, most;
  void *scratch;
  ZK_CUDA(cudaGetDevice(&device));
  ZK_CUDA(cudaDeviceGetAttribute(&most, cudaDevAttrClockRate, device));
  ZK_TRY(zk_stream_scratch(stream, sizeof(unsigned long long), &scratch));
  unsigned long long *const cycles = static_cast<unsigned long long *>(scratch);
  unsigned long long clock = 0;
  for (int i = 0; i < MOST_TRIES && clock < (unsigned long long)most / 100 * 96; i++) {
    ZK_LAUNCH(count_cycles, 1, 1, 0, stream, cycles);
    ZK_TRY(zk_copy_to_host(stream, &clock, cycles, sizeof clock));
    ZK_TRY(zk_stream_wait(stream));
  }
  return ZK_OK;
}
#endif

static zk_status measure(timer *t, double seconds, double *us) {
  double samples[MOST_SAMPLES], once = 0.0;
  t->calls = 1;
  ZK_TRY(sample(t, &once)); // loads kernels, makes scratch memory
  if (once < 1e6) ZK_TRY(sample(t, &once));
  const double budget = seconds * 1e6;
  t->calls = once * MOST_CALLS < budget / 3 ? MOST_CALLS : once * 8 < budget / 3 ? 8 : 1;
  capture(t);
  if (t->exec != NULL && t->calls > 1) ZK_TRY(sample(t, &once));
  ZK_TRY(let_recover(t->stream));
  const double wanted = budget / (once * t->calls + 1.0);
  const int least = once < 1e5 ? 3 : 1, n = wanted > MOST_SAMPLES ? MOST_SAMPLES : wanted > least ? (int)wanted : least;
  for (int i = 0; i < n; i++) ZK_TRY(sample(t, &samples[i]));
  qsort(samples, (size_t)n, sizeof *samples, by_size);
  *us = samples[n / 2];
  return ZK_OK;
}

extern "C" zk_status zk_cuda_bench_time(zk_stream *stream, zk_bench_call *call, void *arg, double seconds, double *us) {
  timer t = {stream, call, arg, 1, NULL, NULL, NULL};
  ZK_CUDA(cudaEventCreate(&t.start));
  const cudaError_t error = cudaEventCreate(&t.stop);
  zk_status status = ZK_OK;
  zk_cuda_set_overlap(stream, true); // as in the graph of a decode step; nothing that is timed reads weights that another call writes
  if (error == cudaSuccess) status = measure(&t, seconds, us);
  zk_cuda_set_overlap(stream, false);
  if (t.exec != NULL) (void)cudaGraphExecDestroy(t.exec);
  if (t.stop != NULL) (void)cudaEventDestroy(t.stop);
  (void)cudaEventDestroy(t.start);
  ZK_CUDA(error);
  return status;
}
