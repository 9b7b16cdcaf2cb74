// Decoding attention by clusters, bf16: the host's side (attention_cluster_kernel.cuh).
#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/attention_cluster_kernel.cuh"

#define MOST_PARTIAL_BYTES ((size_t)256 << 20)

static int32_t most_splits(const zk_attn &a) {
  return (int32_t)(((int64_t)a.max_pages * a.page_tokens + ZK_CLUSTER_KEYS - 1) / ZK_CLUSTER_KEYS);
}
// Blocks of rows: every sequence may end in a partial one.
static int64_t most_blocks(const zk_attn &a, int32_t num_rows) {
  return ((int64_t)num_rows * a.group + ZK_CLUSTER_ROWS - 1) / ZK_CLUSTER_ROWS + a.num_seqs - 1;
}
static int64_t most_items(const zk_attn &a, int32_t num_rows) {
  return most_blocks(a, num_rows) * a.num_kv_heads * most_splits(a);
}

// Scratch memory for o of splits, and in all. None when no row has two.
struct partial_bytes {
  size_t o, all;
};
static partial_bytes partial_bytes_of(const zk_attn &a, int32_t num_rows) {
  if (most_splits(a) == 1) return {0, 0};
  const size_t parts = (size_t)num_rows * (size_t)a.num_heads * (size_t)most_splits(a);
  const size_t o = zk_attn_rounded(parts * (size_t)a.dim * sizeof(float));
  return {o, o + parts * (size_t)(a.dim / ZK_CLUSTER_COLUMNS) * sizeof(float2)};
}

bool zk_attn_cluster_valid(const zk_attn &a, int32_t num_rows) {
  return (a.dim == 64 || a.dim == 128) && a.split_keys == ZK_CLUSTER_KEYS && a.num_seqs <= ZK_CLUSTER_MOST_SEQS &&
         most_blocks(a, num_rows) * a.num_kv_heads * (a.dim / ZK_CLUSTER_COLUMNS) <= ZK_CUDA_NUM_ARRIVALS &&
         most_items(a, num_rows) <= INT32_MAX / 2 && partial_bytes_of(a, num_rows).all <= MOST_PARTIAL_BYTES;
}

// As long as a multiprocessor has one block; where more work is to be done, a block that streams a split makes better use
// of memory.
bool zk_attn_cluster_suits(const zk_attn &a, int32_t num_rows, int num_sms) {
  return most_items(a, num_rows) * (a.dim / ZK_CLUSTER_COLUMNS) <= num_sms;
}

static zk_status make_maps(const zk_attn &a, const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_cluster_maps *maps) {
  maps->box_rows = ZK_BF16_KEYS;
  while (a.page_tokens % maps->box_rows != 0) maps->box_rows /= 2;
  const auto make = [&](const zk_bf16 *cache, int rows, int columns, CUtensorMapSwizzle swizzle, CUtensorMap *out) {
    // the cache's length is its owner's affair: page numbers are trusted, as everywhere
    return zk_tma_map_2d(ZK_BF16, cache, INT32_MAX, a.dim, a.dim, rows, columns, swizzle, out);
  };
  ZK_TRY(make(k_cache, maps->box_rows, 64, ZK_TMA_SWIZZLE_128, &maps->k));
  ZK_TRY(make(k_cache, ZK_PAGE_MULTIPLE, 64, ZK_TMA_SWIZZLE_128, &maps->k_end));
  ZK_TRY(make(v_cache, maps->box_rows, ZK_CLUSTER_COLUMNS, ZK_TMA_SWIZZLE_64, &maps->v));
  return make(v_cache, ZK_PAGE_MULTIPLE, ZK_CLUSTER_COLUMNS, ZK_TMA_SWIZZLE_64, &maps->v_end);
}

// Clusters that the GPU runs at a time: further ones would start when the first have done all their items.
template <int DIM> static zk_status num_resident(int *out) {
  static int found = 0; // the same whoever asks first
  const int bytes = (int)sizeof(zk_cluster_shared<DIM>);
  if (found == 0) {
    cudaLaunchConfig_t config = {};
    config.gridDim = zk_cluster_shared<DIM>::BLOCKS, config.blockDim = ZK_CLUSTER_THREADS,
    config.dynamicSmemBytes = (size_t)bytes;
    ZK_CUDA(cudaFuncSetAttribute(zk_cluster_decode<DIM>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    ZK_CUDA(cudaOccupancyMaxActiveClusters(&found, zk_cluster_decode<DIM>, &config));
  }
  *out = found;
  return ZK_OK;
}

template <int DIM>
static zk_status launch(zk_stream *stream, const zk_attn &a, int32_t num_rows, const zk_bf16 *q,
                        const zk_cluster_maps &maps, const zk_cluster_outputs &to) {
  int resident = 0;
  ZK_TRY(num_resident<DIM>(&resident));
  const int64_t items = most_items(a, num_rows), clusters = items < resident ? items : resident;
  constexpr int blocks = zk_cluster_shared<DIM>::BLOCKS;
  ZK_LAUNCH_CLUSTERS(blocks, zk_cluster_decode<DIM>, (unsigned)clusters * blocks, ZK_CLUSTER_THREADS, sizeof(zk_cluster_shared<DIM>), stream, a,
                     zk_attn_exp_of(a), q, maps, to);
  return ZK_OK;
}

zk_status zk_attn_cluster(zk_stream *stream, const zk_attn &a, int32_t num_rows, const zk_bf16 *q,
                          const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse) {
  const partial_bytes bytes = partial_bytes_of(a, num_rows);
  char *scratch = NULL;
  if (bytes.all > 0) ZK_TRY(zk_stream_scratch(stream, bytes.all, (void **)&scratch));
  zk_cluster_maps maps;
  ZK_TRY(make_maps(a, k_cache, v_cache, &maps));
  const zk_cluster_outputs to = {
      (float *)scratch, (float2 *)(scratch + bytes.o), most_splits(a), zk_cuda_arrivals(stream), out, lse};
  return (a.dim == 64 ? launch<64> : launch<128>)(stream, a, num_rows, q, maps, to);
}
