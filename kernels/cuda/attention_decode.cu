// Decoding attention, bf16, at the speed of memory: D / 16 warps compute the tiles that a loader warp has asked for
// (attention_decode_loader.cuh, attention_decode_tile.cuh). The computing warps meet twice a tile: when the scores are done, and
// when the weights are. Nothing on their way from one tile to the next waits for global memory.
//
// A row of one split is finished on the spot. Of others, each split leaves (b, l, o) in scratch memory, and a second
// kernel merges them, ascending (attention_decode_merge.cuh).
//
// What the kernels of a step do not write, which is all but q and the caches, is read while the kernel ahead still runs.
#include "kernels/cuda/attention_decode_loader.cuh"
#include "kernels/cuda/attention_decode_merge.cuh"
#include "kernels/cuda/attention_decode_tile.cuh"

#define ZK_DECODE_MOST_PARTIAL_BYTES ((size_t)1 << 30)

// Rows g and g + 8 of a finished split, by the computing threads: to the outputs if it was the row's only split, else
// to scratch memory.
template <int DIM, class Shared>
static __device__ __forceinline__ void store_split(const zk_attn &a, const zk_attn_exp_bf16 &weight,
                                                   const zk_decode_tile &tile, const zk_decode_state<DIM> &state,
                                                   const Shared *shared, const zk_decode_outputs &to) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (state.keys_seen[r] <= tile.split * a.split_keys) continue;
    const int32_t num_splits = (state.keys_seen[r] - 1) / a.split_keys + 1;
    const size_t row = state.row[r];
    const size_t part = row * (size_t)to.partials.num_splits + (size_t)tile.split;
    const float l = shared->l[lane / 4 + 8 * r];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const size_t d = (size_t)(16 * warp + 8 * i + lane % 4 * 2);
      const float x = state.o[i][2 * r], y = state.o[i][2 * r + 1];
      if (num_splits == 1) *(uint32_t *)(to.out + row * DIM + d) = zk_pack_bf16(weight.out(x, l), weight.out(y, l));
      else *(float2 *)(to.partials.o + part * DIM + d) = make_float2(x, y);
    }
    if (warp != 0 || lane % 4 != 0) continue;
    if (tile.split == 0 && to.partials.num_splits > 1) to.num_splits[row] = num_splits;
    if (num_splits > 1) *(float2 *)(to.partials.ml + 2 * part) = make_float2(state.b[r], l);
    else if (to.lse != NULL) to.lse[row] = weight.lse(state.b[r], l);
  }
}

// ((l0 + l1) + (l2 + l3)) + ((l4 + l5) + (l6 + l7)) of the row of 8 neighbouring threads.
static __device__ __forceinline__ float sum_lanes(float l) {
  for (int lane = 1; lane <= 4; lane *= 2) l = l + __shfl_xor_sync(0xffffffffu, l, lane);
  return l;
}

template <int DIM, int STAGES>
static __global__ void __launch_bounds__(DIM * 2 + 32)
    decode(zk_attn a, zk_attn_exp_bf16 weight, const zk_bf16 *q, const __grid_constant__ zk_decode_maps maps,
           zk_decode_outputs to) {
  using shared_t = zk_decode_shared<DIM, STAGES>;
  constexpr int warps = shared_t::WARPS, fragments = ZK_BF16_KEYS / 8 / warps;
  ZK_DYNAMIC_SHARED(shared_t, shared);
  const int32_t thread = (int32_t)threadIdx.x, warp = thread / 32, lane = thread % 32;
  if (thread == 0) {
    for (int i = 0; i < STAGES; ++i)
      zk_mbar_init(&shared->k_full[i], 1), zk_mbar_init(&shared->v_full[i], 1), zk_mbar_init(&shared->free[i], 1);
    zk_mbar_init_done();
  }
  if (warp == warps) zk_decode_prefetch(&maps);
  zk_decode_count(a, DIM * 2 + 32, shared);
  if (warp == warps) {
    zk_decode_loader<DIM, STAGES> loader = {a, shared, &maps, q, to.queue};
    loader.run();
    return;
  }
  zk_wait_for_previous();
  zk_let_next_start();
  zk_decode_state<DIM> state;
  for (int32_t i = 0;; ++i) {
    const int32_t stage = i % STAGES;
    const uint32_t parity = (uint32_t)(i / STAGES) & 1u;
    const zk_decode_tile &tile = shared->tile[i % shared_t::TILES];
    zk_mbar_wait(&shared->k_full[stage], parity);
    if (tile.num_rows == 0) break;
    const bool tall = tile.num_rows > 8;
    float s[fragments][4], scale[2];
    int32_t high[2];
    if (tile.is_first) zk_decode_begin<DIM>(a, tile, shared, stage, &state);
    for (int r = 0; r < 2; ++r) high[r] = zk_attn_clamp(state.keys_seen[r] - tile.key, 0, ZK_BF16_KEYS);
    zk_decode_scores<DIM, fragments>(shared->k[stage], state.q, s);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (r > 0 && !tall) break;
      const float most = zk_decode_most<fragments>(s, r, high[r]);
      if (lane % 4 == 0) shared->most[lane / 4 + 8 * r][warp] = most;
    }
    zk_barrier(1, DIM * 2); // scores are done with K, and values with the last tile's V, p and w
    if (thread == 0) zk_mbar_arrive(&shared->free[stage]);
#pragma unroll
    for (int r = 0; r < 2; ++r)
      scale[r] = r > 0 && !tall ? 1.0f : zk_decode_weigh<DIM, fragments>(weight, s, r, high[r], &state.b[r], shared);
    zk_barrier(1, DIM * 2); // weights are there
    zk_mbar_wait(&shared->v_full[stage], parity);
    zk_decode_values(shared, shared->v[stage], zk_attn_min(tile.num_keys - tile.key, ZK_BF16_KEYS), tile.num_rows,
                     scale, state.o, &state.l);
    if (!tile.is_last) continue;
    if (thread < 128) {
      const float l = sum_lanes(state.l);
      if (thread % 8 == 0) shared->l[thread / 8] = l;
    }
    zk_barrier(1, DIM * 2);
    store_split<DIM>(a, weight, tile, state, shared, to);
  }
}

// ---- the host's side

static zk_status make_map(const zk_attn &a, const zk_bf16 *cache, int32_t box_rows, CUtensorMap *out) {
  // the cache's length is its owner's affair: page numbers are trusted, as everywhere
  return zk_tma_map_2d(ZK_BF16, cache, INT32_MAX, a.dim, a.dim, box_rows, 64, ZK_TMA_SWIZZLE_128, out);
}

static zk_status make_maps(const zk_attn &a, const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_decode_maps *maps) {
  maps->box_rows = ZK_BF16_KEYS, maps->end_box_rows = ZK_PAGE_MULTIPLE;
  while (a.page_tokens % maps->box_rows != 0) maps->box_rows /= 2;
  ZK_TRY(make_map(a, k_cache, maps->box_rows, &maps->k));
  ZK_TRY(make_map(a, v_cache, maps->box_rows, &maps->v));
  ZK_TRY(make_map(a, k_cache, maps->end_box_rows, &maps->k_end));
  return make_map(a, v_cache, maps->end_box_rows, &maps->v_end);
}

static int32_t most_splits(const zk_attn &a) {
  return (int32_t)(((int64_t)a.max_pages * a.page_tokens + a.split_keys - 1) / a.split_keys);
}

// Scratch memory for the results of splits: of o, of (m, l), and of how many there are.
struct partial_bytes {
  size_t o, ml, num_splits;
};
static partial_bytes partial_bytes_of(const zk_attn &a, int32_t num_rows) {
  if (most_splits(a) == 1) return {0, 0, 0};
  const size_t rows = (size_t)num_rows * (size_t)a.num_heads, parts = rows * (size_t)most_splits(a);
  return {zk_attn_rounded(parts * (size_t)a.dim * sizeof(float)), zk_attn_rounded(parts * 2 * sizeof(float)),
          zk_attn_rounded(rows * sizeof(int32_t))};
}

bool zk_attn_decode_valid(const zk_attn &a, int32_t num_rows) {
  const int64_t blocks = (int64_t)num_rows * a.group / ZK_DECODE_ROWS + a.num_seqs + 1;
  return (a.dim == 64 || a.dim == 128) && blocks * a.num_kv_heads * most_splits(a) <= INT32_MAX / 2 &&
         partial_bytes_of(a, num_rows).o <= ZK_DECODE_MOST_PARTIAL_BYTES;
}

template <int DIM, int STAGES, int BLOCKS_PER_SM>
static zk_status launch(zk_stream *stream, const zk_attn &a, int32_t num_rows, const zk_bf16 *q, const zk_bf16 *k_cache,
                        const zk_bf16 *v_cache, zk_decode_outputs to) {
  zk_decode_maps maps;
  ZK_TRY(make_maps(a, k_cache, v_cache, &maps));
  const size_t bytes = sizeof(zk_decode_shared<DIM, STAGES>);
  for (int32_t begin = 0; begin < a.num_seqs; begin += ZK_DECODE_MOST_SEQS) {
    zk_attn part = a;
    part.num_seqs = zk_attn_min(a.num_seqs - begin, ZK_DECODE_MOST_SEQS);
    part.seq_row_start += begin, part.seq_first_pos += begin;
    part.page_table += (size_t)begin * (size_t)a.max_pages;
    if (a.seq_shared_pages != NULL) part.seq_shared_pages += begin;
    const int64_t blocks = ((int64_t)num_rows * a.group + ZK_DECODE_ROWS - 1) / ZK_DECODE_ROWS + part.num_seqs;
    const int64_t items = blocks * a.num_kv_heads * most_splits(a),
                  resident = (int64_t)BLOCKS_PER_SM * zk_cuda_num_sms(zk_stream_device(stream));
    ZK_LAUNCH_DEPENDENT((decode<DIM, STAGES>), (unsigned)(items < resident ? items : resident), DIM * 2 + 32, bytes,
                        stream, part, zk_attn_exp_of(a), q, maps, to);
  }
  if (most_splits(a) == 1) return ZK_OK;
  const int32_t rows = num_rows * a.num_heads, at_once = ZK_DECODE_MERGE_THREADS / 16;
  if (most_splits(a) <= ZK_DECODE_FEW_SPLITS)
    ZK_LAUNCH_EARLY(true, (zk_decode_merge_few<DIM>), (unsigned)((rows + at_once - 1) / at_once),
                    ZK_DECODE_MERGE_THREADS, 0, stream, zk_attn_exp_of(a), rows, to);
  else ZK_LAUNCH_EARLY(true, (zk_decode_merge_many<DIM>), (unsigned)rows, DIM / 2, 0, stream, zk_attn_exp_of(a), to);
  return ZK_OK;
}

static zk_decode_outputs make_outputs(const zk_attn &a, int32_t num_rows, char *scratch, zk_bf16 *out, float *lse,
                                      uint32_t *queue) {
  const partial_bytes bytes = partial_bytes_of(a, num_rows);
  return {{(float *)scratch, (float *)(scratch + bytes.o), most_splits(a)},
          (int32_t *)(scratch + bytes.o + bytes.ml),
          out,
          lse,
          queue};
}

zk_status zk_attn_decode(zk_stream *stream, const zk_attn &a, int32_t num_rows, const zk_bf16 *q,
                         const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse) {
  const partial_bytes bytes = partial_bytes_of(a, num_rows);
  char *scratch = NULL;
  if (bytes.o > 0) ZK_TRY(zk_stream_scratch(stream, bytes.o + bytes.ml + bytes.num_splits, (void **)&scratch));
  const zk_decode_outputs to = make_outputs(a, num_rows, scratch, out, lse, zk_cuda_counters(stream));
  return (a.dim == 64 ? launch<64, 2, 2> : launch<128, 3, 1>)(stream, a, num_rows, q, k_cache, v_cache, to);
}
