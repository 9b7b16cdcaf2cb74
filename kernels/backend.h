// What a kind of device (CPU, CUDA) supplies to kernels/device.c, and what every device and stream is made of. For
// kernels/ only.
#ifndef ZK_KERNELS_BACKEND_H
#define ZK_KERNELS_BACKEND_H

#include <pthread.h>

#include "kernels/adamw_shard.h"
#include "kernels/add_tree.h"
#include "kernels/attention.h"
#include "kernels/device.h"
#include "kernels/embedding.h"
#include "kernels/hash.h"
#include "kernels/init.h"
#include "kernels/linear.h"
#include "kernels/linear_parts.h"
#include "kernels/lmhead.h"
#include "kernels/math_map.h"
#include "kernels/reduce.h"
#include "kernels/resident.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/rope_attention.h"
#include "kernels/swiglu.h"

#ifdef __cplusplus
extern "C" {
#endif

// What each kind of device computes: zk_X (kernels/*.c) checks the description, counts the call and hands over to zk_cpu_X or
// zk_cuda_X, which have the same arguments and meaning. An operation of the contract is in this list and in kernels/ops.h.
#define ZK_DEVICE_FUNCTIONS(X)                                                                                         \
  X(embedding_forward)                                                                                                 \
  X(embedding_backward)                                                                                                \
  X(tokens_follow)                                                                                                     \
  X(linear_packed_bytes)                                                                                               \
  X(linear_pack)                                                                                                       \
  X(linear_forward)                                                                                                    \
  X(linear_parts_fused)                                                                                                \
  X(linear_swiglu_fused)                                                                                               \
  X(linear_parts_weight_fused)                                                                                         \
  X(linear_parts_input_fused)                                                                                          \
  X(linear_backward_input)                                                                                             \
  X(linear_backward_weight)                                                                                            \
  X(rmsnorm_forward)                                                                                                   \
  X(rmsnorm_backward)                                                                                                  \
  X(rope_forward)                                                                                                      \
  X(rope_backward)                                                                                                     \
  X(kv_cache_bytes)                                                                                                    \
  X(kv_write)                                                                                                          \
  X(rope_cache_fused)                                                                                                  \
  X(rope_norm_backward_fused)                                                                                          \
  X(rope_attention_fused)                                                                                              \
  X(kv_copy_page)                                                                                                      \
  X(attention_forward)                                                                                                 \
  X(attention_backward)                                                                                                \
  X(resident_make)                                                                                                     \
  X(resident_free)                                                                                                     \
  X(resident_step)                                                                                                     \
  X(swiglu_forward)                                                                                                    \
  X(swiglu_backward)                                                                                                   \
  X(sum_squares)                                                                                                       \
  X(sum_tree)                                                                                                          \
  X(add)                                                                                                               \
  X(scale)                                                                                                             \
  X(add_tree)                                                                                                          \
  X(require_finite)                                                                                                    \
  X(lmhead_logprob)                                                                                                    \
  X(lmhead_sample)                                                                                                     \
  X(lmhead_backward)                                                                                                   \
  X(lmhead_loss_fused)                                                                                                 \
  X(adamw)                                                                                                             \
  X(adamw_shard_fused)                                                                                                 \
  X(hash_elements)                                                                                                     \
  X(init_normal)                                                                                                       \
  X(math_map)

typedef struct {
#define X(f) __typeof__(zk_##f) *f;
  ZK_DEVICE_FUNCTIONS(X)
#undef X
} zk_kernels;

#define X(f) __typeof__(zk_##f) zk_cpu_##f, zk_cuda_##f;
ZK_DEVICE_FUNCTIONS(X)
#undef X
extern const zk_kernels zk_kernels_cpu, zk_kernels_cuda;

typedef struct zk_backend {
  int (*count)(void); // devices there are
  zk_status (*open)(zk_device *device, int ordinal); // fills `description` and `state`
  void (*close)(zk_device *device);
  size_t (*memory_free)(const zk_device *device);
  zk_status (*alloc)(zk_device *device, size_t bytes, void **out); // 64-byte aligned, contents unspecified
  void (*free)(zk_device *device, void *memory);
  // Addresses that have pages only at times (kernels/side_memory.c); `bytes` of a call is that of the reservation.
  zk_status (*reserve)(zk_device *device, size_t bytes, void **out); // addresses alone
  void (*release)(zk_device *device, void *memory, size_t bytes);    // addresses that have no pages
  zk_status (*map)(zk_device *device, void *memory, size_t bytes);   // pages, zero-filled
  zk_status (*unmap)(zk_device *device, void *memory, size_t bytes); // waits for what is queued on the device
  zk_status (*copy)(zk_stream *stream, void *dst, const void *src,
                    size_t bytes); // any of the two sides may be host memory
  zk_status (*fill)(zk_stream *stream, void *dst, unsigned char byte, size_t bytes);
  zk_status (*zero_each)(zk_stream *stream, void *dst, size_t bytes, size_t pitch, int64_t num); // as zk_fill_zero_each; NULL: `fill` of each
  zk_status (*wait)(zk_stream *stream);
  zk_status (*load_vendor)(const zk_device *device); // finds the library of `numerics: vendor`; ZK_UNSUPPORTED says what to install
  zk_status (*stream_open)(zk_stream *stream); // fills `state`; may be NULL
  void (*stream_close)(zk_stream *stream);     // may be NULL
  // Marks and graphs (kernels/queue.c). NULL where an operation is done when its call returns: marks hold the time, and there are no graphs.
  zk_status (*host_alloc)(size_t bytes, void **out);
  void (*host_free)(void *memory);
  zk_status (*mark_open)(zk_mark *mark); // fills `state`
  void (*mark_close)(zk_mark *mark);
  zk_status (*mark_set)(zk_mark *mark);
  zk_status (*mark_wait)(zk_mark *mark);
  double (*mark_seconds)(const zk_mark *from, const zk_mark *to);
  zk_status (*graph_begin)(zk_stream *stream);
  zk_status (*graph_end)(zk_stream *stream, void **state);
  void (*graph_close)(zk_stream *stream, void *state); // waits: it may be running
  zk_status (*graph_launch)(zk_stream *stream, void *state);
  // The one-ulp fault: the lowest bit of element n/2, or the next that is not zero, and of every 61st after it. element_bytes: 4 (f32) or 2 (bf16).
  zk_status (*flip)(zk_stream *stream, void *out, size_t element_bytes, size_t n);
  // The other fault: the device fails as it would in a kernel of its own, at once or when it is next waited for.
  zk_status (*break_down)(zk_stream *stream);
} zk_backend;

typedef struct {
  void *memory;
  size_t bytes;
  zk_side side;    // ZK_SIDE_NONE: it keeps its pages until it is freed
  bool is_mapped;  // it has pages
} zk_allocation;

// A fault asked for by ZK_FAULT, for negative controls.
typedef struct {
  zk_op op;          // ZK_NUM_OPS: none
  zk_numerics only;  // only where this is stored; ZK_NUM_NUMERICS: everywhere
  bool breaks;       // the device breaks down there; else one ulp
  bool stalls;       // the device never ends there
  bool is_vendor;    // neither: the vendor's library in its place
  bool is_lse;       // of lmhead_sample: the log-sum-exp instead of the log-probability
} zk_fault;

struct zk_device {
  zk_device_kind kind;
  const zk_backend *backend;
  const zk_kernels *kernels;
  void *state; // the backend's own
  char description[96];
  uint64_t id; // zk_device_id
  pthread_mutex_t lock; // guards what follows
  zk_allocation *allocations;
  size_t num_allocations, max_allocations;
  size_t bytes_now, bytes_peak;
  int last[ZK_NUM_SIDES]; // by side, the operation counted last, plus 1; 0: none. Atomic: zk_device_last
};

struct zk_stream {
  zk_device *device;
  zk_side side;
  void *state; // the backend's own
  uint64_t calls[ZK_NUM_OPS];
  void *scratch;
  size_t scratch_bytes;
  zk_fault fault;
  zk_graph *recording; // what is queued goes into it; NULL: it runs
  bool stands;         // by a fault: what it was given never ends
};

struct zk_mark {
  zk_stream *stream;
  void *state;    // the backend's own
  double seconds; // when it was set, where the backend has no marks
};

struct zk_graph {
  zk_stream *stream;
  void *state;               // the backend's own
  const void *scratch;       // the stream's when it was recorded
  uint64_t calls[ZK_NUM_OPS]; // operations in it
  int last;                  // of them, as zk_device has it
};

extern const zk_backend zk_backend_cpu;
#ifdef ZK_WITH_CUDA
extern const zk_backend zk_backend_cuda;
#endif

// The device's books (kernels/device.c). Notes an allocation; false when the list itself finds no memory.
bool zk_device_remember(zk_device *device, zk_allocation allocation);
// ZK_OUT_OF_MEMORY, saying what for, when so much is not free.
zk_status zk_device_require_free(zk_device *device, size_t bytes, const char *what);
void zk_side_free(zk_device *device, zk_allocation allocation); // side_memory.c: of memory that is in the books no more
// "linear (sampler) or adamw (trainer)": what each side's streams were given last. False: nothing yet, and text is "". From any thread.
bool zk_device_last(const zk_device *device, char *text, size_t room);
// device_wait.c: around every wait of the host for the stream.
void zk_wait_begin(const zk_stream *stream);
void zk_wait_end(void);
// Adds to a device's failure which operation was queued last; returns `status`.
zk_status zk_stream_explain(const zk_stream *stream, zk_status status);
// Parses "side:operation", "side:operation:f32", "...:bf16", "...:break", "...:stall" or "trainer:add:vendor" (ZK_FAULT); out->op = ZK_NUM_OPS when it is meant for another side.
// ZK_BAD_INPUT lists the names.
const char *zk_side_name(zk_side side); // as ZK_FAULT and messages name it
zk_status zk_fault_parse(const char *text, zk_side side, zk_fault *out);

#ifdef __cplusplus
}
#endif
#endif
