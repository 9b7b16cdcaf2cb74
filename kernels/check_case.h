// What the checks of kernels/check_*.c are written with: cases, data that provokes differences, comparison. For
// kernels/ only.
//
// A check is a function that, for each of its cases, calls zk_check_case, makes inputs (host), uploads them, runs the
// operation, computes the reference on the host, and compares. Memory it gets here lives until the next zk_check_case.
//
// It is run once for each numerics that it is registered for (check->numerics): what activations and weights are stored as on the device
// (an "element"; on the host, a float that the stored type holds exactly).
#ifndef ZK_KERNELS_CHECK_CASE_H
#define ZK_KERNELS_CHECK_CASE_H

#include "kernels/bf16.h"
#include "kernels/device.h"

// X(enumerator, name). What a sum's order shows on: values alike; of very different size; subnormal; pairs that cancel;
// near the top of the range; and mostly zeros of both signs.
#define ZK_CHECK_DATA_LIST(X)                                                                                          \
  X(NORMAL, "normal")                                                                                                  \
  X(WIDE, "wide")                                                                                                      \
  X(SUBNORMAL, "subnormal")                                                                                            \
  X(CANCELLING, "cancelling")                                                                                          \
  X(LARGE, "large")                                                                                                    \
  X(ZEROS, "zeros")

typedef enum {
#define X(name, text) ZK_CHECK_##name,
  ZK_CHECK_DATA_LIST(X)
#undef X
      ZK_CHECK_NUM_DATA
} zk_check_data;
const char *zk_check_data_name(zk_check_data data); // "wide"

#define ZK_CHECK_MAX_BUFFERS 512

typedef struct {
  zk_device *device;
  zk_stream *stream;  // for the operation under check
  zk_numerics numerics;
  zk_stream *helper;  // for others that a case needs: no fault reaches it, so a difference is the checked operation's
  zk_stream *fused; // where fused operations run, to be compared with their parts on `helper`: the same, unless a test gives it a fault
  int quick;          // fewer and smaller cases
  int rotate_threads; // cases take turns at 1, 2, 3, .. threads up to max_threads
  int max_threads;
  uint32_t seed; // of the next buffer's data
  int64_t num_cases;
  uint64_t num_bits, differing_bits;
  char case_text[160];
  char first_difference[320];
  void *host[ZK_CHECK_MAX_BUFFERS], *memory[ZK_CHECK_MAX_BUFFERS]; // of the current case
  int num_host, num_memory;
} zk_check;

// Begins a case: frees the last one's memory; the text says what it is ("rows 3, width 129, wide"), and gets the numerics put before it.
void zk_check_case(zk_check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
void zk_check_free(zk_check *check);

// Host memory: zeroed; n floats of a kind; n bf16 of a kind; n elements of a kind, as floats; n integers below `bound`.
zk_status zk_check_host(zk_check *check, size_t bytes, void **out);
zk_status zk_check_floats(zk_check *check, zk_check_data data, int64_t n, float **out);
zk_status zk_check_bf16(zk_check *check, zk_check_data data, int64_t n, zk_bf16 **out);
zk_status zk_check_elements(zk_check *check, zk_check_data data, int64_t n, float **out);
zk_status zk_check_integers(zk_check *check, int32_t bound, int64_t n, int32_t **out);
// Device memory: a copy of host memory; zeroed. n elements: a copy of the floats at `host`, stored as the numerics say; zeroed.
zk_status zk_check_upload(zk_check *check, const void *host, size_t bytes, void **out);
zk_status zk_check_device(zk_check *check, size_t bytes, void **out);
zk_status zk_check_upload_elements(zk_check *check, const float *host, int64_t n, void **out);
zk_status zk_check_device_elements(zk_check *check, int64_t n, void **out);
// Compares n floats in device memory with n expected on the host; `what` names the output ("dx").
zk_status zk_check_compare(zk_check *check, const char *what, const void *device_got, const void *want, int64_t n);
zk_status zk_check_compare_bf16(zk_check *check, const char *what, const void *device_got, const zk_bf16 *want, int64_t n);
// Compares n elements with what the n floats of the reference are when stored: for bf16, rounded to it.
zk_status zk_check_compare_elements(zk_check *check, const char *what, const void *device_got, const float *want, int64_t n);
// The same for n elements of `bytes` bytes that are on the host already.
void zk_check_compare_host(zk_check *check, const char *what, const void *got, const void *want, size_t bytes, int64_t n);
// The same for one 64-bit value on the host.
void zk_check_compare_u64(zk_check *check, const char *what, uint64_t got, uint64_t want);
// Compares two outputs of `bytes` bytes that lie in device memory, as 16-bit words: a fused operation's with its parts'.
zk_status zk_check_compare_devices(zk_check *check, const char *what, const void *device_got, const void *device_want, size_t bytes);

// The registry's functions (kernels/check.c lists them).
zk_status zk_check_math(zk_check *check);
zk_status zk_check_sweep(zk_check *check);
zk_status zk_check_embedding(zk_check *check);
zk_status zk_check_embedding_backward(zk_check *check);
zk_status zk_check_rmsnorm(zk_check *check);
zk_status zk_check_rmsnorm_backward(zk_check *check);
zk_status zk_check_rope(zk_check *check);
zk_status zk_check_rope_backward(zk_check *check);
zk_status zk_check_rope_norm_backward(zk_check *check);
zk_status zk_check_swiglu(zk_check *check);
zk_status zk_check_swiglu_backward(zk_check *check);
zk_status zk_check_add(zk_check *check);
zk_status zk_check_scale(zk_check *check);
zk_status zk_check_add_tree(zk_check *check);
zk_status zk_check_sum_squares(zk_check *check);
zk_status zk_check_adamw(zk_check *check);
zk_status zk_check_weights_hash(zk_check *check);
zk_status zk_check_adamw_shard(zk_check *check);
zk_status zk_check_init_normal(zk_check *check);
zk_status zk_check_kv_write(zk_check *check);
zk_status zk_check_linear_parts(zk_check *check);
zk_status zk_check_rope_cache(zk_check *check);
zk_status zk_check_rope_attention(zk_check *check);
zk_status zk_check_resident(zk_check *check);
zk_status zk_check_overlap(zk_check *check); // on GPUs, where calls overlap
zk_status zk_check_overlap_case(zk_check *check, int32_t rows); // one case of it, on any device that takes weights unpacked
zk_status zk_check_large(zk_check *check);
zk_status zk_check_attention(zk_check *check);
zk_status zk_check_attention_weights(zk_check *check);
zk_status zk_check_attention_backward(zk_check *check);
zk_status zk_check_lmhead_logprob(zk_check *check);
zk_status zk_check_lmhead_sample(zk_check *check);
zk_status zk_check_lmhead_backward(zk_check *check);
zk_status zk_check_lmhead_entropy(zk_check *check);
zk_status zk_check_lmhead_loss(zk_check *check);
zk_status zk_check_linear(zk_check *check);
zk_status zk_check_linear_backward_input(zk_check *check);
zk_status zk_check_linear_backward_weight(zk_check *check);
zk_status zk_check_linear_parts_backward(zk_check *check);

#endif
