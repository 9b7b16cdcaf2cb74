// Golden lines: what a device's operations give for inputs that are a function of the case's name alone, as hashes of their bits.
//
// A case says what it is, makes its inputs in device memory, runs the operation, and writes a line for each output. Nothing is compared here:
// the file of one device is compared with the file of another.
#ifndef ZK_TESTS_GOLDEN_H
#define ZK_TESTS_GOLDEN_H

#include <stdint.h>
#include <stdio.h>

#include "kernels/device.h"

// X(enumerator, name): values alike; of very different size; half of them subnormal; pairs that nearly cancel; mostly zeros of both signs.
#define GOLDEN_KIND_LIST(X)                                                                                            \
  X(NORMAL, "normal")                                                                                                  \
  X(WIDE, "wide")                                                                                                      \
  X(SUBNORMAL, "subnormal")                                                                                            \
  X(CANCELLING, "cancelling")                                                                                          \
  X(ZEROS, "zeros")

typedef enum {
#define X(name, text) GOLDEN_##name,
  GOLDEN_KIND_LIST(X)
#undef X
      GOLDEN_NUM_KINDS
} golden_kind;
const char *golden_kind_name(golden_kind kind);

enum { GOLDEN_MAX_BUFFERS = 32 };

typedef struct {
  zk_device *device;
  zk_stream *stream;
  FILE *out;
  const char *only; // the one operation wanted; NULL: all
  zk_numerics numerics;
  char name[200];     // of the case: operation, numerics, description
  uint64_t seed;      // of the case's data: a hash of its name
  uint32_t num_drawn; // buffers of data that the case has so far
  void *memory[GOLDEN_MAX_BUFFERS];
  int num_memory;
} golden;

// Begins a case, freeing the last one's memory; 0 when its operation is not wanted.
int golden_case(golden *g, zk_op op, const char *format, ...) __attribute__((format(printf, 3, 4)));
void golden_end(golden *g); // frees the last case's memory

// Device memory that lives until the next case: n f32 of a kind; n elements of a kind, stored as the numerics say; n integers below
// `bound`; n integers of the host; zeros.
zk_status golden_floats(golden *g, golden_kind kind, int64_t n, float **out);
zk_status golden_elements(golden *g, golden_kind kind, int64_t n, void **out);
zk_status golden_integers(golden *g, int32_t bound, int64_t n, int32_t **out);
zk_status golden_upload(golden *g, const void *host, size_t bytes, void **out);
zk_status golden_zeros(golden *g, size_t bytes, void **out);
size_t golden_bytes(const golden *g, int64_t n); // of n elements

// Writes the line of an output, n values in device memory: hash (sum of mix64 of bits and index), and the first values' bits.
zk_status golden_floats_line(golden *g, const char *what, const float *device, int64_t n);
zk_status golden_elements_line(golden *g, const char *what, const void *device, int64_t n);
zk_status golden_integers_line(golden *g, const char *what, const int32_t *device, int64_t n);
zk_status golden_u64_line(golden *g, const char *what, const uint64_t *device, int64_t n);
void golden_host_line(golden *g, const char *what, int element_bytes, const void *host,
                      int64_t n); // integers, or f32 made on the host

// The cases, in the numerics g->numerics.
zk_status golden_rows(golden *g);        // embedding, rmsnorm, rope
zk_status golden_elementwise(golden *g); // init_normal, swiglu, add, sum_squares, adamw, weights_hash
zk_status golden_linear(golden *g);
zk_status golden_attention(golden *g); // and kv_write
zk_status golden_lmhead(golden *g);

#define GOLDEN_NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

#endif
