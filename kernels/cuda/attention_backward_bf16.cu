// Attention backward, bf16: dq by blocks of flat rows over tiles of 128 keys; dk and dv by blocks of 128 keys over
// query heads and steps of 16 query rows. Both recompute the weights. Above 128 columns of d, a block has 128 of the
// outputs and all of the scores.
#include "kernels/cuda/attention_bf16.cuh"

#define QUERY_THREADS 128
#define KEY_THREADS 256
#define QUERY_ROWS 64 // flat rows of a dq block; query rows that a dk, dv block loads at once

static __host__ __device__ constexpr int most_columns(int dp) { return dp < 128 ? dp : 128; }

// s (unscaled) and dp of one pair to w and ds; nothing for a pair that is not visible.
static __device__ __forceinline__ void weigh(float c, float lse, float delta, bool visible, float *s, float *dp) {
  const float w = zk_exp2f(fmaf(*s, c, -lse));
  *s = visible ? w : 0.0f;
  *dp = visible ? w * (*dp - delta) : 0.0f;
}

// Two neighbouring results; a sum that ended in -0 is +0.
static __device__ __forceinline__ uint32_t pack_result(const float x[2], float scale) {
  return zk_pack_bf16((x[0] + 0.0f) * scale, (x[1] + 0.0f) * scale);
}

template <int N> static __device__ __forceinline__ void clear(float x[N][4]) {
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) x[n][e] = 0.0f;
}

template <int DP>
static __global__ void __launch_bounds__(QUERY_THREADS)
    backward_query(zk_attn at, float c, zk_attn_gradient<zk_bf16> in, zk_bf16 *dq) {
  constexpr int fragments = most_columns(DP) / 8;
  zk_attn_block block;
  if (!zk_attn_find(at, (int32_t)blockIdx.x, at.group, QUERY_ROWS, true, &block)) return;
  const int32_t kv_head = (int32_t)blockIdx.y, first_d = (int32_t)blockIdx.z * most_columns(DP);
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, column = lane % 4 * 2;
  const int32_t num_keys = zk_attn_pos(at, block, block.end - 1) + 1;

  ZK_DYNAMIC_SHARED(zk_bf16, shared);
  zk_bf16 *q_tile = shared, *dout_tile = q_tile + zk_bf16_tile(QUERY_ROWS, DP),
          *k_tile = dout_tile + zk_bf16_tile(QUERY_ROWS, DP), *v_tile = k_tile + zk_bf16_tile(ZK_BF16_KEYS, DP);
  auto row_of = [&](const zk_bf16 *from, int32_t r) {
    return block.begin + r < block.end ? from + zk_attn_row(at, block, kv_head, block.begin + r) * (size_t)at.dim
                                       : NULL;
  };
  zk_bf16_load<QUERY_ROWS, DP, QUERY_THREADS>(q_tile, at.dim, [&](int32_t r) { return row_of(in.q, r); });
  zk_bf16_load<QUERY_ROWS, DP, QUERY_THREADS>(dout_tile, at.dim, [&](int32_t r) { return row_of(in.dout, r); });
  size_t row[2];
  int32_t keys_seen[2]; // none for a row past the end
  float lse[2], delta[2];
  for (int r = 0; r < 2; ++r) {
    const int32_t flat = block.begin + 16 * warp + lane / 4 + 8 * r;
    const bool exists = flat < block.end;
    row[r] = zk_attn_row(at, block, kv_head, flat);
    keys_seen[r] = exists ? zk_attn_pos(at, block, flat) + 1 : 0;
    lse[r] = exists ? in.lse[row[r]] : 0.0f;
    delta[r] = exists ? in.delta[row[r]] : 0.0f;
  }
  const int32_t last = zk_attn_min(block.begin + 16 * warp + 16, block.end) - 1; // the warp's last row
  const int32_t warp_keys = last >= block.begin + 16 * warp ? zk_attn_pos(at, block, last) + 1 : 0;

  float total[fragments][4];
  clear<fragments>(total);
  for (int32_t tile = 0; tile < num_keys; tile += ZK_BF16_KEYS) {
    auto load = [&](zk_bf16 *to, const zk_bf16 *cache) {
      zk_bf16_load<ZK_BF16_KEYS, DP, QUERY_THREADS>(to, at.dim, [&](int32_t r) {
        return tile + r < num_keys ? cache + zk_attn_key(at, block.pages, kv_head, tile + r) : NULL;
      });
    };
    __syncthreads(); // the last tile has been used
    load(k_tile, in.k_cache);
    load(v_tile, in.v_cache);
    __syncthreads();
    if (warp_keys <= tile) continue;
    float part[fragments][4];
    clear<fragments>(part);
    for (int32_t k = 0; k < ZK_BF16_KEYS; k += 16) {
      float s[2][4], ds[2][4];
      zk_bf16_dot<2, DP>(q_tile, 16 * warp, k_tile, k, at.dim, s);
      zk_bf16_dot<2, DP>(dout_tile, 16 * warp, v_tile, k, at.dim, ds);
#pragma unroll
      for (int t = 0; t < 2; ++t)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          weigh(c, lse[e / 2], delta[e / 2], tile + k + 8 * t + column + e % 2 < keys_seen[e / 2], &s[t][e], &ds[t][e]);
      uint32_t a[4];
      zk_bf16_weights(ds[0], ds[1], a);
#pragma unroll
      for (int n = 0; n < fragments; ++n) {
        if (first_d + 8 * n >= at.dim) break;
        uint32_t b[2];
        zk_bf16_b_columns<DP>(k_tile, k, first_d + 8 * n, b);
        zk_mma_bf16(part[n], a, b);
      }
    }
#pragma unroll
    for (int n = 0; n < fragments; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (keys_seen[e / 2] > tile) total[n][e] = tile == 0 ? part[n][e] : total[n][e] + part[n][e];
      }
  }
#pragma unroll
  for (int n = 0; n < fragments; ++n)
    for (int r = 0; r < 2; ++r) {
      const int32_t d = first_d + 8 * n + column;
      if (keys_seen[r] == 0 || d >= at.dim) continue;
      *(uint32_t *)(dq + row[r] * (size_t)at.dim + (size_t)d) = pack_result(total[n] + 2 * r, at.scale);
    }
}

// A dk, dv block's accumulators: element e of fragment n, its lane's rows being keys.
template <int N> struct key_fragments {
  float x[N][4];

  // Calls visit(&x, index in [T,Hkv,D]) for pairs of neighbouring elements that exist.
  template <class Visit>
  __device__ __forceinline__ void each(const zk_attn &at, const zk_attn_block &block, int32_t kv_head, int32_t first_d,
                                       const Visit &visit) {
    const int32_t lane = (int32_t)threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int32_t key = block.begin + (int32_t)threadIdx.x / 32 * 16 + lane / 4 + 8 * r,
                      d = first_d + 8 * n + lane % 4 * 2;
        if (key >= block.end || d >= at.dim) continue;
        visit(&x[n][2 * r],
              ((size_t)(block.row_start + key) * (size_t)at.num_kv_heads + (size_t)kv_head) * (size_t)at.dim +
                  (size_t)d);
      }
  }
};

template <int DP>
static __global__ void __launch_bounds__(KEY_THREADS)
    backward_key(zk_attn at, float c, zk_attn_gradient<zk_bf16> in, zk_attn_sums sums, zk_bf16 *dk, zk_bf16 *dv) {
  constexpr int fragments = most_columns(DP) / 8;
  zk_attn_block block;
  if (!zk_attn_find(at, (int32_t)blockIdx.x, 1, ZK_BF16_KEYS, false, &block)) return;
  const int32_t kv_head = (int32_t)blockIdx.y, first_d = (int32_t)blockIdx.z * most_columns(DP);
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, column = lane % 4 * 2;
  const int32_t first_key = block.begin + 16 * warp; // of the warp's 16

  ZK_DYNAMIC_SHARED(zk_bf16, shared);
  zk_bf16 *k_tile = shared, *v_tile = k_tile + zk_bf16_tile(ZK_BF16_KEYS, DP),
          *q_tile = v_tile + zk_bf16_tile(ZK_BF16_KEYS, DP), *dout_tile = q_tile + zk_bf16_tile(QUERY_ROWS, DP);
  float *lse = (float *)(dout_tile + zk_bf16_tile(QUERY_ROWS, DP)), *delta = lse + QUERY_ROWS;
  auto load_keys = [&](zk_bf16 *to, const zk_bf16 *cache) {
    zk_bf16_load<ZK_BF16_KEYS, DP, KEY_THREADS>(to, at.dim, [&](int32_t r) {
      return block.begin + r < block.end ? cache + zk_attn_key(at, block.pages, kv_head, block.begin + r) : NULL;
    });
  };
  load_keys(k_tile, in.k_cache);
  load_keys(v_tile, in.v_cache);

  for (int32_t g = 0; g < at.group; ++g) {
    auto row_at = [&](int32_t t) {
      return (size_t)(block.row_start + t) * (size_t)at.num_heads + (size_t)(kv_head * at.group + g);
    };
    key_fragments<fragments> sum_dk, sum_dv;
    clear<fragments>(sum_dk.x);
    clear<fragments>(sum_dv.x);
    int32_t num_parts = 0; // of this head, waiting
    for (int32_t tile = block.begin; tile < block.num_rows; tile += QUERY_ROWS) {
      if (tile % ZK_ATTN_PART == 0 && tile > block.begin) {
        auto put_away = [&](float *to) {
          return [=](float *x, size_t i) {
            for (int e = 0; e < 2; ++e) to[i + e] = num_parts == 0 ? x[e] : to[i + e] + x[e], x[e] = 0.0f;
          };
        };
        sum_dk.each(at, block, kv_head, first_d, put_away(sums.part_dk));
        sum_dv.each(at, block, kv_head, first_d, put_away(sums.part_dv));
        num_parts++;
      }
      auto load_rows = [&](zk_bf16 *to, const zk_bf16 *from) {
        zk_bf16_load<QUERY_ROWS, DP, KEY_THREADS>(to, at.dim, [&](int32_t r) {
          return tile + r < block.num_rows ? from + row_at(tile + r) * (size_t)at.dim : NULL;
        });
      };
      __syncthreads(); // the last rows have been used
      load_rows(q_tile, in.q);
      load_rows(dout_tile, in.dout);
      if (threadIdx.x < QUERY_ROWS) {
        const int32_t t = tile + (int32_t)threadIdx.x;
        lse[threadIdx.x] = t < block.num_rows ? in.lse[row_at(t)] : 0.0f;
        delta[threadIdx.x] = t < block.num_rows ? in.delta[row_at(t)] : 0.0f;
      }
      __syncthreads();
      for (int32_t i = 0; i < QUERY_ROWS && tile + i < block.num_rows; i += 16) {
        if (tile + i + 15 < first_key) continue; // before the warp's keys: the sums are +0 and stay so
        float w[2][4], ds[2][4];
        zk_bf16_dot<2, DP>(k_tile, 16 * warp, q_tile, i, at.dim, w);
        zk_bf16_dot<2, DP>(v_tile, 16 * warp, dout_tile, i, at.dim, ds);
#pragma unroll
        for (int t = 0; t < 2; ++t)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int32_t row = i + 8 * t + column + e % 2, key = first_key + lane / 4 + 8 * (e / 2);
            weigh(c, lse[row], delta[row], tile + row >= key && tile + row < block.num_rows, &w[t][e], &ds[t][e]);
          }
        uint32_t a_w[4], a_ds[4];
        zk_bf16_weights(w[0], w[1], a_w);
        zk_bf16_weights(ds[0], ds[1], a_ds);
#pragma unroll
        for (int n = 0; n < fragments; ++n) {
          if (first_d + 8 * n >= at.dim) break;
          uint32_t b[2];
          zk_bf16_b_columns<DP>(dout_tile, i, first_d + 8 * n, b);
          zk_mma_bf16(sum_dv.x[n], a_w, b);
          zk_bf16_b_columns<DP>(q_tile, i, first_d + 8 * n, b);
          zk_mma_bf16(sum_dk.x[n], a_ds, b);
        }
      }
    }
    auto finish = [&](const float *parts, float *heads, float scale, zk_bf16 *out) {
      return [=](float *x, size_t i) {
        for (int e = 0; e < 2; ++e) {
          if (num_parts > 0) x[e] = parts[i + e] + x[e];
          if (g > 0) x[e] = heads[i + e] + x[e];
          if (g + 1 < at.group) heads[i + e] = x[e];
        }
        if (g + 1 == at.group) *(uint32_t *)(out + i) = pack_result(x, scale);
      };
    };
    sum_dk.each(at, block, kv_head, first_d, finish(sums.part_dk, sums.heads_dk, at.scale, dk));
    sum_dv.each(at, block, kv_head, first_d, finish(sums.part_dv, sums.heads_dv, 1.0f, dv));
  }
}

template <int DP>
static zk_status launch_query(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                              const zk_attn_gradient<zk_bf16> &in, zk_bf16 *dq) {
  const size_t bytes =
      (size_t)(2 * zk_bf16_tile(QUERY_ROWS, DP) + 2 * zk_bf16_tile(ZK_BF16_KEYS, DP)) * sizeof(zk_bf16);
  const dim3 grid((unsigned)num_blocks, (unsigned)a.num_kv_heads, (unsigned)(DP / most_columns(DP)));
  ZK_LAUNCH((backward_query<DP>), grid, QUERY_THREADS, bytes, stream, a, zk_attn_exp_of(a).c, in, dq);
  return ZK_OK;
}

template <int DP>
static zk_status launch_key(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                            const zk_attn_gradient<zk_bf16> &in, const zk_attn_sums &sums, zk_bf16 *dk, zk_bf16 *dv) {
  const size_t bytes =
      (size_t)(2 * zk_bf16_tile(QUERY_ROWS, DP) + 2 * zk_bf16_tile(ZK_BF16_KEYS, DP)) * sizeof(zk_bf16) +
      (size_t)(2 * QUERY_ROWS) * sizeof(float);
  const dim3 grid((unsigned)num_blocks, (unsigned)a.num_kv_heads, (unsigned)(DP / most_columns(DP)));
  ZK_LAUNCH((backward_key<DP>), grid, KEY_THREADS, bytes, stream, a, zk_attn_exp_of(a).c, in, sums, dk, dv);
  return ZK_OK;
}

zk_status zk_attn_backward_query(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                                 const zk_attn_gradient<zk_bf16> &in, zk_bf16 *dq) {
  const auto launch = a.dim <= 64 ? launch_query<64> : a.dim <= 128 ? launch_query<128> : launch_query<256>;
  return launch(stream, a, num_blocks, in, dq);
}

zk_status zk_attn_backward_key(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                               const zk_attn_gradient<zk_bf16> &in, const zk_attn_sums &sums, zk_bf16 *dk,
                               zk_bf16 *dv) {
  const auto launch = a.dim <= 64 ? launch_key<64> : a.dim <= 128 ? launch_key<128> : launch_key<256>;
  return launch(stream, a, num_blocks, in, sums, dk, dv);
}
