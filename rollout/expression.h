// Arithmetic expressions as a model writes them: parsed by hand, evaluated in exact fractions; nothing in them is ever run.
#ifndef ZK_ROLLOUT_EXPRESSION_H
#define ZK_ROLLOUT_EXPRESSION_H

#include "rollout/rational.h"

enum { ZK_EXPRESSION_MAX_NUMBERS = 32 };

typedef struct {
  zk_rational value;
  int num_numbers;
  int64_t numbers[ZK_EXPRESSION_MAX_NUMBERS]; // the integers it is written with, in order
} zk_expression;

// All of `text`, white space aside: integers, + - * / with their usual precedence and from left to right, parentheses, a sign before a term. False: it
// is not that, divides by zero, has more than 32 numbers or 32 parentheses in each other, or a value on the way does not fit 64 bits.
bool zk_expression_parse(const char *text, size_t num_bytes, zk_expression *out);

#endif
