// One row of one vocabulary tile: its share of the log-sum-exp, the noise, the best token, the hash.
#ifndef ZK_KERNELS_CPU_ISA_LMHEAD_TILE_H
#define ZK_KERNELS_CPU_ISA_LMHEAD_TILE_H

#include "kernels/cpu/lmhead.h"

// How one row is read.
typedef struct {
  const zk_lmhead_dist *dist;
  float kept_logit; // with a filter: the last kept (logit, id)
  int32_t kept_id;
  zk_lmhead_pick pick;
  int32_t target;          // -1: none
  uint32_t key[2], ctr[3]; // of the noise: ctr = position, prompt id, sample index and step
} zk_lmhead_row;

// What a tile says of a row. m is NaN when a z is NaN or +infinity; -infinity when nothing is kept here.
typedef struct {
  float m, l, h;
  float best_value, best_z; // best_id -1: none here
  int32_t best_id;
  float target_z; // set only when the target is in the tile
} zk_lmhead_tile;

// logit[count], count <= ZK_VOCAB_TILE, of ids first, first + 1, ...
#define zk_lmhead_read_tile ZK_ISA_FN(zk_lmhead_read_tile)
void zk_lmhead_read_tile(const zk_lmhead_row *row, const float *logit, int count, int32_t first, zk_lmhead_tile *out);

// Of row t of a chunk: dlogit[count] in place of logit[count].
#define zk_lmhead_gradient ZK_ISA_FN(zk_lmhead_gradient)
void zk_lmhead_gradient(const zk_lmhead_backward_chunk *call, int64_t t, int32_t count, int32_t first, float *logit);

// sum over i of mix64(bits of logit[i], first + i).
#define zk_lmhead_hash ZK_ISA_FN(zk_lmhead_hash)
uint64_t zk_lmhead_hash(const float *logit, int count, int32_t first);

// The last kept (logit, id) of a row whose logits are all below infinity and no NaN. Scratch: zk_lmhead_filter_bytes.
#define zk_lmhead_filter ZK_ISA_FN(zk_lmhead_filter)
void zk_lmhead_filter(const zk_lmhead_dist *dist, const float *logit, int32_t vocab, void *scratch, float *kept_logit,
                      int32_t *kept_id);
static inline size_t zk_lmhead_filter_bytes(int32_t vocab) { return (size_t)vocab * 16; }

#endif
