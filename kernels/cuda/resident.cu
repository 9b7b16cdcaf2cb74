// The one-kernel decode step: the host's side (resident.cuh): which models it is for, maps of all that the copy engine
// reads, and the launch.
#include <stdlib.h>

#include "kernels/backend.h"
#include "kernels/cuda/resident_kernel.cuh"

// A kernel, and the model that it is for.
struct way {
  int32_t hidden, inner, heads, kv_heads;
  void (*kernel)(zk_resident_plan);
  int shared_bytes;
  struct {
    int32_t rows, boxes;
  } qkv, o, down, gate_up;
};
template <class Shape> static way way_of() {
  return {Shape::HIDDEN,
          Shape::INNER,
          Shape::HEADS,
          Shape::KV_HEADS,
          zk_resident_kernel<Shape>,
          (int)sizeof(zk_resident_memory<Shape>),
          {Shape::qkv::ROWS, Shape::qkv::SLOT_BOXES},
          {Shape::o::ROWS, Shape::o::SLOT_BOXES},
          {Shape::down::ROWS, Shape::down::SLOT_BOXES},
          {ZK_RESIDENT_PAIRS, Shape::gate_up::SLOT_BOXES}};
}
static const way ways[] = {way_of<zk_resident_shape<1024, 3072, 16, 8>>(),
                           way_of<zk_resident_shape<2048, 6144, 16, 8>>()};

// What is kept from step to step.
struct resident {
  zk_stream *stream;
  const way *by;
  zk_resident_plan plan;
  int blocks;
  void *memory; // the layers, the mail, the epochs
};

static const way *find_way(const zk_resident_desc *d, int num_sms) {
  const zk_attention_desc *a = &d->attention;
  if (a->numerics != ZK_BF16 || a->head_dim != ZK_RESIDENT_DIM || a->page_tokens % ZK_RESIDENT_KEYS != 0 ||
      num_sms < ZK_RESIDENT_BLOCKS)
    return NULL;
  for (const way &w : ways)
    if (w.hidden == d->hidden && w.inner == d->intermediate && w.heads == a->num_heads && w.kv_heads == a->num_kv_heads)
      return &w;
  return NULL;
}

// Rows of k elements, a slot to a copy.
static zk_status map_rows(const void *w, int64_t n, int64_t k, int32_t rows, int32_t boxes, CUtensorMap *out) {
  const uint64_t dims[] = {64, (uint64_t)n, (uint64_t)k / 64}, strides[] = {(uint64_t)k * 2, 128};
  const uint32_t box[] = {64, (uint32_t)rows, (uint32_t)boxes};
  return zk_tma_map(ZK_BF16, 3, w, dims, strides, box, ZK_TMA_SWIZZLE_128, out);
}
// Gate and up as one array: 8 rows of each by turns.
static zk_status map_pairs(const void *gate, const void *up, int64_t n, int64_t k, int32_t rows, int32_t boxes,
                           CUtensorMap *out) {
  const uint64_t dims[] = {64, 8, 2, (uint64_t)n / 8, (uint64_t)k / 64};
  const uint64_t strides[] = {(uint64_t)k * 2, (uint64_t)((const char *)up - (const char *)gate), (uint64_t)k * 16,
                              128};
  const uint32_t box[] = {64, 8, 2, (uint32_t)rows / 8, (uint32_t)boxes};
  return zk_tma_map(ZK_BF16, 5, gate, dims, strides, box, ZK_TMA_SWIZZLE_128, out);
}
// 64 keys of all columns, or of half of them. The cache's length is its owner's affair: page numbers are trusted, as
// everywhere.
static zk_status map_cache(const void *cache, int32_t halves, CUtensorMap *out) {
  return map_rows(cache, INT32_MAX, ZK_RESIDENT_DIM, ZK_RESIDENT_KEYS, halves, out);
}

static zk_status fill_layer(const way &by, const zk_resident_layer_memory &w, zk_resident_layer *out) {
  const int32_t q_rows = by.heads * ZK_RESIDENT_DIM, k_rows = by.kv_heads * ZK_RESIDENT_DIM;
  ZK_TRY(map_rows(w.q, q_rows, by.hidden, by.qkv.rows, by.qkv.boxes, &out->qkv[0]));
  ZK_TRY(map_rows(w.k, k_rows, by.hidden, by.qkv.rows, by.qkv.boxes, &out->qkv[1]));
  ZK_TRY(map_rows(w.v, k_rows, by.hidden, by.qkv.rows, by.qkv.boxes, &out->qkv[2]));
  ZK_TRY(map_rows(w.o, by.hidden, q_rows, by.o.rows, by.o.boxes, &out->o));
  ZK_TRY(map_pairs(w.gate, w.up, by.inner, by.hidden, by.gate_up.rows, by.gate_up.boxes, &out->gate_up));
  ZK_TRY(map_rows(w.down, by.hidden, by.inner, by.down.rows, by.down.boxes, &out->down));
  ZK_TRY(map_cache(w.k_cache, 2, &out->k));
  ZK_TRY(map_cache(w.v_cache, 1, &out->v));
  out->vectors = {(const zk_bf16 *)w.attn_norm, (const zk_bf16 *)w.mlp_norm, (const zk_bf16 *)w.q_norm,
                  (const zk_bf16 *)w.k_norm,    (zk_bf16 *)w.k_cache,        (zk_bf16 *)w.v_cache};
  return ZK_OK;
}

static bool weights_fit(const zk_resident_desc *d, const zk_resident_layer_memory *layers) {
  for (int32_t l = 0; l < d->num_layers; l++) {
    const zk_resident_layer_memory &w = layers[l];
    const void *const all[] = {w.attn_norm, w.q, w.k, w.v, w.q_norm, w.k_norm, w.o, w.mlp_norm, w.gate, w.up, w.down};
    for (const void *of : all)
      if ((uintptr_t)of % 16 != 0) return false;
    if ((uintptr_t)w.up <= (uintptr_t)w.gate || (w.q_norm == NULL) != (w.k_norm == NULL)) return false;
  }
  return true;
}

// Device memory: pieces of it, from `base`; returns its bytes.
static int64_t place_memory(resident *r, char *base) {
  zk_resident_plan *p = &r->plan;
  int64_t used = 0;
  auto take = [&](int64_t bytes) {
    char *at = base + used;
    used += (bytes + 1023) / 1024 * 1024;
    return at;
  };
  const int64_t heads = r->by->heads, parts = heads * p->most_splits, copies = ZK_RESIDENT_COPIES * 4;
  p->layers = (const zk_resident_layer *)take(p->num_layers * (int64_t)sizeof(zk_resident_layer));
  p->qkv_mail = (uint32_t *)take((heads + 2 * r->by->kv_heads) * ZK_RESIDENT_DIM * 4);
  p->a_mail = (uint32_t *)take(heads * ZK_RESIDENT_DIM * copies);
  p->y_mail = (uint32_t *)take(r->by->hidden * copies), p->x_mail = (uint32_t *)take(r->by->hidden * copies);
  p->act_mail = (uint32_t *)take(r->by->inner * copies);
  p->part_mail = (uint64_t *)take(parts * ZK_RESIDENT_DIM * 8), p->bl_mail = (ulonglong2 *)take(parts * 16);
  p->epochs = (uint32_t *)take(r->blocks * 4);
  return used;
}

static zk_status fill_memory(resident *r, const zk_resident_layer_memory *layers, zk_resident_layer *host) {
  const int64_t bytes = place_memory(r, NULL);
  ZK_TRY(zk_device_alloc(zk_stream_device(r->stream), (size_t)bytes, "one-kernel decode step", &r->memory));
  place_memory(r, (char *)r->memory);
  for (int32_t l = 0; l < r->plan.num_layers; l++) ZK_TRY(fill_layer(*r->by, layers[l], &host[l]));
  ZK_TRY(zk_copy_to_device(r->stream, r->memory, host, (size_t)r->plan.num_layers * sizeof *host));
  ZK_TRY(zk_stream_wait(r->stream));
  ZK_CUDA(cudaFuncSetAttribute((const void *)r->by->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               r->by->shared_bytes));
  return ZK_OK;
}

void zk_cuda_resident_free(zk_stream *stream, void *state) {
  resident *r = (resident *)state;
  if (r->memory != NULL) zk_device_free(zk_stream_device(stream), r->memory);
  free(r);
}

zk_status zk_cuda_resident_make(zk_stream *stream, const zk_resident_desc *desc, const zk_resident_layer_memory *layers,
                                void **state) {
  *state = NULL;
  const int num_sms = zk_cuda_num_sms(zk_stream_device(stream));
  const way *by = find_way(desc, num_sms);
  if (by == NULL || !weights_fit(desc, layers)) return ZK_OK;
  resident *r = (resident *)calloc(1, sizeof *r);
  zk_resident_layer *host =
      (zk_resident_layer *)aligned_alloc(alignof(zk_resident_layer), (size_t)desc->num_layers * sizeof *host);
  zk_status st = r != NULL && host != NULL ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a decode step");
  if (st == ZK_OK) {
    r->stream = stream, r->by = by, r->blocks = num_sms;
    r->plan.num_layers = desc->num_layers, r->plan.page_tokens = desc->attention.page_tokens, r->plan.eps = desc->eps;
    r->plan.weight = zk_attn_exp_of(desc->attention.scale);
    r->plan.cos_table = desc->cos_table, r->plan.sin_table = desc->sin_table;
    r->plan.most_splits = (desc->max_tokens + ZK_RESIDENT_SPLIT - 1) / ZK_RESIDENT_SPLIT;
    st = fill_memory(r, layers, host);
  }
  free(host);
  if (st == ZK_OK) *state = r;
  else if (r != NULL) zk_cuda_resident_free(stream, r);
  return st;
}

// Cooperative: the blocks wait for each other's mail.
zk_status zk_cuda_resident_step(zk_stream *stream, void *state, const zk_attention_batch *batch,
                                const int32_t *position, void *x) {
  const resident *r = (const resident *)state;
  zk_resident_plan plan = r->plan;
  plan.x = (zk_bf16 *)x, plan.position = position, plan.page_table = batch->page_table;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((unsigned)r->blocks), config.blockDim = dim3(ZK_RESIDENT_THREADS + 32);
  config.dynamicSmemBytes = (size_t)r->by->shared_bytes, config.stream = zk_cuda_stream(stream);
  config.attrs = &attribute, config.numAttrs = 1;
  ZK_CUDA(cudaLaunchKernelEx(&config, r->by->kernel, plan));
  return ZK_OK;
}
