// LM head on the CPU: checks, the distribution as the kernels read it, one token chunk at a time in the backward pass.
#include "kernels/lmhead.h"

#include "kernels/cpu/lmhead.h"

static zk_status check_desc(const zk_lmhead_desc *desc, const void *packed) {
  if (desc->numerics != ZK_F32)
    return ZK_FAIL(ZK_UNSUPPORTED, "lm head: numerics %s is not available on a CPU; use f32",
                   zk_numerics_name(desc->numerics));
  if (desc->num_rows < 0 || desc->hidden < 1 || desc->vocab < 1 || desc->vocab >= 1 << 26 || packed == NULL)
    return ZK_FAIL(ZK_INTERNAL, "lm head: bad shape or no packed weight, rows %lld, hidden %d, vocabulary %d",
                   (long long)desc->num_rows, desc->hidden, desc->vocab);
  if (!(desc->temperature >= 0.0) || desc->top_k < 0 || !(desc->top_p > 0.0 && desc->top_p <= 1.0))
    return ZK_FAIL(ZK_BAD_INPUT, "lm head: temperature %g, top_k %d, top_p %g; wanted >= 0, >= 0, and in (0, 1]",
                   desc->temperature, desc->top_k, desc->top_p);
  return ZK_OK;
}

static zk_lmhead_dist make_dist(const zk_lmhead_desc *desc) {
  zk_lmhead_dist dist = {.top_k = desc->top_k, .top_p = (uint64_t)(desc->top_p * 0x1p32 + 0.5)};
  dist.filtered = desc->top_k > 0 || desc->top_p < 1.0;
  dist.scaled = desc->temperature != 0.0 && desc->temperature != 1.0;
  dist.inv_t = dist.scaled ? (float)(1.0 / desc->temperature) : 1.0f;
  return dist;
}

static zk_status check_targets(const zk_lmhead_desc *desc, const int32_t *target) {
  for (int64_t t = 0; t < desc->num_rows; t++)
    if (target[t] < 0 || target[t] >= desc->vocab)
      return ZK_FAIL(ZK_BAD_INPUT, "lm head: row %lld wants token %d of a vocabulary of %d", (long long)t, target[t],
                     desc->vocab);
  return ZK_OK;
}

static zk_status run_forward(zk_stream *stream, zk_lmhead_forward *call) {
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  call->threads = zk_gemm_threads(device, call->num_rows, call->vocab, call->hidden);
  if (call->num_rows == 0) return ZK_OK;
  void *scratch;
  ZK_TRY(zk_stream_scratch(stream, ZK_ISA_PICK(isa, zk_lmhead_forward_bytes)(call), &scratch));
  ZK_ISA_PICK(isa, zk_lmhead_forward_run)(call, scratch);
  return ZK_OK;
}

zk_status zk_lmhead_logprob(zk_stream *stream, const zk_lmhead_desc *desc, const void *x, const void *weight,
                            const void *packed, const int32_t *target, const zk_lmhead_out *out) {
  ZK_TRY(check_desc(desc, packed));
  ZK_TRY(check_targets(desc, target));
  zk_stream_count(stream, ZK_OP_LMHEAD_LOGPROB);
  zk_lmhead_forward call = {.num_rows = desc->num_rows,
                            .hidden = desc->hidden,
                            .vocab = desc->vocab,
                            .x = x,
                            .packed = packed,
                            .dist = make_dist(desc),
                            .pick = ZK_PICK_NOTHING,
                            .target = target,
                            .out = *out};
  ZK_TRY(run_forward(stream, &call));
  zk_stream_fault(stream, ZK_OP_LMHEAD_LOGPROB, out->logprob, (size_t)desc->num_rows);
  return ZK_OK;
}

zk_status zk_lmhead_sample(zk_stream *stream, const zk_lmhead_desc *desc, const zk_sample_ids *ids, const void *x,
                           const void *weight, const void *packed, int32_t *token, const zk_lmhead_out *out) {
  ZK_TRY(check_desc(desc, packed));
  zk_stream_count(stream, ZK_OP_LMHEAD_SAMPLE);
  zk_lmhead_forward call = {.num_rows = desc->num_rows,
                            .hidden = desc->hidden,
                            .vocab = desc->vocab,
                            .x = x,
                            .packed = packed,
                            .dist = make_dist(desc),
                            .pick = desc->temperature == 0.0 ? ZK_PICK_GREEDY : ZK_PICK_GUMBEL,
                            .ids = ids,
                            .token = token,
                            .out = *out};
  ZK_TRY(run_forward(stream, &call));
  zk_stream_fault(stream, ZK_OP_LMHEAD_SAMPLE, out->logprob, (size_t)desc->num_rows);
  return ZK_OK;
}

zk_status zk_lmhead_backward(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                             const void *weight, const void *packed, const int32_t *target, const zk_lmhead_out *fwd,
                             const float *dlogprob, void *dx, float *dweight) {
  ZK_TRY(check_desc(desc, packed));
  ZK_TRY(check_targets(desc, target));
  zk_lmhead_dist dist = make_dist(desc);
  if (fwd->lse == NULL || (dist.filtered && (fwd->kept_logit == NULL || fwd->kept_id == NULL)))
    return ZK_FAIL(ZK_INTERNAL,
                   "lm head: the backward pass needs the forward's lse, and with a filter its kept_logit and kept_id");
  ZK_TRY(zk_chunks_validate(chunks, desc->num_rows));
  zk_stream_count(stream, ZK_OP_LMHEAD_BACKWARD);
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t row = chunks->row_start[c];
    zk_lmhead_backward_chunk call = {.num_rows = chunks->row_start[c + 1] - row,
                                     .hidden = desc->hidden,
                                     .vocab = desc->vocab,
                                     .x = (const float *)x + row * desc->hidden,
                                     .weight = weight,
                                     .packed = packed,
                                     .dist = dist,
                                     .target = target + row,
                                     .lse = fwd->lse + row,
                                     .dlogprob = dlogprob + row,
                                     .dx = (float *)dx + row * desc->hidden,
                                     .dweight = dweight,
                                     .threads = zk_gemm_threads(device, desc->num_rows, desc->vocab, desc->hidden)};
    if (dist.filtered) call.kept_logit = fwd->kept_logit + row, call.kept_id = fwd->kept_id + row;
    if (call.num_rows == 0) continue;
    void *scratch;
    ZK_TRY(zk_stream_scratch(stream, ZK_ISA_PICK(isa, zk_lmhead_backward_bytes)(&call), &scratch));
    ZK_ISA_PICK(isa, zk_lmhead_backward_run)(&call, scratch);
  }
  zk_stream_fault(stream, ZK_OP_LMHEAD_BACKWARD, dx, (size_t)desc->num_rows * (size_t)desc->hidden);
  return ZK_OK;
}
