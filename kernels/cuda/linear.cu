// Linear layers on the GPU: what each operation is as a product (kernels/linear.h has the orders), and the bias
// gradient.
#include "kernels/backend.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_gradients.h"
#include "kernels/cuda/gemm_inputs.h"

// A GPU reads weights as they are.
size_t zk_cuda_linear_packed_bytes(const zk_device *device, zk_numerics numerics, int32_t in_features,
                                   int32_t out_features) {
  (void)device, (void)numerics, (void)in_features, (void)out_features;
  return 0;
}

zk_status zk_cuda_linear_pack(zk_stream *stream, const zk_linear_desc *desc, const void *weight, void *packed) {
  (void)stream, (void)desc, (void)weight, (void)packed;
  return ZK_OK;
}

static zk_cuda_gemm forward(const zk_linear_desc *desc, const void *x, const void *weight, const void *bias,
                            const void *addend, void *y) {
  zk_cuda_gemm g = {};
  g.numerics = g.addend_as = g.c_as = desc->numerics;
  g.m = desc->num_rows, g.n = desc->out_features, g.k = desc->in_features;
  g.a = x, g.lda = desc->in_features;
  g.b = weight, g.ldb = desc->in_features;
  g.bias = bias;
  g.addend = addend, g.ldaddend = desc->out_features;
  g.c = y, g.ldc = desc->out_features;
  return g;
}

zk_status zk_cuda_linear_forward(zk_stream *stream, const zk_linear_desc *desc, const void *x, const void *weight,
                                 const void *packed, const void *bias, const void *addend, void *y) {
  (void)packed;
  return zk_cuda_gemm_run(stream, forward(desc, x, weight, bias, addend, y));
}

// The parts as products; whether one launch may be made of them.
static bool describe(const zk_linear_parts *p, const void *x, zk_cuda_gemm g[ZK_LINEAR_MOST_PARTS]) {
  for (int32_t i = 0; i < p->num_parts; i++) {
    const zk_linear_desc desc = {p->numerics, p->num_rows, p->in_features, p->parts[i].out_features};
    g[i] = forward(&desc, x, p->parts[i].weight, p->parts[i].bias, NULL, p->parts[i].y);
  }
  return p->num_rows > 0 && p->numerics == ZK_BF16 && (uintptr_t)p->norm.weight % 16 == 0;
}

zk_status zk_cuda_linear_parts_fused(zk_stream *stream, const zk_linear_parts *parts, const void *x, bool *done) {
  zk_cuda_gemm g[ZK_LINEAR_MOST_PARTS];
  const zk_cuda_norm norm = {parts->norm.weight, parts->norm.eps};
  *done = false;
  if (!describe(parts, x, g)) return ZK_OK;
  return zk_cuda_gemm_run_parts(stream, g, parts->num_parts, norm.weight != NULL ? &norm : NULL, done);
}

zk_status zk_cuda_linear_swiglu_fused(zk_stream *stream, const zk_linear_parts *parts, const void *x, void *out, bool *done) {
  zk_cuda_gemm g[ZK_LINEAR_MOST_PARTS];
  const zk_cuda_norm norm = {parts->norm.weight, parts->norm.eps};
  *done = false;
  if (!describe(parts, x, g)) return ZK_OK;
  return zk_cuda_gemm_run_swiglu(stream, g, norm.weight != NULL ? &norm : NULL, out, parts->keeps, done);
}

static zk_cuda_gemm backward_input(const zk_linear_desc *desc, const void *dy, const void *weight, const void *addend, void *dx) {
  zk_cuda_gemm g = {};
  g.numerics = g.addend_as = g.c_as = desc->numerics;
  g.m = desc->num_rows, g.n = desc->in_features, g.k = desc->out_features;
  g.a = dy, g.lda = desc->out_features;
  g.b = weight, g.ldb = desc->in_features, g.b_outer = true;
  g.addend = addend, g.ldaddend = desc->in_features;
  g.c = dx, g.ldc = desc->in_features;
  return g;
}

zk_status zk_cuda_linear_backward_input(zk_stream *stream, const zk_linear_desc *desc, const void *dy,
                                        const void *weight, const void *addend, void *dx) {
  return zk_cuda_gemm_run(stream, backward_input(desc, dy, weight, addend, dx));
}

zk_status zk_cuda_linear_parts_input_fused(zk_stream *stream, const zk_linear_back_parts *p, void *dx, bool *done) {
  zk_cuda_gemm g[ZK_LINEAR_MOST_PARTS];
  *done = false;
  if (p->numerics != ZK_BF16) return ZK_OK;
  for (int32_t i = 0; i < p->num_parts; i++) {
    const zk_linear_desc desc = {p->numerics, p->num_rows, p->in_features, p->parts[i].out_features};
    g[i] = backward_input(&desc, p->parts[i].dy, p->parts[i].weight, i > 0 ? dx : NULL, dx);
  }
  return zk_cuda_gemm_inputs(stream, g, p->num_parts, done);
}

enum { BIAS_COLUMNS = 32, BIAS_THREADS = 512, MAX_BLOCKS = ZK_CHUNK_TOKENS / ZK_GRAD_BLOCK_ROWS };

// dbias[width] += sum over the rows of dy[num_rows, width], num_rows <= ZK_CHUNK_TOKENS: a warp sums a 64-row block of
// 32 columns, row after row; then a thread a column adds the block sums by the tree.
template <class T> static __global__ void bias_kernel(int64_t num_rows, int64_t width, const T *dy, float *dbias) {
  ZK_DYNAMIC_SHARED(float, sums); // [MAX_BLOCKS][BIAS_COLUMNS]
  const int tid = (int)threadIdx.x, column = tid % BIAS_COLUMNS;
  const int64_t n = (int64_t)blockIdx.x * BIAS_COLUMNS + column;
  int num_blocks = (int)((num_rows + ZK_GRAD_BLOCK_ROWS - 1) / ZK_GRAD_BLOCK_ROWS);
  for (int block = tid / BIAS_COLUMNS; block < num_blocks; block += BIAS_THREADS / BIAS_COLUMNS) {
    float acc = 0.0f;
    for (int64_t t = (int64_t)block * ZK_GRAD_BLOCK_ROWS;
         n < width && t < num_rows && t < (block + 1) * ZK_GRAD_BLOCK_ROWS; t++)
      acc = acc + zk_load(dy, t * width + n);
    sums[block * BIAS_COLUMNS + column] = acc;
  }
  __syncthreads();
  if (tid >= BIAS_COLUMNS || n >= width) return;
  float *s = sums + column;
  for (; num_blocks > 1; num_blocks = (num_blocks + 1) / 2)
    for (int i = 0; i < num_blocks; i += 2)
      s[i / 2 * BIAS_COLUMNS] =
          i + 1 < num_blocks ? s[i * BIAS_COLUMNS] + s[(i + 1) * BIAS_COLUMNS] : s[i * BIAS_COLUMNS];
  dbias[n] = dbias[n] + s[0];
}

// dbias += the sums over rows [first, first + num_rows); it may be NULL.
static zk_status bias_gradient(zk_stream *stream, const zk_linear_desc *desc, int64_t first, int64_t num_rows, const void *dy, float *dbias) {
  const int64_t width = desc->out_features;
  const dim3 grid((unsigned)((width + BIAS_COLUMNS - 1) / BIAS_COLUMNS));
  const size_t shared = MAX_BLOCKS * BIAS_COLUMNS * sizeof(float);
  if (dbias == NULL || num_rows == 0) return ZK_OK;
  if (desc->numerics == ZK_F32)
    ZK_LAUNCH((bias_kernel<float>), grid, BIAS_THREADS, shared, stream, num_rows, width, (const float *)dy + first * width, dbias);
  else ZK_LAUNCH((bias_kernel<zk_bf16>), grid, BIAS_THREADS, shared, stream, num_rows, width, (const zk_bf16 *)dy + first * width, dbias);
  return ZK_OK;
}

// dweight += the product of rows [first, first + num_rows).
static zk_status weight_gradient(zk_stream *stream, const zk_linear_desc *desc, int64_t first, int64_t num_rows,
                                 const void *dy, const void *x, float *dweight) {
  const int64_t in = desc->in_features, out = desc->out_features, element = (int64_t)zk_numerics_bytes(desc->numerics);
  zk_cuda_gemm g = {};
  g.numerics = desc->numerics, g.addend_as = g.c_as = ZK_F32;
  g.m = out, g.n = in, g.k = num_rows;
  g.a = (const char *)dy + first * out * element, g.lda = out, g.a_outer = true;
  g.b = (const char *)x + first * in * element, g.ldb = in, g.b_outer = true;
  g.addend = dweight, g.ldaddend = in;
  g.c = dweight, g.ldc = in;
  return zk_cuda_gemm_run(stream, g);
}

// Of one part: by the kernel of several, or chunk by chunk.
zk_status zk_cuda_linear_backward_weight(zk_stream *stream, const zk_linear_desc *desc, const zk_chunks *chunks,
                                         const void *dy, const void *x, float *dweight, float *dbias) {
  const zk_linear_back_parts one = {desc->numerics, desc->num_rows, desc->in_features, 1, {{desc->out_features, dy, NULL, dweight, dbias}}};
  bool done;
  ZK_TRY(zk_cuda_linear_parts_weight_fused(stream, &one, chunks, x, &done));
  if (done) return ZK_OK;
  const bool by_chunk = desc->numerics != ZK_VENDOR; // which sums all rows at once
  if (!by_chunk && desc->num_rows > 0) ZK_TRY(weight_gradient(stream, desc, 0, desc->num_rows, dy, x, dweight));
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t first = chunks->row_start[c], num_rows = chunks->row_start[c + 1] - first;
    if (by_chunk && num_rows > 0) ZK_TRY(weight_gradient(stream, desc, first, num_rows, dy, x, dweight));
    ZK_TRY(bias_gradient(stream, desc, first, num_rows, dy, dbias));
  }
  return ZK_OK;
}

zk_status zk_cuda_linear_parts_weight_fused(zk_stream *stream, const zk_linear_back_parts *parts, const zk_chunks *chunks, const void *x, bool *done) {
  ZK_TRY(zk_cuda_gemm_gradients(stream, parts, chunks, x, done));
  for (int32_t i = 0; *done && i < parts->num_parts; i++) {
    const zk_linear_desc desc = {parts->numerics, parts->num_rows, parts->in_features, parts->parts[i].out_features};
    for (int32_t c = 0; c < chunks->num_chunks; c++)
      ZK_TRY(bias_gradient(stream, &desc, chunks->row_start[c], chunks->row_start[c + 1] - chunks->row_start[c], parts->parts[i].dy,
                           parts->parts[i].dbias));
  }
  return ZK_OK;
}
