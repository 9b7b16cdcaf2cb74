// Before the tiles of a block of rows are read: a row's best so far is forgotten. When ids are drawn, the largest random
// number of each row and tile of 128 ids is found first, whose noise says of most tiles that none of their ids needs its
// own (lmhead_noise.cuh); and a value that the id with the row's largest number reaches, for the tiles to begin with.
// Beside the products the same numbers would cost several times as much.
#include "kernels/cuda/lmhead_rows.cuh"

enum { THREADS = 128, WARPS = THREADS / 32, TILES = THREADS / 4 }; // of a block

// grid: (blocks of tiles, rows). Four neighbouring threads have a tile, eight calls each.
static __global__ void __launch_bounds__(THREADS) draw_kernel(zk_lmhead_block b) {
  const int32_t tile = (int32_t)blockIdx.x * TILES + (int32_t)threadIdx.x / 4;
  const int64_t row = blockIdx.y;
  const int q = (int)threadIdx.x % 4;
  zk_wait_for_previous();
  zk_let_next_start();
  const zk_lmhead_draw draw = {b.ids.seed, zk_lmhead_name_of(b, row), tile, q};
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    uint32_t r[4];
    draw.random(4 * i + q, draw.name, r);
    most = max(most, draw.most_of(r));
  }
  for (int away = 1; away <= 2; away *= 2) most = max(most, __shfl_xor_sync(ZK_WARP, most, away));
  if (q == 0 && tile < b.num_tiles) b.most[row * b.num_tiles + tile] = zk_gumbel(most) + 1e-4f;
}

// All threads get the largest of theirs.
static __device__ uint64_t largest(uint64_t mine, uint64_t *shared) {
  for (int away = 16; away > 0; away /= 2) mine = max(mine, __shfl_xor_sync(ZK_WARP, mine, away));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
  __syncthreads();
  for (int w = 0; w < WARPS; w++) mine = max(mine, shared[w]);
  return mine;
}

// A block a row: its largest random number, the id that has it, and a value that is not above this id's. The logit is
// summed in any order here. A step of the contract's chain errs by less than 19 2^-24 of the largest of 17 numbers,
// none of which is above `total`, the sum of all products' magnitudes; this sum errs by less. So (k + 32) total 2^-22
// covers both; what follows keeps order. 0 (nothing is known) where numbers are too large to tell, NaN or past the
// vocabulary.
static __global__ void __launch_bounds__(THREADS) begin_kernel(zk_lmhead_block b) {
  __shared__ uint64_t most[WARPS];
  __shared__ float sums[WARPS][2];
  const int tid = (int)threadIdx.x, lane = tid % 32;
  const int64_t row = blockIdx.x;
  zk_wait_for_previous();
  uint64_t top = 0;
#pragma unroll 4
  for (int32_t tile = tid; tile < b.num_tiles; tile += THREADS)
    top = max(top, (uint64_t)zk_lmhead_ordered(b.most[row * b.num_tiles + tile]) << 32 | (uint64_t)tile);
  const int32_t tile = (int32_t)(uint32_t)largest(top, most);
  const zk_lmhead_draw draw = {b.ids.seed, zk_lmhead_name_of(b, row), tile, 0};
  uint32_t r[4];
  draw.random(lane, draw.name, r);
  top = 0;
  for (int e = 0; e < 4; e++) top = max(top, (uint64_t)r[e] << 32 | (uint64_t)(4 * lane + e));
  for (int away = 16; away > 0; away /= 2) top = max(top, __shfl_xor_sync(ZK_WARP, top, away));
  const int64_t id = (int64_t)tile * ZK_VOCAB_TILE + (uint32_t)top;
  const zk_bf16 *x = (const zk_bf16 *)b.x + row * b.hidden,
                *w = (const zk_bf16 *)b.weight + (id < b.vocab ? id : 0) * b.hidden;
  float sum = 0.0f, total = 0.0f;
  const auto add = [&](float a, float b) { sum = sum + a * b, total = total + fabsf(a * b); };
  if (b.hidden % 8 == 0 && ((uintptr_t)b.x | (uintptr_t)b.weight) % 16 == 0) {
#pragma unroll 4
    for (int32_t k = 8 * tid; k < b.hidden; k += 8 * THREADS) {
      const uint4 xs = *(const uint4 *)(x + k), ws = *(const uint4 *)(w + k);
      const uint32_t pairs[4][2] = {{xs.x, ws.x}, {xs.y, ws.y}, {xs.z, ws.z}, {xs.w, ws.w}};
#pragma unroll
      for (int i = 0; i < 4; i++) { // a bf16 is the upper half of a float
        add(zk_bits_float(pairs[i][0] << 16), zk_bits_float(pairs[i][1] << 16));
        add(zk_bits_float(pairs[i][0] & 0xffff0000u), zk_bits_float(pairs[i][1] & 0xffff0000u));
      }
    }
  } else {
    for (int32_t k = tid; k < b.hidden; k += THREADS) add(zk_load(x, k), zk_load(w, k));
  }
  zk_let_next_start(); // not before: behind the weights that it reads, these loads would wait
  for (int away = 16; away > 0; away /= 2) {
    sum = sum + __shfl_xor_sync(ZK_WARP, sum, away);
    total = total + __shfl_xor_sync(ZK_WARP, total, away);
  }
  if (lane == 0) sums[tid / 32][0] = sum, sums[tid / 32][1] = total;
  __syncthreads();
  if (tid != 0) return;
  for (int i = 1; i < WARPS; i++) sum = sum + sums[i][0], total = total + sums[i][1];
  const float logit = sum - total * (((float)b.hidden + 32.0f) * 0x1p-22f);
  const float value = zk_lmhead_z(b.dist, logit) + zk_gumbel((uint32_t)(top >> 32));
  const bool known = id < b.vocab && total < 1e30f && fabsf(value) < 1e30f;
  b.row_best[row] = known ? (unsigned long long)zk_lmhead_ordered(value) << 32 : 0;
}

// Reads nothing: the tiles may ask for their weights while the kernel ahead still runs.
static __global__ void __launch_bounds__(THREADS) forget_kernel(zk_lmhead_block b) {
  const int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x;
  zk_let_next_start();
  zk_wait_for_previous();
  if (row < b.num_rows) b.row_best[row] = 0;
}

zk_status zk_lmhead_draw_ahead(zk_stream *stream, const zk_lmhead_block *block) {
  if (block->pick == ZK_CUDA_PICK_NOTHING) return ZK_OK;
  if (block->most == NULL) {
    const dim3 grid((unsigned)zk_ceil_div(block->num_rows, THREADS));
    ZK_LAUNCH_DEPENDENT(forget_kernel, grid, THREADS, 0, stream, *block);
    return ZK_OK;
  }
  const dim3 grid((unsigned)zk_ceil_div(block->num_tiles, TILES), (unsigned)block->num_rows);
  ZK_LAUNCH_DEPENDENT(draw_kernel, grid, THREADS, 0, stream, *block);
  ZK_LAUNCH_DEPENDENT(begin_kernel, dim3((unsigned)block->num_rows), THREADS, 0, stream, *block);
  return ZK_OK;
}
