// row_alone DEVICE NUMERICS [quick]: rows computed alone against the same rows in batches of many sizes, for each operation that a sampling step is made
// of. One JSON object a line: operation, how many rows the batch has, the length of a row's sum (columns, or keys of attention), how many elements of
// the first eight rows were compared, and how many differ in a bit. Unlike `zerokl check` it takes numerics vendor, of which it counts and expects nothing.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/check_case.h"
#include "kernels/linear.h"
#include "kernels/lmhead.h"
#include "kernels/rmsnorm.h"

enum { MOST_ALONE = 8, HEADS = 8, KV_HEADS = 2, HEAD_DIM = 64, PAGE = 32 };
#define NUM(a) (int)(sizeof(a) / sizeof((a)[0]))

// One operation on batches that are the first rows of x; it leaves `width` elements of `bytes` bytes a row in y.
typedef struct job job;
struct job {
  zk_check *check;
  const char *operation;
  int64_t most_rows, width;
  int32_t in, out; // length of a row, and of what comes of it
  size_t bytes;
  void *x, *w, *packed, *y, *other; // other: of the sampler's two outputs the one that is not looked at
  int32_t *targets;
  uint32_t *names; // [4][most_rows]
  zk_attention_desc attention;
  int32_t *row_starts, *positions, *page_table;
  void *k_cache, *v_cache;
  zk_status (*run)(const job *j, int64_t first, int64_t rows);
};

static const char *row_of(const job *j, int64_t row) { return (const char *)j->x + (size_t)(row * j->in) * zk_numerics_bytes(j->check->numerics); }

static zk_status read_rows(const job *j, int64_t rows, char *out) {
  ZK_TRY(zk_copy_to_host(j->check->stream, out, j->y, (size_t)(rows * j->width) * j->bytes));
  return zk_stream_wait(j->check->stream);
}

static int64_t count_differing(const job *j, const char *a, const char *b, int64_t num_rows) {
  int64_t differing = 0;
  for (int64_t i = 0; i < num_rows * j->width; i++) differing += memcmp(a + (size_t)i * j->bytes, b + (size_t)i * j->bytes, j->bytes) != 0;
  return differing;
}

static zk_status compare(const job *j) {
  static const int64_t batches[] = {2, 3, 8, 17, 64, 256, 1024, 4096};
  const size_t row_bytes = (size_t)j->width * j->bytes;
  char *alone, *batch;
  ZK_TRY(zk_check_host(j->check, MOST_ALONE * row_bytes, (void **)&alone));
  ZK_TRY(zk_check_host(j->check, (size_t)j->most_rows * row_bytes, (void **)&batch));
  for (int64_t r = 0; r < MOST_ALONE; r++) {
    ZK_TRY(j->run(j, r, 1));
    ZK_TRY(read_rows(j, 1, alone + (size_t)r * row_bytes));
  }
  for (int b = 0; b < NUM(batches) && batches[b] <= j->most_rows; b++) {
    const int64_t rows = batches[b], compared = rows < MOST_ALONE ? rows : MOST_ALONE;
    ZK_TRY(j->run(j, 0, rows));
    ZK_TRY(read_rows(j, rows, batch));
    printf("{\"operation\": \"%s\", \"numerics\": \"%s\", \"rows\": %" PRId64 ", \"length\": %d, \"elements\": %" PRId64 ", \"differing\": %" PRId64 "}\n", j->operation,
           zk_numerics_name(j->check->numerics), rows, j->in, compared * j->width, count_differing(j, alone, batch, compared));
  }
  return fflush(stdout) ? ZK_FAIL(ZK_IO, "standard output could not be written") : ZK_OK;
}

static zk_status upload(zk_check *check, int64_t n, void **out) {
  float *host;
  ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &host));
  return zk_check_upload_elements(check, host, n, out);
}

static zk_status upload_integers(zk_check *check, int32_t bound, int64_t n, void **out) {
  int32_t *host;
  ZK_TRY(zk_check_integers(check, bound, n, &host));
  return zk_check_upload(check, host, (size_t)n * sizeof *host, out);
}

// x [most_rows, in] and w [out, in], both random, and room for most_rows rows of results.
static zk_status begin(zk_check *check, const char *operation, int64_t most_rows, int32_t in, int32_t out, int64_t width, size_t bytes, job *j) {
  zk_check_case(check, "%s of %d", operation, in);
  *j = (job){.check = check, .operation = operation, .most_rows = most_rows, .width = width, .in = in, .out = out, .bytes = bytes};
  ZK_TRY(upload(check, most_rows * in, &j->x));
  ZK_TRY(upload(check, (int64_t)in * out, &j->w));
  ZK_TRY(zk_check_device(check, (size_t)(most_rows * width) * bytes, &j->y));
  return ZK_OK;
}

static zk_status pack(job *j) {
  const zk_linear_desc desc = {j->check->numerics, 0, j->in, j->out};
  const size_t bytes = zk_linear_packed_bytes(j->check->device, desc.numerics, j->in, j->out);
  if (bytes == 0) return ZK_OK;
  ZK_TRY(zk_check_device(j->check, bytes, &j->packed));
  return zk_linear_pack(j->check->stream, &desc, j->w, j->packed);
}

static zk_status run_rmsnorm(const job *j, int64_t first, int64_t rows) {
  const zk_rmsnorm_desc desc = {j->check->numerics, rows, 1, j->in, 1e-5f};
  return zk_rmsnorm_forward(j->check->stream, &desc, row_of(j, first), j->w, j->y, NULL);
}

static zk_status run_linear(const job *j, int64_t first, int64_t rows) {
  const zk_linear_desc desc = {j->check->numerics, rows, j->in, j->out};
  return zk_linear_forward(j->check->stream, &desc, row_of(j, first), j->w, j->packed, NULL, NULL, j->y);
}

static zk_status run_attention(const job *j, int64_t first, int64_t rows) {
  const zk_attention_batch batch = {(int32_t)rows, (int32_t)rows, (j->in + PAGE - 1) / PAGE, j->row_starts, j->positions + first, j->page_table, NULL};
  const char *q = (const char *)j->x + (size_t)(first * HEADS * HEAD_DIM) * zk_numerics_bytes(j->check->numerics);
  return zk_attention_forward(j->check->stream, &j->attention, &batch, q, j->k_cache, j->v_cache, j->y, NULL);
}

static zk_status run_logprob(const job *j, int64_t first, int64_t rows) {
  const zk_lmhead_desc desc = {j->check->numerics, rows, j->in, j->out, 1.0, 0, 1.0};
  const zk_lmhead_out out = {.logprob = j->y};
  return zk_lmhead_logprob(j->check->stream, &desc, row_of(j, first), j->w, j->packed, j->targets + first, &out);
}

static zk_status sample(const job *j, int64_t first, int64_t rows, int32_t *token, float *logprob) {
  const zk_lmhead_desc desc = {j->check->numerics, rows, j->in, j->out, 1.0, 0, 1.0};
  const int64_t n = j->most_rows;
  const zk_sample_ids ids = {77, j->names + first, j->names + n + first, j->names + 2 * n + first, j->names + 3 * n + first};
  const zk_lmhead_out out = {.logprob = logprob};
  return zk_lmhead_sample(j->check->stream, &desc, &ids, row_of(j, first), j->w, j->packed, token, &out);
}
static zk_status run_token(const job *j, int64_t first, int64_t rows) { return sample(j, first, rows, j->y, j->other); }
static zk_status run_token_logprob(const job *j, int64_t first, int64_t rows) { return sample(j, first, rows, j->other, j->y); }

// ---- what each operation works on

static zk_status norm(zk_check *check, int64_t most_rows, int32_t in) {
  job j;
  ZK_TRY(begin(check, "RMSNorm", most_rows, in, 1, in, zk_numerics_bytes(check->numerics), &j));
  j.run = run_rmsnorm;
  return compare(&j);
}

static zk_status product(zk_check *check, int64_t most_rows, int32_t in, int32_t out) {
  job j;
  ZK_TRY(begin(check, "matrix product", most_rows, in, out, out, zk_numerics_bytes(check->numerics), &j));
  ZK_TRY(pack(&j));
  j.run = run_linear;
  return compare(&j);
}

// Decoding rows, all of one cache of num_keys keys: the first eight see all keys, the others fewer.
static zk_status decoding(zk_check *check, int32_t most_rows, int32_t num_keys) {
  const int32_t num_pages = (num_keys + PAGE - 1) / PAGE, kv = KV_HEADS * HEAD_DIM;
  int32_t *ints;
  void *k, *v, *rows, *zero;
  job j;
  ZK_TRY(begin(check, "decoding attention", most_rows, HEADS * HEAD_DIM, 1, HEADS * HEAD_DIM, zk_numerics_bytes(check->numerics), &j));
  j.in = num_keys, j.attention = (zk_attention_desc){check->numerics, HEADS, KV_HEADS, HEAD_DIM, PAGE, 0.125f};
  ZK_TRY(zk_check_host(check, (size_t)(2 * most_rows + 1 + most_rows * num_pages) * sizeof *ints, (void **)&ints));
  int32_t *starts = ints, *last = starts + most_rows + 1, *table = last + most_rows;
  for (int32_t i = 0; i <= most_rows; i++) starts[i] = i;
  for (int32_t i = 0; i < most_rows; i++) last[i] = (i < MOST_ALONE ? num_keys : 1 + i * 97 % num_keys) - 1;
  for (int32_t i = 0; i < most_rows * num_pages; i++) table[i] = i % num_pages;
  ZK_TRY(zk_check_upload(check, starts, (size_t)(most_rows + 1) * sizeof *ints, (void **)&j.row_starts));
  ZK_TRY(zk_check_upload(check, last, (size_t)most_rows * sizeof *ints, (void **)&j.positions));
  ZK_TRY(zk_check_upload(check, table, (size_t)(most_rows * num_pages) * sizeof *ints, (void **)&j.page_table));
  ZK_TRY(zk_check_upload(check, (int32_t[]){0, num_keys}, 2 * sizeof *ints, &rows));
  ZK_TRY(zk_check_device(check, sizeof *ints, &zero));
  const size_t bytes = zk_kv_cache_bytes(check->device, &j.attention, num_pages);
  ZK_TRY(zk_check_device(check, bytes, &j.k_cache));
  ZK_TRY(zk_check_device(check, bytes, &j.v_cache));
  ZK_TRY(upload(check, (int64_t)num_keys * kv, &k));
  ZK_TRY(upload(check, (int64_t)num_keys * kv, &v));
  const zk_attention_batch whole = {num_keys, 1, num_pages, rows, zero, j.page_table, NULL};
  ZK_TRY(zk_kv_write(check->stream, &j.attention, &whole, k, v, j.k_cache, j.v_cache));
  j.run = run_attention;
  return compare(&j);
}

static zk_status head(zk_check *check, const char *operation, zk_status (*run)(const job *, int64_t, int64_t), int64_t most_rows, int32_t in, int32_t vocab) {
  job j;
  ZK_TRY(begin(check, operation, most_rows, in, vocab, 1, 4, &j));
  ZK_TRY(pack(&j));
  ZK_TRY(upload_integers(check, vocab, most_rows, (void **)&j.targets));
  ZK_TRY(upload_integers(check, 1000, 4 * most_rows, (void **)&j.names));
  ZK_TRY(zk_check_device(check, (size_t)most_rows * 4, &j.other));
  j.run = run;
  return compare(&j);
}

static zk_status compare_all(zk_check *check, bool quick) {
  const bool on_gpu = zk_device_get_kind(check->device) != ZK_DEVICE_CPU;
  static const int32_t lengths[] = {576, 1024, 4096, 12288};
  const int num = quick ? 1 : on_gpu ? NUM(lengths) : NUM(lengths) - 1;
  const int64_t rows = quick ? 17 : on_gpu ? 4096 : 256;
  const int32_t vocab = quick ? 500 : on_gpu ? 32768 : 4096;
  for (int i = 0; i < num; i++) ZK_TRY(norm(check, rows, lengths[i]));
  for (int i = 0; i < num; i++) ZK_TRY(product(check, rows, lengths[i], quick ? 576 : lengths[i] > 4096 ? 4096 : lengths[i]));
  for (int i = 0; i < num; i++) ZK_TRY(decoding(check, rows < 256 ? (int32_t)rows : 256, lengths[i]));
  for (int i = 0; i < num && lengths[i] <= 4096; i++) {
    const int64_t few = rows < 1024 ? rows : 1024;
    ZK_TRY(head(check, "LM head", run_logprob, few, lengths[i], vocab));
    ZK_TRY(head(check, "sampler: token", run_token, few, lengths[i], vocab));
    ZK_TRY(head(check, "sampler: log-probability", run_token_logprob, few, lengths[i], vocab));
  }
  return ZK_OK;
}

static zk_status run(int argc, char **argv) {
  zk_check check = {.seed = 1, .numerics = ZK_NUM_NUMERICS};
  const bool on_gpu = argc > 1 && !strcmp(argv[1], "cuda");
  for (int i = 0; argc > 2 && i < ZK_NUM_NUMERICS; i++)
    if (!strcmp(argv[2], zk_numerics_name((zk_numerics)i))) check.numerics = (zk_numerics)i;
  if (argc < 3 || argc > 4 || (argc == 4 && strcmp(argv[3], "quick")) || (!on_gpu && strcmp(argv[1], "cpu")) || check.numerics == ZK_NUM_NUMERICS)
    return ZK_FAIL(ZK_BAD_INPUT, "usage: row_alone cpu|cuda f32|bf16|vendor [quick]");
  ZK_TRY(zk_device_open(on_gpu ? ZK_DEVICE_CUDA : ZK_DEVICE_CPU, 0, &check.device));
  zk_status st = zk_device_require(check.device, check.numerics);
  if (st == ZK_OK) st = zk_stream_open(check.device, ZK_SIDE_NONE, &check.stream);
  check.helper = check.fused = check.stream;
  if (st == ZK_OK) st = compare_all(&check, argc == 4);
  zk_check_free(&check);
  if (check.stream) zk_stream_close(check.stream);
  zk_device_close(check.device);
  return st;
}

int main(int argc, char **argv) {
  const zk_status st = run(argc, argv);
  if (st != ZK_OK) fprintf(stderr, "row_alone: %s\n", zk_status_message());
  return zk_status_exit_code(st);
}
