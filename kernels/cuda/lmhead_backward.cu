// LM head backward: per token chunk and per 4,096 ids, logits are formed again and turned into their gradients in
// registers, stored as a slab [rows][ids], and used by two products at once.
#include "kernels/backend.h"
#include "kernels/cuda/gemm_bf16.cuh"
#include "kernels/cuda/gemm_f32.cuh"
#include "kernels/cuda/lmhead_tile.cuh"

enum { SIMPLE_THREADS = 256 }; // of vendor's two kernels

// One token chunk; every array begins with its first row.
typedef struct {
  zk_numerics numerics;
  int64_t num_rows, first_row; // first_row: only for messages
  int32_t hidden, vocab;
  const void *x, *weight;
  zk_lmhead_dist dist;
  const int32_t *target, *kept_id;
  const float *lse, *kept_logit, *dlogprob;
  void *dlogit; // [rows][slab]
  int32_t slab; // ids in a full slab
  float *sum;   // [rows][hidden]: dx's parts so far, when dx itself cannot hold them in f32
  void *dx;
  float *dweight;
  float *logits; // [rows][slab], vendor
} zk_lmhead_chunk;

// d loss / d logit of id `v` of a row, from its logit.
static __device__ __forceinline__ float gradient(const zk_lmhead_chunk &c, int64_t row, int32_t v, float logit) {
  const float z = zk_lmhead_z(c.dist, logit);
  const bool kept = !c.dist.filtered || zk_lmhead_is_kept(logit, v, c.kept_logit[row], c.kept_id[row]);
  const float p = kept ? zk_expf(z - c.lse[row]) : 0.0f;
  const float dz = ((v == c.target[row] ? 1.0f : 0.0f) - p) * c.dlogprob[row];
  return c.dist.scaled ? dz * c.dist.inv_t : dz;
}

static __device__ __forceinline__ void check_target(const zk_lmhead_chunk &c, int64_t row, unsigned long long *error) {
  if (c.target[row] < 0 || c.target[row] >= c.vocab) zk_cuda_raise(error, ZK_CUDA_BAD_TARGET, c.first_row + row);
}

// grid: (blocks of rows, blocks of ids from `first` on).
template <class Core, class T>
static __global__ void __launch_bounds__(Core::THREADS)
    dlogit_kernel(zk_cuda_gemm g, zk_lmhead_chunk c, int32_t first, unsigned long long *error) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int64_t m0 = (int64_t)blockIdx.x * Core::M, n0 = (int64_t)blockIdx.y * Core::N;
  if (first == 0 && blockIdx.y == 0 && m0 + threadIdx.x < c.num_rows && threadIdx.x < Core::M)
    check_target(c, m0 + threadIdx.x, error);
  Core core;
  core.run(g, m0, n0, shared);
  core.each([&](int i, int j, float logit) {
    const int64_t row = m0 + i, column = n0 + j;
    if (row < g.m && column < g.n)
      zk_store((T *)c.dlogit, row * c.slab + column, gradient(c, row, first + (int32_t)column, logit));
  });
}

// grid: (blocks of ids from `first` on, rows), of stored logits.
static __global__ void stored_dlogit_kernel(zk_lmhead_chunk c, int32_t first, int32_t num_ids,
                                            unsigned long long *error) {
  const int32_t column = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x);
  const int64_t row = blockIdx.y, at = row * c.slab + column;
  if (first == 0 && column == 0) check_target(c, row, error);
  if (column < num_ids) zk_store((zk_bf16 *)c.dlogit, at, gradient(c, row, first + column, c.logits[at]));
}

static __global__ void narrow_kernel(int64_t n, const float *x, zk_bf16 *y) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) zk_store(y, i, x[i]);
}

template <class Core, class T>
static zk_status form_dlogits(zk_stream *stream, const zk_lmhead_chunk *c, int32_t first, int32_t num_ids) {
  zk_cuda_gemm g = {};
  g.numerics = c->numerics;
  g.m = c->num_rows, g.n = num_ids, g.k = c->hidden;
  g.a = c->x, g.lda = c->hidden;
  g.b = (const T *)c->weight + (int64_t)first * c->hidden, g.ldb = c->hidden;
  zk_cuda_gemm_choose(&g);
  ZK_LAUNCH((dlogit_kernel<Core, T>), zk_gemm_grid<Core>(&g), Core::THREADS, Core::SHARED, stream, g, *c, first,
            zk_cuda_error_word(stream));
  return ZK_OK;
}

static zk_status form_dlogits_vendor(zk_stream *stream, const zk_lmhead_chunk *c, const void *weight, int32_t first,
                                     int32_t num_ids) {
  zk_cuda_gemm g = {};
  g.numerics = c->numerics, g.c_as = ZK_F32;
  g.m = c->num_rows, g.n = num_ids, g.k = c->hidden;
  g.a = c->x, g.lda = c->hidden;
  g.b = weight, g.ldb = c->hidden;
  g.c = c->logits, g.ldc = c->slab;
  ZK_TRY(zk_cuda_gemm_run(stream, g));
  const dim3 grid((unsigned)zk_ceil_div(num_ids, SIMPLE_THREADS),
                  (unsigned)c->num_rows); // a chunk's rows fit a grid's second index
  ZK_LAUNCH(stored_dlogit_kernel, grid, SIMPLE_THREADS, 0, stream, *c, first, num_ids, zk_cuda_error_word(stream));
  return ZK_OK;
}

// dx: the slab's part of each chain, added to the parts before it; in bf16 they stand in f32 until the last.
static zk_status add_to_dx(zk_stream *stream, const zk_lmhead_chunk *c, const void *weight, bool is_first, bool is_last,
                           int32_t num_ids) {
  zk_cuda_gemm g = {};
  g.numerics = c->numerics, g.addend_as = ZK_F32;
  g.m = c->num_rows, g.n = c->hidden, g.k = num_ids;
  g.a = c->dlogit, g.lda = c->slab;
  g.b = weight, g.ldb = c->hidden, g.b_outer = true;
  if (!is_first) g.addend = c->sum, g.ldaddend = c->hidden;
  const bool is_sum = !is_last || c->numerics == ZK_VENDOR; // whose library cannot add f32 to what it stores as bf16
  g.c = is_sum ? c->sum : c->dx, g.ldc = c->hidden;
  g.c_as = is_sum ? ZK_F32 : c->numerics;
  return zk_cuda_gemm_run(stream, g);
}

static zk_status add_to_dweight(zk_stream *stream, const zk_lmhead_chunk *c, int32_t first, int32_t num_ids) {
  float *dweight = c->dweight + (int64_t)first * c->hidden;
  zk_cuda_gemm g = {};
  g.numerics = c->numerics, g.addend_as = g.c_as = ZK_F32;
  g.m = num_ids, g.n = c->hidden, g.k = c->num_rows;
  g.a = c->dlogit, g.lda = c->slab, g.a_outer = true;
  g.b = c->x, g.ldb = c->hidden, g.b_outer = true;
  g.addend = dweight, g.ldaddend = c->hidden;
  g.c = dweight, g.ldc = c->hidden;
  return zk_cuda_gemm_run(stream, g);
}

static zk_status run_chunk_vendor(zk_stream *stream, const zk_lmhead_chunk *c) {
  for (int32_t first = 0; first < c->vocab; first += ZK_VOCAB_CHUNK) {
    const int32_t num_ids = c->vocab - first < ZK_VOCAB_CHUNK ? c->vocab - first : ZK_VOCAB_CHUNK;
    const void *weight = (const zk_bf16 *)c->weight + (int64_t)first * c->hidden;
    ZK_TRY(form_dlogits_vendor(stream, c, weight, first, num_ids));
    ZK_TRY(add_to_dx(stream, c, weight, first == 0, first + num_ids == c->vocab, num_ids));
    ZK_TRY(add_to_dweight(stream, c, first, num_ids));
  }
  const int64_t n = c->num_rows * c->hidden;
  ZK_LAUNCH(narrow_kernel, (unsigned)zk_ceil_div(n, SIMPLE_THREADS), SIMPLE_THREADS, 0, stream, n, c->sum,
            (zk_bf16 *)c->dx);
  return ZK_OK;
}

template <class Core, class T> static zk_status run_chunk(zk_stream *stream, const zk_lmhead_chunk *c) {
  for (int32_t first = 0; first < c->vocab; first += ZK_VOCAB_CHUNK) {
    const int32_t num_ids = c->vocab - first < ZK_VOCAB_CHUNK ? c->vocab - first : ZK_VOCAB_CHUNK;
    const T *weight = (const T *)c->weight + (int64_t)first * c->hidden;
    ZK_TRY((form_dlogits<Core, T>(stream, c, first, num_ids)));
    ZK_TRY(add_to_dx(stream, c, weight, first == 0, first + num_ids == c->vocab, num_ids));
    ZK_TRY(add_to_dweight(stream, c, first, num_ids));
  }
  return ZK_OK;
}

zk_status zk_cuda_lmhead_backward(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                                  const void *weight, const void *packed, const int32_t *target,
                                  const zk_lmhead_out *fwd, const float *dlogprob, void *dx, float *dweight) {
  (void)packed;
  const size_t element = zk_numerics_bytes(desc->numerics), hidden = (size_t)desc->hidden;
  size_t rows = 0; // of the longest chunk
  for (int32_t i = 0; i < chunks->num_chunks; i++) {
    const size_t n = (size_t)(chunks->row_start[i + 1] - chunks->row_start[i]);
    rows = n > rows ? n : rows;
  }
  zk_lmhead_chunk c = {};
  c.numerics = desc->numerics, c.hidden = desc->hidden, c.vocab = desc->vocab;
  c.dist = zk_lmhead_make_dist(desc);
  c.slab = desc->vocab < ZK_VOCAB_CHUNK ? (desc->vocab + 7) / 8 * 8 : ZK_VOCAB_CHUNK;
  const size_t slab_bytes = (rows * (size_t)c.slab * element + 63) / 64 * 64;
  void *scratch;
  const bool is_f32 = desc->numerics == ZK_F32, is_vendor = desc->numerics == ZK_VENDOR;
  const size_t sum_bytes = is_f32 ? 0 : (rows * hidden * sizeof(float) + 63) / 64 * 64;
  ZK_TRY(zk_stream_scratch(stream, slab_bytes + sum_bytes + (is_vendor ? rows * (size_t)c.slab * sizeof(float) : 0),
                           &scratch));
  c.logits = (float *)((char *)scratch + slab_bytes + sum_bytes);
  c.dlogit = scratch;
  c.weight = weight, c.dweight = dweight;
  for (int32_t i = 0; i < chunks->num_chunks; i++) {
    const int64_t row = chunks->row_start[i];
    c.num_rows = chunks->row_start[i + 1] - row, c.first_row = row;
    if (c.num_rows == 0) continue;
    c.x = (const char *)x + (size_t)row * hidden * element;
    c.dx = (char *)dx + (size_t)row * hidden * element;
    c.sum = is_f32 ? (float *)c.dx : (float *)((char *)scratch + slab_bytes);
    c.target = target + row, c.lse = fwd->lse + row, c.dlogprob = dlogprob + row;
    if (c.dist.filtered) c.kept_logit = fwd->kept_logit + row, c.kept_id = fwd->kept_id + row;
    if (is_vendor) ZK_TRY(run_chunk_vendor(stream, &c));
    else if (is_f32) ZK_TRY((run_chunk<zk_gemm_f32_tile<false, false>, float>(stream, &c)));
    else ZK_TRY((run_chunk<zk_gemm_bf16_tile<false, false>, zk_bf16>(stream, &c)));
  }
  return ZK_OK;
}
