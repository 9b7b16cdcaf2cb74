// The LM head on the GPU: what its parts tell each other (kernels/lmhead.h has the orders).
//
// forward, no filter:  bf16 alone: draw kernel: what is drawn ahead of the tiles
//                      tiles kernel: logits of (rows x 128 ids) in registers, to partials a row and tile (f32: through
//                      shared memory), and the row's best
//         a filter,    logits of a block of rows are stored; filter kernel: where the kept prefix ends;
//         or vendor:   read kernel: the same partials
//         both:        merge kernel: a row's partials, tiles ascending, into what was asked for
// backward:            per group of token chunks and slab of ids: dlogit kernel, to a slab [rows][ids]; of it two products make
//                      dx's parts and dW
// both, lse known:     the same, by a dlogit kernel that leaves the tiles' partials too; then the merge kernel
#ifndef ZK_KERNELS_CUDA_LMHEAD_CUH
#define ZK_KERNELS_CUDA_LMHEAD_CUH

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"
#include "kernels/lmhead.h"

typedef enum { ZK_CUDA_PICK_NOTHING, ZK_CUDA_PICK_GREEDY, ZK_CUDA_PICK_GUMBEL } zk_cuda_pick;

// What a tile of 128 ids says of a row; arrays of [rows][num_tiles], NULL where nobody asks.
struct alignas(8) zk_lmhead_sum {
  float m, l; // m NaN: a logit spoils the row
};
typedef struct {
  zk_lmhead_sum *sum;
  float *h; // for the entropy
  float *z; // if something is picked: of the tile's best id, if it was the row's best when it was found
  unsigned long long *hash;
} zk_lmhead_partials;

// A block of rows on its way through the forward pass; every array begins with the block's first row.
typedef struct {
  zk_numerics numerics;
  int64_t num_rows, first_row; // first_row: only for messages
  int32_t hidden, vocab, num_tiles;
  const void *x, *weight;
  zk_lmhead_dist dist;
  zk_cuda_pick pick;
  const int32_t *target; // [rows], when nothing is picked
  zk_sample_ids ids;     // when ZK_CUDA_PICK_GUMBEL
  int32_t *token;        // [rows], what was picked
  zk_lmhead_out out;
  zk_lmhead_partials partial;
  float *target_z; // [rows]
  unsigned long long
      *row_best;     // [rows]: value and id of the best of the tiles read so far (lmhead_rows.cuh); 0 at first
  float *most;       // [rows][num_tiles]: a tile has no more noise than that; if drawn ahead, else NULL
  float *logits;     // [rows][num_tiles * 128], if stored
  float *kept_logit; // [rows], with a filter
  int32_t *kept_id;
} zk_lmhead_block;

// The stages above; each queues one or a few kernels. num_rows > 0.
zk_status zk_lmhead_tiles(zk_stream *stream, const zk_lmhead_block *block);
// Before tiles are read, if something is picked: forgets the rows' best; draws `most`, unless that is NULL.
zk_status zk_lmhead_draw_ahead(zk_stream *stream, const zk_lmhead_block *block);
zk_status zk_lmhead_tiles_bf16(zk_stream *stream, const zk_lmhead_block *block, zk_cuda_gemm *product);
zk_status zk_lmhead_read(zk_stream *stream, const zk_lmhead_block *block);
zk_status zk_lmhead_filter(zk_stream *stream, const zk_lmhead_block *block);
zk_status zk_lmhead_merge(zk_stream *stream, const zk_lmhead_block *block);

#endif
