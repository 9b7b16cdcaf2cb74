// Streams, events, graphs and copies of the emulated device. A stream is a list of what is still to be done.
#include "simt.h"

#include <stdio.h>
#include <stdlib.h>

#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <vector>

struct zk_simt_graph {
  std::vector<std::function<void()>> work;
};

struct zk_simt_stream {
  std::deque<std::function<void()>> work;
  zk_simt_graph *capture;
};

struct zk_simt_event {
  zk_simt_stream *stream;
  bool done;
  std::chrono::steady_clock::time_point at;
};

static std::recursive_mutex lock; // of all that follows; work runs under it
static std::set<zk_simt_stream *> streams;
static std::map<const char *, size_t> pinned; // page-locked host memory: address -> bytes
typedef std::lock_guard<std::recursive_mutex> guard;

static void step(zk_simt_stream *stream) {
  const std::function<void()> first = std::move(stream->work.front());
  stream->work.pop_front();
  first();
}

// The arena stays open from first to last: to open and to close it takes longer than most work.
static void finish(zk_simt_stream *stream) {
  if (stream == nullptr || stream->work.empty()) return;
  zk_simt_arena_open();
  while (!stream->work.empty()) step(stream);
  zk_simt_arena_close();
}

void zk_simt_finish_all(void) {
  guard held(lock);
  for (zk_simt_stream *stream : streams) finish(stream);
}

void zk_simt_queue(zk_simt_stream *stream, std::function<void()> work) {
  guard held(lock);
  if (stream == nullptr) work();
  else if (stream->capture != nullptr) stream->capture->work.push_back(std::move(work));
  else stream->work.push_back(std::move(work));
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, int) {
  guard held(lock);
  *out = new zk_simt_stream();
  streams.insert(*out);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  guard held(lock);
  finish(stream);
  streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

// As a GPU's driver does, a stream that is captured is not waited for.
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  guard held(lock);
  if (stream != nullptr && stream->capture != nullptr) return cudaErrorNotSupported;
  finish(stream);
  return zk_simt_is_lost ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
  zk_simt_finish_all();
  return zk_simt_is_lost ? cudaErrorLaunchFailure : cudaSuccess;
}

// ---- memory

cudaError_t cudaHostAlloc(void **out, size_t bytes, int) {
  guard held(lock);
  *out = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (*out == nullptr) return cudaErrorMemoryAllocation;
  memset(*out, 0xff, bytes);
  pinned[static_cast<char *>(*out)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory) {
  if (memory == nullptr) return cudaSuccess;
  zk_simt_finish_all();
  guard held(lock);
  pinned.erase(static_cast<char *>(memory));
  free(memory);
  return cudaSuccess;
}

static bool is_pageable(const void *memory) {
  if (zk_simt_in_arena(memory)) return false;
  const char *at = static_cast<const char *>(memory);
  auto block = pinned.upper_bound(at);
  return block == pinned.begin() || at >= (--block)->first + block->second;
}

// Copies of pageable memory hold up the host, as on a GPU, and cannot be captured.
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  guard held(lock);
  const auto copy = [=] {
    zk_simt_arena_open();
    memmove(dst, src, bytes);
    zk_simt_arena_close();
  };
  if (!is_pageable(dst) && !is_pageable(src)) zk_simt_queue(stream, copy);
  else if (stream != nullptr && stream->capture != nullptr) return cudaErrorNotSupported;
  else finish(stream), copy();
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream) {
  zk_simt_queue(stream, [=] {
    zk_simt_arena_open();
    memset(dst, value, bytes);
    zk_simt_arena_close();
  });
  return cudaSuccess;
}

// ---- events

cudaError_t cudaEventCreate(cudaEvent_t *out) { return *out = new zk_simt_event(), cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  (void)cudaEventSynchronize(event);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  guard held(lock);
  event->stream = stream;
  event->done = false;
  zk_simt_queue(stream, [=] {
    event->at = std::chrono::steady_clock::now();
    event->done = true;
  });
  return cudaSuccess;
}

// Does no more of the stream than it must: what was queued after the event is still to come.
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  guard held(lock);
  while (event->stream != nullptr && !event->done && !event->stream->work.empty()) step(event->stream);
  return zk_simt_is_lost ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop) {
  if (!start->done || !stop->done) return cudaErrorNotReady;
  *ms = std::chrono::duration<float, std::milli>(stop->at - start->at).count();
  return cudaSuccess;
}

// ---- graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  guard held(lock);
  if (stream == nullptr || stream->capture != nullptr) return cudaErrorNotSupported;
  stream->capture = new zk_simt_graph();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out) {
  guard held(lock);
  *out = stream->capture;
  stream->capture = nullptr;
  return *out != nullptr ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long) {
  return *out = new zk_simt_graph(*graph), cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  for (const std::function<void()> &work : graph->work) zk_simt_queue(stream, work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return delete graph, cudaSuccess; }
