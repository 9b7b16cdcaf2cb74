// The LM head on the GPU: what its parts tell each other (kernels/lmhead.h has the orders).
//
// forward, no filter:  bf16 alone: draw kernel: what is drawn ahead of the tiles
//                      tiles kernel: logits of (rows x 128 ids) in registers, to a partial a row and tile (f32: through
//                      shared memory)
//         a filter,    logits of a block of rows are stored; filter kernel: where the kept prefix ends;
//         or vendor:   read kernel: the same partials
//         both:        merge kernel: a row's partials, tiles ascending, into what was asked for
// backward:            per token chunk and 4,096 ids: dlogit kernel, to a slab [rows][ids]; of it two products make dx's
//                      part and dW
#ifndef ZK_KERNELS_CUDA_LMHEAD_CUH
#define ZK_KERNELS_CUDA_LMHEAD_CUH

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"
#include "kernels/lmhead.h"

typedef enum { ZK_CUDA_PICK_NOTHING, ZK_CUDA_PICK_GREEDY, ZK_CUDA_PICK_GUMBEL } zk_cuda_pick;

// What a tile of 128 ids says of a row. m NaN: a logit spoils the row; best_id -1: nothing to pick.
struct alignas(16) zk_lmhead_partial {
  float m, l, h, best_value, best_z;
  int32_t best_id;
  unsigned long long hash;
};

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
  zk_lmhead_partial *partial; // [rows][num_tiles]
  float *target_z;            // [rows]
  uint32_t *row_best;         // [rows]: of the tiles read so far (lmhead_fragment.cuh); 0 at first
  uint32_t *most;             // [rows][num_tiles]: the largest random number of a tile, if drawn ahead; else NULL
  float *logits;              // [rows][num_tiles * 128], if stored
  float *kept_logit;          // [rows], with a filter
  int32_t *kept_id;
} zk_lmhead_block;

// The stages above; each queues one or a few kernels. num_rows > 0.
zk_status zk_lmhead_tiles(zk_stream *stream, const zk_lmhead_block *block);
// Before tiles that tell each other of a row's best: forgets it; draws `most`, unless that is NULL.
zk_status zk_lmhead_draw_ahead(zk_stream *stream, const zk_lmhead_block *block);
zk_status zk_lmhead_tiles_bf16(zk_stream *stream, const zk_lmhead_block *block, zk_cuda_gemm *product);
zk_status zk_lmhead_read(zk_stream *stream, const zk_lmhead_block *block);
zk_status zk_lmhead_filter(zk_stream *stream, const zk_lmhead_block *block);
zk_status zk_lmhead_merge(zk_stream *stream, const zk_lmhead_block *block);

#endif
