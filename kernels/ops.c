// Names of the operations, from the one table.
#include "kernels/ops.h"

const char *zk_op_name(zk_op op) {
  static const char *const names[] = {
#define X(name, text) text,
      ZK_OP_LIST(X)
#undef X
  };
  return (unsigned)op < ZK_NUM_OPS ? names[op] : "unknown";
}
