// The row-wise and elementwise operations as straight loops, written from the headers' text.
#include "kernels/reference/rows_reference.h"

#include "kernels/hash.h"
#include "kernels/math.h"
#include "kernels/reduce.h"
#include "kernels/rng.h"

// Lane i % 128 takes element i; then 64 lanes take the other 64, 32 the next 32, ...
typedef struct {
  float lane[ZK_LANES];
  int64_t next;
} lanes;

static void lanes_take(lanes *l, float a, float b) {
  float *lane = &l->lane[l->next++ % ZK_LANES];
  *lane = fmaf(a, b, *lane);
}

static float lanes_total(lanes *l) {
  for (int half = 64; half >= 1; half /= 2)
    for (int j = 0; j < half; j++) l->lane[j] = l->lane[j] + l->lane[j + half];
  return l->lane[0];
}

// The node over [begin, begin + span), span a power of two; only elements below n exist.
static float tree_node(const float *values, int64_t n, int64_t begin, int64_t span) {
  if (span == 1) return values[begin];
  float left = tree_node(values, n, begin, span / 2);
  return begin + span / 2 < n ? left + tree_node(values, n, begin + span / 2, span / 2) : left;
}

float zk_reference_tree(const float *values, int64_t n) {
  if (n == 0) return 0.0f;
  int64_t span = 1;
  while (span < n) span *= 2;
  return tree_node(values, n, 0, span);
}

void zk_reference_embedding_forward(int64_t num_rows, int64_t width, const int32_t *tokens, const float *table,
                                    float *x) {
  for (int64_t t = 0; t < num_rows; t++)
    for (int64_t h = 0; h < width; h++) x[t * width + h] = table[tokens[t] * width + h];
}

void zk_reference_embedding_backward(int64_t num_rows, int64_t width, const int32_t *tokens, const float *dx,
                                     float *dtable) {
  for (int64_t t = 0; t < num_rows; t++)
    for (int64_t h = 0; h < width; h++) dtable[tokens[t] * width + h] += dx[t * width + h];
}

void zk_reference_embedding_backward_apart(int64_t num_rows, int64_t width, int64_t vocab, const int32_t *tokens, const float *dx, float *dtable) {
  for (int64_t v = 0; v < vocab; v++) {
    int64_t first = 0, end = num_rows; // the rows that have v lie between
    while (first < end && tokens[first] != v) first++;
    while (first < end && tokens[end - 1] != v) end--;
    for (int64_t h = 0; h < width && first < end; h++) {
      float sum = 0.0f;
      for (int64_t t = first; t < end; t++)
        if (tokens[t] == v) sum += dx[t * width + h];
      dtable[v * width + h] += sum;
    }
  }
}

void zk_reference_rmsnorm_forward(int64_t rows, int64_t width, float eps, const float *x, const float *weight, float *y,
                                  float *rstd) {
  for (int64_t r = 0; r < rows; r++) {
    lanes sum = {0};
    for (int64_t h = 0; h < width; h++) lanes_take(&sum, x[r * width + h], x[r * width + h]);
    float mean = lanes_total(&sum) / (float)width;
    float root = sqrtf(mean + eps);
    rstd[r] = 1.0f / root;
    for (int64_t h = 0; h < width; h++) {
      float normed = x[r * width + h] * rstd[r];
      y[r * width + h] = normed * weight[h];
    }
  }
}

static void rmsnorm_dx(int64_t width, const float *dy, const float *x, const float *weight, float rstd,
                       const float *addend, float *dx) {
  lanes sum = {0};
  for (int64_t h = 0; h < width; h++) {
    float dyw = dy[h] * weight[h];
    lanes_take(&sum, dyw, x[h]);
  }
  float c = lanes_total(&sum);
  float k = c * rstd;
  k = k * rstd;
  k = k * rstd;
  k = k / (float)width;
  for (int64_t h = 0; h < width; h++) {
    float dyw = dy[h] * weight[h];
    dx[h] = fmaf(-k, x[h], dyw * rstd);
    if (addend != NULL) dx[h] = dx[h] + addend[h];
  }
}

void zk_reference_rmsnorm_backward(int32_t rows_per_token, int64_t width, const zk_chunks *chunks, const float *dy,
                                   const float *x, const float *weight, const float *rstd, const float *addend,
                                   float *dx, float *dweight) {
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t begin = (int64_t)chunks->row_start[c] * rows_per_token,
                  end = (int64_t)chunks->row_start[c + 1] * rows_per_token;
    if (begin == end) continue;
#pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < width; h++) {
      float block_sum[ZK_CHUNK_TOKENS]; // enough for 64 rows a token
      int64_t num_blocks = 0;
      for (int64_t first = begin; first < end; first += 64) {
        float acc = 0.0f;
        for (int64_t r = first; r < end && r < first + 64; r++) {
          float normed = x[r * width + h] * rstd[r];
          acc = fmaf(dy[r * width + h], normed, acc);
        }
        block_sum[num_blocks++] = acc;
      }
      dweight[h] += zk_reference_tree(block_sum, num_blocks);
    }
#pragma omp parallel for schedule(static)
    for (int64_t r = begin; r < end; r++)
      rmsnorm_dx(width, dy + r * width, x + r * width, weight, rstd[r], addend != NULL ? addend + r * width : NULL,
                 dx + r * width);
  }
}

void zk_reference_rope(int backward, int64_t num_rows, int32_t num_heads, int32_t head_dim, const int32_t *positions,
                       const float *cos_table, const float *sin_table, float *x) {
  const int32_t half = head_dim / 2;
  for (int64_t t = 0; t < num_rows; t++)
    for (int32_t head = 0; head < num_heads; head++)
      for (int32_t i = 0; i < half; i++) {
        float *first = &x[(t * num_heads + head) * head_dim + i], *second = first + half;
        float c = cos_table[(int64_t)positions[t] * half + i], s = sin_table[(int64_t)positions[t] * half + i];
        if (backward) s = -s;
        float a = *first, b = *second;
        float ac = a * c, bc = b * c;
        *first = fmaf(-b, s, ac);
        *second = fmaf(a, s, bc);
      }
}

void zk_reference_swiglu_forward(int64_t n, const float *gate, const float *up, float *out) {
  for (int64_t i = 0; i < n; i++) {
    float s = 1.0f / (1.0f + zk_expf(-gate[i]));
    float silu = gate[i] * s;
    out[i] = silu * up[i];
  }
}

void zk_reference_swiglu_backward(int64_t n, const float *gate, const float *up, const float *dout, float *dgate,
                                  float *dup) {
  for (int64_t i = 0; i < n; i++) {
    float s = 1.0f / (1.0f + zk_expf(-gate[i]));
    float silu = gate[i] * s;
    dup[i] = dout[i] * silu;
    float slope = s * fmaf(gate[i], 1.0f - s, 1.0f);
    float through = dout[i] * up[i];
    dgate[i] = through * slope;
  }
}

void zk_reference_add(int64_t n, const float *a, const float *b, float *dst) {
  for (int64_t i = 0; i < n; i++) dst[i] = a[i] + b[i];
}

void zk_reference_scale(int64_t n, const float *a, float scale, float *dst) {
  for (int64_t i = 0; i < n; i++) dst[i] = a[i] * scale;
}

void zk_reference_sum_squares(int64_t n, const float *x, float *block_sums) {
  for (int64_t first = 0; first < n; first += 4096) {
    lanes sum = {0};
    for (int64_t i = first; i < n && i < first + 4096; i++) lanes_take(&sum, x[i], x[i]);
    block_sums[first / 4096] = lanes_total(&sum);
  }
}

uint64_t zk_reference_hash(int32_t element_bytes, int64_t n, uint64_t first_index, const void *data) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += zk_mix64(element_bytes == 4 ? ((const uint32_t *)data)[i] : ((const uint16_t *)data)[i],
                    first_index + (uint64_t)i);
  return sum;
}

void zk_reference_adamw(const zk_adamw_params *params, int decays, int64_t n, float *master, float *m, float *v,
                        const float *grad) {
  for (int64_t i = 0; i < n; i++) {
    float g = grad[i] * params->grad_scale;
    float fresh = params->one_minus_beta1 * g;
    m[i] = fmaf(params->beta1, m[i], fresh);
    float fresh_square = (params->one_minus_beta2 * g) * g;
    v[i] = fmaf(params->beta2, v[i], fresh_square);
    float m_hat = m[i] / params->bias1, v_hat = v[i] / params->bias2;
    float direction = m_hat / (sqrtf(v_hat) + params->eps);
    float decayed = decays ? master[i] * params->decay : master[i];
    master[i] = fmaf(-params->lr, direction, decayed);
  }
}

void zk_reference_init_normal(uint64_t seed, int64_t first, int64_t n, double scale, float *out) {
  for (int64_t i = 0; i < n; i++) {
    const uint64_t e = (uint64_t)(first + i);
    double sum = 0; // halves of 2^-32, fewer than 2^37 of them: exact
    for (uint32_t b = 0; b < 3; b++) {
      uint32_t r[4];
      zk_philox4x32((uint32_t[4]){2u << 24 | b, (uint32_t)e, (uint32_t)(e >> 32), 0}, (uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)}, r);
      for (int w = 0; w < 4; w++) sum += ((double)r[w] + 0.5) / 4294967296.0;
    }
    const double weight = (sum - 6) * scale;
    out[i] = (float)weight;
  }
}
