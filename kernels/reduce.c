// The tree over host values.
#include "kernels/reduce.h"

float zk_reduce_tree(float *values, int64_t n) {
  for (int64_t step = 1; step < n; step *= 2)
    for (int64_t i = 0; i + step < n; i += 2 * step) values[i] = values[i] + values[i + step];
  return n > 0 ? values[0] : 0.0f;
}
