// bf16 attention backward by one kernel (attention_backward_fused.cuh): its helping warps, what goes before and after
// it, and the launch.
#include "kernels/cuda/attention_backward_compute.cuh"

#ifdef ZK_SIMT // no wgmma, no copy engine
bool zk_attn_backward_fused_valid(const zk_attn &, int32_t, int32_t) { return false; }
size_t zk_attn_backward_fused_bytes(const zk_attn &, int32_t, int32_t) { return 0; }
zk_status zk_attn_backward_fused(zk_stream *, const zk_attn &, int32_t, int32_t, const zk_attn_gradient<zk_bf16> &,
                                 void *, zk_bf16 *, zk_bf16 *, zk_bf16 *) {
  return ZK_FAIL(ZK_UNSUPPORTED, "attention backward: the fused kernel needs a GPU");
}
#else

#define PREPARE_THREADS 128
#define MOST_BYTES ((size_t)4 << 30) // of scratch memory: short sequences fill their tiles badly

// ---- helping warps; each walks the block's units and their steps as the computing warpgroups do

struct maps {
  CUtensorMap q, dout, k, v;
};

template <int D>
static __device__ __forceinline__ void copy_inputs(const zk_fused &f, const maps &m, zk_fused_shared<D> *shared) {
  const int lane = (int)threadIdx.x % 32;
  zk_fused_unit u;
  zk_fused_stage step, unit;
  for (int turn = 0;; ++turn) {
    uint32_t index = 0;
    if (lane == 0) index = atomicAdd(f.next, 1u);
    index = __shfl_sync(0xffffffffu, index, 0);
    const bool found = zk_fused_find(f, index, &u);
    if (lane == 0) {
      zk_mbar_wait(&shared->unit_empty[unit.at], unit.parity ^ 1);
      shared->unit[unit.at] = index;
      zk_mbar_arrive(&shared->unit_full[unit.at]);
    }
    unit.advance();
    if (!found) break;
    const float2 *lse_delta = f.lse_delta + ((size_t)u.head * f.num_tiles + u.tile) * ZK_FUSED_KEYS;
    for (int i = 0; i < u.num_steps; ++i) {
      const int row = u.row_start + u.key + i * ZK_FUSED_ROWS;
      if (lane == 0) {
        zk_mbar_wait(&shared->q_empty[step.at], step.parity ^ 1);
        zk_mbar_arrive_expect(&shared->q_full[step.at], sizeof shared->q[0] + sizeof shared->lse_delta[0]);
        zk_tma_load(shared->lse_delta[step.at], lse_delta + i * ZK_FUSED_ROWS, sizeof shared->lse_delta[0],
                    &shared->q_full[step.at]);
        for (int half = 0; half < D / 64; ++half)
          zk_tma_load_3d(shared->q[step.at][half], &m.q, &shared->q_full[step.at], 64 * half, u.head, row);
        zk_mbar_wait(&shared->dout_empty[step.at], step.parity ^ 1);
        zk_mbar_arrive_expect(&shared->dout_full[step.at], sizeof shared->dout[0]);
        for (int half = 0; half < D / 64; ++half)
          zk_tma_load_3d(shared->dout[step.at][half], &m.dout, &shared->dout_full[step.at], 64 * half, u.head, row);
      }
      step.advance();
      if (i > 0) continue;
      // K and V: lanes have 16 keys each of 64 columns, as so many lie in one page; 0 .. 15 of K
      const int boxes = zk_attn_min(ZK_FUSED_KEYS / 16, (u.num_rows - u.key + 15) / 16), half = lane / 8 % 2,
                box = lane % 8;
      zk_mbar_wait(&shared->kv_empty, (uint32_t)(turn & 1) ^ 1);
      if (lane == 0) zk_mbar_arrive_expect(&shared->kv_full, (uint32_t)boxes * 2 * 16 * D * 2);
      __syncwarp();
      if (box < boxes && half < D / 64) {
        const int key = (int)(zk_attn_key(f.at, u.pages, u.head / f.at.group, u.key + 16 * box) / D);
        zk_tma_load_2d((lane < 16 ? shared->k : shared->v)[half] + box * 16 * 64, lane < 16 ? &m.k : &m.v,
                       &shared->kv_full, 64 * half, key);
      }
      __syncwarp();
    }
  }
}

// What other blocks wrote by the copy engine before they counted may now be read by it, and the reverse.
static __device__ __forceinline__ void fence_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }

// One thread: waits until the tiles before are in the sum, and brings it.
template <int D> static __device__ __forceinline__ void bring_dq(const zk_fused &f, zk_fused_shared<D> *shared) {
  zk_fused_unit u;
  zk_fused_stage step;
  for (int turn = 0; zk_fused_next<D>(f, shared, turn, true, &u); ++turn) {
    const uint32_t before = 2 * (uint32_t)(u.key / ZK_FUSED_KEYS);
    const size_t first = ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * 2;
    for (int i = 0; i < u.num_steps; ++i, step.advance()) {
      if (before > 0) {
        uint32_t added;
        do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(added) : "l"(f.num_added + first + i) : "memory");
        while (added < before);
        fence_copies();
      }
      for (int w = 0; w < 2; ++w) {
        uint64_t *full = &shared->dq_full[step.at][w];
        zk_mbar_wait(&shared->dq_empty[step.at][w], step.parity ^ 1);
        if (before == 0) {
          zk_mbar_arrive(full);
          continue;
        }
        zk_mbar_arrive_expect(full, sizeof shared->dq[0][0]);
        zk_tma_load(shared->dq[step.at][w], f.dq_sums + ((first + i) * 2 + w) * (ZK_FUSED_ROWS * D / 2),
                    sizeof shared->dq[0][0], full);
      }
    }
  }
}

// One thread: takes warpgroup w's new sums away, and counts each once it is there. The last tile's is dq itself, and
// stays. While one sum is on its way the next may leave, and is counted with it.
template <int D> static __device__ __forceinline__ void take_dq(const zk_fused &f, int w, zk_fused_shared<D> *shared) {
  zk_fused_unit u;
  zk_fused_stage step;
  for (int turn = 0; zk_fused_next<D>(f, shared, turn, true, &u); ++turn) {
    const size_t first = ((size_t)u.head * (size_t)f.num_tiles + (size_t)u.tile) * 2;
    uint32_t *leaving = NULL; // the counter of a sum that has not been counted
    auto count = [&] {
      fence_copies();
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(leaving) : "memory");
      leaving = NULL;
    };
    for (int i = 0; i < u.num_steps; ++i, step.advance()) {
      uint64_t *done = &shared->dq_done[step.at][w];
      if (leaving != NULL && !zk_mbar_try(done, step.parity)) zk_tma_wait_written<0>(), count();
      zk_mbar_wait(done, step.parity);
      if (i >= 2) {
        zk_tma_store(f.dq_sums + ((first + i) * 2 + w) * (ZK_FUSED_ROWS * D / 2), shared->dq[step.at][w],
                     sizeof shared->dq[0][0]);
        zk_tma_commit();
        zk_tma_wait_read<0>();
      }
      zk_mbar_arrive(&shared->dq_empty[step.at][w]);
      if (i < 2) continue;
      if (leaving != NULL) zk_tma_wait_written<1>(), count();
      leaving = f.num_added + first + i;
    }
    if (leaving != NULL) zk_tma_wait_written<0>(), count();
  }
}

template <int D> static __device__ __forceinline__ void make_barriers(zk_fused_shared<D> *shared) {
  const int computing = ZK_FUSED_COMPUTING / 32; // warps
  for (int i = 0; i < 2; ++i) {
    zk_mbar_init(&shared->q_full[i], 1), zk_mbar_init(&shared->q_empty[i], computing);
    zk_mbar_init(&shared->dout_full[i], 1), zk_mbar_init(&shared->dout_empty[i], computing);
    zk_mbar_init(&shared->ds_full[i], 2), zk_mbar_init(&shared->ds_empty[i], computing);
    for (int w = 0; w < 2; ++w) {
      zk_mbar_init(&shared->dq_full[i][w], 1), zk_mbar_init(&shared->dq_done[i][w], computing / 2);
      zk_mbar_init(&shared->dq_empty[i][w], 1);
    }
    zk_mbar_init(&shared->unit_full[i], 1), zk_mbar_init(&shared->unit_empty[i], computing + 3);
  }
  zk_mbar_init(&shared->kv_full, 1), zk_mbar_init(&shared->kv_empty, computing);
  zk_mbar_init_done();
}

template <int D>
static __global__ void __launch_bounds__(ZK_FUSED_THREADS, 1)
    backward(const __grid_constant__ zk_fused f, const __grid_constant__ maps m) {
  ZK_DYNAMIC_SHARED(zk_fused_shared<D>, shared);
  if (threadIdx.x == 0) make_barriers<D>(shared);
  __syncthreads();
  if (threadIdx.x < 128) {
    zk_registers_give<24>();
    const int warp = (int)threadIdx.x / 32;
    if (warp == 0) copy_inputs<D>(f, m, shared);
    else if (threadIdx.x % 32 == 0) {
      if (warp == 1) bring_dq<D>(f, shared);
      else take_dq<D>(f, warp - 2, shared);
    }
  } else {
    zk_registers_take<240>();
    const bool answers = threadIdx.x % 32 == 0;
    zk_fused_unit u;
    int turn = 0, step = 0;
    if (threadIdx.x >= 256) zk_barrier_arrive(4, ZK_FUSED_COMPUTING); // the first turn is warpgroup 1's
    bool found = zk_fused_next<D>(f, shared, turn, answers, &u);
    while (found) {
      zk_fused_compute<D>(f, u, turn, step, shared);
      step += u.num_steps;
      found = zk_fused_next<D>(f, shared, ++turn, answers, &u);
    }
  }
}

// ---- before and after

// (lse, delta) of each row and head; delta is the chain over d of fma(dout[d], out[d], acc). And nothing has been
// counted.
static __global__ void __launch_bounds__(PREPARE_THREADS)
    prepare(zk_fused f, const zk_bf16 *out, const zk_bf16 *dout, const float *lse, uint32_t *counters,
            int32_t num_counters) {
  const int64_t i = (int64_t)blockIdx.x * PREPARE_THREADS + threadIdx.x;
  for (int64_t at = i; at < num_counters; at += (int64_t)gridDim.x * PREPARE_THREADS) counters[at] = 0;
  if (i >= (int64_t)f.num_rows * f.at.num_heads) return;
  const zk_words<4> *x = (const zk_words<4> *)(dout + i * f.at.dim), *y = (const zk_words<4> *)(out + i * f.at.dim);
  float delta = 0.0f;
#pragma unroll 4
  for (int32_t d = 0; d < f.at.dim / 8; ++d) {
    const zk_words<4> a = x[d], b = y[d];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      delta = fmaf(zk_low_bf16(a.w[e]), zk_low_bf16(b.w[e]), delta);
      delta = fmaf(zk_high_bf16(a.w[e]), zk_high_bf16(b.w[e]), delta);
    }
  }
  const int32_t row = (int32_t)(i / f.at.num_heads), head = (int32_t)(i % f.at.num_heads),
                s = zk_attn_bisect(f.at.seq_row_start, f.at.num_seqs, row), pos = row - f.at.seq_row_start[s];
  const size_t tile = (size_t)head * (size_t)f.num_tiles + (size_t)(f.at.block_start[s] + pos / ZK_FUSED_KEYS);
  f.lse_delta[tile * ZK_FUSED_KEYS + (size_t)(pos % ZK_FUSED_KEYS)] = make_float2(lse[i], delta);
}

// ---- launch

// Places of one call in its scratch memory.
struct places {
  size_t lse_delta, dq_sums, dk_sums, dv_sums, counters, end, num_counters;
};
static places places_of(const zk_attn &a, int32_t num_rows, int32_t num_tiles) {
  const size_t units = (size_t)num_tiles * (size_t)a.num_heads, sums = units * (size_t)(ZK_FUSED_KEYS * a.dim) * sizeof(float);
  places p;
  p.dq_sums = 0, p.dk_sums = sums, p.dv_sums = 2 * sums;
  p.lse_delta = 3 * sums;
  p.counters = p.lse_delta + units * ZK_FUSED_KEYS * sizeof(float2);
  p.num_counters = 1 + 2 * units + units / (size_t)a.group;
  p.end = p.counters + p.num_counters * sizeof(uint32_t);
  return p;
}

bool zk_attn_backward_fused_valid(const zk_attn &a, int32_t num_rows, int32_t num_tiles) {
  return (a.dim == 64 || a.dim == 128) && places_of(a, num_rows, num_tiles).end <= MOST_BYTES;
}

size_t zk_attn_backward_fused_bytes(const zk_attn &a, int32_t num_rows, int32_t num_tiles) {
  return places_of(a, num_rows, num_tiles).end;
}

static zk_status make_maps(const zk_attn &a, int32_t num_rows, const zk_attn_gradient<zk_bf16> &in, maps *m) {
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
  f.lse_delta = (float2 *)(at + p.lse_delta);
  maps m;
  ZK_TRY(make_maps(a, num_rows, in, &m));
  ZK_LAUNCH(prepare, (unsigned)zk_ceil_div((int64_t)num_rows * a.num_heads, PREPARE_THREADS), PREPARE_THREADS, 0, stream,
            f, in.out, in.dout, in.lse, f.next, (int32_t)p.num_counters);
  const int32_t units = num_tiles * a.num_heads, sms = zk_cuda_num_sms(zk_stream_device(stream));
  ZK_LAUNCH((backward<D>), (unsigned)(units < sms ? units : sms), ZK_FUSED_THREADS, sizeof(zk_fused_shared<D>), stream,
            f, m);
  return ZK_OK;
}

zk_status zk_attn_backward_fused(zk_stream *stream, const zk_attn &a, int32_t num_rows, int32_t num_tiles,
                                 const zk_attn_gradient<zk_bf16> &in, void *scratch, zk_bf16 *dq, zk_bf16 *dk,
                                 zk_bf16 *dv) {
  return (a.dim == 64 ? launch<64> : launch<128>)(stream, a, num_rows, num_tiles, in, scratch, dq, dk, dv);
}
#endif
