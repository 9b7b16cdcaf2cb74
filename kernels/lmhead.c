// LM head: checks a description, counts the call, and hands over to the device.
#include "kernels/backend.h"

static zk_status check(const zk_lmhead_desc *desc) {
  if (desc->num_rows < 0 || desc->hidden < 1 || desc->vocab < 1 || desc->vocab >= 1 << 26)
    return ZK_FAIL(ZK_INTERNAL, "lm head: bad shape, rows %lld, hidden %d, vocabulary %d", (long long)desc->num_rows, desc->hidden,
                   desc->vocab);
  if (!(desc->temperature >= 0.0) || desc->top_k < 0 || !(desc->top_p > 0.0 && desc->top_p <= 1.0))
    return ZK_FAIL(ZK_BAD_INPUT, "lm head: temperature %g, top_k %d, top_p %g; wanted >= 0, >= 0, and in (0, 1]", desc->temperature,
                   desc->top_k, desc->top_p);
  return ZK_OK;
}

zk_lmhead_dist zk_lmhead_make_dist(const zk_lmhead_desc *desc) {
  zk_lmhead_dist dist = {.top_k = desc->top_k, .top_p = (uint64_t)(desc->top_p * 0x1p32 + 0.5)};
  dist.filtered = desc->top_k > 0 || desc->top_p < 1.0;
  dist.scaled = desc->temperature != 0.0 && desc->temperature != 1.0;
  dist.inv_t = dist.scaled ? (float)(1.0 / desc->temperature) : 1.0f;
  return dist;
}

zk_status zk_lmhead_logprob(zk_stream *stream, const zk_lmhead_desc *desc, const void *x, const void *weight, const void *packed,
                            const int32_t *target, const zk_lmhead_out *out) {
  ZK_TRY(check(desc));
  zk_stream_count(stream, ZK_OP_LMHEAD_LOGPROB);
  ZK_TRY(stream->device->kernels->lmhead_logprob(stream, desc, x, weight, packed, target, out));
  return zk_stream_fault(stream, ZK_OP_LMHEAD_LOGPROB, ZK_F32, out->logprob, (size_t)desc->num_rows);
}

zk_status zk_lmhead_sample(zk_stream *stream, const zk_lmhead_desc *desc, const zk_sample_ids *ids, const void *x, const void *weight,
                           const void *packed, int32_t *token, const zk_lmhead_out *out) {
  ZK_TRY(check(desc));
  zk_stream_count(stream, ZK_OP_LMHEAD_SAMPLE);
  ZK_TRY(stream->device->kernels->lmhead_sample(stream, desc, ids, x, weight, packed, token, out));
  float *faulty = stream->fault.is_lse && out->lse != NULL ? out->lse : out->logprob;
  return zk_stream_fault(stream, ZK_OP_LMHEAD_SAMPLE, ZK_F32, faulty, (size_t)desc->num_rows);
}

zk_status zk_lmhead_backward(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x, const void *weight,
                             const void *packed, const int32_t *target, const zk_lmhead_out *fwd, const float *dlogprob,
                             const float *dentropy, void *dx, float *dweight) {
  ZK_TRY(check(desc));
  if (fwd->lse == NULL || (zk_lmhead_make_dist(desc).filtered && (fwd->kept_logit == NULL || fwd->kept_id == NULL)))
    return ZK_FAIL(ZK_INTERNAL, "lm head: the backward pass needs the forward's lse, and with a filter its kept_logit and kept_id");
  if (dentropy != NULL && fwd->entropy == NULL) return ZK_FAIL(ZK_INTERNAL, "lm head: the gradient of entropies needs the forward's entropy");
  ZK_TRY(zk_chunks_validate(chunks, desc->num_rows));
  zk_stream_count(stream, ZK_OP_LMHEAD_BACKWARD);
  if (desc->first && dweight != NULL) ZK_TRY(zk_fill_zero(stream, dweight, (size_t)desc->vocab * (size_t)desc->hidden * sizeof *dweight));
  ZK_TRY(stream->device->kernels->lmhead_backward(stream, desc, chunks, x, weight, packed, target, fwd, dlogprob, dentropy, dx, dweight));
  return zk_stream_fault(stream, ZK_OP_LMHEAD_BACKWARD, desc->numerics, dx, (size_t)desc->num_rows * (size_t)desc->hidden);
}

zk_status zk_lmhead_loss(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x, const void *weight,
                         const void *packed, const int32_t *target, const float *lse, const float *dlogprob, const zk_lmhead_out *out, void *dx,
                         float *dweight) {
  bool done = false;
  ZK_TRY(check(desc));
  ZK_TRY(zk_chunks_validate(chunks, desc->num_rows));
  if (!zk_stream_is_faulty(stream, ZK_OP_LMHEAD_LOGPROB) && !zk_stream_is_faulty(stream, ZK_OP_LMHEAD_BACKWARD))
    ZK_TRY(stream->device->kernels->lmhead_loss_fused(stream, desc, chunks, x, weight, target, lse, dlogprob, out, dx, dweight, &done));
  if (done) {
    zk_stream_count(stream, ZK_OP_LMHEAD_LOGPROB);
    zk_stream_count(stream, ZK_OP_LMHEAD_BACKWARD);
    return ZK_OK;
  }
  zk_lmhead_out known = *out;
  ZK_TRY(zk_lmhead_logprob(stream, desc, x, weight, packed, target, out));
  known.lse = (float *)lse;
  return zk_lmhead_backward(stream, desc, chunks, x, weight, packed, target, &known, dlogprob, NULL, dx, dweight);
}
