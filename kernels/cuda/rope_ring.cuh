// What a layer does between its q, k and v products and its attention (rope_rows.cuh), of many tokens. Blocks stay for
// the whole call: a ring in shared memory holds the next tokens, whole, with their angles, so that memory is asked for
// them while earlier ones are computed.
//
// Roles. The last warp asks the copy engine for tokens: a lane for each of q, k, v, cosines and sines. It looks up
// where 32 tokens go in the cache at a time, a lane each, so that nobody waits for that either. The warps before it
// share the tokens out; a thread has the same piece of four heads, and four norms cost it one root and one division. A
// stage is given back as soon as it is in registers. The bits are those of rope_rows.cuh, whose arithmetic this is.
#ifndef ZK_KERNELS_CUDA_ROPE_RING_CUH
#define ZK_KERNELS_CUDA_ROPE_RING_CUH

#include "kernels/cuda/rope_rows.cuh"
#include "kernels/cuda/tma.cuh"

enum { ZK_ROPE_RING_WARPS = 15, ZK_ROPE_RING_THREADS = (ZK_ROPE_RING_WARPS + 1) * 32 };

// A warp's heads of a token.
#define ZK_ROPE_RING_HEADS(dim) (4 * 512 / (dim))

// Of a launch: warps that share a token; tokens at once, which fill ZK_ROPE_RING_WARPS or fewer, and are as many as
// the ring has stages.
typedef struct {
  int32_t rows, warps_a_token, tokens;
} zk_rope_ring_plan;

// A token in shared memory: q, k, v, cosines, sines. Behind the ring: the norms' weights, barriers, places in the
// cache.
template <int DIM> static __host__ __device__ __forceinline__ int zk_rope_stage_bytes(const zk_rope_rows &r) {
  return (r.num_heads + 2 * r.num_kv_heads) * DIM * 2 + DIM * (int)sizeof(float);
}
template <int DIM> static inline int zk_rope_ring_bytes(const zk_rope_rows &r, int stages) {
  return stages * (zk_rope_stage_bytes<DIM>(r) + 3 * 8) + 2 * DIM * 2;
}

template <int DIM> struct zk_rope_ring {
  char *ring;
  zk_bf16 *weights; // of q's norm, of k's
  uint64_t *full, *empty;
  int64_t *slots; // of a stage's token in a cache page of its first KV head
  int stages, stage_bytes, stage;
  uint32_t parity;
  __device__ __forceinline__ zk_rope_ring(const zk_rope_rows &r, char *shared, int num)
      : ring(shared), stages(num), stage_bytes(zk_rope_stage_bytes<DIM>(r)), stage(0), parity(0) {
    weights = (zk_bf16 *)(shared + num * stage_bytes);
    full = (uint64_t *)(weights + 2 * DIM), empty = full + num, slots = (int64_t *)(empty + num);
  }
  __device__ __forceinline__ char *at() const { return ring + stage * stage_bytes; }
};

template <int DIM>
static __device__ __forceinline__ void zk_rope_ring_fill(zk_rope_ring<DIM> &ring, const zk_rope_rows &r,
                                                         const zk_attn &a, int32_t rows) {
  const int lane = (int)threadIdx.x % 32, q = r.num_heads * DIM * 2, kv = r.num_kv_heads * DIM * 2, half = DIM / 2 * 4;
  // This lane's share: it begins `pitch` bytes further for each token, or position.
  const char *from = (const char *)r.q_in;
  int to = 0, pitch = q;
  if (lane == 1) from = (const char *)r.k_in, to = q, pitch = kv;
  if (lane == 2) from = (const char *)r.v, to = q + kv, pitch = kv;
  if (lane == 3) from = (const char *)r.cos_table, to = q + 2 * kv, pitch = half;
  if (lane == 4) from = (const char *)r.sin_table, to = q + 2 * kv + half, pitch = half;
  if (lane > 4) pitch = 0;
  for (int32_t base = (int32_t)blockIdx.x; base < rows; base += 32 * (int32_t)gridDim.x) {
    const int32_t looked_up = base + lane * (int32_t)gridDim.x;
    int32_t position = 0;
    int64_t slot = 0;
    if (looked_up < rows) {
      position = r.positions[looked_up];
      if (kv > 0) {
        const int32_t seq = zk_attn_bisect(a.seq_row_start, a.num_seqs, looked_up);
        const int32_t pos = a.seq_first_pos[seq] + looked_up - a.seq_row_start[seq];
        slot = (int64_t)zk_attn_key(a, a.page_table + (size_t)seq * (size_t)a.max_pages, 0, pos);
      }
    }
    int32_t token = base;
    for (int i = 0; i < 32 && token < rows; i++, token += (int32_t)gridDim.x) {
      const int32_t place = __shfl_sync(0xffffffffu, position, i);
      const int64_t its_slot = __shfl_sync(0xffffffffu, (long long)slot, i);
      zk_mbar_wait(&ring.empty[ring.stage], ring.parity ^ 1);
      if (lane == 0) {
        ring.slots[ring.stage] = its_slot;
        zk_mbar_arrive_expect(&ring.full[ring.stage], (uint32_t)ring.stage_bytes);
      }
      __syncwarp();
      if (pitch > 0)
        zk_tma_load(ring.at() + to, from + (int64_t)(lane < 3 ? token : place) * pitch, (uint32_t)pitch,
                    &ring.full[ring.stage]);
      if (++ring.stage == ring.stages) ring.stage = 0, ring.parity ^= 1;
    }
  }
}

// ZK_ROPE_RING_HEADS(DIM) of a token's heads, from `first`.
template <int DIM>
static __device__ __forceinline__ void zk_rope_ring_token(zk_rope_ring<DIM> &ring, const zk_rope_rows &r, int64_t token,
                                                          int first, int64_t head_stride) {
  constexpr int PIECES = DIM / 16, AT_ONCE = 32 / PIECES;
  const int piece = (int)threadIdx.x % PIECES, mine = first + (int)threadIdx.x % 32 / PIECES,
            heads = r.num_heads + 2 * r.num_kv_heads, turned = r.num_heads + r.num_kv_heads;
  zk_head_piece x[4];
  float c[8], s[8], scale[4];
  zk_mbar_wait(&ring.full[ring.stage], ring.parity);
  const float *angles = (const float *)(ring.at() + heads * DIM * 2) + piece * 8;
  zk_load_angles(angles, angles + DIM / 2, r.sign, c, s);
#pragma unroll
  for (int u = 0; u < 4; u++) { // beyond the last head: that again
    const int head = zk_attn_min(mine + u * AT_ONCE, heads - 1);
    x[u] = zk_load_head<DIM>((const zk_bf16 *)ring.at() + head * DIM, piece);
  }
  const int64_t slot = ring.slots[ring.stage];
  __syncwarp();
  if (threadIdx.x % 32 == 0) zk_mbar_arrive(&ring.empty[ring.stage]);
  if (r.q_weight != NULL) {
    float lanes[4];
#pragma unroll
    for (int u = 0; u < 4; u++) lanes[u] = first + u * AT_ONCE < turned ? zk_head_lanes<DIM>(x[u]) : 0.0f;
    const float its = zk_four_scales<DIM>(lanes, r.eps, scale);
    float *rstd = zk_head_rstd(r, token, mine + zk_head_of_four<DIM>() * AT_ONCE);
    if (rstd != NULL) *rstd = its;
  }
#pragma unroll
  for (int u = 0; u < 4; u++) {
    const int head = mine + u * AT_ONCE;
    zk_head_piece y = x[u];
    if (first + u * AT_ONCE < turned) { // not all of the warp's heads are v's
      if (r.q_weight != NULL) {
        const zk_head_piece w = zk_load_head<DIM>(ring.weights + (head < r.num_heads ? 0 : DIM), piece);
        zk_rms_apply(y.low, w.low, scale[u]), zk_rms_apply(y.high, w.high, scale[u]);
      }
      zk_rotate(y, c, s);
    }
    zk_bf16 *to = zk_head_place<DIM>(r, token, head, slot, head_stride);
    if (to != NULL) zk_store_head<DIM>(to, piece, head < turned ? y : x[u]);
  }
}

// grid: blocks that take tokens in turn; each group of warps stays with its stage.
template <int DIM>
__global__ void __launch_bounds__(ZK_ROPE_RING_THREADS, 1)
    zk_rope_ring_kernel(const __grid_constant__ zk_rope_rows r, const __grid_constant__ zk_attn a,
                        const __grid_constant__ zk_rope_ring_plan plan) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0), thread = (int)threadIdx.x;
  zk_rope_ring<DIM> ring(r, shared, plan.tokens);
  if (thread < plan.tokens) {
    zk_mbar_init(&ring.full[thread], 1), zk_mbar_init(&ring.empty[thread], plan.warps_a_token);
    zk_mbar_init_done();
  }
  if (r.q_weight != NULL && thread < 2 * DIM)
    ring.weights[thread] = thread < DIM ? r.q_weight[thread] : r.k_weight[thread - DIM];
  __syncthreads();
  zk_wait_for_previous();
  zk_let_next_start();
  if (warp == ZK_ROPE_RING_WARPS) {
    zk_rope_ring_fill<DIM>(ring, r, a, plan.rows);
    return;
  }
  ring.stage = warp / plan.warps_a_token;
  if (ring.stage >= plan.tokens) return;
  for (int32_t token = (int32_t)blockIdx.x + ring.stage * (int32_t)gridDim.x; token < plan.rows;
       token += plan.tokens * (int32_t)gridDim.x, ring.parity ^= 1)
    zk_rope_ring_token<DIM>(ring, r, token, warp % plan.warps_a_token * ZK_ROPE_RING_HEADS(DIM),
                            (int64_t)a.page_tokens * DIM);
}

#endif
