// Attention and its KV cache: checks a description, counts the call, and hands over to the device.
#include "kernels/backend.h"

zk_status zk_attention_require(const zk_attention_desc *d) {
  if (d->num_kv_heads < 1 || d->num_heads < 1 || d->num_heads % d->num_kv_heads != 0)
    return ZK_FAIL(ZK_BAD_INPUT, "attention: %d heads cannot share %d KV heads", d->num_heads, d->num_kv_heads);
  if (d->head_dim < 8 || d->head_dim % 8 != 0)
    return ZK_FAIL(ZK_UNSUPPORTED, "attention: head_dim %d is not a multiple of 8", d->head_dim);
  if (d->page_tokens < ZK_PAGE_MULTIPLE || d->page_tokens % ZK_PAGE_MULTIPLE != 0)
    return ZK_FAIL(ZK_BAD_INPUT, "attention: page_tokens %d is not a multiple of %d", d->page_tokens, ZK_PAGE_MULTIPLE);
  if (!(d->scale > 0.0f)) return ZK_FAIL(ZK_BAD_INPUT, "attention: scale %g is not positive", (double)d->scale);
  return ZK_OK;
}

static size_t num_elements(const zk_attention_desc *d, const zk_attention_batch *b) {
  return (size_t)b->num_rows * (size_t)d->num_heads * (size_t)d->head_dim;
}

size_t zk_kv_cache_bytes(const zk_device *device, const zk_attention_desc *desc, int32_t num_pages) {
  return device->kernels->kv_cache_bytes(device, desc, num_pages);
}

// The cache's layout is the device's own, so a fault goes into a copy of the values on their way there.
static zk_status write_faulty(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *k, const void *v,
                              void *k_cache, void *v_cache) {
  const size_t n = (size_t)batch->num_rows * (size_t)desc->num_kv_heads * (size_t)desc->head_dim, bytes = n * zk_numerics_bytes(desc->numerics);
  void *copy;
  ZK_TRY(zk_device_alloc(stream->device, bytes, "values with a fault", &copy));
  zk_status status = zk_copy_on_device(stream, copy, v, bytes);
  if (status == ZK_OK) status = zk_stream_fault(stream, ZK_OP_KV_WRITE, desc->numerics, copy, n);
  if (status == ZK_OK) status = stream->device->kernels->kv_write(stream, desc, batch, k, copy, k_cache, v_cache);
  if (status == ZK_OK) status = zk_stream_wait(stream);
  zk_device_free(stream->device, copy);
  return status;
}

zk_status zk_kv_write(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *k, const void *v,
                      void *k_cache, void *v_cache) {
  ZK_TRY(zk_attention_require(desc));
  zk_stream_count(stream, ZK_OP_KV_WRITE);
  if (zk_stream_is_faulty(stream, ZK_OP_KV_WRITE)) return write_faulty(stream, desc, batch, k, v, k_cache, v_cache);
  return stream->device->kernels->kv_write(stream, desc, batch, k, v, k_cache, v_cache);
}

zk_status zk_kv_copy_page(zk_stream *stream, const zk_attention_desc *desc, int32_t src, int32_t dst, void *k_cache, void *v_cache) {
  ZK_TRY(zk_attention_require(desc));
  return stream->device->kernels->kv_copy_page(stream, desc, src, dst, k_cache, v_cache);
}

zk_status zk_attention_forward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                               const void *k_cache, const void *v_cache, void *out, float *lse) {
  ZK_TRY(zk_attention_require(desc));
  zk_stream_count(stream, ZK_OP_ATTENTION);
  if (batch->num_rows == 0) return ZK_OK;
  ZK_TRY(stream->device->kernels->attention_forward(stream, desc, batch, q, k_cache, v_cache, out, lse));
  return zk_stream_fault(stream, ZK_OP_ATTENTION, desc->numerics, out, num_elements(desc, batch));
}

zk_status zk_attention_backward(zk_stream *stream, const zk_attention_desc *desc, const zk_attention_batch *batch, const void *q,
                                const void *k_cache, const void *v_cache, const void *out, const void *dout, const float *lse, void *dq,
                                void *dk, void *dv) {
  ZK_TRY(zk_attention_require(desc));
  zk_stream_count(stream, ZK_OP_ATTENTION_BACKWARD);
  if (batch->num_rows == 0) return ZK_OK;
  ZK_TRY(stream->device->kernels->attention_backward(stream, desc, batch, q, k_cache, v_cache, out, dout, lse, dq, dk, dv));
  return zk_stream_fault(stream, ZK_OP_ATTENTION_BACKWARD, desc->numerics, dq, num_elements(desc, batch));
}
