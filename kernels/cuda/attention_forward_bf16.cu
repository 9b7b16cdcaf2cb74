// Attention forward, bf16: each of WARPS warps has 16 flat rows of one KV head; tiles of 128 keys are loaded by all
// four warps of the block.
#include "kernels/cuda/attention_merge.cuh"
#include "kernels/cuda/attention_softmax.cuh"

#define THREADS 128

// o = o * a, then the chain over the tile's 128 slots of w * v; rows that see no key of the tile keep their o.
template <int DP>
static __device__ __forceinline__ void add_values(const float (&s)[64], const zk_bf16 *v_tile, int32_t dim,
                                                  const int32_t high[2], const float a[2], float o[DP / 8][4]) {
  uint32_t p[32];
  zk_softmax_pack(s, p);
#pragma unroll
  for (int n = 0; n < DP / 8; ++n) {
    if (8 * n >= dim) break;
    float x[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = o[n][e] * a[e / 2];
#pragma unroll
    for (int k = 0; k < ZK_BF16_KEYS / 16; ++k) {
      uint32_t b[2];
      zk_bf16_b_columns<DP>(v_tile, 16 * k, 8 * n, b);
      zk_mma_bf16(x, p + 4 * k, b);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) o[n][e] = high[e / 2] > 0 ? x[e] : o[n][e];
  }
}

template <int WARPS, int DP>
static __global__ void __launch_bounds__(THREADS)
    forward(zk_attn at, zk_attn_exp_bf16 weight, const zk_bf16 *q, const zk_bf16 *k_cache, const zk_bf16 *v_cache,
            zk_attn_partials partials, zk_bf16 *out, float *lse) {
  constexpr int rows = 16 * WARPS, fragments = DP / 8;
  zk_attn_block block;
  if (!zk_attn_find(at, (int32_t)blockIdx.x, at.group, rows, true, &block)) return;
  const int32_t kv_head = (int32_t)blockIdx.y, warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32;
  const int32_t num_keys = zk_attn_pos(at, block, block.end - 1) + 1;
  const zk_attn_splits splits = zk_attn_splits_of(partials, num_keys, at.split_keys, (int32_t)blockIdx.z);
  if (splits.begin >= splits.end) return;

  ZK_DYNAMIC_SHARED(zk_bf16, shared);
  zk_bf16 *q_tile = shared, *kv_tile = q_tile + zk_bf16_tile(rows, DP);
  float *total_o =
      (float *)(kv_tile + zk_bf16_tile(ZK_BF16_KEYS, DP)) + threadIdx.x; // [fragments][4][threads]: each thread's own
  zk_bf16_load<rows, DP, THREADS>(q_tile, at.dim, [&](int32_t r) {
    return block.begin + r < block.end ? q + zk_attn_row(at, block, kv_head, block.begin + r) * (size_t)at.dim : NULL;
  });
  int32_t flat[2], keys_seen[2]; // keys 0..p; none for a row past the end
  for (int r = 0; r < 2; ++r) {
    flat[r] = block.begin + 16 * warp + lane / 4 + 8 * r;
    keys_seen[r] = warp < WARPS && flat[r] < block.end ? zk_attn_pos(at, block, flat[r]) + 1 : 0;
  }
  const int32_t last = zk_attn_min(block.begin + 16 * warp + 16, block.end) - 1; // the warp's last row
  const int32_t warp_keys = warp < WARPS && last >= block.begin + 16 * warp ? zk_attn_pos(at, block, last) + 1 : 0;

  float M[2] = {INFINITY, INFINITY}, L[2] = {0.0f, 0.0f};
  for (int32_t split = splits.begin; split < splits.end; ++split) {
    const int32_t split_begin = split * at.split_keys, split_end = zk_attn_min(split_begin + at.split_keys, num_keys);
    zk_softmax_state state = zk_softmax_begin();
    float o[fragments][4];
#pragma unroll
    for (int n = 0; n < fragments; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) o[n][e] = 0.0f;
    for (int32_t tile = split_begin; tile < split_end; tile += ZK_BF16_KEYS) {
      auto load = [&](const zk_bf16 *cache) { // keys past the end are zeros, whatever their page holds
        __syncthreads();                      // the last tile has been used
        zk_bf16_load<ZK_BF16_KEYS, DP, THREADS>(kv_tile, at.dim, [&](int32_t r) {
          return tile + r < num_keys ? cache + zk_attn_key(at, block.pages, kv_head, tile + r) : NULL;
        });
        __syncthreads();
      };
      const int32_t high[2] = {zk_attn_clamp(keys_seen[0] - tile, 0, ZK_BF16_KEYS),
                               zk_attn_clamp(keys_seen[1] - tile, 0, ZK_BF16_KEYS)};
      const bool sees = warp_keys > tile;
      float s[64], a[2];
      load(k_cache);
      if (sees) {
        zk_bf16_dot<ZK_BF16_KEYS / 8, DP>(q_tile, 16 * warp, kv_tile, 0, at.dim, (float(*)[4])s);
        zk_softmax_any(weight, high, s, &state, a);
      }
      load(v_cache);
      if (sees) add_values<DP>(s, kv_tile, at.dim, high, a, o);
    }
    if (warp_keys <= split_begin) continue;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float l = zk_softmax_sum(state.l[r]);
      if (keys_seen[r] <= split_begin) continue;
      float A, B;
      const bool copy = zk_attn_merge(weight, state.b[r], l, &M[r], &L[r], &A, &B);
#pragma unroll
      for (int n = 0; n < fragments; ++n)
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) {
          float *total = total_o + (4 * n + e) * THREADS;
          *total = copy ? o[n][e] : fmaf(*total, A, o[n][e] * B);
        }
    }
  }

  for (int r = 0; r < 2; ++r) {
    if (keys_seen[r] <= splits.begin * at.split_keys) continue;
    const size_t row = zk_attn_row(at, block, kv_head, flat[r]);
    const size_t part = row * (size_t)partials.num_splits + (size_t)splits.begin;
    for (int n = 0; n < fragments && 8 * n < at.dim; ++n) {
      const size_t d = (size_t)(8 * n + lane % 4 * 2);
      const float x = total_o[(4 * n + 2 * r) * THREADS], y = total_o[(4 * n + 2 * r + 1) * THREADS];
      if (partials.o != NULL) partials.o[part * (size_t)at.dim + d] = x, partials.o[part * (size_t)at.dim + d + 1] = y;
      else *(uint32_t *)(out + row * (size_t)at.dim + d) = zk_pack_bf16(weight.out(x, L[r]), weight.out(y, L[r]));
    }
    if (lane % 4 != 0) continue;
    if (partials.o != NULL) partials.ml[2 * part] = M[r], partials.ml[2 * part + 1] = L[r];
    else if (lse != NULL) lse[row] = weight.lse(M[r], L[r]);
  }
}

template <int WARPS, int DP>
static zk_status launch(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const zk_bf16 *q,
                        const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse) {
  const size_t bytes = (size_t)(zk_bf16_tile(16 * WARPS, DP) + zk_bf16_tile(ZK_BF16_KEYS, DP)) * sizeof(zk_bf16) +
                       (size_t)(DP / 8 * 4 * THREADS) * sizeof(float);
  const dim3 grid((unsigned)plan.num_blocks, (unsigned)a.num_kv_heads,
                  (unsigned)(plan.partials.o != NULL ? plan.partials.num_splits : 1));
  ZK_LAUNCH((forward<WARPS, DP>), grid, THREADS, bytes, stream, a, zk_attn_exp_of(a), q, k_cache, v_cache,
            plan.partials, out, lse);
  return ZK_OK;
}

zk_status zk_attn_forward(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const zk_bf16 *q,
                          const zk_bf16 *k_cache, const zk_bf16 *v_cache, zk_bf16 *out, float *lse) {
  const auto few = a.dim <= 64 ? launch<1, 64> : a.dim <= 128 ? launch<1, 128> : launch<1, 256>;
  const auto many = a.dim <= 64 ? launch<4, 64> : a.dim <= 128 ? launch<4, 128> : launch<4, 256>;
  ZK_TRY((plan.few_rows ? few : many)(stream, a, plan, q, k_cache, v_cache, out, lse));
  return zk_attn_merge_splits(stream, a, plan, zk_attn_exp_of(a), out, lse);
}
