// What lets a host run ahead of a device: host memory that is copied in passing, marks in a stream's order, recorded graphs.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/backend.h"

zk_status zk_host_alloc(zk_device *device, size_t bytes, const char *what, void **out) {
  *out = NULL;
  const size_t rounded = (bytes + 63) & ~(size_t)63;
  if (device->backend->host_alloc) {
    zk_status status = device->backend->host_alloc(rounded > 0 ? rounded : 64, out);
    if (status != ZK_OK) return zk_status_context(status, "%s", what);
  } else if ((*out = aligned_alloc(64, rounded > 0 ? rounded : 64)) == NULL)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: no memory for %zu bytes", what, bytes);
  memset(*out, 0, rounded);
  return ZK_OK;
}

void zk_host_free(zk_device *device, void *memory) {
  if (memory == NULL) return;
  if (device->backend->host_free) device->backend->host_free(memory);
  else free(memory);
}

// ---- marks

zk_status zk_mark_open(zk_stream *stream, zk_mark **out) {
  *out = NULL;
  zk_mark *mark = calloc(1, sizeof *mark);
  if (mark == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a mark");
  mark->stream = stream;
  const zk_status status = stream->device->backend->mark_open ? stream->device->backend->mark_open(mark) : ZK_OK;
  if (status == ZK_OK) *out = mark;
  else free(mark);
  return status;
}

void zk_mark_close(zk_mark *mark) {
  if (mark == NULL) return;
  if (mark->stream->device->backend->mark_close) mark->stream->device->backend->mark_close(mark);
  free(mark);
}

zk_status zk_mark_set(zk_mark *mark) {
  if (mark->stream->device->backend->mark_set) return mark->stream->device->backend->mark_set(mark);
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  mark->seconds = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
  return ZK_OK;
}

zk_status zk_mark_wait(zk_mark *mark) {
  zk_wait_begin(mark->stream);
  const zk_status status = mark->stream->device->backend->mark_wait ? mark->stream->device->backend->mark_wait(mark) : ZK_OK;
  zk_wait_end();
  return zk_stream_explain(mark->stream, status);
}

double zk_mark_seconds(const zk_mark *from, const zk_mark *to) {
  const zk_backend *backend = from->stream->device->backend;
  return backend->mark_seconds ? backend->mark_seconds(from, to) : to->seconds - from->seconds;
}

// ---- graphs

bool zk_device_has_graphs(const zk_device *device) { return device->backend->graph_begin != NULL; }

zk_status zk_graph_begin(zk_stream *stream) {
  if (!zk_device_has_graphs(stream->device)) return ZK_FAIL(ZK_UNSUPPORTED, "%s has no graphs", stream->device->description);
  if (stream->fault.op != ZK_NUM_OPS) return ZK_FAIL(ZK_UNSUPPORTED, "a stream with a fault is not recorded");
  if (stream->recording) return ZK_FAIL(ZK_INTERNAL, "the stream is recording already");
  zk_graph *graph = calloc(1, sizeof *graph);
  if (graph == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a graph");
  graph->stream = stream;
  const zk_status status = stream->device->backend->graph_begin(stream);
  if (status != ZK_OK) {
    free(graph);
    return status;
  }
  memcpy(graph->calls, stream->calls, sizeof graph->calls);
  stream->recording = graph;
  return ZK_OK;
}

// While it was recorded nothing ran: the stream's counts are what they were, and the difference is the graph's.
zk_status zk_graph_end(zk_stream *stream, zk_graph **out) {
  zk_graph *graph = stream->recording;
  *out = NULL;
  if (graph == NULL) return ZK_FAIL(ZK_INTERNAL, "the stream is not recording");
  stream->recording = NULL;
  for (int op = 0; op < ZK_NUM_OPS; op++) {
    const uint64_t before = graph->calls[op];
    graph->calls[op] = stream->calls[op] - before;
    stream->calls[op] = before;
  }
  graph->scratch = stream->scratch, graph->last = stream->device->last[stream->side];
  const zk_status status = stream->device->backend->graph_end(stream, &graph->state);
  if (status == ZK_OK) *out = graph;
  else free(graph);
  return status;
}

void zk_graph_close(zk_graph *graph) {
  if (graph == NULL) return;
  graph->stream->device->backend->graph_close(graph->stream, graph->state);
  free(graph);
}

zk_status zk_graph_launch(zk_graph *graph) {
  zk_stream *stream = graph->stream;
  for (int op = 0; op < ZK_NUM_OPS; op++) stream->calls[op] += graph->calls[op];
  __atomic_store_n(&stream->device->last[stream->side], graph->last, __ATOMIC_RELAXED);
  return stream->device->backend->graph_launch(stream, graph->state);
}

bool zk_graph_is_stale(const zk_graph *graph) { return graph->scratch != graph->stream->scratch; }
