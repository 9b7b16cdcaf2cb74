// The elementwise operations: each element is its own short sequence of IEEE operations, so vectors of any width agree.
#include "kernels/cpu/convert.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd.h"
#include "kernels/math.h"

#define PIECE 1024 // bf16 elements widened at a time
#define FOR_EACH_PIECE(total) for (int64_t i = 0, n = 0; (n = (total)-i < PIECE ? (total)-i : PIECE) > 0; i += n)

void ZK_ISA_FN(zk_cpu_rope_token)(int32_t num_heads, int32_t half, float sign, const float *cos_row,
                                  const float *sin_row, float *x) {
  for (int32_t head = 0; head < num_heads; head++, x += 2 * half) {
    float *lower = x, *upper = x + half;
    ZK_INDEPENDENT_LOOP
    for (int32_t i = 0; i < half; i++) {
      float a = lower[i], b = upper[i], c = cos_row[i], s = sign * sin_row[i];
      lower[i] = fmaf(-b, s, a * c);
      upper[i] = fmaf(a, s, b * c);
    }
  }
}

void ZK_ISA_FN(zk_cpu_rope_token_bf16)(int32_t num_heads, int32_t half, float sign, const float *cos_row,
                                       const float *sin_row, zk_bf16 *x) {
  float both[2 * PIECE]; // a piece of the lower half, then the same of the upper: a head of its own
  for (int32_t head = 0; head < num_heads; head++, x += 2 * half) FOR_EACH_PIECE(half) {
      ZK_ISA_FN(zk_cpu_widen)(n, x + i, both);
      ZK_ISA_FN(zk_cpu_widen)(n, x + half + i, both + n);
      ZK_ISA_FN(zk_cpu_rope_token)(1, (int32_t)n, sign, cos_row + i, sin_row + i, both);
      ZK_ISA_FN(zk_cpu_narrow)(n, both, x + i);
      ZK_ISA_FN(zk_cpu_narrow)(n, both + n, x + half + i);
    }
}

void ZK_ISA_FN(zk_cpu_swiglu)(int64_t n, const float *gate, const float *up, float *out) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) {
    float g = gate[i], s = 1.0f / (1.0f + zk_expf(-g));
    out[i] = (g * s) * up[i];
  }
}

void ZK_ISA_FN(zk_cpu_swiglu_bf16)(int64_t total, const zk_bf16 *gate, const zk_bf16 *up, zk_bf16 *out) {
  float g[PIECE], u[PIECE];
  FOR_EACH_PIECE(total) {
    ZK_ISA_FN(zk_cpu_widen)(n, gate + i, g);
    ZK_ISA_FN(zk_cpu_widen)(n, up + i, u);
    ZK_ISA_FN(zk_cpu_swiglu)(n, g, u, g);
    ZK_ISA_FN(zk_cpu_narrow)(n, g, out + i);
  }
}

void ZK_ISA_FN(zk_cpu_swiglu_backward)(int64_t n, const float *gate, const float *up, const float *dout, float *dgate,
                                       float *dup) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) {
    float g = gate[i], u = up[i], d = dout[i], s = 1.0f / (1.0f + zk_expf(-g));
    dup[i] = d * (g * s);
    dgate[i] = (d * u) * (s * fmaf(g, 1.0f - s, 1.0f));
  }
}

void ZK_ISA_FN(zk_cpu_swiglu_backward_bf16)(int64_t total, const zk_bf16 *gate, const zk_bf16 *up, const zk_bf16 *dout,
                                            zk_bf16 *dgate, zk_bf16 *dup) {
  float g[PIECE], u[PIECE], d[PIECE];
  FOR_EACH_PIECE(total) {
    ZK_ISA_FN(zk_cpu_widen)(n, gate + i, g);
    ZK_ISA_FN(zk_cpu_widen)(n, up + i, u);
    ZK_ISA_FN(zk_cpu_widen)(n, dout + i, d);
    ZK_ISA_FN(zk_cpu_swiglu_backward)(n, g, u, d, g, u);
    ZK_ISA_FN(zk_cpu_narrow)(n, g, dgate + i);
    ZK_ISA_FN(zk_cpu_narrow)(n, u, dup + i);
  }
}

void ZK_ISA_FN(zk_cpu_add)(int64_t n, const float *a, const float *b, float *dst) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) dst[i] = a[i] + b[i];
}

void ZK_ISA_FN(zk_cpu_add_bf16)(int64_t n, const zk_bf16 *a, const zk_bf16 *b, zk_bf16 *dst) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) dst[i] = zk_float_to_bf16(zk_bf16_to_float(a[i]) + zk_bf16_to_float(b[i]));
}

void ZK_ISA_FN(zk_cpu_scale)(int64_t n, const float *a, float scale, float *dst) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) dst[i] = a[i] * scale;
}

void ZK_ISA_FN(zk_cpu_scale_bf16)(int64_t n, const zk_bf16 *a, float scale, zk_bf16 *dst) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) dst[i] = zk_float_to_bf16(zk_bf16_to_float(a[i]) * scale);
}

void ZK_ISA_FN(zk_cpu_add_widened)(int64_t n, const zk_bf16 *x, float *sum) {
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) sum[i] = sum[i] + zk_bf16_to_float(x[i]);
}

void ZK_ISA_FN(zk_cpu_adamw)(const zk_adamw_params *p, float decay, int64_t n, float *master, float *m, float *v,
                             const float *grad, float *working) {
  const zk_adamw_params q = *p;
  ZK_INDEPENDENT_LOOP
  for (int64_t i = 0; i < n; i++) {
    float g = grad[i] * q.grad_scale;
    float m_new = fmaf(q.beta1, m[i], q.one_minus_beta1 * g);
    float v_new = fmaf(q.beta2, v[i], (q.one_minus_beta2 * g) * g);
    float direction = (m_new / q.bias1) / (sqrtf(v_new / q.bias2) + q.eps);
    float w = fmaf(-q.lr, direction, master[i] * decay);
    m[i] = m_new;
    v[i] = v_new;
    master[i] = w;
    working[i] = w;
  }
}
