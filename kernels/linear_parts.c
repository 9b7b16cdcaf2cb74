// Linear layers of one input as one call: the device's single pass, or the operations one by one.
#include "kernels/linear_parts.h"

#include "kernels/backend.h"

static zk_status check(const zk_linear_parts *p) {
  if (p->num_rows < 0 || p->in_features < 1 || p->num_parts < 1 || p->num_parts > ZK_LINEAR_MOST_PARTS)
    return ZK_FAIL(ZK_INTERNAL, "linear: bad shape, rows %lld, in %d, parts %d", (long long)p->num_rows, p->in_features, p->num_parts);
  return ZK_OK;
}

static zk_status one_by_one(zk_stream *stream, const zk_linear_parts *p, const void *x) {
  for (int32_t i = 0; i < p->num_parts; i++) {
    const zk_linear_part *part = &p->parts[i];
    const zk_linear_desc desc = {p->numerics, p->num_rows, p->in_features, part->out_features};
    ZK_TRY(zk_linear_forward(stream, &desc, x, part->weight, part->packed, part->bias, NULL, part->y));
  }
  return ZK_OK;
}

// The norm on its own: what is left to do, of x normalised.
static zk_status norm_first(zk_stream *stream, zk_linear_parts *p, const void **x) {
  const zk_rmsnorm_desc desc = {p->numerics, p->num_rows, 1, p->in_features, p->norm.eps};
  ZK_TRY(zk_rmsnorm_forward(stream, &desc, *x, p->norm.weight, p->norm.y, NULL));
  *x = p->norm.y, p->norm = (zk_linear_norm){0};
  return ZK_OK;
}

static bool reached_by_a_fault(const zk_stream *stream, const zk_linear_parts *p) {
  return zk_stream_is_faulty(stream, ZK_OP_LINEAR) || (p->norm.weight != NULL && zk_stream_is_faulty(stream, ZK_OP_RMSNORM));
}

static void count(zk_stream *stream, const zk_linear_parts *p) {
  if (p->norm.weight != NULL) zk_stream_count(stream, ZK_OP_RMSNORM);
  for (int32_t i = 0; i < p->num_parts; i++) zk_stream_count(stream, ZK_OP_LINEAR);
}

zk_status zk_linear_parts_forward(zk_stream *stream, const zk_linear_parts *p, const void *x) {
  bool done = false;
  ZK_TRY(check(p));
  if (!reached_by_a_fault(stream, p)) ZK_TRY(stream->device->kernels->linear_parts_fused(stream, p, x, &done));
  if (!done && p->norm.weight != NULL) {
    zk_linear_parts rest = *p;
    ZK_TRY(norm_first(stream, &rest, &x));
    return zk_linear_parts_forward(stream, &rest, x);
  }
  if (!done) return one_by_one(stream, p, x);
  count(stream, p);
  return ZK_OK;
}

zk_status zk_linear_parts_swiglu(zk_stream *stream, const zk_linear_parts *p, const void *x, void *out) {
  bool done = false;
  ZK_TRY(check(p));
  const zk_linear_part *gate = &p->parts[0], *up = &p->parts[1];
  if (p->num_parts != 2 || gate->out_features != up->out_features || gate->bias != NULL || up->bias != NULL)
    return ZK_FAIL(ZK_INTERNAL, "linear: SwiGLU wants gate and up, of one width and without bias");
  if (!reached_by_a_fault(stream, p) && !zk_stream_is_faulty(stream, ZK_OP_SWIGLU))
    ZK_TRY(stream->device->kernels->linear_swiglu_fused(stream, p, x, out, &done));
  if (!done && p->norm.weight != NULL) {
    zk_linear_parts rest = *p;
    ZK_TRY(norm_first(stream, &rest, &x));
    return zk_linear_parts_swiglu(stream, &rest, x, out);
  }
  if (!done) {
    ZK_TRY(one_by_one(stream, p, x));
    return zk_swiglu_forward(stream, p->numerics, p->num_rows * gate->out_features, gate->y, up->y, out);
  }
  count(stream, p);
  zk_stream_count(stream, ZK_OP_SWIGLU);
  return ZK_OK;
}

static zk_linear_desc back_desc(const zk_linear_back_parts *p, int32_t i) {
  return (zk_linear_desc){p->numerics, p->num_rows, p->in_features, p->parts[i].out_features};
}

zk_status zk_linear_parts_backward(zk_stream *stream, const zk_linear_back_parts *p, const zk_chunks *chunks, const void *x, void *dx) {
  bool done = false;
  ZK_TRY(zk_chunks_validate(chunks, p->num_rows));
  if (!zk_stream_is_faulty(stream, ZK_OP_LINEAR_BACKWARD_INPUT)) ZK_TRY(stream->device->kernels->linear_parts_input_fused(stream, p, dx, &done));
  for (int32_t i = 0; i < p->num_parts; i++) {
    const zk_linear_desc desc = back_desc(p, i);
    if (done) zk_stream_count(stream, ZK_OP_LINEAR_BACKWARD_INPUT);
    else ZK_TRY(zk_linear_backward_input(stream, &desc, p->parts[i].dy, p->parts[i].weight, i > 0 ? dx : NULL, dx));
  }
  done = false;
  if (!zk_stream_is_faulty(stream, ZK_OP_LINEAR_BACKWARD_WEIGHT))
    ZK_TRY(stream->device->kernels->linear_parts_weight_fused(stream, p, chunks, x, &done));
  for (int32_t i = 0; i < p->num_parts; i++) {
    const zk_linear_desc desc = back_desc(p, i);
    const zk_linear_back_part *part = &p->parts[i];
    if (done) {
      zk_stream_count(stream, ZK_OP_LINEAR_BACKWARD_WEIGHT);
      continue;
    }
    if (p->first) ZK_TRY(zk_fill_zero(stream, part->dweight, (size_t)part->out_features * (size_t)p->in_features * sizeof(float)));
    ZK_TRY(zk_linear_backward_weight(stream, &desc, chunks, part->dy, x, part->dweight, part->dbias));
  }
  return ZK_OK;
}
