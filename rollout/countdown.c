// Numbers are compared as sorted lists, values as exact fractions.
#include "rollout/countdown.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/expression.h"

static zk_status read_question(const json_t *root, zk_countdown *out) {
  const json_t *target = json_object_get(root, "target"), *numbers = json_object_get(root, "numbers");
  if (!json_is_integer(target) || json_array_size(numbers) < 1 || json_array_size(numbers) > ZK_COUNTDOWN_MAX_NUMBERS)
    return ZK_FAIL(ZK_BAD_INPUT, "the label is not {\"target\": integer, \"numbers\": [1 to %d integers]}", ZK_COUNTDOWN_MAX_NUMBERS);
  out->target = json_integer_value(target);
  out->num_numbers = (int)json_array_size(numbers);
  for (int i = 0; i < out->num_numbers; i++) {
    const json_t *number = json_array_get(numbers, (size_t)i);
    out->numbers[i] = json_integer_value(number);
    if (!json_is_integer(number) || out->numbers[i] < 0)
      return ZK_FAIL(ZK_BAD_INPUT, "the label's \"numbers\"[%d] is not an integer from 0 on", i);
  }
  return ZK_OK;
}

zk_status zk_countdown_parse(const char *label, zk_countdown *out) {
  json_error_t error;
  json_t *root = json_loads(label, JSON_REJECT_DUPLICATES, &error);
  zk_status st = read_question(root, out); // of no JSON, too: there is no target in it
  json_decref(root);
  return st;
}

static const char *find_last(const char *text, size_t num_bytes, const char *what) {
  size_t length = strlen(what);
  for (size_t at = num_bytes; at >= length; at--)
    if (memcmp(text + at - length, what, length) == 0) return text + at - length;
  return NULL;
}

// What stands between the last </answer> and the <answer> before it.
static bool find_answer(const char *text, size_t num_bytes, const char **answer, size_t *answer_bytes) {
  static const char open[] = "<answer>";
  const char *close = find_last(text, num_bytes, "</answer>");
  const char *begin = close != NULL ? find_last(text, (size_t)(close - text), open) : NULL;
  if (begin == NULL) return false;
  *answer = begin + sizeof open - 1;
  *answer_bytes = (size_t)(close - *answer);
  return true;
}

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static bool same_numbers(const zk_countdown *q, zk_expression *e) {
  int64_t given[ZK_COUNTDOWN_MAX_NUMBERS];
  if (e->num_numbers != q->num_numbers) return false;
  memcpy(given, q->numbers, sizeof given);
  qsort(given, (size_t)q->num_numbers, sizeof *given, compare);
  qsort(e->numbers, (size_t)e->num_numbers, sizeof *e->numbers, compare);
  return memcmp(given, e->numbers, (size_t)q->num_numbers * sizeof *given) == 0;
}

void zk_countdown_grade(const zk_countdown *q, const char *completion, size_t num_bytes, bool *right, bool *format) {
  const char *answer;
  size_t answer_bytes;
  zk_expression e;
  *format = find_answer(completion, num_bytes, &answer, &answer_bytes);
  *right = *format && zk_expression_parse(answer, answer_bytes, &e) && same_numbers(q, &e) &&
           zk_rational_equal(e.value, (zk_rational){q->target, 1});
}
