// Decoding attention by clusters, bf16: the arithmetic of one item (attention_cluster.cuh), by the 8 computing warps of each
// block. A lane has row g = lane / 4 and columns 2 t, 2 t + 1 of its fragments (t = lane % 4); rows 8 to 15 of
// mma.sync's 16 are zeros.
#ifndef ZK_KERNELS_CUDA_ATTENTION_CLUSTER_TILE_CUH
#define ZK_KERNELS_CUDA_ATTENTION_CLUSTER_TILE_CUH

#include "kernels/cuda/attention_cluster.cuh"

// Row g as an A operand; zeros past the item's rows.
template <int DIM>
static __device__ __forceinline__ void zk_cluster_load_q(const zk_cluster_row &row, const zk_bf16 *q,
                                                         uint32_t word[DIM / 16][2]) {
  const bool there = row.all > 0;
  const uint32_t *from = (const uint32_t *)(q + (size_t)(there ? row.index : 0) * DIM) + (int32_t)threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < DIM / 16; ++k)
#pragma unroll
    for (int i = 0; i < 2; ++i) word[k][i] = there ? __ldcg(from + 8 * k + 4 * i) : 0u;
}

// Scores of the warp's keys, to all blocks of the cluster, with the largest of those that each row sees.
template <int DIM>
static __device__ __forceinline__ void zk_cluster_scores(int32_t num_keys, const zk_cluster_row &row, int32_t rank,
                                                         const uint32_t q[DIM / 16][2],
                                                         zk_cluster_shared<DIM> *shared) {
  using shared_t = zk_cluster_shared<DIM>;
  constexpr int FRAGMENTS = shared_t::KEYS / 8 / ZK_CLUSTER_WARPS;
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int32_t mine = warp * FRAGMENTS * 8, first = rank * shared_t::KEYS + mine; // in the block, in the split
  float s[FRAGMENTS][4] = {};
  if (first < num_keys) {
#pragma unroll
    for (int k = 0; k < DIM / 16; ++k) {
      const uint32_t rows[4] = {q[k][0], 0, q[k][1], 0};
#pragma unroll
      for (int f = 0; f < FRAGMENTS; f += 2) {
        const int32_t key = mine + 8 * f + lane / 16 * 8 + lane % 8, piece = 2 * k + lane / 8 % 2;
        uint32_t b[4];
        zk_ldmatrix<false>(&shared->k[piece / 8][key][(piece % 8 ^ key % 8) * 8], b);
        zk_mma_bf16(s[f], rows, b);
        zk_mma_bf16(s[f + 1], rows, b + 2);
      }
    }
  }
  const int32_t high = row.seen - first - 2 * t;
  float most = -INFINITY;
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f)
#pragma unroll
    for (int e = 0; e < 2; ++e)
      if (8 * f + e < high && s[f][e] > most) most = s[f][e];
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, most, distance);
    most = other > most ? other : most;
  }
  if (row.all > 0) {
#pragma unroll
    for (int i = 0; i < shared_t::BLOCKS; ++i) {
      const uint32_t to = zk_cluster_address(&shared->s[g][first + 2 * t], (uint32_t)i);
      const uint32_t bar = zk_cluster_address(&shared->s_full, (uint32_t)i);
#pragma unroll
      for (int f = 0; f < FRAGMENTS; ++f) zk_cluster_store_async(to + 32 * (uint32_t)f, bar, s[f][0], s[f][1]);
    }
    if (t < shared_t::BLOCKS)
      zk_cluster_store_async(zk_cluster_address(&shared->most[g][rank * ZK_CLUSTER_WARPS + warp], (uint32_t)t),
                             zk_cluster_address(&shared->s_full, (uint32_t)t), most);
  }
  __syncwarp();
}

// Of a row that sees `seen` keys of the split: what its weights are relative to, tile by tile. By a whole warp; every
// warp that needs them finds them again. most: the largest score of each warp's keys, DIM / 16 warps to a tile.
template <int DIM>
static __device__ __forceinline__ void zk_cluster_references(const zk_attn_exp_bf16 &weight, const float *most,
                                                             int32_t seen, float b[ZK_CLUSTER_TILES]) {
  constexpr int WARPS = DIM / 16;
  float largest = most[(int32_t)threadIdx.x % (WARPS * ZK_CLUSTER_TILES)], state = INFINITY;
#pragma unroll
  for (int distance = 1; distance < WARPS; distance *= 2)
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
#pragma unroll
  for (int tile = 0; tile < ZK_CLUSTER_TILES; ++tile) {
    bool moved;
    const float next = weight.next(state, __shfl_sync(0xffffffffu, largest, tile * WARPS), &moved);
    b[tile] = state = tile * ZK_BF16_KEYS < seen ? next : state;
  }
}

// Scores to weights; a warp takes a tile of a row at a time. The warp that has a row's first tile also leaves the row's
// b, and by what l and o are scaled before each tile: 1 where b has not moved.
template <int DIM>
static __device__ __forceinline__ void zk_cluster_weigh(int32_t num_rows, const zk_cluster_row &of,
                                                        const zk_attn_exp_bf16 &weight,
                                                        zk_cluster_shared<DIM> *shared) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
  for (int32_t unit = warp; unit < num_rows * ZK_CLUSTER_TILES; unit += ZK_CLUSTER_WARPS) {
    const int32_t row = unit / ZK_CLUSTER_TILES, tile = unit % ZK_CLUSTER_TILES, key = tile * ZK_BF16_KEYS + 4 * lane;
    const int32_t seen = __shfl_sync(0xffffffffu, of.seen, 4 * row);
    const zk_float4 s = *(const zk_float4 *)&shared->s[row][key];
    float b[ZK_CLUSTER_TILES];
    zk_cluster_references<DIM>(weight, shared->most[row], seen, b);
    const float mine = tile == 0 ? b[0] : tile == 1 ? b[1] : tile == 2 ? b[2] : b[3];
    uint32_t w[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      w[i] = zk_weights(fmaf(s.at[2 * i], weight.c, mine), fmaf(s.at[2 * i + 1], weight.c, mine));
      const int32_t left = seen - key - 2 * i;
      w[i] = left >= 2 ? w[i] : left == 1 ? w[i] & 0xffffu : 0u;
    }
    *(uint2 *)&shared->p[row][key] = make_uint2(w[0], w[1]);
    if (tile > 0 || lane >= ZK_CLUSTER_TILES) continue;
    const float now = lane == 0   ? b[0]
                      : lane == 1 ? b[1]
                      : lane == 2 ? b[2]
                                  : b[3],
                before = lane == 0   ? INFINITY
                         : lane == 1 ? b[0]
                         : lane == 2 ? b[1]
                                     : b[2];
    shared->a[row][lane] = now != before ? weight(before, now) : 1.0f;
    if (lane == ZK_CLUSTER_TILES - 1) shared->b[row] = now;
  }
}

// 64 keys of the split as operands of warps 0 to 3, of row g and of columns 8 warp + g; and what o is scaled by before
// them. Slots from the split's end on weigh +0; V is read as 0 there.
struct zk_cluster_operands {
  uint32_t p[4][2], v[2][4];
  float a;
};
#define ZK_CLUSTER_STRIDE 64
template <int DIM, bool ENDS>
static __device__ __forceinline__ zk_cluster_operands zk_cluster_load(const zk_cluster_shared<DIM> *shared,
                                                                      int32_t first, int32_t num_keys) {
  const int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const uint32_t *row = (const uint32_t *)&shared->p[g][first] + t;
  zk_cluster_operands x;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int32_t key = first + 32 * i + lane;
    zk_ldmatrix<true>(&shared->v[key][(warp ^ key / 2 % 4) * 8], x.v[i]);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) x.p[k][0] = row[8 * k], x.p[k][1] = row[8 * k + 4];
  x.a = shared->a[g][first / ZK_BF16_KEYS];
  if (ENDS) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int32_t left = num_keys - (first + 8 * i + 2 * t); // keys from this word's on
      uint32_t *v = &x.v[i / 4][i % 4];
      *v = left >= 2 ? *v : left == 1 ? *v & 0xffffu : 0u;
    }
  }
  return x;
}

static __device__ __forceinline__ void zk_cluster_multiply(const zk_cluster_operands &x, float o[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const uint32_t p[4] = {x.p[k][0], 0, x.p[k][1], 0};
    zk_mma_bf16(o, p, &x.v[k / 2][k % 2 * 2]);
  }
}

// Warps 0 to 3: o of columns 8 warp + 2 t, + 1 of row g. Operands are loaded while the chain goes through those before.
template <int DIM>
static __device__ __forceinline__ void zk_cluster_values(int32_t num_keys, const zk_cluster_shared<DIM> *shared,
                                                         float o[4]) {
#pragma unroll
  for (int e = 0; e < 4; ++e) o[e] = 0.0f;
  if (num_keys == ZK_CLUSTER_KEYS) {
    zk_cluster_operands x = zk_cluster_load<DIM, false>(shared, 0, num_keys);
#pragma unroll
    for (int32_t first = 0; first < ZK_CLUSTER_KEYS; first += ZK_CLUSTER_STRIDE) {
      const zk_cluster_operands next =
          zk_cluster_load<DIM, false>(shared, (first + ZK_CLUSTER_STRIDE) % ZK_CLUSTER_KEYS, num_keys);
      if (first > 0 && first % ZK_BF16_KEYS == 0) o[0] = o[0] * x.a, o[1] = o[1] * x.a;
      zk_cluster_multiply(x, o);
      x = next;
    }
    return;
  }
#pragma unroll 1
  for (int32_t first = 0; first < num_keys; first += ZK_CLUSTER_STRIDE) {
    const zk_cluster_operands x = zk_cluster_load<DIM, true>(shared, first, num_keys);
    if (first > 0 && first % ZK_BF16_KEYS == 0) o[0] = o[0] * x.a, o[1] = o[1] * x.a;
    zk_cluster_multiply(x, o);
  }
}

// Warps 4 and 5: a thread has lane i % 8 of l of row i / 8, i its number from warp 4 on; then the row's l, to shared memory.
template <int DIM>
static __device__ __forceinline__ void zk_cluster_sum(int32_t num_keys, int32_t num_rows,
                                                      zk_cluster_shared<DIM> *shared) {
  const int32_t i = (int32_t)threadIdx.x - 128, row = i / 8;
  const zk_bf16 *p = &shared->p[row][i % 8];
  float l = 0.0f;
  if (row < num_rows)
    for (int32_t tile = 0; tile * ZK_BF16_KEYS < num_keys; ++tile) {
      l = l * shared->a[row][tile];
#pragma unroll
      for (int k = 0; k < ZK_BF16_KEYS; k += 8) l = l + zk_bf16_to_float(p[tile * ZK_BF16_KEYS + k]);
    }
#pragma unroll
  for (int distance = 1; distance <= 4; distance *= 2) l = l + __shfl_xor_sync(0xffffffffu, l, distance);
  if (i % 8 == 0) shared->l[row] = l;
}

#endif
