// Measuring operations against a floor and a rival in one run, one line a row. trainer/ adds its own suites to those
// here.
//
// On a CPU a time is the least of several repetitions, ours and the rival's taken in turn, so that a busy machine hits both
// alike. The floor of an operation is max(bytes / measured read bandwidth, flops / measured multiply-add rate).
// On a GPU a time is the median of several replays of a captured graph, by the GPU's clock, with inputs that no cache holds; the floor is
// by the bandwidth of a device copy and by the rate of cuBLAS's best product, both measured in the run.
#ifndef ZK_KERNELS_BENCH_H
#define ZK_KERNELS_BENCH_H

#include <stdbool.h>
#include <stdio.h>

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  char group[32];      // "linear forward"
  char shape[48];      // "M 2048 N 1536 K 576"
  double us;           // ours
  double flops, bytes; // work and least traffic of one call; flops 0: a row about bytes
  double items;        // what one call makes ("tokens"), 0: not told
  const char *item;
  double floor_us;   // 0: from flops and bytes
  double rival_us;   // 0: no rival
  const char *rival; // whose time that is; static text
  double second_us;  // another rival, likewise
  const char *second;
  double memory_bytes; // most device memory held at once; 0: not told
} zk_bench_row;

typedef struct {
  zk_device_kind device;
  int ordinal;        // which GPU
  int num_threads;    // 0: the device's own choice
  const char *filter; // only groups that contain this; NULL: all
  double seconds;     // spent on one row (on a GPU: on one time of it), about
  bool quick;         // on a GPU: fewer rows
  int shrink;         // on a GPU: every size is divided by this, to test the benchmark itself; 1: none is
  const char *commit; // said in the JSON
  FILE *out;          // rows are printed here as they come
} zk_bench_options;

// The measured machine, the rows so far.
typedef struct zk_bench zk_bench;

// Opens the device, measures its bandwidth and rate, prints the head of the table. The caller closes it.
zk_status zk_bench_open(const zk_bench_options *options, zk_bench **out);
void zk_bench_close(zk_bench *bench);
zk_device *zk_bench_device(zk_bench *bench);
zk_stream *zk_bench_stream(zk_bench *bench);
double zk_bench_bytes_per_us(const zk_bench *bench);
double zk_bench_flops_per_us(const zk_bench *bench);

// Whether the filter lets this group through: a suite asks before it makes its inputs.
bool zk_bench_wants(const zk_bench *bench, const char *group);
// One repetition of something, with its own argument.
typedef zk_status zk_bench_call(void *arg);
// Least time in microseconds of `ours` and of `rival`, in turn; `rival` may be NULL. One warm-up each.
zk_status zk_bench_time(zk_bench *bench, zk_bench_call *ours, zk_bench_call *rival, void *arg, double *us,
                        double *rival_us);
// Prints the row and keeps it.
zk_status zk_bench_add(zk_bench *bench, zk_bench_row row);
// All rows and the machine as one JSON object.
zk_status zk_bench_write_json(const zk_bench *bench, const char *path);

// n floats in [-1, 1), not compressible, in device memory owned by the caller (zk_device_free).
zk_status zk_bench_floats(zk_bench *bench, size_t n, const char *what, float **out);

// A suite makes its inputs, measures, and adds rows.
typedef struct {
  const char *name, *summary;
  zk_status (*run)(zk_bench *bench);
} zk_bench_suite;
extern const zk_bench_suite zk_bench_suite_linear, zk_bench_suite_lmhead, zk_bench_suite_tc_gemm; // on a CPU
extern const zk_bench_suite zk_bench_suite_gpu_linear, zk_bench_suite_gpu_lmhead, zk_bench_suite_gpu_lmhead_loss, zk_bench_suite_gpu_attention, zk_bench_suite_gpu_attention_backward, zk_bench_suite_gpu_rows, zk_bench_suite_gpu_rows_backward,
    zk_bench_suite_gpu_rope_cache, zk_bench_suite_gpu_linear_parts, zk_bench_suite_gpu_linear_norm,
    zk_bench_suite_gpu_rope_attention;

// The vendor's sgemm as the rival, on the threads and instruction set of the bench's device: c[m,n] = op(a) op(b),
// row-major. When there is none, zk_rival_sgemm is NULL and the note under the table says how to get it.
typedef void zk_sgemm(bool transpose_a, bool transpose_b, int m, int n, int k, const float *a, int lda, const float *b,
                      int ldb, float *c, int ldc);
zk_sgemm *zk_rival_sgemm(zk_bench *bench);
bool zk_bench_has_rival(zk_bench *bench); // OpenBLAS for a CPU, cuBLAS for a GPU
const char *zk_rival_name(void); // "OpenBLAS"

#ifdef __cplusplus
}
#endif
#endif
