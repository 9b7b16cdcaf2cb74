// One pass over LaTeX tokens writes the answer's one form; a second look at its ends drops `x=`, a point, units in words.
#include <string.h>

#include "rollout/math_answer.h"

typedef struct {
  const char *at, *end;
  char *out;
  size_t used;
  bool full;
} writer;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void put(writer *w, const char *text, size_t num_bytes) {
  if (w->used + num_bytes >= ZK_MATH_MAX_BYTES) {
    w->full = true;
    return;
  }
  memcpy(w->out + w->used, text, num_bytes);
  w->used += num_bytes;
}

static bool is_one_of(const char *name, size_t num_bytes, const char *const *list) {
  for (; *list != NULL; list++)
    if (strlen(*list) == num_bytes && memcmp(*list, name, num_bytes) == 0) return true;
  return false;
}

// The byte behind the group whose opening brace is at p; NULL when it never closes.
static const char *group_end(const char *p, const char *end) {
  int depth = 0;
  for (; p < end; p++) {
    if (*p == '\\' && p + 1 < end) p++;
    else if (*p == '{') depth++;
    else if (*p == '}' && --depth == 0) return p + 1;
  }
  return NULL;
}

static void copy(writer *w);

// Normalises [begin, end) into the same output.
static void copy_part(writer *w, const char *begin, const char *end) {
  const char *at = w->at, *old_end = w->end;
  w->at = begin, w->end = end;
  copy(w);
  w->at = at, w->end = old_end;
}

static void skip_blanks(writer *w) {
  while (w->at < w->end && is_blank(*w->at)) w->at++;
}

// An argument in braces of its own: a group, a command or one character.
static void copy_argument(writer *w) {
  skip_blanks(w);
  if (w->at == w->end) return;
  const char *begin = w->at, *behind = *begin == '{' ? group_end(begin, w->end) : begin + 1;
  if (*begin == '\\')
    for (; behind < w->end && is_letter(*behind);) behind++;
  if (behind == NULL) behind = w->end;
  w->at = behind;
  put(w, "{", 1);
  if (*begin == '{') copy_part(w, begin + 1, behind > begin + 1 && behind[-1] == '}' ? behind - 1 : behind);
  else copy_part(w, begin, behind);
  put(w, "}", 1);
}

// Behind a unit there is nothing but its power.
static bool only_power_follows(const char *p, const char *end) {
  if (p < end && *p == '^') {
    p++;
    while (p < end && (is_digit(*p) || *p == '{' || *p == '}')) p++;
  }
  while (p < end && (is_blank(*p) || *p == '.' || *p == '$')) p++;
  return p == end;
}

// \text{...}: its content; nothing when it is what follows a number and ends the answer.
static void copy_text(writer *w) {
  skip_blanks(w);
  const char *behind = w->at < w->end && *w->at == '{' ? group_end(w->at, w->end) : NULL;
  if (behind == NULL) return;
  const char last = w->used > 0 ? w->out[w->used - 1] : 0;
  const char *begin = w->at + 1;
  const bool unit = (is_digit(last) || last == '}' || last == ')') && only_power_follows(behind, w->end);
  w->at = unit ? w->end : behind;
  if (!unit) copy_part(w, begin, behind - 1);
}

static void copy_command(writer *w) {
  static const char *const dropped[] = {"left", "right", "big", "Big", "bigl", "bigr", "quad", "qquad", "degree", "displaystyle", "circ", NULL};
  static const char *const fractions[] = {"frac", "dfrac", "tfrac", "cfrac", NULL}, *const roots[] = {"sqrt", NULL};
  static const char *const texts[] = {"text", "mbox", "textbf", "textit", "textrm", "mathrm", "mathbf", "operatorname", "boxed", "fbox", NULL};
  static const char *const times[] = {"times", "cdot", NULL};
  const char *begin = ++w->at;
  if (begin == w->end) return;
  if (!is_letter(*begin)) { // \, \! \; \% \$ are spacing and signs; \{ \} are brackets of sets
    w->at++;
    if (strchr("{}", *begin) != NULL) put(w, begin - 1, 2);
    return;
  }
  while (w->at < w->end && is_letter(*w->at)) w->at++;
  const size_t n = (size_t)(w->at - begin);
  if (is_one_of(begin, n, dropped)) {
    if (*begin == 'c' && w->used > 0 && w->out[w->used - 1] == '^') w->used--; // ^\circ
  } else if (is_one_of(begin, n, fractions)) {
    put(w, "\\frac", 5);
    copy_argument(w);
    copy_argument(w);
  } else if (is_one_of(begin, n, roots)) {
    put(w, "\\sqrt", 5);
    skip_blanks(w);
    if (w->at == w->end || *w->at != '[') copy_argument(w);
  } else if (is_one_of(begin, n, texts)) copy_text(w);
  else if (is_one_of(begin, n, times)) put(w, "*", 1);
  else put(w, begin - 1, n + 1);
}

static bool starts(const writer *w, const char *text) {
  size_t n = strlen(text);
  return (size_t)(w->end - w->at) >= n && memcmp(w->at, text, n) == 0;
}

static void copy(writer *w) {
  while (w->at < w->end && !w->full) {
    if (*w->at == '\\') copy_command(w);
    else if (starts(w, "^{\\circ}")) w->at += 8;
    else if (starts(w, "{,}")) put(w, ",", 1), w->at += 3;
    else if (starts(w, "\xe2\x88\x92")) put(w, "-", 1), w->at += 3; // U+2212, a minus sign
    else if (starts(w, "\xc2\xb0")) w->at += 2;                     // U+00B0, degrees
    else if (is_blank(*w->at) || strchr("$%~", *w->at) != NULL) w->at++;
    else put(w, w->at++, 1);
  }
}

// The length of `text` without units in words behind a number: "5 square feet", "12 dollars".
static size_t without_units(const char *text, size_t n) {
  static const char *const units[] = {"degrees", "degree", "dollars", "dollar", "cents", "percent", "units", "unit", "square", "cubic", "sq", "cm", "mm", "km",
                                      "kg", "meters", "meter", "feet", "foot", "ft", "inches", "inch", "miles", "mile", "mph", "hours", "hour", "minutes",
                                      "minute", "seconds", "days", "years", "points", "ways", "pounds", "liters", NULL};
  for (;;) {
    while (n > 0 && is_blank(text[n - 1])) n--;
    size_t begin = n;
    while (begin > 0 && is_letter(text[begin - 1])) begin--;
    if (begin == 0 || begin == n || !is_one_of(text + begin, n - begin, units)) return n;
    n = begin;
  }
}

bool zk_math_normalise(const char *text, size_t num_bytes, char out[ZK_MATH_MAX_BYTES]) {
  while (num_bytes > 0 && (is_blank(text[num_bytes - 1]) || text[num_bytes - 1] == '.')) num_bytes--;
  if (num_bytes > ZK_MATH_MAX_SOURCE || memchr(text, 0, num_bytes) != NULL) return false;
  writer w = {text, text + without_units(text, num_bytes), out, 0, false};
  copy(&w);
  out[w.used] = 0;
  const char *equals = strchr(out, '='); // x=5, but no equation
  if (equals != NULL && equals - out <= 2 && equals > out && is_letter(out[0]) && strchr(equals + 1, '=') == NULL)
    memmove(out, equals + 1, strlen(equals + 1) + 1);
  return !w.full;
}
