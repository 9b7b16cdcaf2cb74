// RMSNorm on a GPU: a row belongs to a warp or to a block of 128 threads (lanes.cuh); the weight gradient's 64-row
// blocks are walked by one thread a column, and then added by the tree.
#include "kernels/rmsnorm.h"

#include "kernels/cuda/arrivals.h"
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/rmsnorm_backward.cuh"
#include "kernels/cuda/rmsnorm_backward_ring.cuh"
#include "kernels/cuda/rmsnorm_rows.cuh"
#include "kernels/cuda/values.cuh"

#define COLUMN_THREADS 128 // columns of a block that walks 64 rows
#define TREE_COLUMNS 32    // columns of a block that adds block sums
#define TREE_THREADS 16    // threads a column there
#define FEW_ROWS 1024      // of bf16: so many or fewer get a block each, if they are longer than a head
#define SHORT_WIDTH 1024   // of bf16: longer rows get a block each, however many

// x, y [rows, width]; weight [width]; rstd [rows] or NULL.
template <typename T, int P>
__global__ void rmsnorm_forward_kernel(int64_t rows, int32_t width, float eps, const T *x, const T *weight, T *y,
                                       float *rstd) {
  const int64_t row = zk_lane_row<P>();
  if (row >= rows) return; // a whole warp or block
  const int first = zk_lane_thread<P>() * P;
  x += row * width;
  y += row * width;
  float lane[P] = {};
  for (int32_t h = first; h < width; h += ZK_LANES) {
    const zk_values<P> v = zk_load_values<P>(x, h, width);
    for (int i = 0; i < P; i++)
      if (h + i < width) lane[i] = fmaf(v.at[i], v.at[i], lane[i]);
  }
  const float scale = 1.0f / sqrtf(zk_lanes_finish(lane) / (float)width + eps);
  if (first == 0 && rstd != NULL) rstd[row] = scale;
  for (int32_t h = first; h < width; h += ZK_LANES) {
    zk_values<P> v = zk_load_values<P>(x, h, width);
    const zk_values<P> w = zk_load_values<P>(weight, h, width);
    for (int i = 0; i < P; i++) v.at[i] = (v.at[i] * scale) * w.at[i];
    zk_store_values(y, h, width, v);
  }
}

// dx [rows, width] of dy, x and, if not NULL, addend; each element of a row is read before it is written.
template <typename T, int P>
__global__ void rmsnorm_dx_kernel(int64_t rows, int32_t width, const T *dy, const T *x, const T *weight,
                                  const float *rstd, const T *addend, T *dx) {
  const int64_t row = zk_lane_row<P>(), at = row * width;
  if (row >= rows) return;
  const int first = zk_lane_thread<P>() * P;
  const float scale = rstd[row];
  float lane[P] = {};
  for (int32_t h = first; h < width; h += ZK_LANES) {
    const zk_values<P> d = zk_load_values<P>(dy + at, h, width), v = zk_load_values<P>(x + at, h, width);
    const zk_values<P> w = zk_load_values<P>(weight, h, width);
    for (int i = 0; i < P; i++)
      if (h + i < width) lane[i] = fmaf(d.at[i] * w.at[i], v.at[i], lane[i]);
  }
  const float k = (((zk_lanes_finish(lane) * scale) * scale) * scale) / (float)width;
  for (int32_t h = first; h < width; h += ZK_LANES) {
    const zk_values<P> d = zk_load_values<P>(dy + at, h, width), w = zk_load_values<P>(weight, h, width);
    zk_values<P> v = zk_load_values<P>(x + at, h, width);
    for (int i = 0; i < P; i++) v.at[i] = fmaf(-k, v.at[i], (d.at[i] * w.at[i]) * scale);
    if (addend != NULL) {
      const zk_values<P> a = zk_load_values<P>(addend + at, h, width);
      for (int i = 0; i < P; i++) v.at[i] = v.at[i] + a.at[i];
    }
    zk_store_values(dx + at, h, width, v);
  }
}

// block_sums [blocks, width] of one chunk's rows: blockIdx.x counts blocks of 64 rows, blockIdx.y columns.
template <typename T>
__global__ void rmsnorm_block_sums_kernel(int64_t rows, int32_t width, const T *dy, const T *x, const float *rstd,
                                          float *block_sums) {
  const int32_t h = blockIdx.y * COLUMN_THREADS + threadIdx.x;
  if (h >= width) return;
  const int64_t first = (int64_t)blockIdx.x * ZK_GRAD_BLOCK_ROWS;
  const int n = rows - first < ZK_GRAD_BLOCK_ROWS ? (int)(rows - first) : ZK_GRAD_BLOCK_ROWS;
  float acc = 0.0f;
#pragma unroll 8
  for (int i = 0; i < n; i++) {
    const int64_t at = (first + i) * width + h;
    acc = fmaf(zk_load(dy, at), zk_load(x, at) * rstd[first + i], acc);
  }
  block_sums[(int64_t)blockIdx.x * width + h] = acc;
}

// dweight [width] += the tree over block_sums [num_blocks, width], which is overwritten level by level.
static __global__ void rmsnorm_tree_kernel(int32_t num_blocks, int32_t width, float *block_sums, float *dweight) {
  const int32_t h = blockIdx.x * TREE_COLUMNS + threadIdx.x, mine = threadIdx.y;
  for (int32_t step = 1; step < num_blocks; step *= 2) {
    if (h < width)
      for (int32_t b = 2 * step * mine; b + step < num_blocks; b += 2 * step * TREE_THREADS) {
        float *left = block_sums + (int64_t)b * width + h;
        *left = *left + left[(int64_t)step * width];
      }
    __syncthreads();
  }
  if (h < width && mine == 0) dweight[h] = dweight[h] + block_sums[h];
}

// Few long rows: a block each. Otherwise a warp each.
static bool wants_blocks(int64_t rows, int32_t width) { return rows < 512 && width > 512; }

template <typename T>
static zk_status forward(zk_stream *stream, const zk_rmsnorm_desc *desc, const void *x, const void *weight, void *y,
                         float *rstd) {
  const int64_t rows = desc->num_rows * desc->rows_per_token;
  if (wants_blocks(rows, desc->width))
    ZK_LAUNCH((rmsnorm_forward_kernel<T, 1>), zk_lane_blocks<1>(rows), ZK_LANE_BLOCK_THREADS, 0, stream, rows,
              desc->width, desc->eps, (const T *)x, (const T *)weight, (T *)y, rstd);
  else
    ZK_LAUNCH((rmsnorm_forward_kernel<T, 4>), zk_lane_blocks<4>(rows), ZK_LANE_BLOCK_THREADS, 0, stream, rows,
              desc->width, desc->eps, (const T *)x, (const T *)weight, (T *)y, rstd);
  return ZK_OK;
}

template <typename T>
static zk_status chunk_dweight(zk_stream *stream, int64_t rows, int32_t width, const T *dy, const T *x,
                               const float *rstd, float *dweight) {
  const int32_t num_blocks = (int32_t)(zk_ceil_div(rows, ZK_GRAD_BLOCK_ROWS));
  void *block_sums;
  ZK_TRY(zk_stream_scratch(stream, (size_t)num_blocks * (size_t)width * sizeof(float), &block_sums));
  ZK_LAUNCH(rmsnorm_block_sums_kernel<T>, dim3(num_blocks, (unsigned)zk_ceil_div(width, COLUMN_THREADS)),
            COLUMN_THREADS, 0, stream, rows, width, dy, x, rstd, (float *)block_sums);
  ZK_LAUNCH(rmsnorm_tree_kernel, (unsigned)zk_ceil_div(width, TREE_COLUMNS), dim3(TREE_COLUMNS, TREE_THREADS), 0,
            stream, num_blocks, width, (float *)block_sums, dweight);
  return ZK_OK;
}

// The weight gradient first: dx may be written over dy.
template <typename T>
static zk_status backward(zk_stream *stream, const zk_rmsnorm_desc *desc, const zk_chunks *chunks, const T *dy,
                          const T *x, const T *weight, const float *rstd, const T *addend, T *dx, float *dweight) {
  const int64_t rows = desc->num_rows * desc->rows_per_token;
  const int32_t width = desc->width;
  for (int32_t c = 0; c < chunks->num_chunks && dweight != NULL; c++) {
    const int64_t first = (int64_t)chunks->row_start[c] * desc->rows_per_token;
    const int64_t end = (int64_t)chunks->row_start[c + 1] * desc->rows_per_token;
    if (first == end) continue;
    ZK_TRY(chunk_dweight(stream, end - first, width, dy + first * width, x + first * width, rstd + first, dweight));
  }
  if (wants_blocks(rows, width))
    ZK_LAUNCH((rmsnorm_dx_kernel<T, 1>), zk_lane_blocks<1>(rows), ZK_LANE_BLOCK_THREADS, 0, stream, rows, width, dy, x,
              weight, rstd, addend, dx);
  else
    ZK_LAUNCH((rmsnorm_dx_kernel<T, 4>), zk_lane_blocks<4>(rows), ZK_LANE_BLOCK_THREADS, 0, stream, rows, width, dy, x,
              weight, rstd, addend, dx);
  return ZK_OK;
}

// The kernels of rmsnorm_rows.cuh where they fit. A block of few threads spreads few rows over more multiprocessors.
template <int STEPS>
static zk_status launch_group(zk_stream *stream, int64_t rows, int32_t width, float eps, const zk_bf16 *x,
                              const zk_bf16 *weight, zk_bf16 *y, float *rstd) {
  const unsigned block = rows * ZK_RMS_GROUP < 132 * 1024 ? 32 : 128;
  ZK_LAUNCH_DEPENDENT(zk_rmsnorm_group_kernel<STEPS>, (unsigned)zk_ceil_div(rows * ZK_RMS_GROUP, block), block, 0,
                      stream, rows, width, eps, x, weight, y, rstd);
  return ZK_OK;
}

static bool wants_whole_rows(int32_t width, const void *x, const void *weight, const void *y) {
  return width % 8 == 0 && width <= ZK_RMS_BLOCK_WIDTH && ((uintptr_t)x | (uintptr_t)weight | (uintptr_t)y) % 16 == 0;
}

template <int PIECES>
static zk_status launch_blocks(zk_stream *stream, int64_t rows, int32_t width, float eps, const zk_bf16 *x,
                               const zk_bf16 *weight, zk_bf16 *y, float *rstd) {
  const int threads = (int)zk_ceil_div(width, 8 * PIECES * 32) * 32;
  ZK_LAUNCH_DEPENDENT(zk_rmsnorm_block_kernel<PIECES>, (unsigned)rows,
                      threads > ZK_RMS_BLOCK_MIN_THREADS ? threads : ZK_RMS_BLOCK_MIN_THREADS, (size_t)width * 2,
                      stream, width, eps, x, weight, y, rstd);
  return ZK_OK;
}

static zk_status forward_whole_rows(zk_stream *stream, int64_t rows, int32_t width, float eps, const zk_bf16 *x,
                                    const zk_bf16 *weight, zk_bf16 *y, float *rstd) {
  if (rows <= FEW_ROWS && width > 256) return launch_blocks<1>(stream, rows, width, eps, x, weight, y, rstd);
  if (width <= 128) return launch_group<1>(stream, rows, width, eps, x, weight, y, rstd);
  if (width <= SHORT_WIDTH) return launch_group<8>(stream, rows, width, eps, x, weight, y, rstd);
  return launch_blocks<2>(stream, rows, width, eps, x, weight, y, rstd);
}

zk_status zk_cuda_rmsnorm_forward(zk_stream *stream, const zk_rmsnorm_desc *desc, const void *x, const void *weight,
                                  void *y, float *rstd) {
  if (desc->num_rows == 0) return ZK_OK;
  if (desc->numerics == ZK_F32) return forward<float>(stream, desc, x, weight, y, rstd);
  if (!wants_whole_rows(desc->width, x, weight, y)) return forward<zk_bf16>(stream, desc, x, weight, y, rstd);
  return forward_whole_rows(stream, desc->num_rows * desc->rows_per_token, desc->width, desc->eps, (const zk_bf16 *)x,
                            (const zk_bf16 *)weight, (zk_bf16 *)y, rstd);
}

enum { BACK_WIDTH = 4096 };

static bool wants_one_launch(const zk_rms_backward &b) {
  const uintptr_t all = (uintptr_t)b.dy | (uintptr_t)b.x | (uintptr_t)b.weight | (uintptr_t)b.addend | (uintptr_t)b.dx;
  return b.width % 4 == 0 && b.width <= BACK_WIDTH && all % 8 == 0;
}

template <int STEPS> static zk_status launch_backward(zk_stream *stream, const zk_rms_backward &b, bool with_rows) {
  const int64_t row_blocks = with_rows ? zk_ceil_div(b.rows, ZK_RMS_BACK_THREADS / 32) : 0;
  const unsigned grid = (unsigned)(b.column_blocks + row_blocks);
  if (grid > 0) ZK_LAUNCH_DEPENDENT(zk_rmsnorm_backward_kernel<STEPS>, grid, ZK_RMS_BACK_THREADS, 0, stream, b);
  return ZK_OK;
}

// Blocks that have 64 rows each pay where there is one for nearly each multiprocessor, of rows that are not short.
template <int STEPS> static bool wants_row_blocks(zk_stream *stream, const zk_rms_backward &b) {
  const uintptr_t all = (uintptr_t)b.dy | (uintptr_t)b.x | (uintptr_t)b.addend;
  return STEPS >= 8 && b.width % 8 == 0 && all % 16 == 0 && 4 * (b.rows / ZK_GRAD_BLOCK_ROWS) >= 3 * zk_cuda_num_sms(zk_stream_device(stream));
}

// ZK_SUMS_CHUNKS chunks a launch. Rows in blocks, then their sums; or columns, and all rows in the first launch, or in one of their own, the
// last, if dx lies on dy.
template <int STEPS>
static zk_status backward_in_one(zk_stream *stream, const zk_chunks *chunks, int32_t rows_per_token, zk_rms_backward b, float *dweight) {
  const int32_t strips = (int32_t)zk_ceil_div(b.width, ZK_RMS_BACK_COLUMNS);
  const bool row_blocks = dweight != NULL && wants_row_blocks<STEPS>(stream, b);
  bool rows_left = !row_blocks;
  for (int32_t c = 0; c < chunks->num_chunks && dweight != NULL; c += ZK_SUMS_CHUNKS) {
    b.groups = zk_sum_groups_of(chunks, c, rows_per_token, row_blocks ? (int64_t)ZK_GRAD_BLOCK_ROWS : (int64_t)ZK_RMS_BACK_GROUP);
    const int32_t num_groups = b.groups.first_group[b.groups.num_chunks];
    void *partials;
    if (num_groups == 0) continue;
    ZK_TRY(zk_stream_scratch(stream, (size_t)num_groups * (size_t)b.width * sizeof(float), &partials));
    b.sums = {(float *)partials, dweight, zk_cuda_arrivals(stream)};
    if constexpr (STEPS >= 8) {
      if (row_blocks) {
        if (b.width == STEPS * ZK_LANES)
          ZK_LAUNCH_DEPENDENT((zk_rmsnorm_backward_ring_kernel<STEPS, true>), (unsigned)num_groups, ZK_RMS_RING_THREADS, zk_rms_ring_shared(b), stream, b,
                              zk_rms_ring_places(b));
        else
          ZK_LAUNCH_DEPENDENT((zk_rmsnorm_backward_ring_kernel<STEPS, false>), (unsigned)num_groups, ZK_RMS_RING_THREADS, zk_rms_ring_shared(b), stream, b,
                              zk_rms_ring_places(b));
        ZK_LAUNCH_DEPENDENT(zk_rmsnorm_partials_kernel, (unsigned)strips, ZK_RMS_BACK_THREADS, 0, stream, b);
        continue;
      }
    }
    b.column_blocks = num_groups * strips;
    ZK_TRY(launch_backward<STEPS>(stream, b, rows_left && b.dx != b.dy));
    rows_left &= b.dx == b.dy;
  }
  b.column_blocks = 0;
  return rows_left ? launch_backward<STEPS>(stream, b, true) : ZK_OK;
}

zk_status zk_cuda_rmsnorm_backward(zk_stream *stream, const zk_rmsnorm_desc *desc, const zk_chunks *chunks,
                                   const void *dy, const void *x, const void *weight, const float *rstd,
                                   const void *addend, void *dx, float *dweight) {
  if (desc->num_rows == 0) return ZK_OK;
  if (desc->numerics == ZK_F32)
    return backward(stream, desc, chunks, (const float *)dy, (const float *)x, (const float *)weight, rstd,
                    (const float *)addend, (float *)dx, dweight);
  zk_rms_backward b = {};
  b.rows = desc->num_rows * desc->rows_per_token, b.width = desc->width;
  b.dy = (const zk_bf16 *)dy, b.x = (const zk_bf16 *)x, b.weight = (const zk_bf16 *)weight;
  b.addend = (const zk_bf16 *)addend, b.rstd = rstd, b.dx = (zk_bf16 *)dx;
  if (wants_one_launch(b)) {
    if (b.width <= ZK_LANES) return backward_in_one<1>(stream, chunks, desc->rows_per_token, b, dweight);
    if (b.width <= 8 * ZK_LANES) return backward_in_one<8>(stream, chunks, desc->rows_per_token, b, dweight);
    if (b.width <= 16 * ZK_LANES) return backward_in_one<16>(stream, chunks, desc->rows_per_token, b, dweight);
    if (b.width <= 20 * ZK_LANES) return backward_in_one<20>(stream, chunks, desc->rows_per_token, b, dweight);
    return backward_in_one<32>(stream, chunks, desc->rows_per_token, b, dweight);
  }
  return backward(stream, desc, chunks, (const zk_bf16 *)dy, (const zk_bf16 *)x, (const zk_bf16 *)weight, rstd,
                  (const zk_bf16 *)addend, (zk_bf16 *)dx, dweight);
}
