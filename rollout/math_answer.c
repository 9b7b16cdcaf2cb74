// Boxes are found from the back; values are exact fractions; lists are compared element by element.
#include "rollout/math_answer.h"

#include <string.h>

#include "rollout/rational.h"

// The byte behind what a box holds, which begins at `begin`; NULL when it never closes, or holds nothing without braces.
static const char *box_end(const char *begin, const char *end, bool braces) {
  const char *at = begin;
  if (!braces) { // \boxed 5
    while (at < end && strchr(" \t\n$", *at) == NULL) at++;
    return at > begin ? at : NULL;
  }
  for (int depth = 1; at < end; at++) {
    if (*at == '\\' && at + 1 < end) at++;
    else if (*at == '{') depth++;
    else if (*at == '}' && --depth == 0) return at;
  }
  return NULL;
}

static bool read_box(const char *at, const char *end, const char **answer, size_t *answer_bytes) {
  while (at < end && *at == ' ') at++;
  const bool braces = at < end && *at == '{';
  const char *begin = at + braces, *behind = box_end(begin, end, braces);
  if (behind == NULL) return false;
  *answer = begin, *answer_bytes = (size_t)(behind - begin);
  return true;
}

bool zk_math_find_boxed(const char *text, size_t num_bytes, const char **answer, size_t *answer_bytes) {
  static const char *const names[] = {"\\boxed", "\\fbox"};
  const char *end = text + num_bytes;
  for (const char *at = end; at-- > text;)
    for (int i = 0; i < 2 && *at == '\\'; i++) {
      size_t n = strlen(names[i]);
      if ((size_t)(end - at) > n && memcmp(at, names[i], n) == 0) return read_box(at + n, end, answer, answer_bytes);
    }
  return false;
}

static bool number_value(const char *text, size_t n, zk_rational *out) {
  zk_decimal decimal;
  return zk_decimal_parse(text, n, &decimal) && zk_rational_from_decimal(&decimal, out);
}

// {A}{B} behind \frac, up to the end.
static bool fraction_value(const char *text, size_t n, zk_rational *out) {
  const char *middle = n > 4 ? memchr(text, '}', n) : NULL;
  zk_rational num, den;
  if (middle == NULL || text[0] != '{' || text[n - 1] != '}' || middle + 2 >= text + n || middle[1] != '{') return false;
  return number_value(text + 1, (size_t)(middle - text - 1), &num) && number_value(middle + 2, (size_t)(text + n - 1 - middle - 2), &den) &&
         zk_rational_apply('/', num, den, out);
}

// The value of a normalised answer that is a number: 1,234.5, -\frac{1}{2}, 1/2, 1\frac{1}{2}.
static bool value_of(const char *text, size_t n, zk_rational *out) {
  static const char frac[] = "\\frac";
  const bool negative = n > 0 && text[0] == '-';
  zk_rational whole = {0, 1}, part;
  if (number_value(text, n, out)) return true;
  text += negative, n -= negative;
  const char *slash = memchr(text, '/', n), *at = text;
  if (slash != NULL) {
    if (!number_value(text, (size_t)(slash - text), out) || !number_value(slash + 1, n - (size_t)(slash + 1 - text), &part) ||
        !zk_rational_apply('/', *out, part, out))
      return false;
  } else {
    while (at < text + n && *at >= '0' && *at <= '9') at++;
    if (at > text && !number_value(text, (size_t)(at - text), &whole)) return false;
    if ((size_t)(text + n - at) < sizeof frac || memcmp(at, frac, sizeof frac - 1) != 0) return false;
    at += sizeof frac - 1;
    if (!fraction_value(at, (size_t)(text + n - at), &part) || !zk_rational_apply('+', whole, part, out)) return false;
  }
  return !negative || zk_rational_apply('-', (zk_rational){0, 1}, *out, out);
}

static bool same_element(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
  zk_rational x, y;
  if (a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0) return true;
  return value_of(a, a_bytes, &x) && value_of(b, b_bytes, &y) && zk_rational_equal(x, y);
}

// Bytes up to the comma that is in no brackets, or to the end.
static size_t element_bytes(const char *text) {
  int depth = 0;
  size_t n = 0;
  for (; text[n] != 0; n++) {
    if (strchr("({[", text[n]) != NULL) depth++;
    else if (strchr(")}]", text[n]) != NULL) depth--;
    else if (text[n] == ',' && depth <= 0) break;
  }
  return n;
}

static bool same_elements(const char *a, const char *b) {
  for (;;) {
    size_t m = element_bytes(a), n = element_bytes(b);
    if (!same_element(a, m, b, n)) return false;
    a += m, b += n;
    if (*a == 0 || *b == 0) return *a == *b;
    a++, b++;
  }
}

// (a,b) without its brackets, when they are one pair.
static bool strip_brackets(char *text, char brackets[2]) {
  size_t n = strlen(text);
  if (n < 2 || strchr("([", text[0]) == NULL || strchr(")]", text[n - 1]) == NULL) return false;
  brackets[0] = text[0], brackets[1] = text[n - 1];
  text[n - 1] = 0;
  memmove(text, text + 1, n - 1);
  return true;
}

bool zk_math_equal(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
  char x[ZK_MATH_MAX_BYTES], y[ZK_MATH_MAX_BYTES], of_x[2], of_y[2];
  if (!zk_math_normalise(a, a_bytes, x) || !zk_math_normalise(b, b_bytes, y)) return false;
  if (same_element(x, strlen(x), y, strlen(y))) return x[0] != 0;
  if (x[0] == 0 || y[0] == 0) return false;
  const bool in_brackets = strip_brackets(x, of_x), other = strip_brackets(y, of_y);
  if (in_brackets != other || (in_brackets && memcmp(of_x, of_y, 2) != 0)) return false;
  return same_elements(x, y);
}
