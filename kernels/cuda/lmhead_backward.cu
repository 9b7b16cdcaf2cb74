// LM head backward: per group of token chunks and per slab of ids, logits are formed again and turned into their gradients in
// registers, stored as [rows][ids], and used by two products. Rows of a group are one to all but the weights' gradient, whose sums
// of chunks stay where their tile is formed (gemm_gradients.h): so memory has each of them once a group.
#include "kernels/backend.h"
#include "kernels/cuda/gemm_bf16.cuh"
#include "kernels/cuda/gemm_f32.cuh"
#include "kernels/cuda/gemm_gradients.h"
#include "kernels/cuda/lmhead_backward.cuh"

enum { SIMPLE_THREADS = 256 }; // of vendor's two kernels
enum { MOST_CHUNKS = 4 };      // of a group

static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

// Chunks [first, end) of a call, one or as many as a group has.
typedef struct {
  int32_t first, end;
} chunk_group;
static chunk_group group_at(const zk_lmhead_desc *desc, const zk_chunks *chunks, int32_t first) {
  const int32_t most = first + (desc->numerics == ZK_BF16 ? MOST_CHUNKS : 1);
  return (chunk_group){first, most < chunks->num_chunks ? most : chunks->num_chunks};
}

static int64_t most_rows(const zk_lmhead_desc *desc, const zk_chunks *chunks) {
  int64_t rows = 0;
  for (chunk_group g = group_at(desc, chunks, 0); g.first < g.end; g = group_at(desc, chunks, g.end)) {
    const int64_t n = chunks->row_start[g.end] - chunks->row_start[g.first];
    rows = n > rows ? n : rows;
  }
  return rows;
}

// grid: (blocks of rows, blocks of ids from `first` on).
template <class Core, class T>
static __global__ void __launch_bounds__(Core::THREADS)
    dlogit_kernel(zk_cuda_gemm g, zk_lmhead_chunk c, int32_t first, unsigned long long *error) {
  ZK_DYNAMIC_SHARED(char, shared);
  const int64_t m0 = (int64_t)blockIdx.x * Core::M, n0 = (int64_t)blockIdx.y * Core::N;
  if (first == 0 && blockIdx.y == 0 && m0 + threadIdx.x < c.num_rows && threadIdx.x < Core::M)
    zk_lmhead_check_target(c, m0 + threadIdx.x, error);
  Core core;
  core.run(g, m0, n0, shared);
  core.each([&](int i, int j, float logit) {
    const int64_t row = m0 + i, column = n0 + j;
    if (row < g.m && column < g.n)
      zk_store((T *)c.dlogit, row * c.slab + column, zk_lmhead_gradient(c, row, first + (int32_t)column, logit));
  });
}

// grid: (blocks of ids from `first` on, rows), of stored logits.
static __global__ void stored_dlogit_kernel(zk_lmhead_chunk c, int32_t first, int32_t num_ids,
                                            unsigned long long *error) {
  const int32_t column = (int32_t)(blockIdx.x * blockDim.x + threadIdx.x);
  const int64_t row = blockIdx.y, at = row * c.slab + column;
  if (first == 0 && column == 0) zk_lmhead_check_target(c, row, error);
  if (column < num_ids) zk_store((zk_bf16 *)c.dlogit, at, zk_lmhead_gradient(c, row, first + column, c.logits[at]));
}

static __global__ void narrow_kernel(int64_t n, const float *x, zk_bf16 *y) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) zk_store(y, i, x[i]);
}

static zk_cuda_gemm logits_product(const zk_lmhead_chunk *c, int32_t first, int32_t num_ids) {
  zk_cuda_gemm g = {};
  g.numerics = c->numerics;
  g.m = c->num_rows, g.n = num_ids, g.k = c->hidden;
  g.a = c->x, g.lda = c->hidden;
  g.b = (const char *)c->weight + (size_t)first * (size_t)c->hidden * zk_numerics_bytes(c->numerics), g.ldb = c->hidden;
  (void)zk_cuda_gemm_choose(&g); // says how the operands are aligned
  return g;
}

template <class Core, class T>
static zk_status form_dlogits(zk_stream *stream, const zk_lmhead_chunk *c, int32_t first, int32_t num_ids,
                              const zk_lmhead_block *block) {
  const zk_cuda_gemm g = logits_product(c, first, num_ids);
  if (zk_lmhead_gradients_fit(c, &g)) return zk_lmhead_gradients(stream, c, &g, first, block);
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

// Of ids [first, first + num_ids), chunk by chunk.
static zk_status add_to_dweight(zk_stream *stream, const zk_lmhead_chunk *c, int32_t first, int32_t num_ids) {
  if (c->dweight == NULL) return ZK_OK;
  float *dweight = c->dweight + (int64_t)first * c->hidden;
  const zk_linear_back_parts sums = {c->numerics, c->num_rows, c->hidden, 1, {{num_ids, c->dlogit, NULL, dweight, NULL}}, c->sets};
  bool done = false;
  if (c->slab == num_ids) ZK_TRY(zk_cuda_gemm_gradients(stream, &sums, &c->chunks, c->x, &done));
  if (done) return ZK_OK;
  if (c->sets) ZK_TRY(zk_fill_zero(stream, dweight, (size_t)num_ids * (size_t)c->hidden * sizeof *dweight));
  const int64_t element = (int64_t)zk_numerics_bytes(c->numerics);
  for (int32_t i = 0; i < c->chunks.num_chunks; i++) {
    const int64_t row = c->chunks.row_start[i];
    zk_cuda_gemm g = {};
    g.numerics = c->numerics, g.addend_as = g.c_as = ZK_F32;
    g.m = num_ids, g.n = c->hidden, g.k = c->chunks.row_start[i + 1] - row;
    g.a = (const char *)c->dlogit + row * c->slab * element, g.lda = c->slab, g.a_outer = true;
    g.b = (const char *)c->x + row * c->hidden * element, g.ldb = c->hidden, g.b_outer = true;
    g.addend = dweight, g.ldaddend = c->hidden;
    g.c = dweight, g.ldc = c->hidden;
    if (g.k > 0) ZK_TRY(zk_cuda_gemm_run(stream, g));
  }
  return ZK_OK;
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

// block: NULL, or what the forward pass wants of the group's rows.
template <class Core, class T>
static zk_status run_group(zk_stream *stream, const zk_lmhead_chunk *group, const zk_lmhead_block *block) {
  for (int32_t first = 0; first < group->vocab; first += group->slab) {
    const int32_t num_ids = group->vocab - first < group->slab ? group->vocab - first : group->slab;
    zk_lmhead_chunk c = *group;
    c.slab = (num_ids + 7) / 8 * 8;
    ZK_TRY((form_dlogits<Core, T>(stream, &c, first, num_ids, block)));
    const bool at_once = c.numerics == ZK_BF16 && zk_lmhead_dx_fits(&c);
    if (at_once) ZK_TRY(zk_lmhead_dx(stream, &c, first, num_ids));
    for (int32_t id = first; !at_once && id < first + num_ids; id += ZK_VOCAB_CHUNK) {
      const int32_t left = first + num_ids - id, num = left < ZK_VOCAB_CHUNK ? left : ZK_VOCAB_CHUNK;
      zk_lmhead_chunk part = c;
      part.dlogit = (T *)c.dlogit + (id - first);
      ZK_TRY(add_to_dx(stream, &part, (const T *)c.weight + (int64_t)id * c.hidden, id == 0, id + num == c.vocab, num));
    }
    ZK_TRY(add_to_dweight(stream, &c, first, num_ids));
  }
  return ZK_OK;
}

// Ids of a slab. Large products want many tiles: up to eight cuts of the vocabulary, as long as a slab and `other` bytes take no more than an
// eighth of what all logits would.
static int32_t slab_ids(const zk_lmhead_desc *desc, size_t rows, size_t other) {
  enum { MOST_CUTS = 8, SHARE = 8 };
  const size_t all = (size_t)desc->num_rows * (size_t)desc->vocab * sizeof(float), cut = rows * ZK_VOCAB_CHUNK * zk_numerics_bytes(desc->numerics);
  size_t cuts = all / SHARE > other && cut > 0 ? (all / SHARE - other) / cut : 1;
  cuts = desc->numerics != ZK_BF16 || cuts < 1 ? 1 : cuts > MOST_CUTS ? MOST_CUTS : cuts;
  const int32_t most = (int32_t)cuts * ZK_VOCAB_CHUNK;
  return desc->vocab < most ? (desc->vocab + 7) / 8 * 8 : most;
}

// What all groups share, and room for the longest: a slab of gradients, dx's parts, vendor's logits, and `more` bytes.
static zk_status open_groups(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *weight,
                             float *dweight, size_t more, zk_lmhead_chunk *c, void **rest) {
  const size_t rows = (size_t)most_rows(desc, chunks), element = zk_numerics_bytes(desc->numerics);
  *c = (zk_lmhead_chunk){};
  c->numerics = desc->numerics, c->hidden = desc->hidden, c->vocab = desc->vocab;
  c->dist = zk_lmhead_make_dist(desc);
  c->weight = weight, c->dweight = dweight;
  const size_t sum = desc->numerics == ZK_F32 ? 0 : round64(rows * (size_t)desc->hidden * sizeof(float));
  c->slab = slab_ids(desc, rows, sum + more);
  const size_t slab = round64(rows * (size_t)c->slab * element);
  const size_t logits = desc->numerics == ZK_VENDOR ? round64(rows * (size_t)c->slab * sizeof(float)) : 0;
  void *scratch;
  ZK_TRY(zk_stream_scratch(stream, slab + sum + logits + more, &scratch));
  c->dlogit = scratch;
  c->sum = (float *)((char *)scratch + slab);
  c->logits = (float *)((char *)scratch + slab + sum);
  *rest = (char *)scratch + slab + sum + logits;
  return ZK_OK;
}

// A group's rows, of what open_groups made; false: it has none. starts: room for where its chunks begin.
static bool take_group(const zk_chunks *chunks, chunk_group group, const void *x, const int32_t *target, const zk_lmhead_out *fwd,
                       const float *dlogprob, const float *dentropy, void *dx, int32_t starts[MOST_CHUNKS + 1], zk_lmhead_chunk *c) {
  const int64_t row = chunks->row_start[group.first];
  const size_t before = (size_t)row * (size_t)c->hidden * zk_numerics_bytes(c->numerics);
  for (int32_t i = group.first; i <= group.end; i++) starts[i - group.first] = chunks->row_start[i] - (int32_t)row;
  c->chunks = {group.end - group.first, starts};
  c->num_rows = starts[group.end - group.first], c->first_row = row;
  c->x = (const char *)x + before, c->dx = (char *)dx + before;
  if (c->numerics == ZK_F32) c->sum = (float *)c->dx;
  c->target = target + row, c->lse = fwd->lse + row, c->dlogprob = dlogprob + row;
  if (c->dist.filtered) c->kept_logit = fwd->kept_logit + row, c->kept_id = fwd->kept_id + row;
  if (dentropy != NULL) c->dentropy = dentropy + row, c->entropy = fwd->entropy + row;
  return c->num_rows > 0;
}

zk_status zk_cuda_lmhead_backward(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                                  const void *weight, const void *packed, const int32_t *target,
                                  const zk_lmhead_out *fwd, const float *dlogprob, const float *dentropy, void *dx, float *dweight) {
  (void)packed;
  zk_lmhead_chunk c;
  int32_t starts[MOST_CHUNKS + 1];
  void *rest;
  ZK_TRY(open_groups(stream, desc, chunks, weight, dweight, 0, &c, &rest));
  for (chunk_group g = group_at(desc, chunks, 0); g.first < g.end; g = group_at(desc, chunks, g.end)) {
    if (!take_group(chunks, g, x, target, fwd, dlogprob, dentropy, dx, starts, &c)) continue;
    if (c.numerics == ZK_VENDOR) ZK_TRY(run_chunk_vendor(stream, &c));
    else if (c.numerics == ZK_F32) ZK_TRY((run_group<zk_gemm_f32_tile<false, false>, float>(stream, &c, NULL)));
    else ZK_TRY((run_group<zk_gemm_bf16_tile<false, false>, zk_bf16>(stream, &c, NULL)));
  }
  return ZK_OK;
}

// The block that a group's forward pass is; its partials lie in `room`.
static zk_lmhead_block block_of(const zk_lmhead_chunk *c, const zk_lmhead_out *out, void *room) {
  zk_lmhead_block b = {};
  b.numerics = c->numerics, b.num_rows = c->num_rows, b.first_row = c->first_row;
  b.hidden = c->hidden, b.vocab = c->vocab, b.num_tiles = (int32_t)zk_ceil_div(c->vocab, ZK_VOCAB_TILE);
  b.x = c->x, b.weight = c->weight, b.dist = c->dist;
  b.pick = ZK_CUDA_PICK_NOTHING, b.target = c->target;
#define PART(p) b.out.p = out->p == NULL ? NULL : out->p + c->first_row
  PART(logprob), PART(lse), PART(entropy), PART(logits_hash);
#undef PART
  const size_t n = (size_t)c->num_rows * (size_t)b.num_tiles;
  b.partial.sum = (zk_lmhead_sum *)room;
  char *at = (char *)(b.partial.sum + n);
  if (out->logits_hash != NULL) b.partial.hash = (unsigned long long *)at, at += n * sizeof(unsigned long long);
  b.partial.h = (float *)at; // wanted or not: the kernel has no other way
  b.target_z = b.partial.h + n;
  return b;
}
static size_t block_bytes(const zk_lmhead_desc *desc, const zk_chunks *chunks, const zk_lmhead_out *out) {
  const size_t tiles = (size_t)zk_ceil_div(desc->vocab, ZK_VOCAB_TILE);
  const size_t tile = sizeof(zk_lmhead_sum) + (out->logits_hash != NULL ? sizeof(unsigned long long) : 0) + sizeof(float);
  return (size_t)most_rows(desc, chunks) * (tiles * tile + sizeof(float));
}

zk_status zk_cuda_lmhead_loss_fused(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                                    const void *weight, const int32_t *target, const float *lse, const float *dlogprob,
                                    const zk_lmhead_out *out, void *dx, float *dweight, bool *done) {
  const zk_lmhead_out known = {.lse = (float *)lse};
  zk_lmhead_chunk c;
  int32_t starts[MOST_CHUNKS + 1];
  void *room;
  *done = desc->numerics == ZK_BF16 && desc->num_rows > 0 && !zk_lmhead_make_dist(desc).filtered;
  if (!*done) return ZK_OK;
  ZK_TRY(open_groups(stream, desc, chunks, weight, dweight, block_bytes(desc, chunks, out), &c, &room));
  c.sets = desc->first;
  for (chunk_group group = group_at(desc, chunks, 0); group.first < group.end; group = group_at(desc, chunks, group.end)) {
    if (!take_group(chunks, group, x, target, &known, dlogprob, NULL, dx, starts, &c)) continue;
    const zk_cuda_gemm g = logits_product(&c, 0, c.slab); // all groups are alike
    if (!(*done = zk_lmhead_gradients_fit(&c, &g))) return ZK_OK;
    const zk_lmhead_block block = block_of(&c, out, room);
    ZK_TRY((run_group<zk_gemm_bf16_tile<false, false>, zk_bf16>(stream, &c, &block)));
    ZK_TRY(zk_lmhead_merge(stream, &block));
    c.sets = false;
  }
  return ZK_OK;
}
