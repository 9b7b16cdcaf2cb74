// Faults for negative controls: ZK_FAULT=side:operation moves one output element by one ulp, on one side, in test
// builds only.
#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

// Sides as ZK_FAULT names them. `check` is what zerokl check runs on: a run's start-up check does not see the faults of
// its two sides.
static const char *const side_names[] = {
    [ZK_SIDE_NONE] = "check", [ZK_SIDE_SAMPLER] = "sampler", [ZK_SIDE_TRAINER] = "trainer"};

static zk_status bad_fault(const char *text) {
  char names[64 * ZK_NUM_OPS];
  size_t used = 0;
  for (zk_op op = 0; op < ZK_NUM_OPS; op++)
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", op > 0 ? " " : "", zk_op_name(op));
  return ZK_FAIL(ZK_BAD_INPUT, "ZK_FAULT=%s: want sampler:OPERATION, trainer:OPERATION or check:OPERATION, one of: %s",
                 text, names);
}

zk_status zk_fault_parse(const char *text, zk_side side, zk_op *op) {
  *op = ZK_NUM_OPS;
  const char *colon = strchr(text, ':');
  if (colon == NULL) return bad_fault(text);
  zk_side named = ZK_SIDE_NONE;
  while (named <= ZK_SIDE_TRAINER && (strlen(side_names[named]) != (size_t)(colon - text) ||
                                      memcmp(side_names[named], text, (size_t)(colon - text)) != 0))
    named++;
  zk_op found = 0;
  while (found < ZK_NUM_OPS && strcmp(zk_op_name(found), colon + 1) != 0) found++;
  if (named > ZK_SIDE_TRAINER || found == ZK_NUM_OPS) return bad_fault(text);
  if (named == side) *op = found;
  return ZK_OK;
}

int zk_stream_is_faulty(const zk_stream *stream, zk_op op) { return stream->fault == op; }

zk_status zk_stream_fault(zk_stream *stream, zk_op op, zk_numerics numerics, void *out, size_t n) {
#ifdef ZK_WITH_FAULTS
  if (stream->fault == op && n > 0) return stream->device->backend->flip(stream, out, zk_numerics_bytes(numerics), n);
#else
  (void)stream, (void)op, (void)numerics, (void)out, (void)n;
#endif
  return ZK_OK;
}
