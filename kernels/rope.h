// Rotary position embedding (Su et al. 2021), the half-split form of Llama and Qwen: element i of the first half turns with
// element i + D/2. Tables are built on the host from kernels/math.h alone, so no library's sin or cos reaches a bit.
//
// Order: a = x[i], b = x[i + D/2]: x[i] = fma(-b, sin, a * cos), x[i + D/2] = fma(a, sin, b * cos). Backward: the same with -sin.
// Table: inv_freq[i] = (float)exp(-(2i/D) log(theta)), scaled as Llama 3 does when asked, in double then rounded; angle = (float)pos *
// inv_freq[i] rounded to f32 as transformers does; cos and sin of that angle in double, rounded to f32.
// bf16: the same on widened x, each output rounded once.
#ifndef ZK_KERNELS_ROPE_H
#define ZK_KERNELS_ROPE_H

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { ZK_ROPE_PLAIN, ZK_ROPE_LINEAR, ZK_ROPE_LLAMA3 } zk_rope_scaling;

typedef struct {
  double theta;
  zk_rope_scaling scaling;
  double factor, low_freq_factor, high_freq_factor; // LLAMA3 (and factor for LINEAR)
  int32_t original_max_position;                    // LLAMA3
} zk_rope_params;

// Fills host arrays cos_table, sin_table [num_positions, head_dim / 2].
void zk_rope_build_tables(const zk_rope_params *params, int32_t head_dim, int32_t num_positions, float *cos_table, float *sin_table);

typedef struct {
  zk_numerics numerics;
  int64_t num_rows;  // tokens, T
  int32_t num_heads; // heads in x
  int32_t head_dim;  // D
} zk_rope_desc;

// Rotates x[T, num_heads, D] in place by positions[T] (int32, device). Tables in device memory.
zk_status zk_rope_forward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions, const float *cos_table,
                          const float *sin_table, void *x);
zk_status zk_rope_backward(zk_stream *stream, const zk_rope_desc *desc, const int32_t *positions, const float *cos_table,
                           const float *sin_table, void *dx);

#ifdef __cplusplus
}
#endif
#endif
