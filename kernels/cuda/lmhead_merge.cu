// LM head forward, the last step: a row's tiles into one log-sum-exp, token and hash (kernels/lmhead.h).
//
// The running (m, l, h) is a chain over tiles, but its maxima are not: 128 tiles' prefix maxima are found at once, each
// tile's two factors with them, and what is left in order is l = fma(l, a, lt * b) and the same for h. A tile that is
// skipped has a = 1 and adds -0, which changes no value; the sums begin at -0, so that the first tile's are copied by
// the same formula.
#include "kernels/cuda/lmhead_tile.cuh"

enum { THREADS = 128 };

struct shared_state {
  float most[2][THREADS]; // prefix maxima, two copies in turn
  float a[THREADS], l[THREADS], h[THREADS];
  zk_lmhead_best best[THREADS];
  unsigned long long hash[THREADS];
  int bad[THREADS];
  float sum_l, sum_h;
};

// Where the maxima of elements 0..thread end up.
static __device__ const float *prefix_maxima(shared_state *s, float mine) {
  const int tid = (int)threadIdx.x;
  int from = 0;
  s->most[0][tid] = mine;
  for (int distance = 1; distance < THREADS; distance *= 2, from ^= 1) {
    __syncthreads();
    const float own = s->most[from][tid], other = tid >= distance ? s->most[from][tid - distance] : -INFINITY;
    s->most[from ^ 1][tid] = other > own ? other : own;
  }
  __syncthreads();
  return s->most[from];
}

static __device__ void write_row(const zk_lmhead_block &b, int64_t row, const shared_state *s, float m,
                                 unsigned long long *error) {
  const float nan = zk_bits_float(0x7fc00000u), lse = m + zk_logf(s->sum_l);
  bool bad = s->bad[0] || !(lse > -INFINITY && lse < INFINITY);
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

// A block a row.
static __global__ void __launch_bounds__(THREADS) merge_kernel(zk_lmhead_block b, unsigned long long *error) {
  ZK_DYNAMIC_SHARED(shared_state, s);
  const int tid = (int)threadIdx.x;
  const int64_t row = blockIdx.x;
  float m = -INFINITY, sum = -0.0f; // sum: l in thread 0, h in thread 32
  zk_lmhead_best best = {-INFINITY, -INFINITY, -1};
  unsigned long long hash = 0;
  int bad = 0;
  for (int32_t tile0 = 0; tile0 < b.num_tiles; tile0 += THREADS) {
    zk_lmhead_partial p = {-INFINITY, 0.0f, 0.0f, -INFINITY, -INFINITY, -1, 0};
    if (tile0 + tid < b.num_tiles) p = b.partial[row * b.num_tiles + tile0 + tid];
    const zk_lmhead_best tile_best = {p.best_value, p.best_z, p.best_id};
    zk_lmhead_better(best, tile_best);
    hash += p.hash;
    bad |= p.m != p.m;
    const float *maxima = prefix_maxima(s, p.m);
    const float before = tid > 0 && maxima[tid - 1] > m ? maxima[tid - 1] : m;
    float a = 1.0f, l = -0.0f, h = -0.0f;
    if (p.m != -INFINITY && before == -INFINITY) {
      l = p.l, h = p.h;
    } else if (p.m != -INFINITY) {
      const float n = p.m > before ? p.m : before, scale = zk_expf(p.m - n);
      a = zk_expf(before - n), l = p.l * scale, h = p.h * scale;
    }
    s->a[tid] = a, s->l[tid] = l, s->h[tid] = h;
    m = maxima[THREADS - 1] > m ? maxima[THREADS - 1] : m;
    __syncthreads();
    const int num = b.num_tiles - tile0 < THREADS ? b.num_tiles - tile0 : THREADS;
    const float *addend = tid == 0 ? s->l : s->h;
    if (tid == 0 || tid == 32)
      for (int i = 0; i < num; i++) sum = fmaf(sum, s->a[i], addend[i]);
    __syncthreads();
  }
  if (tid == 0) s->sum_l = sum;
  if (tid == 32) s->sum_h = sum;
  s->best[tid] = best, s->hash[tid] = hash, s->bad[tid] = bad;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (tid >= half) continue;
    zk_lmhead_better(s->best[tid], s->best[tid + half]);
    s->hash[tid] += s->hash[tid + half];
    s->bad[tid] |= s->bad[tid + half];
  }
  if (tid == 0) write_row(b, row, s, m, error);
}

zk_status zk_lmhead_merge(zk_stream *stream, const zk_lmhead_block *block) {
  ZK_LAUNCH(merge_kernel, dim3((unsigned)block->num_rows), THREADS, sizeof(shared_state), stream, *block,
            zk_cuda_error_word(stream));
  return ZK_OK;
}
