// The graders behind one table; text is compared as bytes, numbers as decimal digits, mathematics as exact fractions.
#include "rollout/grader.h"

#include <string.h>

#include "rollout/countdown.h"
#include "rollout/decimal.h"
#include "rollout/json_answer.h"
#include "rollout/math_answer.h"

static const char *const components[][2] = {
#define X(id, name, first, second) [ZK_CONFIG_GRADER_##id] = {first, second},
    ZK_CONFIG_GRADER_LIST(X)
#undef X
};

int zk_grader_num_components(zk_config_grader grader) { return components[grader][1] != NULL ? 2 : 1; }
const char *zk_grader_component(zk_config_grader grader, int component_idx) {
  return components[grader][component_idx];
}
bool zk_grader_needs_label(zk_config_grader grader) { return grader != ZK_CONFIG_GRADER_REGEX && grader != ZK_CONFIG_GRADER_JSON; }

static void trim(const char **text, size_t *num_bytes) {
  static const char blank[] = " \t\n\v\f\r";
  while (*num_bytes > 0 && strchr(blank, (*text)[*num_bytes - 1]) != NULL && (*text)[*num_bytes - 1] != 0) --*num_bytes;
  while (*num_bytes > 0 && strchr(blank, **text) != NULL && **text != 0) ++*text, --*num_bytes;
}

bool zk_grader_same_text(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
  trim(&a, &a_bytes);
  trim(&b, &b_bytes);
  return a_bytes == b_bytes && (a_bytes == 0 || memcmp(a, b, a_bytes) == 0);
}

// The number a label stands for: itself, or what follows `#### ` in a worked solution.
static bool label_number(zk_config_grader grader, const char *label, zk_decimal *out) {
  size_t num_bytes = strlen(label);
  return zk_decimal_parse(label, num_bytes, out) ||
         (grader == ZK_CONFIG_GRADER_GSM8K && zk_decimal_find_gsm8k(label, num_bytes, out));
}

static zk_status check_number(zk_config_grader grader, const char *label) {
  zk_decimal number;
  if (label_number(grader, label, &number)) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT, "label \"%.40s\"%s is not a number%s, which the grader needs", label, strlen(label) > 40 ? "..." : "",
                 grader == ZK_CONFIG_GRADER_GSM8K ? " and has no `#### number`" : "");
}

zk_status zk_grader_check_label(zk_config_grader grader, const char *label) {
  zk_countdown question;
  if (zk_grader_same_text(label, strlen(label), "", 0)) return ZK_FAIL(ZK_BAD_INPUT, "the label is blank");
  switch (grader) {
  case ZK_CONFIG_GRADER_NUMBER:
  case ZK_CONFIG_GRADER_GSM8K:
    return check_number(grader, label);
  case ZK_CONFIG_GRADER_JSON:
    return zk_json_is_valid(label, strlen(label)) ? ZK_OK : ZK_FAIL(ZK_BAD_INPUT, "label \"%.40s\" is not JSON, which the grader needs", label);
  case ZK_CONFIG_GRADER_COUNTDOWN:
    return zk_countdown_parse(label, &question);
  default:
    return ZK_OK;
  }
}

// ---- grading: each sets whether the completion is right, and the second component -----------------------------------

static void grade_number(zk_config_grader grader, const char *label, const char *completion, size_t num_bytes, bool *first, bool *second) {
  zk_decimal want, last, special;
  bool comparable = label_number(grader, label, &want);
  bool last_is_right = comparable && zk_decimal_find_last(completion, num_bytes, &last) && zk_decimal_equal(&last, &want);
  if (grader == ZK_CONFIG_GRADER_NUMBER) {
    *first = last_is_right;
    *second = last_is_right && zk_decimal_parse(completion, num_bytes, &special);
  } else {
    *first = comparable && zk_decimal_find_gsm8k(completion, num_bytes, &special) && zk_decimal_equal(&special, &want);
    *second = last_is_right;
  }
}

// A label may be a worked solution with a box of its own.
static void grade_math(const char *label, const char *completion, size_t num_bytes, bool *right, bool *boxed) {
  const char *answer, *want = label;
  size_t answer_bytes, want_bytes = strlen(label);
  (void)zk_math_find_boxed(label, strlen(label), &want, &want_bytes);
  *boxed = zk_math_find_boxed(completion, num_bytes, &answer, &answer_bytes);
  *right = *boxed && zk_math_equal(answer, answer_bytes, want, want_bytes);
}

static void grade_countdown(const char *label, const char *completion, size_t num_bytes, bool *right, bool *format) {
  zk_countdown question;
  zk_status st = zk_countdown_parse(label, &question);
  if (st == ZK_OK) zk_countdown_grade(&question, completion, num_bytes, right, format);
}

void zk_grader_grade(zk_config_grader grader, const zk_pattern *pattern, const char *label, const char *completion, size_t num_bytes, zk_reward *out) {
  bool first = false, second = false;
  switch (grader) {
  case ZK_CONFIG_GRADER_EXACT:
    first = zk_grader_same_text(completion, num_bytes, label, strlen(label));
    break;
  case ZK_CONFIG_GRADER_NUMBER:
  case ZK_CONFIG_GRADER_GSM8K:
    grade_number(grader, label, completion, num_bytes, &first, &second);
    break;
  case ZK_CONFIG_GRADER_MATH:
    grade_math(label, completion, num_bytes, &first, &second);
    break;
  case ZK_CONFIG_GRADER_REGEX:
    first = zk_pattern_matches(pattern, label, completion, num_bytes);
    break;
  case ZK_CONFIG_GRADER_JSON:
    zk_json_grade(label, completion, num_bytes, &first, &second);
    break;
  case ZK_CONFIG_GRADER_COUNTDOWN:
    grade_countdown(label, completion, num_bytes, &first, &second);
    break;
  case ZK_CONFIG_NUM_GRADERS:
    break;
  }
  *out = (zk_reward){.component = {first ? 1.0f : 0.0f, second ? 1.0f : 0.0f}};
  out->total = grader == ZK_CONFIG_GRADER_COUNTDOWN && second && !first ? 0.1f : out->component[0];
}
