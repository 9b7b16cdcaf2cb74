// What lets the host run ahead of a GPU: page-locked memory, events, captured graphs.
#include "kernels/cuda/queue.h"

#include "kernels/cuda/cuda.cuh"

extern "C" zk_status zk_cuda_host_alloc(size_t bytes, void **out) {
  ZK_CUDA(cudaHostAlloc(out, bytes, cudaHostAllocPortable | cudaHostAllocMapped));
  return ZK_OK;
}

extern "C" void zk_cuda_host_free(void *memory) { (void)cudaFreeHost(memory); }

// ---- marks are events

static cudaEvent_t event_of(const zk_mark *mark) { return static_cast<cudaEvent_t>(mark->state); }

extern "C" zk_status zk_cuda_mark_open(zk_mark *mark) {
  cudaEvent_t event = NULL;
  ZK_CUDA(cudaEventCreate(&event));
  mark->state = event;
  return ZK_OK;
}

extern "C" void zk_cuda_mark_close(zk_mark *mark) { (void)cudaEventDestroy(event_of(mark)); }

extern "C" zk_status zk_cuda_mark_set(zk_mark *mark) {
  ZK_CUDA(cudaEventRecord(event_of(mark), zk_cuda_stream(mark->stream)));
  return ZK_OK;
}

extern "C" zk_status zk_cuda_mark_wait(zk_mark *mark) {
  ZK_CUDA(cudaEventSynchronize(event_of(mark)));
  return zk_cuda_report_problem(mark->stream);
}

extern "C" double zk_cuda_mark_seconds(const zk_mark *from, const zk_mark *to) {
  float ms = 0.0f;
  if (cudaEventElapsedTime(&ms, event_of(from), event_of(to)) != cudaSuccess) (void)cudaGetLastError();
  return (double)ms * 1e-3;
}

// ---- graphs are captured from the stream and instantiated once

extern "C" zk_status zk_cuda_graph_begin(zk_stream *stream) {
  ZK_CUDA(cudaStreamBeginCapture(zk_cuda_stream(stream), cudaStreamCaptureModeRelaxed));
  return ZK_OK;
}

extern "C" zk_status zk_cuda_graph_end(zk_stream *stream, void **state) {
  cudaGraph_t graph = NULL;
  cudaGraphExec_t exec = NULL;
  cudaError_t error = cudaStreamEndCapture(zk_cuda_stream(stream), &graph);
  if (error == cudaSuccess) error = cudaGraphInstantiate(&exec, graph, 0);
  if (graph != NULL) (void)cudaGraphDestroy(graph);
  if (error != cudaSuccess) (void)cudaGetLastError(); // told here, and not by the next launch
  ZK_CUDA(error);
  *state = exec;
  return ZK_OK;
}

// An error that the wait meets is sticky, and the stream's next call tells of it.
extern "C" void zk_cuda_graph_close(zk_stream *stream, void *state) {
  (void)cudaStreamSynchronize(zk_cuda_stream(stream));
  (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(state));
}

extern "C" zk_status zk_cuda_graph_launch(zk_stream *stream, void *state) {
  ZK_CUDA(cudaGraphLaunch(static_cast<cudaGraphExec_t>(state), zk_cuda_stream(stream)));
  return ZK_OK;
}
