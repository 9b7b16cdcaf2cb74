// A hand-written scanner for decimal numbers; see decimal.h for the grammar.
#include "rollout/decimal.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The byte behind a run of digits that begins at p.
static const char *skip_digits(const char *p, const char *end) {
  while (p < end && is_digit(*p)) p++;
  return p;
}

// Fills `out` from the bounds of its parts, dropping what has no value.
static void canonical(bool negative, const char *whole, const char *whole_end, const char *fraction,
                      const char *fraction_end, zk_decimal *out) {
  while (whole < whole_end && (*whole == '0' || *whole == ',')) whole++;
  while (fraction_end > fraction && fraction_end[-1] == '0') fraction_end--;
  *out = (zk_decimal){.whole = whole,
                      .whole_bytes = (size_t)(whole_end - whole),
                      .fraction = fraction,
                      .fraction_bytes = (size_t)(fraction_end - fraction)};
  out->negative = negative && (out->whole_bytes > 0 || out->fraction_bytes > 0);
}

// The byte behind digits and well-formed thousands groups (1,234,567) that begin at p; p itself when there is no digit.
static const char *skip_whole(const char *p, const char *end) {
  const char *at = skip_digits(p, end);
  if (at - p > 3 || at == p) return at;
  while (at < end && *at == ',' && skip_digits(at + 1, end) - at == 4) at += 4;
  return at;
}

// Bytes of a sign at p: 1 for ASCII, 3 for U+2212, 0 when there is none.
static size_t sign_bytes(const char *p, const char *end, bool *negative) {
  *negative = false;
  if (p < end && *p == '+') return 1;
  *negative = true;
  if (p < end && *p == '-') return 1;
  if (end - p >= 3 && memcmp(p, "\xe2\x88\x92", 3) == 0) return 3;
  *negative = false;
  return 0;
}

// A number that begins exactly at p: the byte behind it, or NULL.
static const char *number_at(const char *p, const char *end, zk_decimal *out) {
  bool negative, negative_behind_currency = false;
  p += sign_bytes(p, end, &negative);
  if (p < end && *p == '$') {
    p++;
    if (!negative) p += sign_bytes(p, end, &negative_behind_currency);
  }
  const char *whole = p, *whole_end = skip_whole(p, end), *fraction = whole_end, *fraction_end = whole_end;
  if (whole_end < end && *whole_end == '.' && whole_end + 1 < end && is_digit(whole_end[1])) {
    fraction = whole_end + 1;
    fraction_end = skip_digits(fraction, end);
  }
  if (whole == whole_end && fraction == fraction_end) return NULL;
  canonical(negative || negative_behind_currency, whole, whole_end, fraction, fraction_end, out);
  return fraction_end;
}

bool zk_decimal_find_last(const char *text, size_t num_bytes, zk_decimal *out) {
  const char *end = text + num_bytes, *p = text;
  bool found = false;
  while (p < end) {
    char before = p == text ? ' ' : p[-1];
    bool joined = is_digit(before) || is_letter(before) || before == ')' || before == ']' || before == '}';
    bool negative;
    // Behind a word, a sign is an operator or a hyphen, and a point ends a sentence.
    const char *next = joined && (sign_bytes(p, end, &negative) > 0 || *p == '.') ? NULL : number_at(p, end, out);
    if (next != NULL) found = true;
    p = next != NULL ? next : p + 1;
  }
  return found;
}

bool zk_decimal_parse(const char *text, size_t num_bytes, zk_decimal *out) {
  const char *end = text + num_bytes;
  while (text < end && is_space(*text)) text++;
  while (end > text && is_space(end[-1])) end--;
  return number_at(text, end, out) == end && text < end;
}

// A run of digits, commas and at most one point, commas anywhere before the point.
static bool comma_number(bool negative, const char *run, const char *end, zk_decimal *out) {
  const char *point = memchr(run, '.', (size_t)(end - run));
  const char *whole_end = point != NULL ? point : end, *fraction = point != NULL ? point + 1 : end;
  if (skip_digits(fraction, end) != end) return false; // a second point, or a comma behind the first
  bool digits = fraction < end;
  for (const char *p = run; p < whole_end; p++) digits |= is_digit(*p);
  if (digits) canonical(negative, run, whole_end, fraction, end, out);
  return digits;
}

bool zk_decimal_find_gsm8k(const char *text, size_t num_bytes, zk_decimal *out) {
  const char *end = text + num_bytes;
  for (const char *p = text; end - p > 5; p++) {
    if (memcmp(p, "#### ", 5) != 0) continue;
    bool negative = p[5] == '-';
    const char *run = p + 5 + negative, *at = run;
    while (at < end && (is_digit(*at) || *at == ',' || *at == '.')) at++;
    if (at > run) return comma_number(negative, run, at[-1] == '.' ? at - 1 : at, out);
  }
  return false;
}

bool zk_decimal_equal(const zk_decimal *a, const zk_decimal *b) {
  if (a->negative != b->negative || a->fraction_bytes != b->fraction_bytes) return false;
  if (a->fraction_bytes > 0 && memcmp(a->fraction, b->fraction, a->fraction_bytes) != 0) return false;
  size_t i = 0, j = 0;
  for (;;) {
    while (i < a->whole_bytes && a->whole[i] == ',') i++;
    while (j < b->whole_bytes && b->whole[j] == ',') j++;
    if (i == a->whole_bytes || j == b->whole_bytes) return i == a->whole_bytes && j == b->whole_bytes;
    if (a->whole[i++] != b->whole[j++]) return false;
  }
}
