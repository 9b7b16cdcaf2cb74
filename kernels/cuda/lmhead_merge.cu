// LM head forward, the last step: a row's tiles into one log-sum-exp, token and hash (kernels/lmhead.h).
//
// The running (m, l, h) is a chain over tiles, but its maxima are not: a thread a tile, their prefix maxima are found
// at once, each tile's factor with them, and what is left in order is l = fma(l, a, lt * b) and the same for h. One of a
// and b is e^0 = 1. A tile that is skipped has a = 1 and adds -0, which changes no value; the sums begin at -0, so that
// the first tile's are copied by the same formula.
#include "kernels/cuda/lmhead_tile.cuh"

enum { MOST_THREADS = 1024, FEW_ROWS = 132, SOME_THREADS = 256, SOME_ROWS = 528, LEAST_THREADS = 128, FINDER = 64 };

struct wanted_id {
  int32_t id;
  float z;
};
struct shared_state {
  alignas(16) float a[MOST_THREADS], l[MOST_THREADS], h[MOST_THREADS], past[32]; // a chain reads a little past the end
  float most[32];                                                                // of each warp
  unsigned long long hash[32];
  float sum_l, sum_h;
  wanted_id wanted;
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

// The id whose log-probability is wanted, and its z; -1: there is none. Asked for at the beginning by a thread that has
// no chain, since behind the next kernel's weights these loads take their time.
static __device__ __forceinline__ wanted_id find_id(const zk_lmhead_block &b, int64_t row) {
  if (b.pick == ZK_CUDA_PICK_NOTHING) return {b.target[row], b.target_z[row]};
  const int32_t id = (int32_t) ~(uint32_t)b.row_best[row];
  return {id, id >= 0 ? b.partial.z[row * b.num_tiles + id / ZK_VOCAB_TILE] : 0.0f};
}

static __device__ void write_row(const zk_lmhead_block &b, int64_t row, const shared_state *s, float m, bool bad,
                                 unsigned long long *error) {
  const float nan = zk_bits_float(0x7fc00000u), lse = m + zk_logf(s->sum_l), z = s->wanted.z;
  const int32_t id = s->wanted.id;
  bad = bad || !(lse > -INFINITY && lse < INFINITY);
  if (b.pick == ZK_CUDA_PICK_NOTHING && (id < 0 || id >= b.vocab)) {
    zk_cuda_raise(error, ZK_CUDA_BAD_TARGET, b.first_row + row);
    bad = true;
  }
  b.out.logprob[row] = bad ? nan : z - lse;
  if (b.token != NULL) b.token[row] = bad ? -1 : id;
  if (b.out.lse != NULL) b.out.lse[row] = bad ? nan : lse;
  if (b.out.entropy != NULL) b.out.entropy[row] = bad ? nan : lse - s->sum_h / s->sum_l;
  if (b.out.logits_hash == NULL) return;
  unsigned long long hash = 0;
  for (int w = 0; w < (int)blockDim.x / 32; w++) hash += s->hash[w];
  b.out.logits_hash[row] = hash;
}

static __device__ void add_hashes(const zk_lmhead_block &b, int64_t row, shared_state *s) {
  unsigned long long hash = 0;
  for (int32_t tile = (int32_t)threadIdx.x; tile < b.num_tiles; tile += (int32_t)blockDim.x)
    hash += b.partial.hash[row * b.num_tiles + tile];
  for (int half = 16; half > 0; half /= 2) hash += __shfl_xor_sync(ZK_WARP, hash, half);
  if (threadIdx.x % 32 == 0) s->hash[threadIdx.x / 32] = hash;
}

struct tile_sums {
  float m, l, h;
};
static __device__ __forceinline__ tile_sums read_tile(const zk_lmhead_block &b, int64_t row, int32_t tile) {
  const int64_t place = row * b.num_tiles + tile;
  if (tile >= b.num_tiles) return {-INFINITY, 0.0f, 0.0f}; // skipped
  const zk_lmhead_sum sum = b.partial.sum[place];
  return {sum.m, sum.l, b.partial.h != NULL ? b.partial.h[place] : 0.0f};
}

// A block a row, a thread a tile.
static __global__ void __launch_bounds__(MOST_THREADS) merge_kernel(zk_lmhead_block b, unsigned long long *error) {
  ZK_DYNAMIC_SHARED(shared_state, s);
  const int tid = (int)threadIdx.x, threads = (int)blockDim.x;
  const int64_t row = blockIdx.x;
  float m = -INFINITY, sum = -0.0f; // sum: l in thread 0, h in thread 32
  int bad = 0;
  zk_wait_for_previous();
  zk_let_next_start();
  wanted_id wanted = {-1, 0.0f};
  if (tid == FINDER) wanted = find_id(b, row);
  tile_sums p = read_tile(b, row, tid);
  for (int32_t tile0 = 0; tile0 < b.num_tiles; tile0 += threads) {
    bad |= p.m != p.m;
    float all;
    const float earlier = maximum_before(s, p.m, &all), before = earlier > m ? earlier : m;
    float a = 1.0f, l = -0.0f, h = -0.0f;
    if (p.m != -INFINITY) {
      const bool larger = p.m > before;
      const float scale = zk_expf(larger ? before - p.m : p.m - before);
      a = larger && before != -INFINITY ? scale : 1.0f;
      l = larger ? p.l : p.l * scale, h = larger ? p.h : p.h * scale;
    }
    s->a[tid] = a, s->l[tid] = l, s->h[tid] = h;
    m = all > m ? all : m;
    p = read_tile(b, row, tile0 + threads + tid); // on its way while the chains run
    __syncthreads();
    const int left = b.num_tiles - tile0,
              num = left < threads ? (left + 4 * AHEAD - 1) / (4 * AHEAD) * (4 * AHEAD) : threads;
    if (tid == 0) sum = chain(sum, s->a, s->l, num);
    if (tid == 32 && b.partial.h != NULL) sum = chain(sum, s->a, s->h, num);
    __syncthreads();
  }
  if (tid == 0) s->sum_l = sum;
  if (tid == 32) s->sum_h = sum;
  if (tid == FINDER) s->wanted = wanted;
  if (b.partial.hash != NULL) add_hashes(b, row, s);
  bad = __syncthreads_or(bad);
  if (tid == 0) write_row(b, row, s, m, bad, error);
}

zk_status zk_lmhead_merge(zk_stream *stream, const zk_lmhead_block *block) {
  // One row takes longest by its chain, many by the number of blocks that run at a time.
  const bool few = block->num_rows < FEW_ROWS && block->num_tiles > SOME_THREADS;
  const unsigned threads = few ? MOST_THREADS : block->num_rows < SOME_ROWS ? SOME_THREADS : LEAST_THREADS;
  ZK_LAUNCH_DEPENDENT(merge_kernel, dim3((unsigned)block->num_rows), threads, sizeof(shared_state), stream, *block,
                      zk_cuda_error_word(stream));
  return ZK_OK;
}
