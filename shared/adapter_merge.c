// Merging tensor by tensor, on a CPU: the linear layer's own products, with rows of s B for inputs and A's columns for weights.
#include "shared/adapter_merge.h"

#include <inttypes.h>
#include <stdlib.h>

#include "kernels/bf16.h"
#include "kernels/hash.h"
#include "kernels/linear.h"

#define BLOCK_ROWS ((int64_t)512)

typedef struct {
  const zk_adapter_merge *m;
  zk_device *device;
  zk_stream *stream;
  uint64_t hash; // of the base so far
} merging;

static void add_hash(merging *g, int64_t first, int64_t n, const float *w) {
  for (int64_t i = 0; i < n; i++)
    g->hash += zk_mix64(g->m->numerics == ZK_F32 ? zk_float_bits(w[i]) : zk_float_to_bf16(w[i]).bits, (uint64_t)(first + i));
}

// Device memory of one tensor's products.
typedef struct {
  float *a_t, *x, *y; // [in, rank], [BLOCK_ROWS, rank], [BLOCK_ROWS, in]
  void *packed;
} room;

static void close_room(const merging *g, room *r) {
  void *const memory[] = {r->a_t, r->x, r->y, r->packed};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) zk_device_free(g->device, memory[i]);
}

static zk_status open_room(const merging *g, int64_t in, int64_t rank, room *r) {
  const size_t packed = zk_linear_packed_bytes(g->device, ZK_F32, (int32_t)rank, (int32_t)in);
  *r = (room){0};
  ZK_TRY(zk_device_alloc(g->device, (size_t)(in * rank) * sizeof(float), "factors", (void **)&r->a_t));
  ZK_TRY(zk_device_alloc(g->device, (size_t)(BLOCK_ROWS * rank) * sizeof(float), "factors", (void **)&r->x));
  ZK_TRY(zk_device_alloc(g->device, (size_t)(BLOCK_ROWS * in) * sizeof(float), "weights to merge", (void **)&r->y));
  return packed ? zk_device_alloc(g->device, packed, "factors", &r->packed) : ZK_OK;
}

// w [rows, in] += scaled_b [rows, rank] A, a block of rows at a time.
static zk_status add_product(const merging *g, const room *r, int64_t rows, int64_t in, int64_t rank, const float *scaled_b, float *w) {
  for (int64_t at = 0; at < rows; at += BLOCK_ROWS) {
    const int64_t n = rows - at < BLOCK_ROWS ? rows - at : BLOCK_ROWS;
    const zk_linear_desc desc = {ZK_F32, n, (int32_t)rank, (int32_t)in};
    ZK_TRY(zk_copy_to_device(g->stream, r->x, scaled_b + at * rank, (size_t)(n * rank) * sizeof(float)));
    ZK_TRY(zk_copy_to_device(g->stream, r->y, w + at * in, (size_t)(n * in) * sizeof(float)));
    ZK_TRY(zk_linear_forward(g->stream, &desc, r->x, r->a_t, r->packed, NULL, r->y, r->y));
    ZK_TRY(zk_copy_to_host(g->stream, w + at * in, r->y, (size_t)(n * in) * sizeof(float)));
    ZK_TRY(zk_stream_wait(g->stream));
  }
  return ZK_OK;
}

// The factors of a target: a_t [in, rank] and scaled b [out, rank], both in `host`, with room for A behind them.
static zk_status read_factors(const merging *g, zk_lora_target target, const zk_param *w, float *host) {
  const zk_params *params = g->m->factors->params;
  const int64_t rank = g->m->lora.rank, in = w->cols, out = w->rows;
  const float scaling = (float)((double)g->m->lora.alpha / (double)g->m->lora.rank);
  float *a_t = host, *b = host + in * rank, *a = b + out * rank;
  const zk_param *pa = &params->params[zk_params_index(params, (zk_param_kind)(ZK_PARAM_LORA_A + target), w->layer)];
  const zk_param *pb = &params->params[zk_params_index(params, (zk_param_kind)(ZK_PARAM_LORA_B + target), w->layer)];
  ZK_TRY(zk_weight_source_read(g->m->factors, pa->first, pa->num_elements, a));
  ZK_TRY(zk_weight_source_read(g->m->factors, pb->first, pb->num_elements, b));
  for (int64_t r = 0; r < rank; r++)
    for (int64_t k = 0; k < in; k++) a_t[k * rank + r] = a[r * in + k];
  for (int64_t i = 0; i < pb->num_elements; i++) b[i] = scaling * b[i];
  return ZK_OK;
}

static zk_status merge_target(const merging *g, zk_lora_target target, const zk_param *p, float *w) {
  const int64_t rank = g->m->lora.rank;
  const zk_linear_desc desc = {ZK_F32, 0, (int32_t)rank, (int32_t)p->cols};
  float *host = malloc((size_t)((2 * p->cols + p->rows) * rank) * sizeof *host);
  room r = {0};
  zk_status st = host ? read_factors(g, target, p, host) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the factors of %s", p->name);
  if (st == ZK_OK) st = open_room(g, p->cols, rank, &r);
  if (st == ZK_OK) st = zk_copy_to_device(g->stream, r.a_t, host, (size_t)(p->cols * rank) * sizeof *host);
  if (st == ZK_OK && r.packed) st = zk_linear_pack(g->stream, &desc, r.a_t, r.packed);
  if (st == ZK_OK) st = add_product(g, &r, p->rows, p->cols, rank, host + p->cols * rank, w);
  close_room(g, &r);
  free(host);
  return st;
}

static zk_status merge_tensor(merging *g, const zk_param *p, zk_model_writer *writer) {
  float *w = malloc((size_t)p->num_elements * sizeof *w);
  zk_status st = w ? zk_weight_source_read(g->m->base, p->first, p->num_elements, w) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %s", p->name);
  if (st == ZK_OK) add_hash(g, p->first, p->num_elements, w);
  for (int t = 0; t < ZK_LORA_NUM_TARGETS && st == ZK_OK; t++)
    if (g->m->lora.targets >> t & 1 && zk_lora_target_weight((zk_lora_target)t) == p->kind) st = merge_target(g, (zk_lora_target)t, p, w);
  if (st == ZK_OK) st = zk_model_writer_append(writer, w, p->num_elements);
  free(w);
  return st;
}

static zk_status check_base(const merging *g) {
  if (g->hash == g->m->base_hash) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT, "%s: the adapter was trained on another base: its weights hash to %016" PRIx64 " (%s), this model's to %016" PRIx64, g->m->adapter,
                 g->m->base_hash, zk_numerics_name(g->m->numerics), g->hash);
}

static zk_status merge_all(merging *g, const char *dir) {
  const zk_adapter_merge *m = g->m;
  zk_model_writer *writer = NULL;
  ZK_TRY(zk_device_open(ZK_DEVICE_CPU, 0, &g->device));
  ZK_TRY(zk_stream_open(g->device, ZK_SIDE_NONE, &g->stream));
  ZK_TRY(zk_model_writer_open(dir, m->base->config, m->base->params, m->dtype, ZK_MODEL_MAX_SHARD_BYTES, m->tokenizer_dir, &writer));
  zk_status st = ZK_OK;
  for (int i = 0; i < m->base->params->num_params && st == ZK_OK; i++) st = merge_tensor(g, &m->base->params->params[i], writer);
  if (st == ZK_OK) st = check_base(g);
  if (st == ZK_OK) return zk_model_writer_close(writer);
  zk_model_writer_abort(writer);
  return st;
}

static zk_status fill(void *arg, const char *dir) {
  merging g = {.m = arg};
  const zk_status st = merge_all(&g, dir);
  if (g.stream) zk_stream_close(g.stream);
  if (g.device) zk_device_close(g.device);
  return st;
}

zk_status zk_adapter_merge_to(const zk_adapter_merge *merge, const char *dir) { return zk_model_folder_make(dir, fill, (void *)merge); }
