// LM head forward, the last step: a row's tiles into one log-sum-exp, token and hash (kernels/lmhead.h).
//
// The running (m, l, h) is a chain over tiles, but its maxima are not: a thread a tile, their prefix maxima are found
// at once, each tile's two factors with them, and what is left in order is l = fma(l, a, lt * b) and the same for h. A
// tile that is skipped has a = 1 and adds -0, which changes no value; the sums begin at -0, so that the first tile's
// are copied by the same formula.
#include "kernels/cuda/lmhead_tile.cuh"

enum { MOST_THREADS = 1024, FEW_ROWS = 132, SOME_THREADS = 256, SOME_ROWS = 528, LEAST_THREADS = 128 };

struct shared_state {
  alignas(16) float a[MOST_THREADS], l[MOST_THREADS], h[MOST_THREADS], past[32]; // a chain reads a little past the end
  float most[32];                                                                // of each warp
  zk_lmhead_best best[32];
  unsigned long long hash[32];
  int bad;
  float sum_l, sum_h;
};

// The largest of the elements before this thread's; *all: of all. One barrier. (Which of two equal zeros it is makes no
// difference.)
static __device__ __forceinline__ float maximum_before(shared_state *s, float mine, float *all) {
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
  float upto = mine;
  for (int distance = 1; distance < 32; distance *= 2) {
    const float other = __shfl_up_sync(ZK_WARP, upto, distance);
    if (lane >= distance && other > upto) upto = other;
  }
  if (lane == 31) s->most[warp] = upto;
  __syncthreads();
  float total = lane < warps ? s->most[lane] : -INFINITY, earlier = lane < warp ? total : -INFINITY;
  for (int half = 16; half > 0; half /= 2) {
    total = fmaxf(total, __shfl_xor_sync(ZK_WARP, total, half));
    earlier = fmaxf(earlier, __shfl_xor_sync(ZK_WARP, earlier, half));
  }
  *all = total;
  const float left = __shfl_up_sync(ZK_WARP, upto, 1);
  return lane > 0 && left > earlier ? left : earlier;
}

// sum = fma(sum, a[i], x[i]), i ascending, by one thread, which reads AHEAD fours of both while it is at the last ones:
// a step takes the time of its fma. n is a multiple of 4 * AHEAD; both arrays may be read that much past n.
enum { AHEAD = 4 };
static __device__ __forceinline__ float chain(float sum, const float *a, const float *x, int n) {
  float4 factor[AHEAD], addend[AHEAD];
#pragma unroll
  for (int j = 0; j < AHEAD; j++) factor[j] = ((const float4 *)a)[j], addend[j] = ((const float4 *)x)[j];
  for (int i = 0; i < n; i += 4 * AHEAD) {
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const float4 f = factor[j], d = addend[j];
      factor[j] = ((const float4 *)(a + i + 4 * AHEAD))[j], addend[j] = ((const float4 *)(x + i + 4 * AHEAD))[j];
      sum = fmaf(sum, f.x, d.x);
      sum = fmaf(sum, f.y, d.y);
      sum = fmaf(sum, f.z, d.z);
      sum = fmaf(sum, f.w, d.w);
    }
  }
  return sum;
}

static __device__ void write_row(const zk_lmhead_block &b, int64_t row, const shared_state *s, float m,
                                 unsigned long long *error) {
  const float nan = zk_bits_float(0x7fc00000u), lse = m + zk_logf(s->sum_l);
  bool bad = s->bad || !(lse > -INFINITY && lse < INFINITY);
  float z = s->best[0].z;
  if (b.pick == ZK_CUDA_PICK_NOTHING) {
    const int32_t target = b.target[row];
    if (target < 0 || target >= b.vocab) {
      zk_cuda_raise(error, ZK_CUDA_BAD_TARGET, b.first_row + row);
      bad = true;
    } else {
      z = b.target_z[row];
    }
  }
  b.out.logprob[row] = bad ? nan : z - lse;
  if (b.token != NULL) b.token[row] = bad ? -1 : s->best[0].id;
  if (b.out.lse != NULL) b.out.lse[row] = bad ? nan : lse;
  if (b.out.entropy != NULL) b.out.entropy[row] = bad ? nan : lse - s->sum_h / s->sum_l;
  if (b.out.logits_hash != NULL) b.out.logits_hash[row] = s->hash[0];
}

// What the threads have seen, to s->..[0]; of best and hash only what is wanted.
static __device__ __forceinline__ void gather(const zk_lmhead_block &b, shared_state *s, zk_lmhead_best best,
                                              unsigned long long hash, int bad) {
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
  bad = __syncthreads_or(bad);
  for (int level = 0; level < 2; level++) {
    for (int half = 16; half > 0 && b.pick != ZK_CUDA_PICK_NOTHING; half /= 2) {
      const zk_lmhead_best other = {__shfl_xor_sync(ZK_WARP, best.value, half), __shfl_xor_sync(ZK_WARP, best.z, half),
                                    __shfl_xor_sync(ZK_WARP, best.id, half)};
      zk_lmhead_better(best, other);
    }
    for (int half = 16; half > 0 && b.out.logits_hash != NULL; half /= 2) hash += __shfl_xor_sync(ZK_WARP, hash, half);
    if (level == 0) {
      if (lane == 0) s->best[warp] = best, s->hash[warp] = hash;
      __syncthreads();
      if (warp > 0) return;
      best = {-INFINITY, -INFINITY, -1}, hash = 0;
      if (lane < warps) best = s->best[lane], hash = s->hash[lane];
    }
  }
  if (lane == 0) s->best[0] = best, s->hash[0] = hash, s->bad = bad;
}

static __device__ __forceinline__ zk_lmhead_partial read_partial(const zk_lmhead_block &b, int64_t row, int32_t tile) {
  if (tile < b.num_tiles) return b.partial[row * b.num_tiles + tile];
  return {-INFINITY, 0.0f, 0.0f, -INFINITY, -INFINITY, -1, 0}; // skipped
}

// A block a row, a thread a tile.
static __global__ void __launch_bounds__(MOST_THREADS) merge_kernel(zk_lmhead_block b, unsigned long long *error) {
  ZK_DYNAMIC_SHARED(shared_state, s);
  const int tid = (int)threadIdx.x, threads = (int)blockDim.x;
  const int64_t row = blockIdx.x;
  float m = -INFINITY, sum = -0.0f; // sum: l in thread 0, h in thread 32
  zk_lmhead_best best = {-INFINITY, -INFINITY, -1};
  unsigned long long hash = 0;
  int bad = 0;
  zk_wait_for_previous();
  zk_let_next_start();
  zk_lmhead_partial p = read_partial(b, row, tid);
  for (int32_t tile0 = 0; tile0 < b.num_tiles; tile0 += threads) {
    const zk_lmhead_best tile_best = {p.best_value, p.best_z, p.best_id};
    zk_lmhead_better(best, tile_best);
    hash += p.hash;
    bad |= p.m != p.m;
    float all;
    const float earlier = maximum_before(s, p.m, &all), before = earlier > m ? earlier : m;
    float a = 1.0f, l = -0.0f, h = -0.0f;
    if (p.m != -INFINITY && before == -INFINITY) {
      l = p.l, h = p.h;
    } else if (p.m != -INFINITY) {
      const float n = p.m > before ? p.m : before, scale = zk_expf(p.m - n);
      a = zk_expf(before - n), l = p.l * scale, h = p.h * scale;
    }
    s->a[tid] = a, s->l[tid] = l, s->h[tid] = h;
    m = all > m ? all : m;
    p = read_partial(b, row, tile0 + threads + tid); // on its way while the chains run
    __syncthreads();
    const int left = b.num_tiles - tile0,
              num = left < threads ? (left + 4 * AHEAD - 1) / (4 * AHEAD) * (4 * AHEAD) : threads;
    if (tid == 0) sum = chain(sum, s->a, s->l, num);
    if (tid == 32 && b.out.entropy != NULL) sum = chain(sum, s->a, s->h, num);
    __syncthreads();
  }
  if (tid == 0) s->sum_l = sum;
  if (tid == 32) s->sum_h = sum;
  gather(b, s, best, hash, bad);
  __syncthreads();
  if (tid == 0) write_row(b, row, s, m, error);
}

zk_status zk_lmhead_merge(zk_stream *stream, const zk_lmhead_block *block) {
  // One row takes longest by its chain, many by the number of blocks that run at a time.
  const bool few = block->num_rows < FEW_ROWS && block->num_tiles > SOME_THREADS;
  const unsigned threads = few ? MOST_THREADS : block->num_rows < SOME_ROWS ? SOME_THREADS : LEAST_THREADS;
  ZK_LAUNCH_DEPENDENT(merge_kernel, dim3((unsigned)block->num_rows), threads, sizeof(shared_state), stream, *block,
                      zk_cuda_error_word(stream));
  return ZK_OK;
}
