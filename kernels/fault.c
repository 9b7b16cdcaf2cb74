// Faults for negative controls: ZK_FAULT=side:operation moves one output element by one ulp, on one side, in test builds only; with :f32 or
// :bf16 behind it only where the output is stored as that, with :break the device fails there instead, with :stall it never ends. sampler:lmhead_sample:lse moves a
// log-sum-exp in place of a log-probability; trainer:add:vendor leaves the sum over leaves to NCCL, in NCCL's order.
#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

// Sides as ZK_FAULT names them. `check` is what zerokl check runs on: a run's start-up check does not see the faults of
// its two sides.
static const char *const side_names[ZK_NUM_SIDES] = {
    [ZK_SIDE_NONE] = "check", [ZK_SIDE_SAMPLER] = "sampler", [ZK_SIDE_TRAINER] = "trainer"};

const char *zk_side_name(zk_side side) { return side_names[side]; }

static zk_status bad_fault(const char *text) {
  char names[64 * ZK_NUM_OPS];
  size_t used = 0;
  for (zk_op op = 0; op < ZK_NUM_OPS; op++)
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", op > 0 ? " " : "", zk_op_name(op));
  return ZK_FAIL(ZK_BAD_INPUT, "ZK_FAULT=%s: want sampler:OPERATION, trainer:OPERATION or check:OPERATION, then nothing, :f32, :bf16, :break, :stall, (sampler:lmhead_sample) :lse or (trainer:add) :vendor; OPERATION is one of: %s",
                 text, names);
}

// Whether `text`, `length` characters of it, is `name`.
static bool is_name(const char *name, const char *text, size_t length) { return strlen(name) == length && memcmp(name, text, length) == 0; }

// What stands behind the operation.
static bool parse_kind(const char *text, zk_fault *out) {
  if (*text == 0) return true;
  out->breaks = strcmp(text, ":break") == 0;
  out->stalls = strcmp(text, ":stall") == 0;
  out->is_vendor = strcmp(text, ":vendor") == 0;
  out->is_lse = strcmp(text, ":lse") == 0;
  for (zk_numerics n = ZK_F32; n <= ZK_BF16; n++)
    if (strcmp(text + 1, zk_numerics_name(n)) == 0) out->only = n;
  return out->breaks || out->stalls || out->is_vendor || out->is_lse || out->only != ZK_NUM_NUMERICS;
}

zk_status zk_fault_parse(const char *text, zk_side side, zk_fault *out) {
  *out = (zk_fault){.op = ZK_NUM_OPS, .only = ZK_NUM_NUMERICS};
  const char *colon = strchr(text, ':');
  if (colon == NULL) return bad_fault(text);
  zk_side named = ZK_SIDE_NONE;
  while (named <= ZK_SIDE_TRAINER && !is_name(side_names[named], text, (size_t)(colon - text))) named++;
  const char *operation = colon + 1;
  const size_t length = strcspn(operation, ":");
  zk_op found = 0;
  while (found < ZK_NUM_OPS && !is_name(zk_op_name(found), operation, length)) found++;
  if (named > ZK_SIDE_TRAINER || found == ZK_NUM_OPS || !parse_kind(operation + length, out)) return bad_fault(text);
  if (out->is_vendor && (named != ZK_SIDE_TRAINER || found != ZK_OP_ADD)) return bad_fault(text);
  if (out->is_lse && (named != ZK_SIDE_SAMPLER || found != ZK_OP_LMHEAD_SAMPLE)) return bad_fault(text);
  if (named == side) out->op = found;
  return ZK_OK;
}

int zk_stream_is_faulty(const zk_stream *stream, zk_op op) { return stream->fault.op == op && !stream->fault.is_vendor; }
int zk_stream_is_vendor(const zk_stream *stream, zk_op op) { return stream->fault.op == op && stream->fault.is_vendor; }

zk_status zk_stream_fault(zk_stream *stream, zk_op op, zk_numerics numerics, void *out, size_t n) {
#ifdef ZK_WITH_FAULTS
  const zk_fault *fault = &stream->fault;
  if (!zk_stream_is_faulty(stream, op) || n == 0) return ZK_OK;
  if (fault->breaks) {
    const zk_status status = stream->device->backend->break_down(stream);
    return status == ZK_OK ? ZK_OK : zk_status_context(status, "operation %s", zk_op_name(op));
  }
  if (fault->stalls) {
    stream->stands = true;
    return ZK_OK;
  }
  if (fault->only == ZK_NUM_NUMERICS || fault->only == numerics)
    return stream->device->backend->flip(stream, out, zk_numerics_bytes(numerics), n);
#else
  (void)stream, (void)op, (void)numerics, (void)out, (void)n;
#endif
  return ZK_OK;
}
