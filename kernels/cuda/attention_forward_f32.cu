// Attention forward, f32: a block takes some flat rows of one KV head and walks their splits, or one of them, tile by
// tile.
#include "kernels/cuda/attention_f32.cuh"
#include "kernels/cuda/attention_merge.cuh"

// A row's split so far, m and l; the same in the 16 threads that share the row.
template <int RT> struct row_state { float m[RT], l[RT]; };

// Scores to weights, for the keys below high[i]; m and l move on; a[i] is what l and o are scaled by.
template <int RT>
static __device__ __forceinline__ void softmax(float scale, const int32_t high[RT], float s[RT][4],
                                               row_state<RT> *state, float a[RT]) {
  const zk_attn_exp_f32 weight;
  const int32_t tx = (int32_t)threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < RT; ++i) {
    float mt = -INFINITY;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      s[i][j] = s[i][j] * scale;
      if (tx + 16 * j < high[i] && s[i][j] > mt) mt = s[i][j];
    }
#pragma unroll
    for (int lane = 8; lane >= 1; lane /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, mt, lane);
      mt = other > mt ? other : mt;
    }
    const float m = state->m[i];
    a[i] = mt > m ? (m == -INFINITY ? 0.0f : weight(m, mt)) : 1.0f;
    state->m[i] = mt > m ? mt : m;
    float sum = 0.0f; // lane tx
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      s[i][j] = tx + 16 * j < high[i] ? weight(s[i][j], state->m[i]) : 0.0f;
      sum = sum + s[i][j];
    }
#pragma unroll
    for (int lane = 8; lane >= 1; lane /= 2) sum = sum + __shfl_xor_sync(0xffffffffu, sum, lane);
    state->l[i] = state->l[i] * a[i] + sum;
  }
}

template <int RT, int DP>
static __global__ void __launch_bounds__(ZK_F32_THREADS)
    forward(zk_attn at, const float *q, const float *k_cache, const float *v_cache, zk_attn_partials partials,
            float *out, float *lse) {
  constexpr int rows = 16 * RT, columns = DP / 16;
  zk_attn_block block;
  if (!zk_attn_find(at, (int32_t)blockIdx.x, at.group, rows, true, &block)) return;
  const int32_t kv_head = (int32_t)blockIdx.y, ty = (int32_t)threadIdx.x / 16;
  const int32_t num_keys = zk_attn_pos(at, block, block.end - 1) + 1;
  const zk_attn_splits splits = zk_attn_splits_of(partials, num_keys, ZK_ATTN_SPLIT, (int32_t)blockIdx.z);
  if (splits.begin >= splits.end) return;

  ZK_DYNAMIC_SHARED(float, shared);
  float *q_tile = shared, *kv_tile = q_tile + zk_f32_tile(rows, DP), *w = kv_tile + zk_f32_tile(ZK_F32_KEYS, DP);
  zk_f32_load<rows, DP>(q_tile, at.dim, [&](int32_t r) {
    return block.begin + r < block.end ? q + zk_attn_row(at, block, kv_head, block.begin + r) * (size_t)at.dim : NULL;
  });
  int32_t keys_seen[RT]; // keys 0..p; none for a row past the end
  for (int i = 0; i < RT; ++i) {
    const int32_t flat = block.begin + ty + 16 * i;
    keys_seen[i] = flat < block.end ? zk_attn_pos(at, block, flat) + 1 : 0;
  }

  const zk_attn_exp_f32 weight;
  row_state<RT> total, split;
  float total_o[RT][columns], o[RT][columns];
  zk_f32_clear<RT, columns>(total_o);
  for (int i = 0; i < RT; ++i) total.m[i] = -INFINITY, total.l[i] = 0.0f;
  for (int32_t s = splits.begin; s < splits.end; ++s) {
    const int32_t split_end = zk_attn_min((s + 1) * ZK_ATTN_SPLIT, num_keys);
    zk_f32_clear<RT, columns>(o);
    for (int i = 0; i < RT; ++i) split.m[i] = -INFINITY, split.l[i] = 0.0f;
    for (int32_t tile = s * ZK_ATTN_SPLIT; tile < split_end; tile += ZK_F32_KEYS) {
      auto load = [&](const float *cache) {
        __syncthreads(); // the last tile has been used
        zk_f32_load<ZK_F32_KEYS, DP>(kv_tile, at.dim, [&](int32_t r) {
          return tile + r < num_keys ? cache + zk_attn_key(at, block.pages, kv_head, tile + r) : NULL;
        });
        __syncthreads();
      };
      int32_t low[RT], high[RT];
      for (int i = 0; i < RT; ++i) low[i] = 0, high[i] = zk_attn_clamp(keys_seen[i] - tile, 0, ZK_F32_KEYS);
      float x[RT][4], a[RT];
      load(k_cache);
      zk_f32_dot<RT, DP>(q_tile, kv_tile, at.dim, x);
      softmax<RT>(at.scale, high, x, &split, a);
      zk_f32_store_weights<RT>(w, x);
#pragma unroll
      for (int i = 0; i < RT; ++i)
#pragma unroll
        for (int n = 0; n < columns; ++n) o[i][n] = o[i][n] * a[i];
      load(v_cache);
      zk_f32_add<RT, DP>(w, kv_tile, low, high, o);
    }
#pragma unroll
    for (int i = 0; i < RT; ++i) {
      if (keys_seen[i] <= s * ZK_ATTN_SPLIT) continue;
      float A, B;
      const bool copy = zk_attn_merge(weight, split.m[i], split.l[i], &total.m[i], &total.l[i], &A, &B);
#pragma unroll
      for (int n = 0; n < columns; ++n) total_o[i][n] = copy ? o[i][n] : fmaf(total_o[i][n], A, o[i][n] * B);
    }
  }

#pragma unroll
  for (int i = 0; i < RT; ++i) {
    if (keys_seen[i] <= splits.begin * ZK_ATTN_SPLIT) continue;
    const size_t row = zk_attn_row(at, block, kv_head, block.begin + ty + 16 * i);
    const bool writes_sums = threadIdx.x % 16 == 0;
    if (partials.o != NULL) {
      const size_t part = row * (size_t)partials.num_splits + (size_t)splits.begin;
      zk_f32_columns<DP>(at.dim, total_o[i], [&](int32_t d, const float *x) {
        *(zk_float4 *)(partials.o + part * (size_t)at.dim + d) = {{x[0], x[1], x[2], x[3]}};
      });
      if (writes_sums) partials.ml[2 * part] = total.m[i], partials.ml[2 * part + 1] = total.l[i];
    } else {
      const float l = total.l[i];
      zk_f32_columns<DP>(at.dim, total_o[i], [&](int32_t d, const float *x) {
        *(zk_float4 *)(out + row * (size_t)at.dim +
                       d) = {{weight.out(x[0], l), weight.out(x[1], l), weight.out(x[2], l), weight.out(x[3], l)}};
      });
      if (writes_sums && lse != NULL) lse[row] = weight.lse(total.m[i], l);
    }
  }
}

template <int RT, int DP>
static zk_status launch(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const float *q,
                        const float *k_cache, const float *v_cache, float *out, float *lse) {
  const int32_t floats = zk_f32_tile(16 * RT, DP) + zk_f32_tile(ZK_F32_KEYS, DP) + 16 * RT * ZK_F32_W_STRIDE;
  const dim3 grid((unsigned)plan.num_blocks, (unsigned)a.num_kv_heads,
                  (unsigned)(plan.partials.o != NULL ? plan.partials.num_splits : 1));
  ZK_LAUNCH((forward<RT, DP>), grid, ZK_F32_THREADS, (size_t)floats * sizeof(float), stream, a, q, k_cache, v_cache,
            plan.partials, out, lse);
  return ZK_OK;
}

zk_status zk_attn_forward(zk_stream *stream, const zk_attn &a, const zk_attn_forward_plan &plan, const float *q,
                          const float *k_cache, const float *v_cache, float *out, float *lse) {
  const auto few = a.dim <= 64 ? launch<1, 64> : a.dim <= 128 ? launch<1, 128> : launch<1, 256>;
  const auto many = a.dim <= 64 ? launch<4, 64> : a.dim <= 128 ? launch<4, 128> : launch<2, 256>;
  ZK_TRY((plan.few_rows ? few : many)(stream, a, plan, q, k_cache, v_cache, out, lse));
  return zk_attn_merge_splits(stream, a, plan, zk_attn_exp_f32(), out, lse);
}
