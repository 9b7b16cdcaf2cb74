// Attention of one token, bf16: the host's side (attention_token_kernel.cuh).
#include "kernels/cuda/attention_token_kernel.cuh"
#include "kernels/cuda/attention_variant.h"
#include "kernels/rope_attention.h"

static int32_t most_splits(const zk_attn &a) {
  return (int32_t)(((int64_t)a.max_pages * a.page_tokens + ZK_TOKEN_KEYS - 1) / ZK_TOKEN_KEYS);
}

bool zk_attn_token_valid(const zk_attn &a, int32_t num_rows, const zk_rope_rows &r) {
  return num_rows == 1 && a.num_seqs == 1 && a.dim == ZK_TOKEN_DIM && a.group <= ZK_TOKEN_ROWS &&
         most_splits(a) <= ZK_TOKEN_MOST_SPLITS && r.rstd_q == NULL && r.rstd_k == NULL;
}

static zk_status make_maps(const zk_attn &a, const zk_rope_rows &r, zk_token_maps *maps) {
  maps->box_rows = ZK_BF16_KEYS;
  while (a.page_tokens % maps->box_rows != 0) maps->box_rows /= 2;
  const auto make = [&](const zk_bf16 *cache, int rows, CUtensorMap *out) {
    // the cache's length is its owner's affair: page numbers are trusted, as everywhere
    return zk_tma_map_2d(ZK_BF16, cache, INT32_MAX, a.dim, a.dim, rows, 64, ZK_TMA_SWIZZLE_128, out);
  };
  ZK_TRY(make(r.k_cache, maps->box_rows, &maps->k));
  ZK_TRY(make(r.v_cache, maps->box_rows, &maps->v));
  ZK_TRY(make(r.k_cache, ZK_PAGE_MULTIPLE, &maps->k_end));
  return make(r.v_cache, ZK_PAGE_MULTIPLE, &maps->v_end);
}

// A cluster of so many blocks for each KV head, with its attributes.
struct launch_shape {
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config;
};
static zk_status make_shape(const zk_attn &a, launch_shape *out) {
  const unsigned blocks = (unsigned)(ZK_TOKEN_BLOCKS * most_splits(a));
  ZK_CUDA(cudaFuncSetAttribute(zk_token_attention, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)sizeof(zk_token_shared)));
  *out = {};
  out->attributes[0].id = cudaLaunchAttributeClusterDimension;
  out->attributes[0].val.clusterDim.x = blocks, out->attributes[0].val.clusterDim.y = out->attributes[0].val.clusterDim.z = 1;
  out->attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  out->attributes[1].val.programmaticStreamSerializationAllowed = 1;
  out->config.gridDim = dim3(blocks, (unsigned)a.num_kv_heads), out->config.blockDim = ZK_TOKEN_THREADS;
  out->config.dynamicSmemBytes = sizeof(zk_token_shared);
  out->config.attrs = out->attributes, out->config.numAttrs = 1;
  return ZK_OK;
}

zk_status zk_attn_token_fits(const zk_attn &a, bool *fits) {
  static int found[ZK_TOKEN_MOST_SPLITS + 1]; // 1 + clusters at a time; the same whoever asks first
  int *n = &found[most_splits(a)];
  if (*n == 0) {
    launch_shape shape;
    int clusters = 0;
    ZK_TRY(make_shape(a, &shape));
    if (cudaOccupancyMaxActiveClusters(&clusters, zk_token_attention, &shape.config) != cudaSuccess) (void)cudaGetLastError();
    *n = 1 + clusters;
  }
  *fits = *n > 1;
  return ZK_OK;
}

zk_status zk_attn_token(zk_stream *stream, const zk_attn &a, const zk_rope_rows &r, zk_bf16 *out, float *lse) {
  zk_token_maps maps;
  launch_shape shape;
  ZK_TRY(make_maps(a, r, &maps));
  ZK_TRY(make_shape(a, &shape));
  shape.config.stream = zk_cuda_stream(stream), shape.config.numAttrs = zk_cuda_overlap(stream) ? 2 : 1;
  ZK_CUDA(cudaLaunchKernelEx(&shape.config, zk_token_attention, a, zk_attn_exp_of(a), r, maps, out, lse));
  return ZK_OK;
}

#ifdef ZK_SIMT
static bool token_is_wanted;
void zk_cuda_attention_want_token(bool wanted) { token_is_wanted = wanted; }
#endif

extern "C" zk_status zk_cuda_rope_attention_fused(zk_stream *stream, const zk_rope_cache_desc *desc,
                                                  const zk_attention_batch *batch, const zk_rope_cache_io *io, void *out,
                                                  float *lse, bool *done) {
  const zk_rope_rows r = zk_rope_rows_of(desc, io);
  const zk_attn a = zk_attn_of(&desc->attention, batch);
#ifdef ZK_SIMT // where it is emulated it takes its time: only who asks for it
  const bool wanted = token_is_wanted;
#else
  const bool wanted = !zk_cuda_attention_is_forced();
#endif
  *done = desc->attention.numerics == ZK_BF16 && wanted && (uintptr_t)out % 16 == 0 &&
          zk_has_rope_rows(ZK_BF16, a.dim, r) && zk_attn_token_valid(a, batch->num_rows, r);
  if (*done) ZK_TRY(zk_attn_token_fits(a, done));
  return *done ? zk_attn_token(stream, a, r, (zk_bf16 *)out, lse) : ZK_OK;
}
