// The table: the machine's ceilings, timing in turn, rows as text and as JSON.
#include "kernels/bench/bench_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/cpu/bench.h"
#include "kernels/cuda/bench.h"
#include "kernels/rng.h"

// Wall time; of a single thread its time on the CPU, which other processes do not lengthen.
static double now_us(const zk_bench *bench) {
  struct timespec t;
  const bool alone = zk_device_get_kind(bench->device) == ZK_DEVICE_CPU && zk_device_threads(bench->device) == 1;
  clock_gettime(alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

zk_device *zk_bench_device(zk_bench *bench) { return bench->device; }
zk_stream *zk_bench_stream(zk_bench *bench) { return bench->stream; }
double zk_bench_bytes_per_us(const zk_bench *bench) { return bench->bytes_per_us; }
double zk_bench_flops_per_us(const zk_bench *bench) { return bench->flops_per_us; }

bool zk_bench_wants(const zk_bench *bench, const char *group) {
  return bench->options.filter == NULL || strstr(group, bench->options.filter) != NULL;
}

static zk_status time_once(zk_bench *bench, zk_bench_call *call, void *arg, double *least) {
  const double start = now_us(bench);
  ZK_TRY(call(arg));
  ZK_TRY(zk_stream_wait(bench->stream));
  const double us = now_us(bench) - start;
  if (us < *least) *least = us;
  return ZK_OK;
}

zk_status zk_bench_time(zk_bench *bench, zk_bench_call *ours, zk_bench_call *rival, void *arg, double *us,
                        double *rival_us) {
  enum { LEAST = 3, MOST = 2000 };
  double warm_up = 1e300;
  *us = *rival_us = 1e300;
  ZK_TRY(time_once(bench, ours, arg, &warm_up));
  if (rival != NULL) ZK_TRY(time_once(bench, rival, arg, &warm_up));
  const double start = now_us(bench);
  for (int i = 0; i < MOST && (i < LEAST || now_us(bench) - start < bench->options.seconds * 1e6); i++) {
    ZK_TRY(time_once(bench, ours, arg, us));
    if (rival != NULL) ZK_TRY(time_once(bench, rival, arg, rival_us));
  }
  if (rival == NULL) *rival_us = 0.0;
  return ZK_OK;
}

zk_status zk_bench_floats(zk_bench *bench, size_t n, const char *what, float **out) {
  void *memory;
  ZK_TRY(zk_device_alloc(bench->device, n * sizeof(float), what, &memory));
  float *host = malloc(n * sizeof *host);
  if (host == NULL) {
    zk_device_free(bench->device, memory);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the %s to measure with", what);
  }
  uint64_t state = 88172645463325252ull; // xorshift64 (Marsaglia 2003)
  for (size_t i = 0; i < n; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    host[i] = (float)(int32_t)(state >> 32) * 0x1p-31f;
  }
  zk_status status = zk_copy_to_device(bench->stream, memory, host, n * sizeof *host);
  if (status == ZK_OK) status = zk_stream_wait(bench->stream);
  free(host);
  if (status != ZK_OK) zk_device_free(bench->device, memory);
  *out = memory;
  return status;
}

// ---- the machine

typedef struct {
  zk_bench *bench;
  float *x;
  int64_t n;
  double flops;
} ceiling_arg;

static zk_status read_memory(void *arg) {
  const ceiling_arg *c = arg;
  ZK_ISA_PICK(zk_device_isa(c->bench->device), zk_bench_read)(c->x, c->n, zk_device_threads(c->bench->device));
  return ZK_OK;
}
static zk_status multiply_add(void *arg) {
  ceiling_arg *c = arg;
  c->flops = ZK_ISA_PICK(zk_device_isa(c->bench->device), zk_bench_fma)(1 << 15, zk_device_threads(c->bench->device));
  return ZK_OK;
}

static zk_status measure_ceilings(zk_bench *bench) {
  if (bench->options.device == ZK_DEVICE_CUDA) return zk_bench_measure_gpu(bench);
  ceiling_arg c = {.bench = bench, .n = (int64_t)1 << 26}; // 256 MiB: past every cache
  double us, none;
  ZK_TRY(zk_bench_floats(bench, (size_t)c.n, "memory to read", &c.x));
  zk_status status = zk_bench_time(bench, read_memory, NULL, &c, &us, &none);
  bench->bytes_per_us = (double)c.n * sizeof(float) / us;
  if (status == ZK_OK) status = zk_bench_time(bench, multiply_add, NULL, &c, &us, &none);
  bench->flops_per_us = c.flops / us;
  zk_device_free(bench->device, c.x);
  return status;
}

zk_status zk_bench_open(const zk_bench_options *options, zk_bench **out) {
  zk_bench *bench = calloc(1, sizeof *bench);
  if (bench == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the benchmark");
  bench->options = *options;
  zk_status status = zk_device_open(options->device, options->ordinal, &bench->device);
  if (status == ZK_OK && options->num_threads > 0) zk_device_set_threads(bench->device, options->num_threads);
  if (status == ZK_OK) status = zk_stream_open(bench->device, ZK_SIDE_NONE, &bench->stream);
  if (status == ZK_OK) status = measure_ceilings(bench);
  if (status != ZK_OK) {
    zk_bench_close(bench);
    return status;
  }
  const bool gpu = options->device == ZK_DEVICE_CUDA;
  fprintf(options->out, gpu ? "%s; copies %.1f GB/s, cuBLAS %.1f TFLOP/s\n" : "%s; reads %.1f GB/s, multiply-adds %.1f GFLOP/s\n",
          zk_device_describe(bench->device), bench->bytes_per_us * 1e-3, bench->flops_per_us * (gpu ? 1e-6 : 1e-3));
  fprintf(options->out, "%-22s %-24s %12s %16s %8s %10s\n", "operation", "shape", "us", "rate", "% floor", "x rival");
  *out = bench;
  return ZK_OK;
}

void zk_bench_close(zk_bench *bench) {
  if (bench == NULL) return;
  zk_vendor_close(bench->vendor);
  if (bench->stream != NULL) zk_stream_close(bench->stream);
  if (bench->device != NULL) zk_device_close(bench->device);
  free(bench->rows);
  free(bench);
}

bool zk_bench_has_rival(zk_bench *bench) {
  return bench->options.device == ZK_DEVICE_CUDA ? bench->vendor != NULL : zk_rival_sgemm(bench) != NULL;
}

// ---- rows

// What a row is counted in: its items, else flops, else bytes.
static double row_rate(const zk_bench *bench, const zk_bench_row *row, const char **unit) {
  if (row->items > 0.0) {
    *unit = row->item;
    return row->items / row->us * 1e6;
  }
  if (row->flops > 0.0 && bench->options.device == ZK_DEVICE_CUDA) {
    *unit = "TFLOP/s";
    return row->flops / row->us * 1e-6;
  }
  *unit = row->flops > 0.0 ? "GFLOP/s" : "GB/s";
  return (row->flops > 0.0 ? row->flops : row->bytes) / row->us * 1e-3;
}

zk_status zk_bench_add(zk_bench *bench, zk_bench_row row) {
  const double by_bytes = row.bytes / bench->bytes_per_us;
  const double by_flops = bench->flops_per_us > 0.0 ? row.flops / bench->flops_per_us : 0.0;
  if (row.floor_us == 0.0) row.floor_us = by_bytes > by_flops ? by_bytes : by_flops;
  if (bench->num_rows == bench->max_rows) {
    const int room = bench->max_rows * 2 + 16;
    zk_bench_row *rows = realloc(bench->rows, (size_t)room * sizeof *rows);
    if (rows == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the benchmark's rows");
    bench->rows = rows, bench->max_rows = room;
  }
  bench->rows[bench->num_rows++] = row;
  const char *unit;
  const double rate = row_rate(bench, &row, &unit);
  fprintf(bench->options.out, "%-22s %-24s %12.1f %8.1f %-7s %8.1f", row.group, row.shape, row.us, rate, unit,
          100.0 * row.floor_us / row.us);
  if (row.rival_us > 0.0) fprintf(bench->options.out, " %6.2f %s", row.rival_us / row.us, row.rival);
  else fprintf(bench->options.out, " %6s", "-");
  if (row.second_us > 0.0) fprintf(bench->options.out, ", %.2f %s", row.second_us / row.us, row.second);
  if (row.memory_bytes > 0.0) fprintf(bench->options.out, ", %.2f GB", row.memory_bytes * 1e-9);
  fputc('\n', bench->options.out);
  fflush(bench->options.out);
  return ZK_OK;
}

static void write_machine(const zk_bench *bench, FILE *f) {
  const bool gpu = bench->options.device == ZK_DEVICE_CUDA;
  fprintf(f, "{\"device\": \"%s\", \"commit\": \"%s\", ", zk_device_describe(bench->device), bench->options.commit ? bench->options.commit : "");
#ifdef ZK_WITH_CUDA
  int runtime, driver;
  zk_cuda_bench_versions(&runtime, &driver);
  if (gpu)
    fprintf(f, "\"cuda_runtime\": %d, \"cuda_driver\": %d, \"library\": \"%s\", ", runtime, driver,
            bench->vendor != NULL ? zk_vendor_version(bench->vendor) : "");
#endif
  fprintf(f, "\"%s_gb_per_s\": %.2f, \"gflop_per_s\": %.2f, \"rows\": [", gpu ? "copy" : "read", bench->bytes_per_us * 1e-3,
          bench->flops_per_us * 1e-3);
}

zk_status zk_bench_write_json(const zk_bench *bench, const char *path) {
  FILE *f = fopen(path, "w");
  if (f == NULL) return ZK_FAIL(ZK_IO, "%s: %s", path, strerror(errno));
  write_machine(bench, f);
  for (int i = 0; i < bench->num_rows; i++) {
    const zk_bench_row *row = &bench->rows[i];
    const char *unit;
    const double rate = row_rate(bench, row, &unit);
    fprintf(f,
            "%s\n  {\"operation\": \"%s\", \"shape\": \"%s\", \"us\": %.3f, \"rate\": %.4f, \"unit\": \"%s\", "
            "\"floor\": %.4f",
            i > 0 ? "," : "", row->group, row->shape, row->us, rate, unit, row->floor_us / row->us);
    if (row->rival_us > 0.0)
      fprintf(f, ", \"rival\": \"%s\", \"rival_us\": %.3f, \"x_rival\": %.4f", row->rival, row->rival_us,
              row->rival_us / row->us);
    if (row->second_us > 0.0)
      fprintf(f, ", \"second\": \"%s\", \"second_us\": %.3f, \"x_second\": %.4f", row->second, row->second_us,
              row->second_us / row->us);
    if (row->memory_bytes > 0.0) fprintf(f, ", \"memory_peak_bytes\": %.0f", row->memory_bytes);
    fputc('}', f);
  }
  fputs("\n]}\n", f);
  const int failed = ferror(f);
  if (fclose(f) != 0 || failed) return ZK_FAIL(ZK_IO, "%s: could not be written", path);
  return ZK_OK;
}
