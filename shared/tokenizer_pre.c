// Pre-tokenisers: a list of steps, each cutting every piece of the step before it. Two kinds are enough for all that
// are delivered: split at a regular expression, and put a space in front.
#include <stdlib.h>
#include <string.h>

#include "shared/tokenizer_internal.h"

// ByteLevel's own expression when use_regex is true (GPT-2).
static const char *const GPT2_PATTERN =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static const struct {
  const char *name;
  zk_tok_behavior behavior;
} BEHAVIORS[] = {{"Isolated", ZK_TOK_ISOLATED},
                 {"Removed", ZK_TOK_REMOVED},
                 {"MergedWithPrevious", ZK_TOK_MERGED_PREVIOUS},
                 {"MergedWithNext", ZK_TOK_MERGED_NEXT},
                 {"Contiguous", ZK_TOK_CONTIGUOUS}};

// ---- from tokenizer.json
static zk_status add_step(zk_tokenizer *tok, const char *pattern, zk_tok_behavior behavior, bool invert) {
  if (tok->num_steps == ZK_TOK_MAX_STEPS)
    return ZK_FAIL(ZK_UNSUPPORTED, "pre_tokenizer: more than %d steps", ZK_TOK_MAX_STEPS);
  zk_tok_step step = {.behavior = behavior, .invert = invert};
  if (pattern) {
    step.pattern = zk_tok_arena_copy(&tok->arena, pattern, strlen(pattern));
    if (!step.pattern) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a pre-tokeniser");
    zk_status st = zk_tok_regex_compile(pattern, &step.regex);
    if (st != ZK_OK) return zk_status_context(st, "pre_tokenizer");
  }
  tok->steps[tok->num_steps++] = step;
  return ZK_OK;
}

static zk_status parse_split(zk_tokenizer *tok, const json_t *node) {
  const char *name = json_string_value(json_object_get(node, "behavior"));
  const json_t *pattern = json_object_get(node, "pattern");
  const char *regex = json_string_value(json_object_get(pattern, "Regex"));
  const char *text = json_string_value(json_object_get(pattern, "String"));
  if (!regex && !text) return ZK_FAIL(ZK_BAD_INPUT, "pre_tokenizer Split: pattern has neither Regex nor String");
  bool invert;
  ZK_TRY(zk_tok_json_bool(node, "pre_tokenizer Split", "invert", false, &invert));
  for (size_t i = 0; i < sizeof BEHAVIORS / sizeof *BEHAVIORS; i++) {
    if (!name || strcmp(name, BEHAVIORS[i].name)) continue;
    if (regex) return add_step(tok, regex, BEHAVIORS[i].behavior, invert);
    char *literal = NULL;
    ZK_TRY(zk_tok_regex_literal(text, &literal));
    zk_status st = add_step(tok, literal, BEHAVIORS[i].behavior, invert);
    free(literal);
    return st;
  }
  return ZK_FAIL(ZK_BAD_INPUT,
                 "pre_tokenizer Split: behavior %s is not one of Isolated, Removed, MergedWithPrevious, "
                 "MergedWithNext, Contiguous",
                 name ? name : "(missing)");
}

static zk_status parse_digits(zk_tokenizer *tok, const json_t *node) {
  bool individual;
  ZK_TRY(zk_tok_json_bool(node, "pre_tokenizer Digits", "individual_digits", false, &individual));
  return add_step(tok, "\\p{N}", individual ? ZK_TOK_ISOLATED : ZK_TOK_CONTIGUOUS, false);
}

static zk_status parse_byte_level(zk_tokenizer *tok, const json_t *node) {
  bool prefix, regex;
  ZK_TRY(zk_tok_json_bool(node, "pre_tokenizer ByteLevel", "add_prefix_space", true, &prefix));
  ZK_TRY(zk_tok_json_bool(node, "pre_tokenizer ByteLevel", "use_regex", true, &regex));
  if (prefix) ZK_TRY(add_step(tok, NULL, ZK_TOK_ISOLATED, false));
  return regex ? add_step(tok, GPT2_PATTERN, ZK_TOK_ISOLATED, false) : ZK_OK;
}

// *done becomes true at ByteLevel, which must come last: behind it the reference works on the alphabet, no longer on
// text.
static zk_status parse_node(zk_tokenizer *tok, const json_t *node, int depth, bool *done) {
  const char *type = zk_tok_json_type(node);
  if (*done) return ZK_FAIL(ZK_UNSUPPORTED, "pre_tokenizer: %s behind ByteLevel is not supported", type);
  if (!strcmp(type, "Split")) return parse_split(tok, node);
  if (!strcmp(type, "Digits")) return parse_digits(tok, node);
  if (!strcmp(type, "ByteLevel")) {
    *done = true;
    return parse_byte_level(tok, node);
  }
  if (strcmp(type, "Sequence") || depth > 4)
    return ZK_FAIL(
        ZK_UNSUPPORTED,
        "pre_tokenizer of type '%.100s' is not supported (ByteLevel, Split, Digits, and Sequences of these are)", type);
  const json_t *list = json_object_get(node, "pretokenizers"), *child;
  if (!json_is_array(list)) return ZK_FAIL(ZK_BAD_INPUT, "pre_tokenizer Sequence: pretokenizers is not a list");
  size_t i;
  json_array_foreach(list, i, child) ZK_TRY(parse_node(tok, child, depth + 1, done));
  return ZK_OK;
}

zk_status zk_tok_pre_parse(zk_tokenizer *tok, const json_t *node) {
  bool done = false;
  if (!node || json_is_null(node))
    return ZK_FAIL(ZK_UNSUPPORTED, "pre_tokenizer is null: only byte-level tokenizers are supported");
  ZK_TRY(parse_node(tok, node, 0, &done));
  if (!done) return ZK_FAIL(ZK_UNSUPPORTED, "pre_tokenizer has no ByteLevel: only byte-level tokenizers are supported");
  return ZK_OK;
}

// ---- on text
static zk_status push_span(zk_tok_spans *s, size_t start, size_t end, bool match) {
  if (s->num_spans == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 256;
    zk_tok_span *bigger = realloc(s->spans, capacity * sizeof *bigger);
    if (!bigger) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu pieces of text", capacity);
    s->spans = bigger;
    s->capacity = capacity;
  }
  s->spans[s->num_spans++] = (zk_tok_span){start, end, match};
  return ZK_OK;
}

// The text as alternating matches (drop = true for now) and what lies between.
static zk_status find_spans(const zk_tok_step *step, const char *text, size_t num_bytes, zk_tok_spans *s) {
  size_t at = 0, start, end, covered = 0;
  long last_end = -1;
  int found;
  s->num_spans = 0;
  for (;;) {
    ZK_TRY(zk_tok_regex_next(step->regex, text, num_bytes, &at, &last_end, &start, &end, &found));
    if (!found) break;
    if (start > covered) ZK_TRY(push_span(s, covered, start, step->invert));
    ZK_TRY(push_span(s, start, end, !step->invert));
    covered = end;
  }
  return covered < num_bytes ? push_span(s, covered, num_bytes, step->invert) : ZK_OK;
}

// Joins neighbours as the behaviour says, and marks what is removed.
static void join_spans(zk_tok_behavior behavior, zk_tok_spans *s) {
  size_t n = 0;
  bool before = false; // was the neighbour visited before a match
  if (behavior == ZK_TOK_REMOVED) return;
  if (behavior == ZK_TOK_MERGED_NEXT) { // from the end: a match joins what follows it
    size_t to = s->num_spans;
    for (size_t i = s->num_spans; i-- > 0;) {
      bool match = s->spans[i].drop;
      if (match && !before && to < s->num_spans) s->spans[to].start = s->spans[i].start;
      else s->spans[--to] = (zk_tok_span){s->spans[i].start, s->spans[i].end, false};
      before = match;
    }
    s->num_spans -= to;
    memmove(s->spans, s->spans + to, s->num_spans * sizeof *s->spans);
    return;
  }
  for (size_t i = 0; i < s->num_spans; i++) {
    bool match = s->spans[i].drop;
    bool join =
        (behavior == ZK_TOK_MERGED_PREVIOUS && match && !before) || (behavior == ZK_TOK_CONTIGUOUS && match == before);
    if (join && n) s->spans[n - 1].end = s->spans[i].end;
    else s->spans[n++] = (zk_tok_span){s->spans[i].start, s->spans[i].end, false};
    before = match;
  }
  s->num_spans = n;
}

static zk_status encode_with_space(zk_tokenizer *tok, size_t step_idx, const char *text, size_t num_bytes,
                                   zk_tokens *out) {
  if (text[0] == ' ') return zk_tok_pre_encode(tok, step_idx + 1, text, num_bytes, out);
  char *longer = malloc(num_bytes + 1);
  if (!longer) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu bytes of text", num_bytes + 1);
  longer[0] = ' ';
  memcpy(longer + 1, text, num_bytes);
  zk_status st = zk_tok_pre_encode(tok, step_idx + 1, longer, num_bytes + 1, out);
  free(longer);
  return st;
}

zk_status zk_tok_pre_encode(zk_tokenizer *tok, size_t step_idx, const char *text, size_t num_bytes, zk_tokens *out) {
  if (!num_bytes) return ZK_OK;
  if (step_idx == tok->num_steps) return zk_tok_bpe_encode(tok, text, num_bytes, out);
  const zk_tok_step *step = &tok->steps[step_idx];
  if (!step->regex) return encode_with_space(tok, step_idx, text, num_bytes, out);
  zk_tok_spans *s = &tok->spans[step_idx]; // no deeper step touches it
  ZK_TRY(find_spans(step, text, num_bytes, s));
  join_spans(step->behavior, s);
  for (size_t i = 0; i < s->num_spans; i++) {
    zk_tok_span span = s->spans[i];
    if (!span.drop) ZK_TRY(zk_tok_pre_encode(tok, step_idx + 1, text + span.start, span.end - span.start, out));
  }
  return ZK_OK;
}
