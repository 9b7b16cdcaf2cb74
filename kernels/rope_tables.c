// The cos and sin tables of RoPE, on the host, from kernels/math.h alone.
#include "kernels/math.h"
#include "kernels/rope.h"

// Llama 3's rescaling (the rope_scaling of its config.json): long wavelengths are stretched by `factor`, short ones
// kept, and the ones between blended by how many times the wavelength fits the original context.
static double scale_llama3(const zk_rope_params *p, double inv_freq) {
  const double two_pi = 0x1.921fb54442d18p+2;
  double wavelength = two_pi / inv_freq, original = (double)p->original_max_position;
  if (wavelength < original / p->high_freq_factor) return inv_freq;
  if (wavelength > original / p->low_freq_factor) return inv_freq / p->factor;
  double smooth = (original / wavelength - p->low_freq_factor) / (p->high_freq_factor - p->low_freq_factor);
  return (1.0 - smooth) * (inv_freq / p->factor) + smooth * inv_freq;
}

void zk_rope_build_tables(const zk_rope_params *params, int32_t head_dim, int32_t num_positions, float *cos_table,
                          float *sin_table) {
  const int32_t half = head_dim / 2;
  const double log_theta = zk_log(params->theta);
  for (int32_t i = 0; i < half; i++) {
    double inv_freq = zk_exp(-((2.0 * i) / head_dim) * log_theta);
    if (params->scaling == ZK_ROPE_LINEAR) inv_freq = inv_freq / params->factor;
    if (params->scaling == ZK_ROPE_LLAMA3) inv_freq = scale_llama3(params, inv_freq);
    const float frequency = (float)inv_freq;
    for (int32_t pos = 0; pos < num_positions; pos++) {
      const double angle = (float)pos * frequency;
      cos_table[(int64_t)pos * half + i] = (float)zk_cos(angle);
      sin_table[(int64_t)pos * half + i] = (float)zk_sin(angle);
    }
  }
}
