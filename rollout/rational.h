// Exact fractions of 64-bit integers: what arithmetic in answers is compared by. No float, no rounding; what does not fit is no value.
#ifndef ZK_ROLLOUT_RATIONAL_H
#define ZK_ROLLOUT_RATIONAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rollout/decimal.h"

// Lowest terms, den > 0: equal values have equal members.
typedef struct {
  int64_t num, den;
} zk_rational;

// a OP b for OP one of + - * /. False: a division by zero, or the result does not fit.
bool zk_rational_apply(char op, zk_rational a, zk_rational b, zk_rational *out);
bool zk_rational_equal(zk_rational a, zk_rational b);
// The value of a decimal number; false: more digits than fit.
bool zk_rational_from_decimal(const zk_decimal *decimal, zk_rational *out);

#endif
