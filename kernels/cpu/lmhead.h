// The LM head inside the CPU backend: what its parts tell each other (kernels/lmhead.h has the orders).
#ifndef ZK_KERNELS_CPU_LMHEAD_H
#define ZK_KERNELS_CPU_LMHEAD_H

#include "kernels/cpu/gemm.h"
#include "kernels/lmhead.h"

typedef enum { ZK_PICK_NOTHING, ZK_PICK_GREEDY, ZK_PICK_GUMBEL } zk_lmhead_pick;

typedef struct zk_lmhead_forward zk_lmhead_forward;
struct zk_lmhead_forward {
  zk_numerics numerics;
  int64_t num_rows;
  int32_t hidden, vocab;
  const void *x, *weight;
  const float *packed; // f32, vendor: what is read in place of weight
  zk_lmhead_dist dist;
  zk_lmhead_pick pick;
  const int32_t *target;    // [T] whose log-probability is wanted, when nothing is picked
  const zk_sample_ids *ids; // names the noise, ZK_PICK_GUMBEL
  int32_t *token;           // [T] what was picked
  zk_lmhead_out out;
  int threads;
  zk_cpu_isa isa;
  // vendor: forms the logits of rows [row, row + rows), all ids, before they are read; x_wide[rows][hidden] is scratch. Else NULL.
  void (*product)(const zk_lmhead_forward *call, int64_t row, int64_t rows, float *x_wide, float *c, int64_t ldc);
};

ZK_ISA_DECLARE(size_t, zk_lmhead_forward_bytes, (const zk_lmhead_forward *call));
ZK_ISA_DECLARE(void, zk_lmhead_forward_run, (const zk_lmhead_forward *call, void *scratch));

typedef struct {
  int64_t num_rows; // of one token chunk
  int32_t hidden, vocab;
  const void *x, *weight;
  const float *packed; // f32, vendor: what the logits are formed from
  zk_lmhead_dist dist;
  const int32_t *target;
  const float *lse, *kept_logit, *dlogprob; // [T]
  const float *entropy, *dentropy;          // [T]; NULL: the loss does not depend on entropies
  const int32_t *kept_id;
  void *dx;
  float *dweight;
  int threads;
} zk_lmhead_backward_chunk;

ZK_ISA_DECLARE(size_t, zk_lmhead_backward_bytes, (const zk_lmhead_backward_chunk *call));
ZK_ISA_DECLARE(void, zk_lmhead_backward_run, (const zk_lmhead_backward_chunk *call, void *scratch));

ZK_ISA_DECLARE(size_t, zk_lmhead_backward_bf16_bytes, (const zk_lmhead_backward_chunk *call));
ZK_ISA_DECLARE(void, zk_lmhead_backward_bf16_run, (const zk_lmhead_backward_chunk *call, void *scratch));

// vendor: gradients, rounded to bf16, in place of the stored logits [num_rows][ld] of ids [first, first + columns).
ZK_ISA_DECLARE(void, zk_lmhead_gradient_rows,
               (const zk_lmhead_backward_chunk *call, int32_t first, int32_t columns, float *logits, int64_t ld));

#endif
