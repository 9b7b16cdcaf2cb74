// Attention backward, f32: dq by blocks of flat rows over keys; dk and dv by blocks of keys over query heads and rows.
// Both recompute the weights. Each output has one thread.
#include "kernels/cuda/attention_f32.cuh"

// s (scores before scaling) and dp of one pair to w and ds; nothing for a pair that is not visible.
static __device__ __forceinline__ void weigh(float scale, float lse, float delta, bool visible, float *s, float *dp) {
  const float w = zk_expf(*s * scale - lse);
  *s = visible ? w : 0.0f;
  *dp = visible ? (w * (*dp - delta)) * scale : 0.0f;
}

template <int RT, int DP>
static __global__ void __launch_bounds__(ZK_F32_THREADS)
    backward_query(zk_attn at, zk_attn_gradient<float> in, float *dq) {
  constexpr int rows = 16 * RT, columns = DP / 16;
  zk_attn_block block;
  if (!zk_attn_find(at, (int32_t)blockIdx.x, at.group, rows, true, &block)) return;
  const int32_t kv_head = (int32_t)blockIdx.y, ty = (int32_t)threadIdx.x / 16, tx = (int32_t)threadIdx.x % 16;
  const int32_t num_keys = zk_attn_pos(at, block, block.end - 1) + 1;

  ZK_DYNAMIC_SHARED(float, shared);
  float *q_tile = shared, *dout_tile = q_tile + zk_f32_tile(rows, DP), *kv_tile = dout_tile + zk_f32_tile(rows, DP),
        *ds_tile = kv_tile + zk_f32_tile(ZK_F32_KEYS, DP);
  auto row_of = [&](const float *from, int32_t r) {
    return block.begin + r < block.end ? from + zk_attn_row(at, block, kv_head, block.begin + r) * (size_t)at.dim
                                       : NULL;
  };
  zk_f32_load<rows, DP>(q_tile, at.dim, [&](int32_t r) { return row_of(in.q, r); });
  zk_f32_load<rows, DP>(dout_tile, at.dim, [&](int32_t r) { return row_of(in.dout, r); });
  int32_t keys_seen[RT];
  float lse[RT], delta[RT];
  for (int i = 0; i < RT; ++i) {
    const int32_t flat = block.begin + ty + 16 * i;
    const size_t row = zk_attn_row(at, block, kv_head, flat);
    keys_seen[i] = flat < block.end ? zk_attn_pos(at, block, flat) + 1 : 0;
    lse[i] = flat < block.end ? in.lse[row] : 0.0f;
    delta[i] = flat < block.end ? in.delta[row] : 0.0f;
  }

  float part[RT][columns], total[RT][columns];
  for (int32_t part_begin = 0; part_begin < num_keys; part_begin += ZK_ATTN_PART) {
    zk_f32_clear<RT, columns>(part);
    const int32_t part_end = zk_attn_min(part_begin + ZK_ATTN_PART, num_keys);
    for (int32_t tile = part_begin; tile < part_end; tile += ZK_F32_KEYS) {
      auto load = [&](const float *cache) {
        __syncthreads(); // the last tile has been used
        zk_f32_load<ZK_F32_KEYS, DP>(kv_tile, at.dim, [&](int32_t r) {
          return tile + r < num_keys ? cache + zk_attn_key(at, block.pages, kv_head, tile + r) : NULL;
        });
        __syncthreads();
      };
      int32_t low[RT], high[RT];
      float s[RT][4], dp[RT][4];
      load(in.v_cache);
      zk_f32_dot<RT, DP>(dout_tile, kv_tile, at.dim, dp);
      load(in.k_cache);
      zk_f32_dot<RT, DP>(q_tile, kv_tile, at.dim, s);
#pragma unroll
      for (int i = 0; i < RT; ++i) {
        low[i] = 0, high[i] = zk_attn_clamp(keys_seen[i] - tile, 0, ZK_F32_KEYS);
#pragma unroll
        for (int j = 0; j < 4; ++j) weigh(at.scale, lse[i], delta[i], tx + 16 * j < high[i], &s[i][j], &dp[i][j]);
      }
      zk_f32_store_weights<RT>(ds_tile, dp);
      __syncthreads();
      zk_f32_add<RT, DP>(ds_tile, kv_tile, low, high, part);
    }
#pragma unroll
    for (int i = 0; i < RT; ++i)
      if (keys_seen[i] > part_begin) zk_f32_add_part<columns>(part_begin == 0, part[i], total[i]);
  }
#pragma unroll
  for (int i = 0; i < RT; ++i) {
    if (keys_seen[i] == 0) continue;
    float *to = dq + zk_attn_row(at, block, kv_head, block.begin + ty + 16 * i) * (size_t)at.dim;
    zk_f32_columns<DP>(at.dim, total[i], [&](int32_t d, const float *x) {
      *(zk_float4 *)(to + d) = {{x[0], x[1], x[2], x[3]}};
    });
  }
}

// Keys take the place of rows; a tile holds 64 query rows of one head. The sum over a group's heads is kept in dk and
// dv.
template <int RT, int DP>
static __global__ void __launch_bounds__(ZK_F32_THREADS)
    backward_key(zk_attn at, zk_attn_gradient<float> in, float *dk, float *dv) {
  constexpr int keys = 16 * RT, columns = DP / 16;
  zk_attn_block block;
  if (!zk_attn_find(at, (int32_t)blockIdx.x, 1, keys, false, &block)) return;
  const int32_t kv_head = (int32_t)blockIdx.y, ty = (int32_t)threadIdx.x / 16, tx = (int32_t)threadIdx.x % 16;

  ZK_DYNAMIC_SHARED(float, shared);
  float *k_tile = shared, *v_tile = k_tile + zk_f32_tile(keys, DP), *q_tile = v_tile + zk_f32_tile(keys, DP),
        *w_tile = q_tile + zk_f32_tile(ZK_F32_KEYS, DP);
  auto key_of = [&](const float *cache, int32_t r) {
    return block.begin + r < block.end ? cache + zk_attn_key(at, block.pages, kv_head, block.begin + r) : NULL;
  };
  zk_f32_load<keys, DP>(k_tile, at.dim, [&](int32_t r) { return key_of(in.k_cache, r); });
  zk_f32_load<keys, DP>(v_tile, at.dim, [&](int32_t r) { return key_of(in.v_cache, r); });

  for (int32_t g = 0; g < at.group; ++g) {
    const int32_t head = kv_head * at.group + g;
    auto row_at = [&](int32_t t) { return (size_t)(block.row_start + t) * (size_t)at.num_heads + (size_t)head; };
    float part_dk[RT][columns], part_dv[RT][columns], head_dk[RT][columns], head_dv[RT][columns];
    const int32_t first_part = block.begin / ZK_ATTN_PART * ZK_ATTN_PART;
    for (int32_t part_begin = first_part; part_begin < block.num_rows; part_begin += ZK_ATTN_PART) {
      zk_f32_clear<RT, columns>(part_dk);
      zk_f32_clear<RT, columns>(part_dv);
      const int32_t part_end = zk_attn_min(part_begin + ZK_ATTN_PART, block.num_rows),
                    first_tile = part_begin == first_part ? block.begin / ZK_F32_KEYS * ZK_F32_KEYS : part_begin;
      for (int32_t tile = first_tile; tile < part_end; tile += ZK_F32_KEYS) {
        auto load = [&](const float *from) {
          __syncthreads(); // the last tile, and its weights, have been used
          zk_f32_load<ZK_F32_KEYS, DP>(q_tile, at.dim, [&](int32_t r) {
            return tile + r < block.num_rows ? from + row_at(tile + r) * (size_t)at.dim : NULL;
          });
          __syncthreads();
        };
        float s[RT][4], dp[RT][4];
        int32_t low[RT], high[RT];
        load(in.q);
        zk_f32_dot<RT, DP>(k_tile, q_tile, at.dim, s);
        load(in.dout);
        zk_f32_dot<RT, DP>(v_tile, q_tile, at.dim, dp);
#pragma unroll
        for (int i = 0; i < RT; ++i) {
          const int32_t key = block.begin + ty + 16 * i;
          low[i] = zk_attn_clamp(key - tile, 0, ZK_F32_KEYS);
          high[i] = key < block.end ? zk_attn_min(block.num_rows - tile, ZK_F32_KEYS) : low[i];
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int32_t t = tx + 16 * j;
          const bool exists = tile + t < block.num_rows;
          const float lse = exists ? in.lse[row_at(tile + t)] : 0.0f,
                      delta = exists ? in.delta[row_at(tile + t)] : 0.0f;
#pragma unroll
          for (int i = 0; i < RT; ++i) weigh(at.scale, lse, delta, t >= low[i] && t < high[i], &s[i][j], &dp[i][j]);
        }
        zk_f32_store_weights<RT>(w_tile, s);
        __syncthreads();
        zk_f32_add<RT, DP>(w_tile, q_tile, low, high, part_dv);
        load(in.q);
        zk_f32_store_weights<RT>(w_tile, dp);
        __syncthreads();
        zk_f32_add<RT, DP>(w_tile, q_tile, low, high, part_dk);
      }
#pragma unroll
      for (int i = 0; i < RT; ++i) {
        zk_f32_add_part<columns>(part_begin == first_part, part_dk[i], head_dk[i]);
        zk_f32_add_part<columns>(part_begin == first_part, part_dv[i], head_dv[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < RT; ++i) {
      const int32_t key = block.begin + ty + 16 * i;
      if (key >= block.end) continue;
      const size_t row = (size_t)(block.row_start + key) * (size_t)at.num_kv_heads + (size_t)kv_head;
      auto add_head = [&](float *total) {
        return [=](int32_t d, const float *x) {
          float *to = total + row * (size_t)at.dim + d;
          for (int e = 0; e < 4; ++e) to[e] = g == 0 ? x[e] : to[e] + x[e];
        };
      };
      zk_f32_columns<DP>(at.dim, head_dk[i], add_head(dk));
      zk_f32_columns<DP>(at.dim, head_dv[i], add_head(dv));
    }
  }
}

template <int RT, int DP>
static zk_status launch_query(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                              const zk_attn_gradient<float> &in, float *dq) {
  const int32_t floats = 2 * zk_f32_tile(16 * RT, DP) + zk_f32_tile(ZK_F32_KEYS, DP) + 16 * RT * ZK_F32_W_STRIDE;
  const dim3 grid((unsigned)num_blocks, (unsigned)a.num_kv_heads);
  ZK_LAUNCH((backward_query<RT, DP>), grid, ZK_F32_THREADS, (size_t)floats * sizeof(float), stream, a, in, dq);
  return ZK_OK;
}

template <int RT, int DP>
static zk_status launch_key(zk_stream *stream, const zk_attn &a, int32_t num_blocks, const zk_attn_gradient<float> &in,
                            float *dk, float *dv) {
  const int32_t floats = 2 * zk_f32_tile(16 * RT, DP) + zk_f32_tile(ZK_F32_KEYS, DP) + 16 * RT * ZK_F32_W_STRIDE;
  const dim3 grid((unsigned)num_blocks, (unsigned)a.num_kv_heads);
  ZK_LAUNCH((backward_key<RT, DP>), grid, ZK_F32_THREADS, (size_t)floats * sizeof(float), stream, a, in, dk, dv);
  return ZK_OK;
}

zk_status zk_attn_backward_query(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                                 const zk_attn_gradient<float> &in, float *dq) {
  return (a.dim <= 64    ? launch_query<4, 64>
          : a.dim <= 128 ? launch_query<4, 128>
                         : launch_query<2, 256>)(stream, a, num_blocks, in, dq);
}

zk_status zk_attn_backward_key(zk_stream *stream, const zk_attn &a, int32_t num_blocks,
                               const zk_attn_gradient<float> &in, float *dk, float *dv) {
  return (a.dim <= 64    ? launch_key<4, 64>
          : a.dim <= 128 ? launch_key<4, 128>
                         : launch_key<2, 256>)(stream, a, num_blocks, in, dk, dv);
}
