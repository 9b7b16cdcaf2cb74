// Attention and its KV cache: checks a description, counts the call, and hands over to the device's kernels.
#include "kernels/attention.h"

#include "kernels/cpu/attention.h"

static zk_status check_desc(const zk_attention_desc *d) {
  if (d->numerics != ZK_F32) return ZK_FAIL(ZK_UNSUPPORTED, "attention: numerics %s has no CPU kernel; use numerics: f32",
                                            zk_numerics_name(d->numerics));
  if (d->num_kv_heads < 1 || d->num_heads < 1 || d->num_heads % d->num_kv_heads != 0)
    return ZK_FAIL(ZK_BAD_INPUT, "attention: %d heads cannot share %d KV heads", d->num_heads, d->num_kv_heads);
  if (d->head_dim < 8 || d->head_dim % 8 != 0)
    return ZK_FAIL(ZK_UNSUPPORTED, "attention: head_dim %d is not a multiple of 8", d->head_dim);
  if (d->page_tokens < ZK_KV_BLOCK || d->page_tokens % ZK_KV_BLOCK != 0)
    return ZK_FAIL(ZK_BAD_INPUT, "attention: page_tokens %d is not a multiple of %d", d->page_tokens, ZK_KV_BLOCK);
  if (!(d->scale > 0.0f)) return ZK_FAIL(ZK_BAD_INPUT, "attention: scale %g is not positive", (double)d->scale);
  return ZK_OK;
}

size_t zk_kv_cache_bytes(const zk_device *device, const zk_attention_desc *desc, int32_t num_pages) {
  const zk_attn_shape s = zk_attn_shape_of(desc);
  size_t bytes = sizeof(float);
  const int32_t factors[] = {num_pages, desc->num_kv_heads, desc->page_tokens, s.padded_dim};
  for (int i = 0; i < 4; ++i)
    if (__builtin_mul_overflow(bytes, (size_t)factors[i], &bytes)) return SIZE_MAX; // no allocation succeeds
  return bytes;
}

zk_status zk_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *k, const void *v,
                      void *k_cache, void *v_cache) {
  ZK_TRY(check_desc(desc));
  zk_stream_count(stream, ZK_OP_KV_WRITE);
  zk_cpu_kv_write(stream, desc, batch, k, v, k_cache, v_cache);
  zk_cpu_kv_fault(stream, desc, batch, v_cache);
  return ZK_OK;
}

zk_status zk_kv_copy_page(zk_stream *stream, const zk_attention_desc *desc, int32_t src, int32_t dst, void *k_cache, void *v_cache) {
  ZK_TRY(check_desc(desc));
  const size_t bytes = zk_kv_cache_bytes(zk_stream_device(stream), desc, 1);
  ZK_TRY(zk_copy_on_device(stream, (char *)k_cache + (size_t)dst * bytes, (char *)k_cache + (size_t)src * bytes, bytes));
  ZK_TRY(zk_copy_on_device(stream, (char *)v_cache + (size_t)dst * bytes, (char *)v_cache + (size_t)src * bytes, bytes));
  return ZK_OK;
}

zk_status zk_attention_forward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                               const void *k_cache, const void *v_cache, void *out, float *lse) {
  ZK_TRY(check_desc(desc));
  zk_stream_count(stream, ZK_OP_ATTENTION);
  ZK_TRY(zk_cpu_attention_forward(stream, desc, batch, q, k_cache, v_cache, out, lse));
  zk_stream_fault(stream, ZK_OP_ATTENTION, out, (size_t)batch->num_rows * (size_t)desc->num_heads * (size_t)desc->head_dim);
  return ZK_OK;
}

zk_status zk_attention_backward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                                const void *k_cache, const void *v_cache, const void *out, const void *dout, const float *lse, void *dq,
                                void *dk, void *dv) {
  ZK_TRY(check_desc(desc));
  zk_stream_count(stream, ZK_OP_ATTENTION_BACKWARD);
  ZK_TRY(zk_cpu_attention_backward(stream, desc, batch, q, k_cache, v_cache, out, dout, lse, dq, dk, dv));
  zk_stream_fault(stream, ZK_OP_ATTENTION_BACKWARD, dq, (size_t)batch->num_rows * (size_t)desc->num_heads * (size_t)desc->head_dim);
  return ZK_OK;
}
