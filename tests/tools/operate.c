// operate DEVICE OPERATION SIZE...: one forward operation in bf16, on values made elsewhere. Inputs and outputs are files of the working
// folder, NAME.bin, of raw bf16 (target: int32, logprob: f32), row after row.
//
//   linear    ROWS IN OUT            x, weight -> y
//   rmsnorm   ROWS WIDTH             x, weight -> y            (epsilon 1e-6)
//   rope      ROWS HEADS HEAD_DIM    x -> y                    (theta 10,000, positions from 0)
//   attention ROWS HEADS KV_HEADS HEAD_DIM    q, k, v -> out   (one sequence)
//   swiglu    ELEMENTS               gate, up -> out
//   lmhead    ROWS HIDDEN VOCAB      x, weight, target -> logprob
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/lmhead.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/swiglu.h"

enum { MOST_SIZES = 4, MOST_BUFFERS = 16, PAGE_TOKENS = 16 };

// What the operations work on. Device memory lives until the program ends.
typedef struct {
  zk_device *device;
  zk_stream *stream;
  int64_t size[MOST_SIZES];
  void *memory[MOST_BUFFERS];
  int num_memory;
} job;

static size_t bf16_bytes(int64_t n) { return (size_t)n * 2; }

static zk_status alloc(job *j, size_t bytes, void **out) {
  if (j->num_memory == MOST_BUFFERS) return ZK_FAIL(ZK_INTERNAL, "too many buffers");
  ZK_TRY(zk_device_alloc(j->device, bytes, "operate", out));
  j->memory[j->num_memory++] = *out;
  return zk_fill_zero(j->stream, *out, bytes);
}

static zk_status upload(job *j, const void *host, size_t bytes, void **out) {
  ZK_TRY(alloc(j, bytes, out));
  ZK_TRY(zk_copy_to_device(j->stream, *out, host, bytes));
  return zk_stream_wait(j->stream);
}

static FILE *open_file(const char *name, const char *mode) {
  char path[64];
  snprintf(path, sizeof path, "%s.bin", name);
  return fopen(path, mode);
}

static zk_status input(job *j, const char *name, size_t bytes, void **out) {
  FILE *f = open_file(name, "rb");
  if (f == NULL) return ZK_FAIL(ZK_IO, "%s.bin: %s", name, strerror(errno));
  char *host = malloc(bytes + 1);
  const size_t got = host != NULL ? fread(host, 1, bytes + 1, f) : 0;
  fclose(f);
  zk_status status = host == NULL   ? ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", name)
                     : got != bytes ? ZK_FAIL(ZK_BAD_INPUT, "%s.bin is not of %zu bytes", name, bytes)
                                    : upload(j, host, bytes, out);
  free(host);
  return status;
}

static zk_status output(job *j, const char *name, size_t bytes, const void *device) {
  void *host = malloc(bytes);
  if (host == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", name);
  zk_status status = zk_copy_to_host(j->stream, host, device, bytes);
  if (status == ZK_OK) status = zk_stream_wait(j->stream);
  FILE *f = status == ZK_OK ? open_file(name, "wb") : NULL;
  if (f != NULL) {
    const size_t put = fwrite(host, 1, bytes, f);
    if (fclose(f) != 0 || put != bytes) status = ZK_FAIL(ZK_IO, "%s.bin could not be written", name);
  } else if (status == ZK_OK) {
    status = ZK_FAIL(ZK_IO, "%s.bin: %s", name, strerror(errno));
  }
  free(host);
  return status;
}

// Weights as the device's products read them.
static zk_status pack(job *j, int64_t in, int64_t out, const void *weight, void **packed) {
  const zk_linear_desc desc = {ZK_BF16, 1, (int32_t)in, (int32_t)out};
  const size_t bytes = zk_linear_packed_bytes(j->device, ZK_BF16, desc.in_features, desc.out_features);
  *packed = NULL;
  if (bytes == 0) return ZK_OK;
  ZK_TRY(alloc(j, bytes, packed));
  return zk_linear_pack(j->stream, &desc, weight, *packed);
}

static zk_status linear(job *j) {
  const int64_t rows = j->size[0], in = j->size[1], out = j->size[2];
  const zk_linear_desc desc = {ZK_BF16, rows, (int32_t)in, (int32_t)out};
  void *x, *weight, *packed, *y;
  ZK_TRY(input(j, "x", bf16_bytes(rows * in), &x));
  ZK_TRY(input(j, "weight", bf16_bytes(in * out), &weight));
  ZK_TRY(pack(j, in, out, weight, &packed));
  ZK_TRY(alloc(j, bf16_bytes(rows * out), &y));
  ZK_TRY(zk_linear_forward(j->stream, &desc, x, weight, packed, NULL, NULL, y));
  return output(j, "y", bf16_bytes(rows * out), y);
}

static zk_status rmsnorm(job *j) {
  const int64_t rows = j->size[0], width = j->size[1];
  const zk_rmsnorm_desc desc = {ZK_BF16, rows, 1, (int32_t)width, 1e-6f};
  void *x, *weight, *y, *rstd;
  ZK_TRY(input(j, "x", bf16_bytes(rows * width), &x));
  ZK_TRY(input(j, "weight", bf16_bytes(width), &weight));
  ZK_TRY(alloc(j, bf16_bytes(rows * width), &y));
  ZK_TRY(alloc(j, (size_t)rows * sizeof(float), &rstd));
  ZK_TRY(zk_rmsnorm_forward(j->stream, &desc, x, weight, y, rstd));
  return output(j, "y", bf16_bytes(rows * width), y);
}

static zk_status rope(job *j) {
  const int64_t rows = j->size[0], heads = j->size[1], dim = j->size[2], n = rows * heads * dim, num_table = rows * dim / 2;
  const zk_rope_desc desc = {ZK_BF16, rows, (int32_t)heads, (int32_t)dim};
  const zk_rope_params params = {.theta = 10000.0};
  float *tables = malloc((size_t)num_table * 2 * sizeof *tables);
  int32_t *positions = malloc((size_t)rows * sizeof *positions);
  void *x, *tables_d, *positions_d;
  zk_status status = tables == NULL || positions == NULL ? ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for RoPE's tables") : ZK_OK;
  if (status == ZK_OK) {
    zk_rope_build_tables(&params, (int32_t)dim, (int32_t)rows, tables, tables + num_table);
    for (int64_t i = 0; i < rows; i++) positions[i] = (int32_t)i;
    status = upload(j, tables, (size_t)num_table * 2 * sizeof *tables, &tables_d);
  }
  if (status == ZK_OK) status = upload(j, positions, (size_t)rows * sizeof *positions, &positions_d);
  free(tables);
  free(positions);
  ZK_TRY(status);
  ZK_TRY(input(j, "x", bf16_bytes(n), &x));
  ZK_TRY(zk_rope_forward(j->stream, &desc, positions_d, tables_d, (float *)tables_d + num_table, x));
  return output(j, "y", bf16_bytes(n), x);
}

static zk_status attention(job *j) {
  const int64_t rows = j->size[0], dim = j->size[3], num_q = rows * j->size[1] * dim, num_kv = rows * j->size[2] * dim;
  const int32_t num_pages = (int32_t)((rows + PAGE_TOKENS - 1) / PAGE_TOKENS), starts[] = {0, (int32_t)rows}, zero = 0;
  const zk_attention_desc desc = {ZK_BF16, (int32_t)j->size[1], (int32_t)j->size[2], (int32_t)dim, PAGE_TOKENS, (float)(1.0 / sqrt((double)dim))};
  const size_t cache_bytes = zk_kv_cache_bytes(j->device, &desc, num_pages);
  int32_t *pages = malloc((size_t)num_pages * sizeof *pages);
  if (pages == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a page table");
  for (int32_t i = 0; i < num_pages; i++) pages[i] = num_pages - 1 - i;
  void *q, *k, *v, *out, *lse, *k_cache, *v_cache, *starts_d, *first_d, *pages_d;
  const zk_status status = upload(j, pages, (size_t)num_pages * sizeof *pages, &pages_d);
  free(pages);
  ZK_TRY(status);
  ZK_TRY(upload(j, starts, sizeof starts, &starts_d));
  ZK_TRY(upload(j, &zero, sizeof zero, &first_d));
  ZK_TRY(input(j, "q", bf16_bytes(num_q), &q));
  ZK_TRY(input(j, "k", bf16_bytes(num_kv), &k));
  ZK_TRY(input(j, "v", bf16_bytes(num_kv), &v));
  ZK_TRY(alloc(j, bf16_bytes(num_q), &out));
  ZK_TRY(alloc(j, (size_t)(rows * j->size[1]) * sizeof(float), &lse));
  ZK_TRY(alloc(j, cache_bytes, &k_cache));
  ZK_TRY(alloc(j, cache_bytes, &v_cache));
  const zk_attention_batch batch = {(int32_t)rows, 1, num_pages, starts_d, first_d, pages_d, NULL};
  ZK_TRY(zk_kv_write(j->stream, &desc, &batch, k, v, k_cache, v_cache));
  ZK_TRY(zk_attention_forward(j->stream, &desc, &batch, q, k_cache, v_cache, out, lse));
  return output(j, "out", bf16_bytes(num_q), out);
}

static zk_status swiglu(job *j) {
  const int64_t n = j->size[0];
  void *gate, *up, *out;
  ZK_TRY(input(j, "gate", bf16_bytes(n), &gate));
  ZK_TRY(input(j, "up", bf16_bytes(n), &up));
  ZK_TRY(alloc(j, bf16_bytes(n), &out));
  ZK_TRY(zk_swiglu_forward(j->stream, ZK_BF16, n, gate, up, out));
  return output(j, "out", bf16_bytes(n), out);
}

static zk_status lmhead(job *j) {
  const int64_t rows = j->size[0], hidden = j->size[1], vocab = j->size[2];
  const zk_lmhead_desc desc = {.numerics = ZK_BF16, .num_rows = rows, .hidden = (int32_t)hidden, .vocab = (int32_t)vocab, .temperature = 1.0, .top_p = 1.0};
  void *x, *weight, *packed, *target, *logprob, *lse;
  ZK_TRY(input(j, "x", bf16_bytes(rows * hidden), &x));
  ZK_TRY(input(j, "weight", bf16_bytes(hidden * vocab), &weight));
  ZK_TRY(input(j, "target", (size_t)rows * sizeof(int32_t), &target));
  ZK_TRY(pack(j, hidden, vocab, weight, &packed));
  ZK_TRY(alloc(j, (size_t)rows * sizeof(float), &logprob));
  ZK_TRY(alloc(j, (size_t)rows * sizeof(float), &lse));
  const zk_lmhead_out out = {.logprob = logprob, .lse = lse};
  ZK_TRY(zk_lmhead_logprob(j->stream, &desc, x, weight, packed, target, &out));
  return output(j, "logprob", (size_t)rows * sizeof(float), logprob);
}

static const struct {
  const char *name;
  int num_sizes;
  zk_status (*run)(job *j);
} operations[] = {{"linear", 3, linear},       {"rmsnorm", 2, rmsnorm}, {"rope", 3, rope},
                  {"attention", 4, attention}, {"swiglu", 1, swiglu},   {"lmhead", 3, lmhead}};

static zk_status run(int argc, char **argv) {
  zk_status (*operation)(job *) = NULL;
  for (size_t i = 0; i < sizeof operations / sizeof *operations && argc > 2; i++)
    if (strcmp(argv[2], operations[i].name) == 0 && argc == 3 + operations[i].num_sizes) operation = operations[i].run;
  if (operation == NULL) return ZK_FAIL(ZK_BAD_INPUT, "usage: operate cpu|cuda OPERATION SIZE...");
  job j = {0};
  for (int i = 3; i < argc; i++)
    if ((j.size[i - 3] = atoll(argv[i])) < 1) return ZK_FAIL(ZK_BAD_INPUT, "size %s", argv[i]);
  ZK_TRY(zk_device_open(strcmp(argv[1], "cuda") == 0 ? ZK_DEVICE_CUDA : ZK_DEVICE_CPU, 0, &j.device));
  zk_status status = zk_stream_open(j.device, ZK_SIDE_NONE, &j.stream);
  if (status == ZK_OK) status = operation(&j);
  while (j.num_memory > 0) zk_device_free(j.device, j.memory[--j.num_memory]);
  zk_stream_close(j.stream);
  zk_device_close(j.device);
  return status;
}

int main(int argc, char **argv) {
  const zk_status status = run(argc, argv);
  if (status != ZK_OK) fprintf(stderr, "operate: %s\n", zk_status_message());
  return zk_status_exit_code(status);
}
