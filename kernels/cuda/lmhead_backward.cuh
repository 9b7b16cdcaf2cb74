// LM head backward: what its kernels know of a group of chunks of tokens, and a logit's gradient.
#ifndef ZK_KERNELS_CUDA_LMHEAD_BACKWARD_CUH
#define ZK_KERNELS_CUDA_LMHEAD_BACKWARD_CUH

#include "kernels/cuda/lmhead_tile.cuh"

// A group of token chunks; every array begins with its first row.
typedef struct {
  zk_numerics numerics;
  int64_t num_rows, first_row; // first_row: only for messages
  zk_chunks chunks;            // the group's own; host memory
  int32_t hidden, vocab;
  const void *x, *weight;
  zk_lmhead_dist dist;
  const int32_t *target, *kept_id;
  const float *lse, *kept_logit, *dlogprob;
  const float *entropy, *dentropy; // NULL: the loss does not depend on entropies
  void *dlogit; // [rows][slab]
  int32_t slab; // ids in a slab's row
  float *sum;   // [rows][hidden]: dx's parts so far, when dx itself cannot hold them in f32
  void *dx;
  float *dweight;
  bool sets;    // dweight is as good as 0
  float *logits; // [rows][slab], vendor
} zk_lmhead_chunk;

// d loss / d logit of id `v` of a row, from its logit.
static __device__ __forceinline__ float zk_lmhead_gradient(const zk_lmhead_chunk &c, int64_t row, int32_t v, float logit) {
  const float z = zk_lmhead_z(c.dist, logit);
  const bool kept = !c.dist.filtered || zk_lmhead_is_kept(logit, v, c.kept_logit[row], c.kept_id[row]);
  const float p = kept ? zk_expf(z - c.lse[row]) : 0.0f;
  float dz = ((v == c.target[row] ? 1.0f : 0.0f) - p) * c.dlogprob[row];
  if (c.dentropy != NULL) {
    const float q = p == 0.0f ? 0.0f : p * ((z - c.lse[row]) + c.entropy[row]);
    dz = fmaf(q, -c.dentropy[row], dz);
  }
  return c.dist.scaled ? dz * c.dist.inv_t : dz;
}

static __device__ __forceinline__ void zk_lmhead_check_target(const zk_lmhead_chunk &c, int64_t row, unsigned long long *error) {
  if (c.target[row] < 0 || c.target[row] >= c.vocab) zk_cuda_raise(error, ZK_CUDA_BAD_TARGET, c.first_row + row);
}

// bf16 on Hopper (lmhead_gradient.cu): whether it has a kernel for this product of logits (none differentiates entropies); and gradients of its ids, of which
// the first is `first`, to the chunk's slab. block, unless NULL: of the same rows, with its partials, which are filled too.
bool zk_lmhead_gradients_fit(const zk_lmhead_chunk *chunk, const zk_cuda_gemm *logits);
zk_status zk_lmhead_gradients(zk_stream *stream, const zk_lmhead_chunk *chunk, const zk_cuda_gemm *logits, int32_t first,
                              const zk_lmhead_block *block);
// bf16 on Hopper (lmhead_dx.cu): dx's sums through a slab, as many chains as it has; whether it can.
bool zk_lmhead_dx_fits(const zk_lmhead_chunk *chunk);
zk_status zk_lmhead_dx(zk_stream *stream, const zk_lmhead_chunk *chunk, int32_t first, int32_t num_ids);

#endif
