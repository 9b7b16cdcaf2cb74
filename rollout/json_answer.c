// The value is the whole completion, or what stands in its last fence.
#include "rollout/json_answer.h"

#include <jansson.h>
#include <string.h>

static json_t *parse(const char *text, size_t num_bytes) {
  json_error_t error;
  return json_loadb(text, num_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
}

static const char *find_last(const char *text, size_t num_bytes, const char *what) {
  size_t length = strlen(what);
  for (size_t at = num_bytes; at >= length; at--)
    if (memcmp(text + at - length, what, length) == 0) return text + at - length;
  return NULL;
}

static json_t *parse_completion(const char *text, size_t num_bytes) {
  static const char open[] = "```json";
  const char *fence = find_last(text, num_bytes, open);
  if (fence == NULL) return parse(text, num_bytes);
  const char *begin = fence + sizeof open - 1, *end = text + num_bytes;
  for (const char *p = begin; end - p >= 3; p++)
    if (memcmp(p, "```", 3) == 0) return parse(begin, (size_t)(p - begin));
  return NULL;
}

bool zk_json_is_valid(const char *text, size_t num_bytes) {
  json_t *value = parse(text, num_bytes);
  json_decref(value);
  return value != NULL;
}

void zk_json_grade(const char *label, const char *completion, size_t num_bytes, bool *equal, bool *valid) {
  json_t *value = parse_completion(completion, num_bytes), *want = label != NULL ? parse(label, strlen(label)) : NULL;
  *valid = value != NULL;
  *equal = *valid && (want == NULL || json_equal(value, want));
  json_decref(value);
  json_decref(want);
}
