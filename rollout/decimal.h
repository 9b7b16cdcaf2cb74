// Decimal numbers as people and models write them, found in text and compared digit by digit: no float, no rounding,
// any length.
#ifndef ZK_ROLLOUT_DECIMAL_H
#define ZK_ROLLOUT_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

// A number inside a text it points into. Canonical: zero has no sign, no leading zeros, no trailing zeros after the
// point.
typedef struct {
  bool negative;
  const char *whole;    // digits, perhaps with commas between them, from the first that is not 0
  size_t whole_bytes;   // 0 when the integer part is 0
  const char *fraction; // digits after the point, up to the last that is not 0
  size_t fraction_bytes;
} zk_decimal;

// The last number in `text`: an optional sign, an optional $, digits with commas as thousands separators only, and
// .digits if digits follow the point. A minus sign (ASCII or U+2212) right behind a letter, a digit or a closing
// bracket is an operator. False: there is no number.
bool zk_decimal_find_last(const char *text, size_t num_bytes, zk_decimal *out);

// True when all of `text`, less surrounding white space, is one number.
bool zk_decimal_parse(const char *text, size_t num_bytes, zk_decimal *out);

// The number behind the first `#### ` that is followed by one, read as GSM8K's own evaluation reads it (Cobbe et al.
// 2021): an optional minus, then a run of digits, commas and points; commas and one point at the end are dropped.
// False: no such place, or what stands there is not a number.
bool zk_decimal_find_gsm8k(const char *text, size_t num_bytes, zk_decimal *out);

bool zk_decimal_equal(const zk_decimal *a, const zk_decimal *b); // of value: 1,000.50 equals 1000.5

#endif
