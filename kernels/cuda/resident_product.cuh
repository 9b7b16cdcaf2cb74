// A tile's chains in the one-kernel decode step (resident.cuh): weights from the ring, x from shared memory. Lane 4 g
// of warp w gets rows 16 w + g and 16 w + g + 8 of the tile's weights; the other lanes get the same.
#ifndef ZK_KERNELS_CUDA_RESIDENT_PRODUCT_CUH
#define ZK_KERNELS_CUDA_RESIDENT_PRODUCT_CUH

#include "kernels/cuda/ldmatrix.cuh"
#include "kernels/cuda/resident.cuh"

// Operands of 64 k, four steps: weights as mma.sync's A, x as its B, the same in all eight columns. Of 8 rows of
// weights the other 8 of A are zeros.
template <int ROWS> struct zk_resident_box {
  uint32_t w[ROWS == 8 ? 2 : 4][4], x[2][4];

  // from: this lane's row of the weights in the box; x: its piece of x.
  __device__ __forceinline__ void load(const char *box, int32_t row, const char *of_x) {
    const int32_t lane = (int32_t)threadIdx.x % 32;
    if constexpr (ROWS == 8) {
#pragma unroll
      for (int s = 0; s < 2; s++) zk_ldmatrix<false>(box + row * 128 + ((4 * s + lane / 8) ^ row) * 16, w[s]);
    } else {
#pragma unroll
      for (int s = 0; s < 4; s++) zk_ldmatrix<false>(box + row * 128 + ((2 * s + lane / 16) ^ (row % 8)) * 16, w[s]);
    }
#pragma unroll
    for (int s = 0; s < 2; s++) zk_ldmatrix<false>(of_x + s * 64, x[s]);
  }
  template <int FROM, int TO> __device__ __forceinline__ void steps(float (&acc)[4]) const {
#pragma unroll
    for (int s = FROM; s < TO; s++) {
      if constexpr (ROWS == 8) {
        const uint32_t a[4] = {w[s / 2][s % 2 * 2], 0, w[s / 2][s % 2 * 2 + 1], 0};
        zk_mma_bf16(acc, a, x[s / 2] + s % 2 * 2);
      } else zk_mma_bf16(acc, w[s], x[s / 2] + s % 2 * 2);
    }
  }
};

// A warp walks 16 rows (or the only 8). A box's operands are loaded while the steps before it run: a warp issues in
// order, and a step waits for the one before it. Slots of many boxes:
template <class Tile, class Ring>
static __device__ __forceinline__ void zk_resident_walk(Ring &ring, int32_t row, const char *of_x, uint32_t share,
                                                        float (&acc)[4]) {
  zk_resident_box<Tile::ROWS> even, odd;
  ring.wait();
  even.load(ring.at(), row, of_x);
#pragma unroll 1
  for (int32_t i = 0; i < Tile::SLOTS; i++) {
    const char *slot = ring.at();
#pragma unroll
    for (int b = 0; b < Tile::SLOT_BOXES; b += 2) {
      odd.load(slot + (b + 1) * Tile::BOX_BYTES, row, of_x + (b + 1) * 128);
      even.template steps<0, 4>(acc);
      if (b + 2 < Tile::SLOT_BOXES) even.load(slot + (b + 2) * Tile::BOX_BYTES, row, of_x + (b + 2) * 128);
      else {
        ring.pass(share);
        ring.next();
        of_x += Tile::SLOT_BOXES * 128;
        if (i + 1 < Tile::SLOTS) {
          ring.wait();
          even.load(ring.at(), row, of_x);
        }
      }
      odd.template steps<0, 4>(acc);
    }
  }
}

// Slots of two boxes: the next slot is looked at before the steps that it is needed after, and a slot is passed when
// its last steps are queued.
template <class Tile, class Ring>
static __device__ __forceinline__ void zk_resident_walk_pairs(Ring &ring, int32_t row, const char *of_x, uint32_t share,
                                                              float (&acc)[4]) {
  zk_resident_box<Tile::ROWS> even, odd;
  ring.wait();
  even.load(ring.at(), row, of_x);
#pragma unroll 1
  for (int32_t i = 1;; i++) {
    even.template steps<0, 1>(acc);
    odd.load(ring.at() + Tile::BOX_BYTES, row, of_x + 128);
    Ring next = ring;
    next.next();
    const bool there = i < Tile::SLOTS && next.is_there();
    even.template steps<1, 4>(acc);
    odd.template steps<0, 1>(acc);
    if (i < Tile::SLOTS) {
      of_x += 256;
      if (!there) next.wait();
      even.load(next.at(), row, of_x);
    }
    odd.template steps<1, 4>(acc);
    ring.pass(share);
    ring = next;
    if (i == Tile::SLOTS) break;
  }
}

template <class Tile, class Ring>
static __device__ __forceinline__ void zk_resident_chains(Ring &ring, const zk_bf16 *x, float (&acc)[4]) {
  const int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32;
  acc[0] = acc[1] = acc[2] = acc[3] = 0.0f;
  if (warp >= Tile::WARPS) return ring.skip(Tile::SLOTS);
  const int32_t row = Tile::ROWS == 8 ? lane % 8 : warp * 16 + lane % 16;
  const char *of_x = (const char *)x + lane / 8 * 16;
  const uint32_t share = zk_resident_share(warp, Tile::WARPS);
  if constexpr (Tile::SLOT_BOXES == 2) zk_resident_walk_pairs<Tile>(ring, row, of_x, share, acc);
  else zk_resident_walk<Tile>(ring, row, of_x, share, acc);
}

#endif
