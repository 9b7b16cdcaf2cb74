// Checks of the operations that work element by element, of block sums and of hashes.
#include "kernels/check_case.h"
#include "kernels/hash.h"
#include "kernels/init.h"
#include "kernels/math.h"
#include "kernels/reduce.h"
#include "kernels/reference/rows_reference.h"
#include "kernels/swiglu.h"

#define FLOAT_BYTES(n) ((size_t)(n) * sizeof(float))

// Lengths around a vector, a block of 4,096 and what wakes the threads.
static const int64_t lengths[] = {33001, 1, 15, 17, 4095, 4097, 70001};
static int num_lengths(const zk_check *check) { return check->quick ? 1 : (int)(sizeof lengths / sizeof lengths[0]); }

static void begin(zk_check *check, int64_t n, int data) {
  zk_check_case(check, "elements %lld, %s", (long long)n, zk_check_data_name((zk_check_data)data));
}

zk_status zk_check_swiglu(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int l = 0; l < num_lengths(check); l++) {
      const int64_t n = lengths[l];
      float *gate, *up, *want;
      void *gate_d, *up_d;
      begin(check, n, data);
      ZK_TRY(zk_check_elements(check, data, n, &gate));
      ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &up));
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&want));
      ZK_TRY(zk_check_upload_elements(check, gate, n, &gate_d));
      ZK_TRY(zk_check_upload_elements(check, up, n, &up_d));
      ZK_TRY(zk_swiglu_forward(check->stream, check->numerics, n, gate_d, up_d, gate_d));
      zk_reference_swiglu_forward(n, gate, up, want);
      ZK_TRY(zk_check_compare_elements(check, "out", gate_d, want, n));
    }
  return ZK_OK;
}

zk_status zk_check_swiglu_backward(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int l = 0; l < num_lengths(check); l++) {
      const int64_t n = lengths[l];
      float *gate, *up, *dout, *dgate, *dup;
      void *gate_d, *up_d, *dout_d, *dgate_d;
      begin(check, n, data);
      ZK_TRY(zk_check_elements(check, data, n, &gate));
      ZK_TRY(zk_check_elements(check, ZK_CHECK_NORMAL, n, &up));
      ZK_TRY(zk_check_elements(check, data == ZK_CHECK_LARGE ? ZK_CHECK_NORMAL : data, n, &dout));
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&dgate));
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&dup));
      ZK_TRY(zk_check_upload_elements(check, gate, n, &gate_d));
      ZK_TRY(zk_check_upload_elements(check, up, n, &up_d));
      ZK_TRY(zk_check_upload_elements(check, dout, n, &dout_d));
      ZK_TRY(zk_check_device_elements(check, n, &dgate_d));
      ZK_TRY(zk_swiglu_backward(check->stream, check->numerics, n, gate_d, up_d, dout_d, dgate_d, up_d));
      zk_reference_swiglu_backward(n, gate, up, dout, dgate, dup);
      ZK_TRY(zk_check_compare_elements(check, "dgate", dgate_d, dgate, n));
      ZK_TRY(zk_check_compare_elements(check, "dup", up_d, dup, n));
    }
  return ZK_OK;
}

zk_status zk_check_add(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int l = 0; l < num_lengths(check); l++) {
      const int64_t n = lengths[l];
      float *a, *b, *want;
      void *a_d, *b_d;
      begin(check, n, data);
      ZK_TRY(zk_check_elements(check, data, n, &a));
      ZK_TRY(zk_check_elements(check, data, n, &b));
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&want));
      ZK_TRY(zk_check_upload_elements(check, a, n, &a_d));
      ZK_TRY(zk_check_upload_elements(check, b, n, &b_d));
      ZK_TRY(zk_add(check->stream, check->numerics, n, a_d, b_d, b_d));
      zk_reference_add(n, a, b, want);
      ZK_TRY(zk_check_compare_elements(check, "sum", b_d, want, n));
    }
  return ZK_OK;
}

zk_status zk_check_scale(zk_check *check) {
  static const float scales[] = {2.0f, 1.0f / 3.0f, -0.7f};
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int l = 0; l < num_lengths(check); l++) {
      const int64_t n = lengths[l];
      const float scale = scales[l % 3];
      float *a, *want;
      void *a_d;
      begin(check, n, data);
      ZK_TRY(zk_check_elements(check, data, n, &a));
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&want));
      ZK_TRY(zk_check_upload_elements(check, a, n, &a_d));
      ZK_TRY(zk_scale(check->stream, check->numerics, n, a_d, scale, a_d));
      zk_reference_scale(n, a, scale, want);
      ZK_TRY(zk_check_compare_elements(check, "product", a_d, want, n));
    }
  return ZK_OK;
}

zk_status zk_check_init_normal(zk_check *check) {
  static const int64_t firsts[] = {0, 12345, ((int64_t)1 << 32) - 100}; // in the last the index's upper word changes
  for (int f = 0; f < 3; f++)
    for (int l = 0; l < num_lengths(check); l++) {
      const int64_t n = lengths[l];
      float *want;
      void *weights;
      zk_check_case(check, "%lld elements from %lld", (long long)n, (long long)firsts[f]);
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(n), (void **)&want));
      ZK_TRY(zk_check_device_elements(check, n, &weights));
      ZK_TRY(zk_init_normal(check->stream, check->numerics, 0x123456789abcdefull, firsts[f], n, 0.02 / 3, weights));
      zk_reference_init_normal(0x123456789abcdefull, firsts[f], n, 0.02 / 3, want);
      ZK_TRY(zk_check_compare_elements(check, "weight", weights, want, n));
    }
  return ZK_OK;
}

// Of as many values as large gradients have blocks.
static zk_status check_sum_tree(zk_check *check) {
  static const int64_t counts[] = {145511, 4095, 4096, 4097, 8192, 12289};
  for (int i = 0; i < (check->quick ? 1 : (int)(sizeof counts / sizeof counts[0])); i++) {
    const int64_t n = counts[i];
    float *x, *x_d, *tree_d;
    zk_check_case(check, "tree of %lld", (long long)n);
    ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, n, &x));
    for (int64_t j = 0; j < n; j++) x[j] = x[j] * x[j];
    ZK_TRY(zk_check_upload(check, x, FLOAT_BYTES(n), (void **)&x_d));
    ZK_TRY(zk_check_device(check, FLOAT_BYTES(1), (void **)&tree_d));
    ZK_TRY(zk_sum_tree(check->stream, n, x_d, tree_d));
    const float want = zk_reference_tree(x, n);
    ZK_TRY(zk_check_compare(check, "tree", tree_d, &want, 1));
  }
  return ZK_OK;
}

zk_status zk_check_sum_squares(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int l = 0; l < num_lengths(check); l++) {
      const int64_t n = lengths[l], num_blocks = (n + ZK_BLOCK_ELEMENTS - 1) / ZK_BLOCK_ELEMENTS;
      float *x, *want, *x_d, *sums_d, *sums, *tree_d;
      begin(check, n, data);
      ZK_TRY(zk_check_floats(check, data, n, &x));
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_blocks), (void **)&want));
      ZK_TRY(zk_check_host(check, FLOAT_BYTES(num_blocks), (void **)&sums));
      ZK_TRY(zk_check_upload(check, x, FLOAT_BYTES(n), (void **)&x_d));
      ZK_TRY(zk_check_device(check, FLOAT_BYTES(num_blocks), (void **)&sums_d));
      ZK_TRY(zk_sum_squares(check->stream, n, x_d, sums_d));
      zk_reference_sum_squares(n, x, want);
      ZK_TRY(zk_check_compare(check, "block_sums", sums_d, want, num_blocks));
      ZK_TRY(zk_copy_to_host(check->stream, sums, sums_d, FLOAT_BYTES(num_blocks)));
      ZK_TRY(zk_stream_wait(check->stream));
      const float tree = zk_reduce_tree(sums, num_blocks), want_tree = zk_reference_tree(want, num_blocks);
      zk_check_compare_u64(check, "tree", zk_float_bits(tree), zk_float_bits(want_tree));
      ZK_TRY(zk_check_device(check, FLOAT_BYTES(1), (void **)&tree_d));
      ZK_TRY(zk_sum_tree(check->stream, num_blocks, sums_d, tree_d));
      ZK_TRY(zk_check_compare(check, "tree on the device", tree_d, &want_tree, 1));
    }
  return check_sum_tree(check);
}

zk_status zk_check_adamw(zk_check *check) {
  for (int data = 0; data < ZK_CHECK_NUM_DATA; data++)
    for (int l = 0; l < num_lengths(check); l++) {
      const int64_t n = lengths[l];
      const int decays = l % 2;
      float *w, *m, *v, *grad, *w_d, *m_d, *v_d, *grad_d;
      void *working;
      zk_adamw_params params;
      zk_adamw_scalars(1e-3, 0.9, 0.999, 1e-8, 0.1, 3 + l, 4.0f, 1.0, &params);
      begin(check, n, data);
      ZK_TRY(zk_check_floats(check, ZK_CHECK_NORMAL, n, &w));
      ZK_TRY(zk_check_floats(check, data, n, &m));
      ZK_TRY(zk_check_floats(check, data, n, &v));
      ZK_TRY(zk_check_floats(check, data, n, &grad));
      for (int64_t i = 0; i < n; i++) v[i] = fabsf(v[i]);
      ZK_TRY(zk_check_upload(check, w, FLOAT_BYTES(n), (void **)&w_d));
      ZK_TRY(zk_check_upload(check, m, FLOAT_BYTES(n), (void **)&m_d));
      ZK_TRY(zk_check_upload(check, v, FLOAT_BYTES(n), (void **)&v_d));
      ZK_TRY(zk_check_upload(check, grad, FLOAT_BYTES(n), (void **)&grad_d));
      ZK_TRY(zk_check_device_elements(check, n, &working));
      ZK_TRY(zk_adamw(check->stream, check->numerics, &params, decays, n, w_d, m_d, v_d, grad_d, working));
      zk_reference_adamw(&params, decays, n, w, m, v, grad);
      ZK_TRY(zk_check_compare(check, "master", w_d, w, n));
      ZK_TRY(zk_check_compare_elements(check, "working", working, w, n));
      ZK_TRY(zk_check_compare(check, "m", m_d, m, n));
      ZK_TRY(zk_check_compare(check, "v", v_d, v, n));
    }
  return ZK_OK;
}

zk_status zk_check_weights_hash(zk_check *check) {
  const int32_t element_bytes = (int32_t)zk_numerics_bytes(check->numerics);
  for (int l = 0; l < num_lengths(check); l++) {
    const int64_t n = lengths[l];
    float *x, *x_d;
    uint64_t hash;
    begin(check, n, ZK_CHECK_WIDE);
    ZK_TRY(zk_check_floats(check, ZK_CHECK_WIDE, n, &x));
    ZK_TRY(zk_check_upload(check, x, FLOAT_BYTES(n), (void **)&x_d)); // bits: for bf16, the first half of them
    ZK_TRY(zk_hash_elements(check->stream, element_bytes, n, (uint64_t)n << 30, x_d, &hash));
    zk_check_compare_u64(check, "hash", hash, zk_reference_hash(element_bytes, n, (uint64_t)n << 30, x));
  }
  return ZK_OK;
}
