// Where operations run. A device owns memory; a stream is an ordered queue of operations on it, used by one side (sampler or
// trainer), and carries that side's call counters and scratch memory. Nothing above kernels/ knows which kind it has: buffers
// are opaque addresses that only zk_copy_* and the operations may touch (on a CPU they happen to be ordinary memory).
#ifndef ZK_KERNELS_DEVICE_H
#define ZK_KERNELS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/numerics.h"
#include "kernels/ops.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { ZK_DEVICE_CPU, ZK_DEVICE_CUDA } zk_device_kind;
typedef enum { ZK_SIDE_NONE, ZK_SIDE_SAMPLER, ZK_SIDE_TRAINER, ZK_NUM_SIDES } zk_side;
typedef struct zk_device zk_device;
typedef struct zk_stream zk_stream;

// How many devices of a kind there are: 1 CPU; the GPUs that CUDA shows, 0 when there is no driver or this build has no CUDA kernels.
int zk_device_count(zk_device_kind kind);
// Opens device `ordinal` of a kind (0 for the CPU). Checks what the law needs of it: hardware FMA, round-to-nearest, no
// flush-to-zero; reads ZK_CPU_ISA. ZK_UNSUPPORTED or ZK_BAD_INPUT with the reason otherwise. The caller closes it.
zk_status zk_device_open(zk_device_kind kind, int ordinal, zk_device **out);
void zk_device_close(zk_device *device);
zk_device_kind zk_device_get_kind(const zk_device *device);
// Whether every operation has a kernel for these numerics there; ZK_UNSUPPORTED, saying what to install, where `vendor` finds no library.
zk_status zk_device_require(const zk_device *device, zk_numerics numerics);
uint64_t zk_device_id(const zk_device *device);          // of a GPU: the same in every process, and no other GPU's; else 0
const char *zk_device_describe(const zk_device *device); // "cpu avx512, 2 threads"
size_t zk_device_memory_free(const zk_device *device);   // bytes that can be allocated now, an estimate on CPUs

// Device memory, 64-byte aligned, zero-filled. ZK_OUT_OF_MEMORY says how much was asked and for what (`what`: "KV cache").
zk_status zk_device_alloc(zk_device *device, size_t bytes, const char *what, void **out);
void zk_device_free(zk_device *device, void *memory);
// Memory of a side's work that can make way for the other side's: as above, and freed as above. While the side rests, the pages of all its memory are
// given back and the addresses stay its own, so that recorded graphs and whatever else holds them is right again when it wakes.
zk_status zk_side_alloc(zk_device *device, zk_side side, size_t bytes, const char *what, void **out);
// What the memory held is lost, and nothing may touch it until the side wakes. Waits for what is queued on the device.
zk_status zk_side_rest(zk_device *device, zk_side side);
// Pages for all of it, zero-filled where there were none; ZK_OUT_OF_MEMORY when so many are not free.
zk_status zk_side_wake(zk_device *device, zk_side side);
// What all of the side's memory takes while it is awake.
size_t zk_side_bytes(zk_device *device, zk_side side);
// Host memory that the device copies to and from while the host goes on; zero-filled.
zk_status zk_host_alloc(zk_device *device, size_t bytes, const char *what, void **out);
void zk_host_free(zk_device *device, void *memory);
size_t zk_device_memory_peak(const zk_device *device);  // most bytes held at once since the device was opened, or since this:
void zk_device_memory_reset_peak(zk_device *device);

// OpenMP threads a CPU device's kernels use: at open OMP_NUM_THREADS, else the cores this process may run on. Changes no bit.
int zk_device_threads(const zk_device *device);
void zk_device_set_threads(zk_device *device, int num_threads);
// Checks once more that every thread rounds to nearest and flushes no subnormal (a loaded library may have changed that): ZK_DEVICE if not.
zk_status zk_device_check_fp(zk_device *device);

// A queue of operations for one side, with its call counters and scratch at zero. The caller closes it, before the device.
zk_status zk_stream_open(zk_device *device, zk_side side, zk_stream **out);
void zk_stream_close(zk_stream *stream);
zk_device *zk_stream_device(zk_stream *stream);
zk_side zk_stream_side(const zk_stream *stream);
uint64_t zk_stream_calls(const zk_stream *stream, zk_op op); // operations launched on this stream so far
zk_status zk_stream_wait(zk_stream *stream);                 // until everything queued is done; reports its errors
// 0: no thread of this process waits for a device. Else a number that each wait has for itself (one thread at a time waits), and what for: the device,
// and the operations that it was given last. From any thread.
uint64_t zk_device_wait_number(char *what, size_t room);

// A mark is a place in a stream's order: what was queued before it can be waited for while what came later goes on.
typedef struct zk_mark zk_mark;
zk_status zk_mark_open(zk_stream *stream, zk_mark **out); // the caller closes it, before the stream
void zk_mark_close(zk_mark *mark);
zk_status zk_mark_set(zk_mark *mark);  // here: after all that is queued now. A mark can be set anew once it has been waited for
zk_status zk_mark_wait(zk_mark *mark); // until everything before it is done; reports its errors
double zk_mark_seconds(const zk_mark *from, const zk_mark *to); // between two marks of one stream that were waited for, by the device's clock

// A graph is a recorded sequence of operations that the device can run again at the price of queueing one. The operations keep their
// arguments: addresses, row counts. What an operation decides on the host, it decides while it is recorded.
typedef struct zk_graph zk_graph;
bool zk_device_has_graphs(const zk_device *device);
// Until zk_graph_end, operations on this stream are recorded and not run. ZK_UNSUPPORTED where there are no graphs, or a fault is set.
// Each operation must have run before on this stream with the same shapes (so that it finds its scratch); none may wait.
zk_status zk_graph_begin(zk_stream *stream);
// The caller closes the graph, before the stream; closing waits for what is queued. ZK_DEVICE when something queued since zk_graph_begin cannot be recorded.
zk_status zk_graph_end(zk_stream *stream, zk_graph **out);
void zk_graph_close(zk_graph *graph);
zk_status zk_graph_launch(zk_graph *graph);     // queues it on its stream, and counts its operations
bool zk_graph_is_stale(const zk_graph *graph);  // the stream's scratch has moved since: it must not be launched

// Copies in stream order. Host buffers must stay valid until zk_stream_wait, or until a mark set after the copy was waited for. Copies of host
// memory from zk_host_alloc do not hold up the caller.
zk_status zk_copy_to_device(zk_stream *stream, void *device_dst, const void *host_src, size_t bytes);
zk_status zk_copy_to_host(zk_stream *stream, void *host_dst, const void *device_src, size_t bytes);
zk_status zk_copy_on_device(zk_stream *stream, void *device_dst, const void *device_src, size_t bytes);
zk_status zk_fill_zero(zk_stream *stream, void *device_dst, size_t bytes);
// The same of `num` stretches of `bytes`, each `pitch` bytes behind the one before: on a GPU one launch where all begin and end at words of 4.
zk_status zk_fill_zero_each(zk_stream *stream, void *device_dst, size_t bytes, size_t pitch, int64_t num);

// For kernels/ only.
// Scratch that lives until the next call on this stream; grows on demand, 64-byte aligned, not zeroed: on a GPU NaNs where nothing has been written yet.
zk_status zk_stream_scratch(zk_stream *stream, size_t bytes, void **out);
// Counts one call of `op`.
void zk_stream_count(zk_stream *stream, zk_op op);
// Test builds (ZK_WITH_FAULTS): when ZK_FAULT names this stream's side and `op` ("sampler:linear"), moves element n/2 (or the next
// that is not 0) of the n elements at `out` (device memory, stored as `numerics` stores them), and every 61st after it, by one ulp. Elsewhere does nothing. "sampler:linear:bf16" (or f32) is
// meant only where `numerics` is that; "sampler:linear:break" makes the device fail instead, at once or when it is next waited for (ZK_DEVICE);
// with ":stall" the next wait for it never ends.
// ZK_SIDE_NONE is called "check": `zerokl check` and a run's start-up check work on such streams, so that a fault of the sampler or the
// trainer is left for the step to find.
zk_status zk_stream_fault(zk_stream *stream, zk_op op, zk_numerics numerics, void *out, size_t n);
int zk_stream_is_faulty(const zk_stream *stream, zk_op op); // whether zk_stream_fault would do something
// Whether ZK_FAULT asks for the vendor's library in place of `op`, in its order ("trainer:add:vendor"); zk_stream_fault does nothing then.
int zk_stream_is_vendor(const zk_stream *stream, zk_op op);

#ifdef __cplusplus
}
#endif
#endif
