// Packing: rows or columns of a matrix, W at a time, laid side by side for each k.
#include <string.h>

#include "kernels/cpu/isa/gemm_block.h"

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

// Steps [k0, k1) of a panel whose rows are contiguous in k, element by element.
static void transpose_plain(const float *in, int64_t ld, int valid, int width, int64_t k0, int64_t k1, float *out) {
  for (int64_t i = k0; i < k1; i++)
    for (int r = 0; r < width; r++) out[i * width + r] = r < valid ? in[r * ld + i] : 0.0f;
}

#if ZK_VLEN > 1
// 8 x 8 floats: row r of `in` becomes lane r of every out[i].
static inline void transpose_8x8(const float *const in[8], __m256 out[8]) {
  __m256 a[8], b[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; r++) a[r] = _mm256_loadu_ps(in[r]);
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2)
    b[r] = _mm256_unpacklo_ps(a[r], a[r + 1]), b[r + 1] = _mm256_unpackhi_ps(a[r], a[r + 1]);
#pragma GCC unroll 2
  for (int r = 0; r < 8; r += 4) {
    a[r] = _mm256_shuffle_ps(b[r], b[r + 2], 0x44), a[r + 1] = _mm256_shuffle_ps(b[r], b[r + 2], 0xee);
    a[r + 2] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0x44), a[r + 3] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++) {
    out[r] = _mm256_permute2f128_ps(a[r], a[r + 4], 0x20);
    out[r + 4] = _mm256_permute2f128_ps(a[r], a[r + 4], 0x31);
  }
}

// Stores are whole vectors: what spills past a step's `width` is overwritten by the next step, so the last steps are
// left to the plain loop.
static void transpose(const float *in, int64_t ld, int valid, int width, int64_t k, float *out) {
  const float *rows[16];
  float lanes[16];
  for (int r = 0; r < 16; r++) {
    rows[r] = in + (r < valid ? r : 0) * ld;
    lanes[r] = zk_bits_float(r < valid ? 0xffffffffu : 0u);
  }
  const __m256 keep_low = _mm256_loadu_ps(lanes), keep_high = _mm256_loadu_ps(lanes + 8);
  int64_t k0 = 0;
  for (; k0 + 16 <= k; k0 += 8) {
    __m256 low[8], high[8];
    transpose_8x8(rows, low);
    if (width > 8) transpose_8x8(rows + 8, high);
    for (int i = 0; i < 8; i++) {
      float *step = out + (k0 + i) * width;
      _mm256_storeu_ps(step, _mm256_and_ps(low[i], keep_low));
      if (width > 8) _mm256_storeu_ps(step + 8, _mm256_and_ps(high[i], keep_high));
    }
    for (int r = 0; r < 16; r++) rows[r] += 8;
  }
  transpose_plain(in, ld, valid, width, k0, k, out);
}
#else
static void transpose(const float *in, int64_t ld, int valid, int width, int64_t k, float *out) {
  transpose_plain(in, ld, valid, width, 0, k, out);
}
#endif

// Steps [k0, k1) of a panel whose steps are contiguous in the source. `spill` floats are written a step: what lies past
// its width is overwritten by the next one.
static inline void copy_steps(const float *in, int64_t ld, int width, const int spill, int64_t k0, int64_t k1,
                              float *out) {
  for (int64_t i = k0; i < k1; i++) memcpy(out + i * width, in + i * ld, (size_t)spill * sizeof *out);
}

enum {
  COPY_ROWS = 16,  // rows of the source taken together: few enough for a cache set, since they may all fall into one
  COPY_PANELS = 16 // and this many panels of them
};

// All panels of the range at once, some rows of the source after another.
static void copy_panels(const zk_gemm_operand *src, int64_t count, int64_t k, int width, int64_t first, int64_t end,
                        float *dst) {
  for (int64_t k0 = 0; k0 < k; k0 += COPY_ROWS)
    for (int64_t p = first; p < end; p++) {
      const float *in = src->data + p * width;
      float *out = dst + p * width * k;
      const int64_t k1 = min64(k0 + COPY_ROWS, k);
      if (width <= 8 && p * width + 8 <= count && k1 + 8 <= k) copy_steps(in, src->ld, width, 8, k0, k1, out);
      else if (p * width + 16 <= count && k1 + 16 <= k) copy_steps(in, src->ld, width, 16, k0, k1, out);
      else
        for (int64_t i = k0; i < k1; i++)
          for (int r = 0; r < width; r++) out[i * width + r] = p * width + r < count ? in[i * src->ld + r] : 0.0f;
    }
}

void zk_pack_panels(const zk_gemm_operand *src, int64_t count, int64_t k, int width, int64_t first, int64_t end,
                    float *dst) {
  if (src->layout == ZK_GEMM_K_OUTER) {
    for (int64_t p = first; p < end; p += COPY_PANELS)
      copy_panels(src, count, k, width, p, min64(p + COPY_PANELS, end), dst);
    return;
  }
  for (int64_t p = first; p < end; p++)
    transpose(src->data + p * width * src->ld, src->ld, (int)min64(width, count - p * width), width, k,
              dst + p * width * k);
}
