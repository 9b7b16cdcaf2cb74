// The reference's regular expressions on PCRE2: the syntax that pre-tokenisers use is rewritten so that both engines
// mean the same, and a construct on which they differ, or might, is refused by name.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

// Letters and numbers of Unicode 15 and 16, which the reference knows and older builds of PCRE2 do not: ids must not
// depend on the version of a system library. Inserted into classes beside \p{L} and \p{N}.
static const char *const NEW_LETTERS =
    "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}\\x{10d6f}-\\x{"
    "10d85}"
    "\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}"
    "\\x{113d1}"
    "\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}"
    "\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}"
    "\\x{1e030}-\\x{1e06d}\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}"
    "-\\x{323af}";
static const char *const NEW_NUMBERS =
    "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}\\x{16130}-\\x{16139}\\x{"
    "16d70}-\\x{16d79}"
    "\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}";

struct zk_tok_regex {
  pcre2_code *code;
  pcre2_match_data *match;
  pcre2_match_context *context;
  pcre2_jit_stack *stack;
};

// ---- rewriting
typedef struct rewriter {
  const char *in; // what is left of the pattern
  const char *pattern;
  char *out;
  size_t num_bytes, capacity;
} rewriter;

static zk_status put(rewriter *w, const char *text, size_t n) {
  if (w->capacity - w->num_bytes < n + 1) {
    size_t capacity = (w->capacity + n + 1) * 2;
    char *bigger = realloc(w->out, capacity);
    if (!bigger) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a regular expression");
    w->out = bigger;
    w->capacity = capacity;
  }
  memcpy(w->out + w->num_bytes, text, n);
  w->num_bytes += n;
  w->out[w->num_bytes] = 0;
  return ZK_OK;
}

static zk_status puts_(rewriter *w, const char *text) { return put(w, text, strlen(text)); }
static zk_status copy(rewriter *w, size_t n) {
  ZK_TRY(put(w, w->in, n));
  w->in += n;
  return ZK_OK;
}

static zk_status refuse(const rewriter *w, const char *what) {
  return ZK_FAIL(ZK_UNSUPPORTED, "regular expression construct %s (at byte %zu of %.200s) is not supported", what,
                 (size_t)(w->in - w->pattern), w->pattern);
}

// \p{Name}, \P{Name}, \p{^Name}; w->in is at the backslash.
static zk_status rewrite_property(rewriter *w, bool in_class) {
  const char *name = w->in + 3;
  bool negated = w->in[1] == 'P';
  if (w->in[2] != '{') return refuse(w, "\\p without {");
  if (*name == '^') negated = !negated, name++;
  size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_");
  if (!n || name[n] != '}') return refuse(w, "\\p{...}");
  const char *more = n == 1 && *name == 'L' ? NEW_LETTERS : n == 1 && *name == 'N' ? NEW_NUMBERS : "";
  if (negated && in_class && *more) return refuse(w, "\\P{...} in a class");
  bool wrap = !in_class && *more;
  if (wrap) ZK_TRY(puts_(w, negated ? "[^" : "["));
  ZK_TRY(puts_(w, negated && !wrap ? "\\P{" : "\\p{"));
  ZK_TRY(put(w, name, n + 1));
  ZK_TRY(puts_(w, more));
  if (wrap) ZK_TRY(puts_(w, "]"));
  w->in = name + n + 1;
  return ZK_OK;
}

static zk_status rewrite_code_point(rewriter *w) { // \xHH, \x{H...}, \uHHHH
  static const char *const hex = "0123456789abcdefABCDEF";
  bool braces = w->in[1] == 'x' && w->in[2] == '{';
  const char *digits = w->in + (braces ? 3 : 2);
  size_t n = strspn(digits, hex), want = w->in[1] == 'u' ? 4 : 2;
  if (braces ? !n || n > 6 || digits[n] != '}' : n < want) return refuse(w, "\\x or \\u");
  if (!braces) n = want;
  ZK_TRY(puts_(w, "\\x{"));
  ZK_TRY(put(w, digits, n));
  ZK_TRY(puts_(w, "}"));
  w->in = digits + n + (braces ? 1 : 0);
  return ZK_OK;
}

static zk_status rewrite_escape(rewriter *w, bool in_class) {
  static const struct {
    char c;
    const char *is;
  } plain[] = {{'s', "\\p{White_Space}"},
               {'S', "\\P{White_Space}"},
               {'d', "\\p{Nd}"},
               {'D', "\\P{Nd}"},
               {'r', "\\r"},
               {'n', "\\n"},
               {'t', "\\t"},
               {'f', "\\f"},
               {'v', "\\x{b}"},
               {'a', "\\a"},
               {'e', "\\e"}};
  char c = w->in[1];
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    if (c && c == plain[i].c) {
      w->in += 2;
      return puts_(w, plain[i].is);
    }
  if (c == 'p' || c == 'P') return rewrite_property(w, in_class);
  if (c == 'x' || c == 'u') return rewrite_code_point(w);
  if (c > 32 && c < 127 && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c)) return copy(w, 2);
  char what[8] = {'\\', c > 32 ? c : 0};
  return refuse(w, what);
}

static zk_status rewrite_class(rewriter *w) {
  ZK_TRY(copy(w, 1));
  if (*w->in == '^') ZK_TRY(copy(w, 1));
  if (*w->in == ']') return refuse(w, "] at the beginning of a class");
  while (*w->in != ']') {
    if (!*w->in) return refuse(w, "[ without ]");
    if (*w->in == '[') return refuse(w, "[ inside a class");
    if (w->in[0] == '&' && w->in[1] == '&') return refuse(w, "&&");
    ZK_TRY(*w->in == '\\' ? rewrite_escape(w, true) : copy(w, 1));
  }
  return copy(w, 1);
}

static zk_status rewrite_group(rewriter *w) {
  static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
  if (w->in[1] == '*') return refuse(w, "(*");
  if (w->in[1] != '?') return copy(w, 1);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (!strncmp(w->in, known[i], strlen(known[i]))) return copy(w, strlen(known[i]));
  return refuse(w, "(?...");
}

static zk_status rewrite_count(rewriter *w) { // {n} {n,} {n,m}
  size_t n = 1 + strspn(w->in + 1, "0123456789");
  if (n == 1) return refuse(w, "{ that is no count");
  if (w->in[n] == ',') n += 1 + strspn(w->in + n + 1, "0123456789");
  if (w->in[n] != '}') return refuse(w, "{ that is no count");
  if (w->in[n + 1] == '+' || w->in[n + 1] == '?') return refuse(w, "+ or ? behind a count");
  return copy(w, n + 1);
}

static zk_status rewrite(rewriter *w) {
  while (*w->in) {
    switch (*w->in) {
    case '\\':
      ZK_TRY(rewrite_escape(w, false));
      break;
    case '[':
      ZK_TRY(rewrite_class(w));
      break;
    case '(':
      ZK_TRY(rewrite_group(w));
      break;
    case '{':
      ZK_TRY(rewrite_count(w));
      break;
    case '^':
    case '$':
      return refuse(w, "^ or $");
    default:
      ZK_TRY(copy(w, 1));
    }
  }
  return ZK_OK;
}

// ---- compiling and matching
static zk_status compile(const char *pattern, size_t num_bytes, zk_tok_regex *regex) {
  int error;
  PCRE2_SIZE at;
  pcre2_compile_context *context = pcre2_compile_context_create(NULL);
  if (!context) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a regular expression");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context, 1 << 16);
  regex->code = pcre2_compile((PCRE2_SPTR)pattern, num_bytes, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error,
                              &at, context);
  pcre2_compile_context_free(context);
  if (!regex->code) {
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(error, why, sizeof why);
    return ZK_FAIL(ZK_BAD_INPUT, "regular expression does not compile: %s (%.200s)", (const char *)why, pattern);
  }
  (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); // without it the interpreter gives the same matches
  regex->match = pcre2_match_data_create(1, NULL);
  regex->context = pcre2_match_context_create(NULL);
  regex->stack = pcre2_jit_stack_create(32 << 10, 4 << 20, NULL);
  if (!regex->match || !regex->context) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a regular expression");
  if (regex->stack) pcre2_jit_stack_assign(regex->context, NULL, regex->stack);
  pcre2_set_heap_limit(regex->context, 64 << 10); // KiB
  return ZK_OK;
}

zk_status zk_tok_regex_compile(const char *pattern, zk_tok_regex **out) {
  rewriter w = {.in = pattern, .pattern = pattern};
  zk_tok_regex *regex = calloc(1, sizeof *regex);
  if (!regex) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a regular expression");
  zk_status st = rewrite(&w);
  if (st == ZK_OK && !w.out) st = ZK_FAIL(ZK_BAD_INPUT, "regular expression is empty");
  if (st == ZK_OK) st = compile(w.out, w.num_bytes, regex);
  free(w.out);
  if (st != ZK_OK) {
    zk_tok_regex_free(regex);
    return st;
  }
  *out = regex;
  return ZK_OK;
}

void zk_tok_regex_free(zk_tok_regex *regex) {
  if (!regex) return;
  pcre2_code_free(regex->code);
  pcre2_match_data_free(regex->match);
  pcre2_match_context_free(regex->context);
  pcre2_jit_stack_free(regex->stack);
  free(regex);
}

zk_status zk_tok_regex_next(zk_tok_regex *regex, const char *text, size_t num_bytes, size_t *at, long *last_end,
                            size_t *start, size_t *end, int *found) {
  *found = 0;
  while (*at <= num_bytes) {
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int n = pcre2_match(regex->code, (PCRE2_SPTR)text, num_bytes, *at, options, regex->match, regex->context);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
      n = pcre2_match(regex->code, (PCRE2_SPTR)text, num_bytes, *at, options | PCRE2_NO_JIT, regex->match,
                      regex->context);
    if (n == PCRE2_ERROR_NOMATCH) return ZK_OK;
    if (n < 0)
      return ZK_FAIL(ZK_UNSUPPORTED,
                     "a pre-tokeniser's regular expression needs too much work on this text (PCRE2 error %d)", n);
    const PCRE2_SIZE *where = pcre2_get_ovector_pointer(regex->match);
    *start = where[0], *end = where[1];
    if (*start == *end && *last_end == (long)*end) { // an empty match right behind the last one does not count
      int32_t c;
      *at += *at < num_bytes ? zk_utf8_next(text + *at, num_bytes - *at, &c) : 1;
      continue;
    }
    *at = *end;
    *last_end = (long)*end;
    *found = 1;
    return ZK_OK;
  }
  return ZK_OK;
}

zk_status zk_tok_regex_literal(const char *text, char **out) {
  rewriter w = {0};
  for (const char *p = text; *p; p++) {
    zk_status st = strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", *p) ? puts_(&w, "\\") : ZK_OK;
    if (st == ZK_OK) st = put(&w, p, 1);
    if (st != ZK_OK) {
      free(w.out);
      return st;
    }
  }
  if (!w.out) return ZK_FAIL(ZK_BAD_INPUT, "the text to split at is empty");
  *out = w.out;
  return ZK_OK;
}
