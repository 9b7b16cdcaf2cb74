// Attention of one token, bf16: the kernel (attention_token.cuh). Fragments are those of mma.sync: a lane has row g = lane / 4
// and columns 2 t, 2 t + 1, t = lane % 4; rows from ZK_TOKEN_ROWS on mean nothing, and nothing is made of them.
#ifndef ZK_KERNELS_CUDA_ATTENTION_TOKEN_KERNEL_CUH
#define ZK_KERNELS_CUDA_ATTENTION_TOKEN_KERNEL_CUH

#include "kernels/cuda/attention_token.cuh"

// Scores of the warp's 32 keys, to both blocks of the split, with the largest of those that there are.
static __device__ __forceinline__ void zk_token_scores(int32_t group, const zk_token_work &w, zk_token_shared *shared) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int32_t mine = 32 * warp, first = w.half * ZK_TOKEN_MINE + mine; // in the block, in the split
  float s[4][4] = {};
#pragma unroll
  for (int pair = 0; pair < ZK_TOKEN_DIM / 32; ++pair) {
    uint32_t q[4];
    zk_ldmatrix<false>(&shared->q[lane % 8][32 * pair + lane / 8 * 8], q);
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const uint32_t rows[4] = {q[2 * step], 0, q[2 * step + 1], 0};
      const int32_t piece = 4 * pair + 2 * step + lane / 8 % 2;
#pragma unroll
      for (int f = 0; f < 4; f += 2) {
        const int32_t key = mine + 8 * f + lane / 16 * 8 + lane % 8;
        uint32_t b[4];
        zk_ldmatrix<false>(&shared->k[pair / 2][key][(piece % 8 ^ key % 8) * 8], b);
        zk_mma_bf16(s[f], rows, b);
        zk_mma_bf16(s[f + 1], rows, b + 2);
      }
    }
  }
  const int32_t high = w.num_keys - first - 2 * t;
  float most = -INFINITY;
#pragma unroll
  for (int f = 0; f < 4; ++f)
#pragma unroll
    for (int e = 0; e < 2; ++e)
      if (8 * f + e < high && s[f][e] > most) most = s[f][e];
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, most, distance);
    most = other > most ? other : most;
  }
  if (g >= group) return;
#pragma unroll
  for (int i = 0; i < ZK_TOKEN_BLOCKS; ++i) {
    const uint32_t block = (uint32_t)(w.split * ZK_TOKEN_BLOCKS + i), bar = zk_cluster_address(&shared->s_full, block),
                   to = zk_cluster_address(&shared->s[g][first + 2 * t], block);
#pragma unroll
    for (int f = 0; f < 4; ++f) zk_cluster_store_async(to + 32 * (uint32_t)f, bar, s[f][0], s[f][1]);
    if (t == i)
      zk_cluster_store_async(zk_cluster_address(&shared->most[g][w.half * ZK_TOKEN_WARPS + warp], block), bar, most);
  }
}

// Scores to weights; a warp takes a tile of a row at a time, and finds again what the row's weights are relative to. That of
// the row's first tile also leaves b, and the factors between tiles: 1 where b has not moved.
static __device__ __forceinline__ void zk_token_weigh(int32_t group, int32_t num_keys, const zk_attn_exp_bf16 &weight,
                                                      zk_token_shared *shared) {
  constexpr int WARPS = ZK_BF16_KEYS / 32; // to a tile
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
#pragma unroll 1
  for (int32_t unit = warp; unit < group * ZK_TOKEN_TILES; unit += ZK_TOKEN_WARPS) {
    const int32_t row = unit / ZK_TOKEN_TILES, tile = unit % ZK_TOKEN_TILES, key = tile * ZK_BF16_KEYS + 4 * lane;
    const zk_float4 s = *(const zk_float4 *)&shared->s[row][key];
    float largest = shared->most[row][lane % (WARPS * ZK_TOKEN_TILES)], state = INFINITY, mine = 0.0f, before = 0.0f,
          now = 0.0f;
#pragma unroll
    for (int distance = 1; distance < WARPS; distance *= 2)
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
#pragma unroll
    for (int i = 0; i < ZK_TOKEN_TILES; ++i) {
      bool moved;
      const float last = state, next = weight.next(state, __shfl_sync(0xffffffffu, largest, i * WARPS), &moved);
      state = i * ZK_BF16_KEYS < num_keys ? next : state;
      mine = i == tile ? state : mine;
      before = i == lane ? last : before, now = i == lane ? state : now;
    }
    uint32_t words[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int32_t left = num_keys - key - 2 * i;
      words[i] = zk_weights(fmaf(s.at[2 * i], weight.c, mine), fmaf(s.at[2 * i + 1], weight.c, mine));
      words[i] = left >= 2 ? words[i] : left == 1 ? words[i] & 0xffffu : 0u;
    }
    *(uint2 *)&shared->p[row][key] = make_uint2(words[0], words[1]);
    if (tile > 0 || lane >= ZK_TOKEN_TILES) continue;
    shared->a[row][lane] = now != before ? weight(before, now) : 1.0f;
    if (lane == ZK_TOKEN_TILES - 1) shared->b[row] = now;
  }
}

// 64 keys of the split as operands: of row g, and of columns 8 warp + g.
struct zk_token_operands {
  uint32_t p[4][2], v[2][4];
};
static __device__ __forceinline__ zk_token_operands zk_token_load(const zk_token_shared *shared, int32_t first) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32, g = lane / 4 % ZK_TOKEN_ROWS, t = lane % 4;
  const uint32_t *row = (const uint32_t *)&shared->p[g][first] + t;
  zk_token_operands x;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int32_t key = first + 32 * i + lane;
    zk_ldmatrix<true>(&shared->v[key][(warp ^ key % 8) * 8], x.v[i]);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) x.p[k][0] = row[8 * k], x.p[k][1] = row[8 * k + 4];
  return x;
}

// o of columns 8 warp + 2 t, + 1 of row g. Operands are loaded while the chain goes through those before; the loop is written
// out, so that addresses are constants and no registers are copied.
static __device__ __forceinline__ void zk_token_values(const zk_token_shared *shared, int32_t num_keys, float o[4]) {
  const float *a = shared->a[(int32_t)threadIdx.x % 32 / 4 % ZK_TOKEN_ROWS];
  zk_token_operands x[2];
  x[0] = zk_token_load(shared, 0);
  o[0] = o[1] = o[2] = o[3] = 0.0f;
#pragma unroll
  for (int i = 0; i < ZK_TOKEN_KEYS / 64; ++i) {
    if (64 * i >= num_keys) break;
    if (64 * (i + 1) < ZK_TOKEN_KEYS) x[(i + 1) % 2] = zk_token_load(shared, 64 * (i + 1));
    if (i > 0 && 64 * i % ZK_BF16_KEYS == 0) o[0] = o[0] * a[64 * i / ZK_BF16_KEYS], o[1] = o[1] * a[64 * i / ZK_BF16_KEYS];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint32_t p[4] = {x[i % 2].p[k][0], 0, x[i % 2].p[k][1], 0};
      zk_mma_bf16(o, p, &x[i % 2].v[k / 2][k % 2 * 2]);
    }
  }
}

// V is 0 from the split's end to the next multiple of 64, by the warp that does not compute: weights are 0 there, but what a
// page holds may not be finite.
static __device__ __forceinline__ void zk_token_end_values(zk_token_shared *shared, int32_t num_keys) {
  zk_mbar_wait(&shared->v_full, 0);
  const int32_t end = (num_keys + 63) / 64 * 64;
  for (int32_t i = num_keys * 8 + (int32_t)threadIdx.x % 32; i < end * 8; i += 32)
    *(uint4 *)&shared->v[i / 8][i % 8 * 8] = make_uint4(0, 0, 0, 0);
}

// l of row lane / 8, in every lane of these 8: a lane's chain over every 8th key, then their sum.
static __device__ __forceinline__ float zk_token_sum(const zk_token_shared *shared, int32_t num_keys) {
  const int32_t lane = (int32_t)threadIdx.x % 32, row = lane / 8;
  const zk_bf16 *p = &shared->p[row][lane % 8];
  float l = 0.0f;
#pragma unroll 1
  for (int32_t tile = 0; tile * ZK_BF16_KEYS < num_keys; ++tile, p += ZK_BF16_KEYS) {
    l = l * shared->a[row][tile];
#pragma unroll
    for (int k = 0; k < ZK_BF16_KEYS; k += 8) l = l + zk_bf16_to_float(p[k]);
  }
#pragma unroll
  for (int distance = 1; distance <= 4; distance *= 2) l = l + __shfl_xor_sync(0xffffffffu, l, distance);
  return l;
}

// An output a thread: of row thread / 64 and the block's column thread % 64, from all splits.
static __device__ __forceinline__ void zk_token_merge(const zk_attn &a, const zk_attn_exp_bf16 &weight,
                                                      const zk_token_work &w, const zk_token_shared *shared, zk_bf16 *out,
                                                      float *lse) {
  const int32_t row = (int32_t)threadIdx.x / ZK_TOKEN_COLUMNS, column = (int32_t)threadIdx.x % ZK_TOKEN_COLUMNS;
  float B = INFINITY, L = 0.0f, O = 0.0f, A, b;
  if (row >= a.group) return;
#pragma unroll
  for (int32_t i = 0; i < ZK_TOKEN_MOST_SPLITS; ++i) {
    if (i >= w.num_splits) break;
    const float o = shared->o[i][row][column];
    const bool copy = zk_attn_merge(weight, shared->bl[i][row].x, shared->bl[i][row].y, &B, &L, &A, &b);
    O = copy ? o : fmaf(O, A, o * b);
  }
  const int32_t head = w.kv_head * a.group + row;
  out[head * ZK_TOKEN_DIM + w.half * ZK_TOKEN_COLUMNS + column] = zk_float_to_bf16(weight.out(O, L));
  if (lse != NULL && column == 0 && w.half == 0) lse[head] = weight.lse(B, L);
}

// q of the rows into shared memory, by warp 0: 8 lanes a row. The token's k and v into the tiles and the caches, by warps 1
// and 2 of the blocks that have them. All behind the wait; `turn` and `slot` were got before it.
static __device__ __forceinline__ void zk_token_make(const zk_attn &a, const zk_rope_rows &r, const zk_token_work &w,
                                                     const zk_token_turn &turn, size_t slot, zk_token_shared *shared) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32, piece = lane % 8, row = lane / 8,
                key = w.pos % ZK_TOKEN_KEYS;
  if (warp == 0) {
    zk_head_piece x = zk_token_take(r.q_in + (w.kv_head * a.group + row) * ZK_TOKEN_DIM, row < a.group);
    zk_token_turn_head(r, turn, r.q_weight, x);
    zk_store_head<ZK_TOKEN_DIM>(shared->q[row], piece, x);
  } else if (warp == 1 && w.is_last && key / ZK_TOKEN_MINE == w.half) {
    zk_head_piece x = zk_token_take(r.k_in + w.kv_head * ZK_TOKEN_DIM, true);
    zk_token_turn_head(r, turn, r.k_weight, x);
    zk_mbar_wait(&shared->k_full, 0);
    if (row > 0) return;
    const int32_t at = key % ZK_TOKEN_MINE, swizzled = (piece ^ at % 8) * 8;
    *(zk_words<4> *)&shared->k[0][at][swizzled] = x.low, *(zk_words<4> *)&shared->k[1][at][swizzled] = x.high;
    zk_store_head<ZK_TOKEN_DIM>(r.k_cache + slot, piece, x);
  } else if (warp == 2 && w.is_last && row == 0) {
    const size_t from = (size_t)(w.half * ZK_TOKEN_COLUMNS + piece * 8);
    const uint4 x = __ldcg((const uint4 *)(r.v + w.kv_head * ZK_TOKEN_DIM + from));
    zk_mbar_wait(&shared->v_full, 0);
    *(uint4 *)&shared->v[key][(piece ^ key % 8) * 8] = x;
    *(uint4 *)(r.v_cache + slot + from) = x;
  }
}

// Grid: a cluster for each KV head. num_rows and num_seqs are 1.
static __global__ void __launch_bounds__(ZK_TOKEN_THREADS, 1)
    zk_token_attention(zk_attn a, zk_attn_exp_bf16 weight, zk_rope_rows r, const __grid_constant__ zk_token_maps maps,
                       zk_bf16 *out, float *lse) {
  ZK_DYNAMIC_SHARED(zk_token_shared, shared);
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32, rank = (int32_t)zk_block_in_cluster();
  const bool computes = warp < ZK_TOKEN_WARPS;
  zk_token_work w;
  w.kv_head = (int32_t)blockIdx.y, w.split = rank / ZK_TOKEN_BLOCKS, w.half = rank % ZK_TOKEN_BLOCKS;
  w.pos = a.seq_first_pos[0];
  w.num_splits = w.pos / ZK_TOKEN_KEYS + 1, w.is_last = w.split == w.num_splits - 1;
  w.num_keys = zk_attn_min(w.pos + 1 - w.split * ZK_TOKEN_KEYS, ZK_TOKEN_KEYS);
  zk_let_next_start();
  if (w.split >= w.num_splits) return; // others wait, and the kernel ends when they do
  if (!computes) {
    if (lane == 0) {
      zk_mbar_init(&shared->k_full, 1), zk_mbar_init(&shared->v_full, 1);
      zk_mbar_init(&shared->s_full, 1), zk_mbar_init(&shared->merge_full, 1);
      zk_mbar_init_done();
      zk_mbar_arrive_expect(&shared->s_full, (uint32_t)(a.group * (ZK_TOKEN_KEYS + ZK_TOKEN_BLOCKS * ZK_TOKEN_WARPS) * 4));
      if (w.split == 0) // (b, l) and o of the other splits
        zk_mbar_arrive_expect(&shared->merge_full, (uint32_t)((w.num_splits - 1) * a.group * (ZK_TOKEN_COLUMNS + 2) * 4));
    }
    __syncwarp();
    zk_token_ask(a, maps, w, shared);
    __syncwarp();
  }
  zk_cluster_arrive(); // all blocks of the cluster run and have barriers, before one stores into another
  zk_token_turn turn = {};
  if (warp < 2) turn = zk_token_turn_of(r, warp == 0 ? r.q_weight : r.k_weight);
  const size_t slot = warp == 1 || warp == 2 ? zk_attn_key(a, a.page_table, w.kv_head, w.pos) : 0;
  zk_cluster_wait();
  zk_wait_for_previous();
  if (computes) zk_token_make(a, r, w, turn, slot, shared);
  __syncthreads(); // q, and the token's k and v, are there; the last warp is here for racecheck alone, which loses sight of one that leaves a barrier out
  if (computes) {
    zk_mbar_wait(&shared->k_full, 0);
    zk_token_scores(a.group, w, shared);
    zk_mbar_wait(&shared->s_full, 0);
    zk_token_weigh(a.group, w.num_keys, weight, shared);
  } else zk_token_end_values(shared, w.num_keys);
  __syncthreads(); // weights are there
  if (computes) {
    float o[4];
    zk_mbar_wait(&shared->v_full, 0);
    zk_token_values(shared, w.num_keys, o);
    const int32_t g = lane / 4, column = 8 * warp + lane % 4 * 2;
    if (w.split == 0) {
      if (g < a.group) *(float2 *)&shared->o[0][g][column] = make_float2(o[0], o[1]);
    } else if (g < a.group)
      zk_cluster_store_async(zk_cluster_address(&shared->o[w.split][g][column], (uint32_t)w.half),
                             zk_cluster_address(&shared->merge_full, (uint32_t)w.half), o[0], o[1]);
  } else {
    const float l = zk_token_sum(shared, w.num_keys);
    const int32_t row = lane / 8;
    if (lane % 8 == 0 && row < a.group) {
      if (w.split == 0) shared->bl[0][row] = make_float2(shared->b[row], l);
      else
        zk_cluster_store_async(zk_cluster_address(&shared->bl[w.split][row], (uint32_t)w.half),
                               zk_cluster_address(&shared->merge_full, (uint32_t)w.half), shared->b[row], l);
    }
  }
  if (w.split > 0) return;
  __syncthreads(); // the split's own part is there
  if (!computes) return;
  zk_mbar_wait(&shared->merge_full, 0);
  zk_token_merge(a, weight, w, shared, out, lse);
}

#endif
