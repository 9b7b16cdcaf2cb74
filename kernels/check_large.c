// Training's largest kernels at sizes that no reference loop reaches: every bit of what a GPU prefers there against its kernels of plain tiles,
// which take any shape and which other rows compare with the reference. Blocks walk several rounds of tiles, a launch has several
// chains of the vocabulary, and a long sequence has only some of its heads on the way at once.
#include "kernels/attention.h"
#include "kernels/check_case.h"
#include "kernels/init.h"
#include "kernels/lmhead.h"

#ifdef ZK_WITH_CUDA
#include "kernels/cuda/attention_backward_variant.h"
#include "kernels/cuda/gemm.h"

enum { HEAD_ROWS = 8192, HEAD_CHUNK = 4096, HEAD_HIDDEN = 1032, HEAD_VOCAB = 54000 };

// n elements of the normal distribution, made on the device.
static zk_status normal(zk_check *check, zk_numerics numerics, int64_t n, double scale, void **out) {
  ZK_TRY(zk_check_device(check, (size_t)n * zk_numerics_bytes(numerics), out));
  return zk_init_normal(check->helper, numerics, check->seed++, 0, n, scale, *out);
}

// ---- LM head: more tiles than a round has, chains of 4,096 ids side by side

typedef struct {
  zk_lmhead_out out;
  void *dx;
  float *dweight;
} head_outputs;

static zk_status make_head_outputs(zk_check *check, head_outputs *o) {
  ZK_TRY(zk_check_device(check, HEAD_ROWS * sizeof(float), (void **)&o->out.logprob));
  ZK_TRY(zk_check_device(check, HEAD_ROWS * sizeof(float), (void **)&o->out.lse));
  ZK_TRY(zk_check_device(check, HEAD_ROWS * sizeof(float), (void **)&o->out.entropy));
  ZK_TRY(zk_check_device(check, (size_t)HEAD_ROWS * HEAD_HIDDEN * sizeof(zk_bf16), &o->dx));
  return zk_check_device(check, (size_t)HEAD_VOCAB * HEAD_HIDDEN * sizeof(float), (void **)&o->dweight);
}

static zk_status compare_gradients(zk_check *check, const head_outputs *got, const head_outputs *want) {
  ZK_TRY(zk_check_compare_devices(check, "dx", got->dx, want->dx, (size_t)HEAD_ROWS * HEAD_HIDDEN * sizeof(zk_bf16)));
  return zk_check_compare_devices(check, "dweight", got->dweight, want->dweight, (size_t)HEAD_VOCAB * HEAD_HIDDEN * sizeof(float));
}

static zk_status head_case(zk_check *check) {
  zk_check_case(check, "LM head backward, rows %d, hidden %d, vocabulary %d", HEAD_ROWS, HEAD_HIDDEN, HEAD_VOCAB);
  static const int32_t starts[] = {0, HEAD_CHUNK, HEAD_ROWS};
  const zk_lmhead_desc desc = {ZK_BF16, HEAD_ROWS, HEAD_HIDDEN, HEAD_VOCAB, 1.0, 0, 1.0};
  const zk_chunks chunks = {2, starts};
  void *x, *w;
  float *dlogprob;
  int32_t *target, *target_d;
  head_outputs want = {0}, got = {0}, at_once = {0};
  ZK_TRY(normal(check, ZK_BF16, (int64_t)HEAD_ROWS * HEAD_HIDDEN, 1.0, &x));
  ZK_TRY(normal(check, ZK_BF16, (int64_t)HEAD_VOCAB * HEAD_HIDDEN, 0.05, &w));
  ZK_TRY(normal(check, ZK_F32, HEAD_ROWS, 1.0, (void **)&dlogprob));
  ZK_TRY(zk_check_integers(check, HEAD_VOCAB, HEAD_ROWS, &target));
  ZK_TRY(zk_check_upload(check, target, HEAD_ROWS * sizeof *target, (void **)&target_d));
  ZK_TRY(make_head_outputs(check, &want));
  ZK_TRY(make_head_outputs(check, &got));
  ZK_TRY(make_head_outputs(check, &at_once));
  zk_cuda_gemm_force(ZK_CUDA_GEMM_BF16_TILE);
  zk_status status = zk_lmhead_logprob(check->helper, &desc, x, w, NULL, target_d, &want.out);
  if (status == ZK_OK) status = zk_lmhead_backward(check->helper, &desc, &chunks, x, w, NULL, target_d, &want.out, dlogprob, NULL, want.dx, want.dweight);
  zk_cuda_gemm_force(ZK_CUDA_NUM_GEMM);
  ZK_TRY(status);
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(zk_lmhead_backward(check->stream, &desc, &chunks, x, w, NULL, target_d, &want.out, dlogprob, NULL, got.dx, got.dweight));
  ZK_TRY(zk_lmhead_loss(check->stream, &desc, &chunks, x, w, NULL, target_d, want.out.lse, dlogprob, &at_once.out, at_once.dx, at_once.dweight));
  ZK_TRY(zk_stream_wait(check->stream));
  ZK_TRY(compare_gradients(check, &got, &want));
  ZK_TRY(compare_gradients(check, &at_once, &want));
  ZK_TRY(zk_check_compare_devices(check, "logprob", at_once.out.logprob, want.out.logprob, HEAD_ROWS * sizeof(float)));
  ZK_TRY(zk_check_compare_devices(check, "lse", at_once.out.lse, want.out.lse, HEAD_ROWS * sizeof(float)));
  return zk_check_compare_devices(check, "entropy", at_once.out.entropy, want.out.entropy, HEAD_ROWS * sizeof(float));
}

// ---- attention backward of one long sequence

static zk_status attention_case(zk_check *check, int32_t length, int32_t heads, int32_t kv_heads, int32_t dim) {
  enum { PAGE = 64, MOST_PAGES = 8192 / PAGE };
  zk_check_case(check, "attention backward, length %d, heads %d/%d, head_dim %d", length, heads, kv_heads, dim);
  const zk_attention_desc desc = {ZK_BF16, heads, kv_heads, dim, PAGE, 0.125f};
  const int64_t num_q = (int64_t)length * heads * dim, num_kv = (int64_t)length * kv_heads * dim;
  const size_t cache = zk_kv_cache_bytes(check->device, &desc, length / PAGE);
  int32_t ints[3 + MOST_PAGES] = {0, length, 0}, *ints_d;
  void *q, *k, *v, *dout, *out, *lse, *k_cache, *v_cache, *got[3], *want[3];
  for (int32_t i = 0; i < length / PAGE; i++) ints[3 + i] = length / PAGE - 1 - i;
  ZK_TRY(zk_check_upload(check, ints, sizeof ints, (void **)&ints_d));
  const zk_attention_batch batch = {length, 1, length / PAGE, ints_d, ints_d + 2, ints_d + 3, NULL};
  ZK_TRY(normal(check, ZK_BF16, num_q, 1.0, &q));
  ZK_TRY(normal(check, ZK_BF16, num_kv, 1.0, &k));
  ZK_TRY(normal(check, ZK_BF16, num_kv, 1.0, &v));
  ZK_TRY(normal(check, ZK_BF16, num_q, 1.0, &dout));
  ZK_TRY(zk_check_device_elements(check, num_q, &out));
  ZK_TRY(zk_check_device(check, (size_t)(length * heads) * sizeof(float), &lse));
  ZK_TRY(zk_check_device(check, cache, &k_cache));
  ZK_TRY(zk_check_device(check, cache, &v_cache));
  for (int i = 0; i < 3; i++) {
    ZK_TRY(zk_check_device_elements(check, i == 0 ? num_q : num_kv, &got[i]));
    ZK_TRY(zk_check_device_elements(check, i == 0 ? num_q : num_kv, &want[i]));
  }
  ZK_TRY(zk_kv_write(check->helper, &desc, &batch, k, v, k_cache, v_cache));
  ZK_TRY(zk_attention_forward(check->helper, &desc, &batch, q, k_cache, v_cache, out, lse));
  zk_cuda_attention_backward_force(ZK_CUDA_ATTENTION_BACKWARD_TILES);
  zk_status status = zk_attention_backward(check->helper, &desc, &batch, q, k_cache, v_cache, out, dout, lse, want[0], want[1], want[2]);
  zk_cuda_attention_backward_force(ZK_CUDA_NUM_ATTENTION_BACKWARD);
  ZK_TRY(status);
  ZK_TRY(zk_stream_wait(check->helper));
  ZK_TRY(zk_attention_backward(check->stream, &desc, &batch, q, k_cache, v_cache, out, dout, lse, got[0], got[1], got[2]));
  ZK_TRY(zk_stream_wait(check->stream));
  ZK_TRY(zk_check_compare_devices(check, "dq", got[0], want[0], (size_t)num_q * sizeof(zk_bf16)));
  ZK_TRY(zk_check_compare_devices(check, "dk", got[1], want[1], (size_t)num_kv * sizeof(zk_bf16)));
  return zk_check_compare_devices(check, "dv", got[2], want[2], (size_t)num_kv * sizeof(zk_bf16));
}

// Nothing here is forced yet: the device is at its preferred kernels.
zk_status zk_check_large(zk_check *check) {
  if (check->quick || zk_device_get_kind(check->device) != ZK_DEVICE_CUDA || !zk_cuda_gemm_available(ZK_CUDA_GEMM_BF16_WGMMA_TURNS)) return ZK_OK;
  ZK_TRY(head_case(check));
  ZK_TRY(attention_case(check, 8192, 32, 8, 64));
  return attention_case(check, 8192, 4, 2, 128);
}
#else
zk_status zk_check_large(zk_check *check) { return ZK_OK; } // a CPU's loops are the same at every size
#endif
