// Devices and streams: what is common to every kind of device. The kind's own part is its zk_backend.
#include "kernels/backend.h"
#include "kernels/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int zk_device_count(zk_device_kind kind) {
#ifdef ZK_WITH_CUDA
  if (kind == ZK_DEVICE_CUDA) return zk_backend_cuda.count();
#endif
  return kind == ZK_DEVICE_CPU ? zk_backend_cpu.count() : 0;
}

bool zk_faults_are_built(void) {
#ifdef ZK_WITH_FAULTS
  return true;
#else
  return false;
#endif
}

zk_status zk_device_open(zk_device_kind kind, int ordinal, zk_device **out) {
  *out = NULL;
#ifndef ZK_WITH_FAULTS
  if (getenv("ZK_FAULT") != NULL)
    return ZK_FAIL(ZK_UNSUPPORTED, "ZK_FAULT is set, but this build has no faults: unset it, or use the test build");
#endif
#ifndef ZK_WITH_CUDA
  if (kind == ZK_DEVICE_CUDA)
    return ZK_FAIL(ZK_UNSUPPORTED, "device: this build has no CUDA kernels; use device: cpu, or build where CMake finds a CUDA toolkit");
#endif
  zk_device *device = calloc(1, sizeof *device);
  if (device == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a device");
  device->kind = kind;
  device->backend = &zk_backend_cpu;
  device->kernels = &zk_kernels_cpu;
#ifdef ZK_WITH_CUDA
  if (kind == ZK_DEVICE_CUDA) device->backend = &zk_backend_cuda, device->kernels = &zk_kernels_cuda;
#endif
  pthread_mutex_init(&device->lock, NULL);
  zk_status status = device->backend->open(device, ordinal);
  if (status != ZK_OK) {
    pthread_mutex_destroy(&device->lock);
    free(device);
    return zk_status_frame(status, __FILE__, __LINE__, __func__);
  }
  *out = device;
  return ZK_OK;
}

void zk_device_close(zk_device *device) {
  if (device == NULL) return;
  device->backend->close(device);
  pthread_mutex_destroy(&device->lock);
  free(device->allocations);
  free(device);
}

zk_device_kind zk_device_get_kind(const zk_device *device) { return device->kind; }
zk_status zk_device_require(const zk_device *device, zk_numerics numerics) {
  return numerics == ZK_VENDOR ? device->backend->load_vendor(device) : ZK_OK;
}
uint64_t zk_device_id(const zk_device *device) { return device->id; }
const char *zk_device_describe(const zk_device *device) { return device->description; }
size_t zk_device_memory_free(const zk_device *device) { return device->backend->memory_free(device); }
size_t zk_device_memory_peak(const zk_device *device) { return device->bytes_peak; }
void zk_device_memory_reset_peak(zk_device *device) {
  pthread_mutex_lock(&device->lock);
  device->bytes_peak = device->bytes_now;
  pthread_mutex_unlock(&device->lock);
}

bool zk_device_remember(zk_device *device, zk_allocation allocation) {
  pthread_mutex_lock(&device->lock);
  if (device->num_allocations == device->max_allocations) {
    size_t more = 2 * device->max_allocations + 64;
    zk_allocation *grown = realloc(device->allocations, more * sizeof *grown);
    if (grown == NULL) {
      pthread_mutex_unlock(&device->lock);
      return false;
    }
    device->allocations = grown;
    device->max_allocations = more;
  }
  device->allocations[device->num_allocations++] = allocation;
  device->bytes_now += allocation.bytes;
  if (device->bytes_now > device->bytes_peak) device->bytes_peak = device->bytes_now;
  pthread_mutex_unlock(&device->lock);
  return true;
}

// Gives what the books said.
static zk_allocation forget(zk_device *device, void *memory) {
  zk_allocation found = {.memory = memory};
  pthread_mutex_lock(&device->lock);
  for (size_t i = device->num_allocations; i-- > 0;) {
    if (device->allocations[i].memory != memory) continue;
    found = device->allocations[i];
    if (found.is_mapped) device->bytes_now -= found.bytes;
    device->allocations[i] = device->allocations[--device->num_allocations];
    break;
  }
  pthread_mutex_unlock(&device->lock);
  return found;
}

zk_status zk_device_require_free(zk_device *device, size_t bytes, const char *what) {
  const size_t slack = (size_t)16 << 20; // below this an estimate of free memory says nothing
  size_t available = bytes > slack ? zk_device_memory_free(device) : bytes;
  if (bytes > available)
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: %.1f MiB wanted, %.1f MiB free on %s", what, (double)bytes / 1048576.0,
                   (double)available / 1048576.0, device->description);
  return ZK_OK;
}

// Memory with unspecified contents, in the device's books.
static zk_status alloc_raw(zk_device *device, size_t bytes, const char *what, void **out) {
  *out = NULL;
  ZK_TRY(zk_device_require_free(device, bytes, what));
  void *memory = NULL;
  zk_status status = device->backend->alloc(device, bytes, &memory);
  if (status != ZK_OK) return zk_status_context(status, "%s", what);
  if (!zk_device_remember(device, (zk_allocation){memory, bytes, ZK_SIDE_NONE, true})) {
    device->backend->free(device, memory);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: no memory for the list of allocations", what);
  }
  *out = memory;
  return ZK_OK;
}

zk_status zk_device_alloc(zk_device *device, size_t bytes, const char *what, void **out) {
  ZK_TRY(alloc_raw(device, bytes, what, out));
  zk_stream stream = {.device = device, .fault.op = ZK_NUM_OPS}; // the device's default queue
  zk_status status = device->backend->fill(&stream, *out, 0, bytes);
  if (status == ZK_OK) status = device->backend->wait(&stream);
  if (status != ZK_OK) {
    zk_device_free(device, *out);
    *out = NULL;
  }
  return status;
}

void zk_device_free(zk_device *device, void *memory) {
  if (memory == NULL) return;
  const zk_allocation allocation = forget(device, memory);
  if (allocation.side == ZK_SIDE_NONE) device->backend->free(device, memory);
  else zk_side_free(device, allocation);
}

zk_status zk_stream_open(zk_device *device, zk_side side, zk_stream **out) {
  *out = NULL;
  zk_fault fault = {.op = ZK_NUM_OPS};
#ifdef ZK_WITH_FAULTS
  const char *text = getenv("ZK_FAULT");
  if (text != NULL) ZK_TRY(zk_fault_parse(text, side, &fault));
#endif
  zk_stream *stream = calloc(1, sizeof *stream);
  if (stream == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a stream");
  stream->device = device;
  stream->side = side;
  stream->fault = fault;
  zk_status status = device->backend->stream_open ? device->backend->stream_open(stream) : ZK_OK;
  if (status != ZK_OK) {
    free(stream);
    return status;
  }
  *out = stream;
  return ZK_OK;
}

void zk_stream_close(zk_stream *stream) {
  if (stream == NULL) return;
  if (stream->device->backend->stream_close) stream->device->backend->stream_close(stream);
  zk_device_free(stream->device, stream->scratch);
  free(stream);
}

zk_device *zk_stream_device(zk_stream *stream) { return stream->device; }
zk_side zk_stream_side(const zk_stream *stream) { return stream->side; }
uint64_t zk_stream_calls(const zk_stream *stream, zk_op op) { return stream->calls[op]; }
void zk_stream_count(zk_stream *stream, zk_op op) {
  stream->calls[op]++;
  __atomic_store_n(&stream->device->last[stream->side], (int)op + 1, __ATOMIC_RELAXED); // another thread may look
}

// A device may tell of a failure long after the operation that met it.
zk_status zk_stream_wait(zk_stream *stream) {
  if (stream->recording) return ZK_FAIL(ZK_DEVICE, "a stream that records cannot be waited for");
  zk_wait_begin(stream);
  const zk_status status = stream->device->backend->wait(stream);
  zk_wait_end();
  return zk_stream_explain(stream, status);
}

bool zk_device_last(const zk_device *device, char *text, size_t room) {
  size_t used = 0;
  text[0] = 0;
  for (int side = 0; side < ZK_NUM_SIDES; side++) {
    const int last = __atomic_load_n(&device->last[side], __ATOMIC_RELAXED);
    if (last > 0 && used < room)
      used += (size_t)snprintf(text + used, room - used, "%s%s (%s)", used > 0 ? " or " : "", zk_op_name((zk_op)(last - 1)), zk_side_name((zk_side)side));
  }
  return used > 0;
}

// Streams of one device fail together, and any of them may be the first to say so.
zk_status zk_stream_explain(const zk_stream *stream, zk_status status) {
  char text[256];
  if (status != ZK_DEVICE || !zk_device_last(stream->device, text, sizeof text)) return status;
  return zk_status_context(status, "at or before operation %s", text);
}

zk_status zk_copy_to_device(zk_stream *stream, void *device_dst, const void *host_src, size_t bytes) {
  return stream->device->backend->copy(stream, device_dst, host_src, bytes);
}

zk_status zk_copy_to_host(zk_stream *stream, void *host_dst, const void *device_src, size_t bytes) {
  return stream->device->backend->copy(stream, host_dst, device_src, bytes);
}

zk_status zk_copy_on_device(zk_stream *stream, void *device_dst, const void *device_src, size_t bytes) {
  return stream->device->backend->copy(stream, device_dst, device_src, bytes);
}

zk_status zk_fill_zero(zk_stream *stream, void *device_dst, size_t bytes) {
  return stream->device->backend->fill(stream, device_dst, 0, bytes);
}

zk_status zk_fill_zero_each(zk_stream *stream, void *device_dst, size_t bytes, size_t pitch, int64_t num) {
  const zk_backend *backend = stream->device->backend;
  if (backend->zero_each) return backend->zero_each(stream, device_dst, bytes, pitch, num);
  for (int64_t i = 0; i < num; i++) ZK_TRY(backend->fill(stream, (char *)device_dst + (size_t)i * pitch, 0, bytes));
  return ZK_OK;
}

zk_status zk_stream_scratch(zk_stream *stream, size_t bytes, void **out) {
  if (bytes > stream->scratch_bytes) {
    *out = NULL;
    ZK_TRY(zk_stream_wait(stream));
    zk_device_free(stream->device, stream->scratch);
    stream->scratch = NULL;
    stream->scratch_bytes = 0;
    ZK_TRY(alloc_raw(stream->device, bytes, "scratch", &stream->scratch));
    stream->scratch_bytes = bytes;
    // A GPU's begins as NaNs: a kernel that reads what none has written differs from the reference, on any machine. (compute-sanitizer's
    // initcheck does not see what the copy engine writes.) On a CPU the first thread to write a page decides where it lies.
    if (stream->device->kind == ZK_DEVICE_CUDA) ZK_TRY(stream->device->backend->fill(stream, stream->scratch, 0xff, bytes));
  }
  *out = stream->scratch;
  return ZK_OK;
}

zk_status zk_math_map(zk_stream *stream, zk_math_function f, int64_t n, const void *x, float *y) {
  ZK_TRY(stream->device->kernels->math_map(stream, f, n, x, y));
  return f == ZK_MAP_EXP2_BF16 ? zk_stream_fault(stream, ZK_OP_ATTENTION, ZK_F32, y, (size_t)n) : ZK_OK;
}
