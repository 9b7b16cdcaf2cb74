// LM head on the CPU: targets in range, one token chunk at a time in the backward pass.
#include "kernels/backend.h"
#include "kernels/cpu/lmhead.h"
#include "kernels/cpu/openblas.h"
#include "kernels/cpu/vendor.h"

static zk_status check_packed(const zk_lmhead_desc *desc, const void *packed) {
  if (desc->numerics != ZK_BF16 && packed == NULL) return ZK_FAIL(ZK_INTERNAL, "lm head: no packed weight");
  return ZK_OK;
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
  call->isa = isa;
  if (call->num_rows == 0) return ZK_OK;
  if (call->numerics == ZK_VENDOR) {
    const zk_openblas *blas;
    ZK_TRY(zk_openblas_load(&blas));
    call->product = zk_cpu_vendor_logits;
  }
  void *scratch;
  ZK_TRY(zk_stream_scratch(stream, ZK_ISA_PICK(isa, zk_lmhead_forward_bytes)(call), &scratch));
  ZK_ISA_PICK(isa, zk_lmhead_forward_run)(call, scratch);
  return ZK_OK;
}

// What scoring and drawing have in common.
static zk_lmhead_forward forward_call(const zk_lmhead_desc *desc, const void *x, const void *weight, const void *packed,
                                      const zk_lmhead_out *out) {
  return (zk_lmhead_forward){.numerics = desc->numerics,
                             .num_rows = desc->num_rows,
                             .hidden = desc->hidden,
                             .vocab = desc->vocab,
                             .x = x,
                             .weight = weight,
                             .packed = packed,
                             .dist = zk_lmhead_make_dist(desc),
                             .out = *out};
}

zk_status zk_cpu_lmhead_logprob(zk_stream *stream, const zk_lmhead_desc *desc, const void *x, const void *weight,
                                const void *packed, const int32_t *target, const zk_lmhead_out *out) {
  ZK_TRY(check_packed(desc, packed));
  ZK_TRY(check_targets(desc, target));
  zk_lmhead_forward call = forward_call(desc, x, weight, packed, out);
  call.pick = ZK_PICK_NOTHING, call.target = target;
  return run_forward(stream, &call);
}

zk_status zk_cpu_lmhead_sample(zk_stream *stream, const zk_lmhead_desc *desc, const zk_sample_ids *ids, const void *x,
                               const void *weight, const void *packed, int32_t *token, const zk_lmhead_out *out) {
  ZK_TRY(check_packed(desc, packed));
  zk_lmhead_forward call = forward_call(desc, x, weight, packed, out);
  call.pick = desc->temperature == 0.0 ? ZK_PICK_GREEDY : ZK_PICK_GUMBEL;
  call.ids = ids, call.token = token;
  return run_forward(stream, &call);
}

zk_status zk_cpu_lmhead_backward(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x,
                                 const void *weight, const void *packed, const int32_t *target,
                                 const zk_lmhead_out *fwd, const float *dlogprob, const float *dentropy, void *dx, float *dweight) {
  ZK_TRY(check_packed(desc, packed));
  ZK_TRY(check_targets(desc, target));
  zk_lmhead_dist dist = zk_lmhead_make_dist(desc);
  const zk_device *device = zk_stream_device(stream);
  const zk_cpu_isa isa = zk_device_isa(device);
  const bool bf16 = desc->numerics == ZK_BF16;
  const int64_t row_bytes = desc->hidden * (int64_t)zk_numerics_bytes(desc->numerics);
  for (int32_t c = 0; c < chunks->num_chunks; c++) {
    const int64_t row = chunks->row_start[c];
    zk_lmhead_backward_chunk call = {.num_rows = chunks->row_start[c + 1] - row,
                                     .hidden = desc->hidden,
                                     .vocab = desc->vocab,
                                     .x = (const char *)x + row * row_bytes,
                                     .weight = weight,
                                     .packed = packed,
                                     .dist = dist,
                                     .target = target + row,
                                     .lse = fwd->lse + row,
                                     .dlogprob = dlogprob + row,
                                     .dx = (char *)dx + row * row_bytes,
                                     .dweight = dweight,
                                     .threads = zk_gemm_threads(device, desc->num_rows, desc->vocab, desc->hidden)};
    if (dist.filtered) call.kept_logit = fwd->kept_logit + row, call.kept_id = fwd->kept_id + row;
    if (dentropy != NULL) call.dentropy = dentropy + row, call.entropy = fwd->entropy + row;
    if (call.num_rows == 0) continue;
    if (desc->numerics == ZK_VENDOR) {
      ZK_TRY(zk_cpu_vendor_lmhead_backward(stream, &call));
      continue;
    }
    void *scratch;
    const size_t bytes = bf16 ? ZK_ISA_PICK(isa, zk_lmhead_backward_bf16_bytes)(&call)
                              : ZK_ISA_PICK(isa, zk_lmhead_backward_bytes)(&call);
    ZK_TRY(zk_stream_scratch(stream, bytes, &scratch));
    if (bf16) ZK_ISA_PICK(isa, zk_lmhead_backward_bf16_run)(&call, scratch);
    else ZK_ISA_PICK(isa, zk_lmhead_backward_run)(&call, scratch);
  }
  return ZK_OK;
}

// A CPU gains nothing from one pass.
zk_status zk_cpu_lmhead_loss_fused(zk_stream *stream, const zk_lmhead_desc *desc, const zk_chunks *chunks, const void *x, const void *weight,
                                   const int32_t *target, const float *lse, const float *dlogprob, const zk_lmhead_out *out, void *dx,
                                   float *dweight, bool *done) {
  (void)stream, (void)desc, (void)chunks, (void)x, (void)weight, (void)target, (void)lse, (void)dlogprob, (void)out, (void)dx, (void)dweight;
  *done = false;
  return ZK_OK;
}
