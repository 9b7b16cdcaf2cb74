// bf16 attention backward by one kernel (attention_backward_fused.cuh): its roles, what goes before and after it, and the
// launch.
#include "kernels/cuda/attention_backward_fetch.cuh"
#include "kernels/cuda/attention_backward_prepare.cuh"
#include "kernels/cuda/attention_backward_scores.cuh"
#include "kernels/cuda/attention_backward_sums.cuh"

#define FINISH_THREADS 128
#define MANY_CHAINS 64      // heads and sequences that take turns
#define MANY_ROWS (1 << 17) // of all their heads
// Of scratch memory: a run sets 2 GiB aside for all there is of it, and short sequences fill their tiles badly.
#define MOST_BYTES ((size_t)7 << 28)

template <int D> static __device__ __forceinline__ void make_barriers(zk_fused_shared<D> *shared) {
  const int scoring = ZK_FUSED_SCORE_WARPS, summing = ZK_FUSED_SUM_WARPS;
  for (int i = 0; i < 2; ++i) {
    zk_mbar_init(&shared->rows_full[i], 1), zk_mbar_init(&shared->rows_empty[i], 32 * scoring + summing);
    zk_mbar_init(&shared->dq_full[i], scoring), zk_mbar_init(&shared->dq_empty[i], 1);
    zk_mbar_init(&shared->unit_full[i], 1), zk_mbar_init(&shared->unit_empty[i], scoring + summing + 2);
  }
  zk_mbar_init(&shared->p_full, scoring), zk_mbar_init(&shared->p_empty, summing);
  zk_mbar_init(&shared->ds_full, scoring), zk_mbar_init(&shared->ds_empty, scoring + summing);
  zk_mbar_init(&shared->k_full, 1), zk_mbar_init(&shared->k_empty, scoring);
  zk_mbar_init(&shared->v_full, 1), zk_mbar_init(&shared->v_empty, scoring);
  zk_mbar_init_done();
}

template <int D>
static __global__ void __launch_bounds__(ZK_FUSED_THREADS, 1)
    backward(const __grid_constant__ zk_fused f, const __grid_constant__ zk_fused_maps m) {
  ZK_DYNAMIC_SHARED(zk_fused_shared<D>, shared);
  if (threadIdx.x == 0) make_barriers<D>(shared);
  __syncthreads();
  constexpr uint32_t all = 0xffffffffu;
  zk_fused_unit u;
  if (threadIdx.x < 128) { // of so few registers nothing may lie in local memory: each acquire drops it from the L1 cache
    zk_registers_give<32>();
    if (threadIdx.x < 32) zk_fused_copy<D>(f, m, shared);
    else if (threadIdx.x == 32 || threadIdx.x == 64) zk_fused_add_dq<D>(f, shared, (int)threadIdx.x / 64);
  } else if (threadIdx.x < 256) {
    zk_registers_take<160>();
    for (int turn = 0, step = 0; zk_fused_next<D>(f, shared, turn, all, &u); step += u.num_steps, ++turn)
      zk_fused_score<D>(f, u, turn, step, shared);
  } else {
    zk_registers_take<160>();
    for (int turn = 0, step = 0; zk_fused_next<D>(f, shared, turn, all, &u); step += u.num_steps, ++turn)
      zk_fused_sum_unit<D>(f, u, step, shared);
  }
}

// dq of a step's rows: their sum, as the scoring warpgroup's threads held it. The last steps come first, whose sums are
// still in the cache.
template <int D> static __global__ void __launch_bounds__(FINISH_THREADS) finish(zk_fused f) {
  const int t = (int)threadIdx.x, c = t % 4, place = (int)(gridDim.y - 1 - blockIdx.y), step = place % 2,
            head = (int)blockIdx.x;
  zk_attn_block b;
  if (!zk_attn_find(f.at, place / 2, 1, ZK_FUSED_KEYS, false, &b)) return;
  const int32_t row = b.begin + step * ZK_FUSED_ROWS + t / 32 * 16 + t % 32 / 4;
  const size_t sums = ((size_t)head * (size_t)f.num_tiles * 2 + (size_t)place) * (ZK_FUSED_ROWS * D);
  const float4 *from = (const float4 *)(f.dq_sums + sums) + t;
  for (int r = 0; r < D / 8; r += 4, from += 4 * FINISH_THREADS) {
    uint32_t x[2][4]; // of rows `row` and 8 further: columns 8 (r + k) + 2 c and the next
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float4 z = from[k * FINISH_THREADS];
      x[0][k] = zk_pack_bf16((z.x + 0.0f) * f.at.scale, (z.y + 0.0f) * f.at.scale);
      x[1][k] = zk_pack_bf16((z.z + 0.0f) * f.at.scale, (z.w + 0.0f) * f.at.scale);
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) { // four lanes turn their 4 x 4 words: lane c now has columns 8 (r + c) ..
#pragma unroll
      for (int bit = 1; bit < 4; bit *= 2) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (k & bit) continue;
          const uint32_t got = __shfl_xor_sync(0xffffffffu, c & bit ? x[e][k] : x[e][k | bit], bit);
          if (c & bit) x[e][k] = got;
          else x[e][k | bit] = got;
        }
      }
      zk_bf16 *to = f.dq + ((size_t)(b.row_start + row + 8 * e) * (size_t)f.at.num_heads + (size_t)head) * D;
      if (row + 8 * e < b.num_rows) *(zk_vec16 *)(to + 8 * (r + c)) = {{x[e][0], x[e][1], x[e][2], x[e][3]}};
    }
  }
}

// ---- launch

// Places of one call in its scratch memory.
struct places {
  size_t lse_delta, dq_sums, dk_sums, dv_sums, counters, order, end, num_counters;
};
static places places_of(const zk_attn &a, int32_t num_rows, int32_t num_tiles) {
  const size_t units = (size_t)num_tiles * (size_t)a.num_heads,
               sums = units * (size_t)(ZK_FUSED_KEYS * a.dim) * sizeof(float);
  places p;
  p.dq_sums = 0, p.dk_sums = sums, p.dv_sums = 2 * sums;
  p.lse_delta = 3 * sums;
  p.counters = p.lse_delta + units * (2 * ZK_FUSED_KEYS) * sizeof(float);
  p.num_counters = 1 + 2 * units + units / (size_t)a.group;
  p.order = p.counters + p.num_counters * sizeof(uint32_t);
  p.end = p.order + (size_t)num_tiles * sizeof(int32_t);
  return p;
}

bool zk_attn_backward_fused_valid(const zk_attn &a, int32_t num_rows, int32_t num_tiles) {
  return (a.dim == 64 || a.dim == 128) && places_of(a, num_rows, num_tiles).end <= MOST_BYTES;
}

size_t zk_attn_backward_fused_bytes(const zk_attn &a, int32_t num_rows, int32_t num_tiles) {
  return places_of(a, num_rows, num_tiles).end;
}

static zk_status make_maps(const zk_attn &a, int32_t num_rows, const zk_attn_gradient<zk_bf16> &in, zk_fused_maps *m) {
  const uint64_t row_bytes = (uint64_t)a.dim * sizeof(zk_bf16),
                 dims[] = {(uint64_t)a.dim, (uint64_t)a.num_heads, (uint64_t)num_rows},
                 strides[] = {row_bytes, (uint64_t)a.num_heads * row_bytes};
  const uint32_t box[] = {64, 1, ZK_FUSED_ROWS};
  ZK_TRY(zk_tma_map(ZK_BF16, 3, in.q, dims, strides, box, ZK_TMA_SWIZZLE_128, &m->q));
  ZK_TRY(zk_tma_map(ZK_BF16, 3, in.dout, dims, strides, box, ZK_TMA_SWIZZLE_128, &m->dout));
  const int64_t any = INT32_MAX; // rows of the caches: as many as the pages say
  ZK_TRY(zk_tma_map_2d(ZK_BF16, in.k_cache, any, a.dim, a.dim, 16, 64, ZK_TMA_SWIZZLE_128, &m->k));
  return zk_tma_map_2d(ZK_BF16, in.v_cache, any, a.dim, a.dim, 16, 64, ZK_TMA_SWIZZLE_128, &m->v);
}

// A head's tiles wait for one another at their beginnings, the less the more heads and sequences take turns; but what
// all of them read and add to had better stay in the cache.
static int32_t seqs_at_once(const zk_attn &a, int32_t num_rows) {
  int32_t seqs = 1;
  while (seqs * a.num_heads < MANY_CHAINS && 2 * (int64_t)seqs * num_rows / a.num_seqs * a.num_heads <= MANY_ROWS)
    seqs *= 2;
  return seqs;
}

template <int D>
static zk_status launch(zk_stream *stream, const zk_attn &a, int32_t num_rows, int32_t num_tiles,
                        const zk_attn_gradient<zk_bf16> &in, void *scratch, zk_bf16 *dq, zk_bf16 *dk, zk_bf16 *dv) {
  const places p = places_of(a, num_rows, num_tiles);
  char *at = (char *)scratch;
  zk_fused f = {};
  f.at = a, f.c = zk_attn_exp_of(a).c, f.dq = dq;
  f.num_rows = num_rows, f.num_tiles = num_tiles;
  f.dq_sums = (float *)(at + p.dq_sums), f.dk_sums = (float *)(at + p.dk_sums), f.dv_sums = (float *)(at + p.dv_sums);
  f.next = (uint32_t *)(at + p.counters), f.num_added = f.next + 1;
  f.num_heads_done = f.num_added + 2 * (size_t)num_tiles * (size_t)a.num_heads;
  f.dk = dk, f.dv = dv;
  f.order = (int32_t *)(at + p.order), f.seqs_at_once = seqs_at_once(a, num_rows);
  f.lse_delta = (float *)(at + p.lse_delta);
  zk_fused_maps m;
  ZK_TRY(make_maps(a, num_rows, in, &m));
  ZK_LAUNCH(zk_prepare_kernel<D>, (unsigned)zk_ceil_div((int64_t)num_rows * a.num_heads, ZK_PREPARE_THREADS), ZK_PREPARE_THREADS, ZK_PREPARE_SHARED<D>,
            stream, f, in.out, in.dout, in.lse, f.next, (int32_t)p.num_counters);
  const int32_t units = num_tiles * a.num_heads, sms = zk_cuda_num_sms(zk_stream_device(stream));
  ZK_LAUNCH((backward<D>), (unsigned)(units < sms ? units : sms), ZK_FUSED_THREADS, sizeof(zk_fused_shared<D>), stream,
            f, m);
  ZK_LAUNCH((finish<D>), dim3((unsigned)a.num_heads, (unsigned)(2 * num_tiles)), FINISH_THREADS, 0, stream, f);
  return ZK_OK;
}

zk_status zk_attn_backward_fused(zk_stream *stream, const zk_attn &a, int32_t num_rows, int32_t num_tiles,
                                 const zk_attn_gradient<zk_bf16> &in, void *scratch, zk_bf16 *dq, zk_bf16 *dk,
                                 zk_bf16 *dv) {
  return (a.dim == 64 ? launch<64> : launch<128>)(stream, a, num_rows, num_tiles, in, scratch, dq, dk, dv);
}
