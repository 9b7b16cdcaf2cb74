// Names and sizes of the numerics, from the one table.
#include "kernels/numerics.h"

const char *zk_numerics_name(zk_numerics numerics) {
  static const char *const names[] = {
#define X(name, text, bytes) text,
      ZK_NUMERICS_LIST(X)
#undef X
  };
  return (unsigned)numerics < ZK_NUM_NUMERICS ? names[numerics] : "unknown";
}

size_t zk_numerics_bytes(zk_numerics numerics) {
  static const size_t sizes[] = {
#define X(name, text, bytes) bytes,
      ZK_NUMERICS_LIST(X)
#undef X
  };
  return (unsigned)numerics < ZK_NUM_NUMERICS ? sizes[numerics] : 0;
}
