// Before the tiles of a block of rows are read: a row's best value so far is forgotten. When ids are drawn, the largest
// random number of each row and tile of 128 ids is found first, which says of most tiles that none of their ids needs
// its noise (lmhead_noise.cuh); and a value that the id with the row's largest number reaches, for the tiles to begin
// with. Beside the products the same numbers would cost several times as much.
#include "kernels/cuda/lmhead_fragment.cuh"

enum { THREADS = 128, WARPS = THREADS / 32, TILES = THREADS / 4 }; // of a block; four neighbouring threads have a tile

// grid: (blocks of tiles, rows).
static __global__ void __launch_bounds__(THREADS) draw_kernel(zk_lmhead_block b) {
  const int32_t tile = (int32_t)blockIdx.x * TILES + (int32_t)threadIdx.x / 4;
  const int64_t row = blockIdx.y;
  const int q = (int)threadIdx.x % 4;
  zk_wait_for_previous();
  zk_let_next_start();
  if (blockIdx.x == 0 && threadIdx.x == 0) b.row_best[row] = 0;
  if (b.most == NULL) return;
  const zk_lmhead_draw draw = {
      b.ids.seed, b.ids.position[row], b.ids.prompt_id[row], b.ids.sample_idx[row] << 20 | b.ids.step[row],
      tile,       2 * (q % 2)};
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    uint32_t r[4];
    draw.random(2 * i + q / 2, r);
    most = max(most, max(max(r[0], r[1]), max(r[2], r[3])));
  }
  for (int away = 1; away <= 2; away *= 2) most = max(most, __shfl_xor_sync(ZK_WARP, most, away));
  if (q == 0 && tile < b.num_tiles) b.most[row * b.num_tiles + tile] = most;
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
  zk_let_next_start();
  uint64_t top = 0;
  for (int32_t tile = tid; tile < b.num_tiles; tile += THREADS)
    top = max(top, (uint64_t)b.most[row * b.num_tiles + tile] << 32 | (uint64_t)tile);
  const int32_t tile = (int32_t)(uint32_t)largest(top, most);
  const zk_lmhead_draw draw = {b.ids.seed, zk_lmhead_name_of(b, row), tile, 2 * (lane % 2)};
  uint32_t r[4];
  draw.random(lane / 2, r);
  top = 0;
  for (int e = 0; e < 4; e++) top = max(top, (uint64_t)r[e] << 32 | (uint64_t)(4 * lane + e));
  for (int away = 16; away > 0; away /= 2) top = max(top, __shfl_xor_sync(ZK_WARP, top, away));
  const int64_t id = (int64_t)tile * ZK_VOCAB_TILE + (uint32_t)top;
  const zk_bf16 *x = (const zk_bf16 *)b.x + row * b.hidden,
                *w = (const zk_bf16 *)b.weight + (id < b.vocab ? id : 0) * b.hidden;
  float sum = 0.0f, total = 0.0f;
#pragma unroll 4
  for (int32_t k = tid; k < b.hidden; k += THREADS) {
    const float product = zk_load(x, k) * zk_load(w, k);
    sum = sum + product, total = total + fabsf(product);
  }
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
  b.row_best[row] = id < b.vocab && total < 1e30f && fabsf(value) < 1e30f ? zk_lmhead_row_best::ordered(value) : 0;
}

zk_status zk_lmhead_draw_ahead(zk_stream *stream, const zk_lmhead_block *block) {
  if (block->pick == ZK_CUDA_PICK_NOTHING) return ZK_OK;
  const int64_t blocks = block->most == NULL ? 1 : zk_ceil_div(block->num_tiles, TILES);
  const dim3 grid((unsigned)blocks, (unsigned)block->num_rows);
  ZK_LAUNCH_DEPENDENT(draw_kernel, grid, THREADS, 0, stream, *block);
  if (block->most != NULL)
    ZK_LAUNCH_DEPENDENT(begin_kernel, dim3((unsigned)block->num_rows), THREADS, 0, stream, *block);
  return ZK_OK;
}
