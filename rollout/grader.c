// The graders behind one table; text is compared as bytes, numbers as decimal digits.
#include "rollout/grader.h"

#include <string.h>

#include "rollout/decimal.h"

static const char *const components[][ZK_REWARD_MAX_COMPONENTS] = {
#define X(name, first, second) [ZK_CONFIG_GRADER_##name] = {first, second},
    ZK_GRADER_LIST(X)
#undef X
};

int zk_grader_num_components(zk_config_grader grader) { return components[grader][1] != NULL ? 2 : 1; }
const char *zk_grader_component(zk_config_grader grader, int component_idx) {
  return components[grader][component_idx];
}

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

zk_status zk_grader_check_label(zk_config_grader grader, const char *label) {
  zk_decimal number;
  size_t num_bytes = strlen(label);
  if (zk_grader_same_text(label, num_bytes, "", 0)) return ZK_FAIL(ZK_BAD_INPUT, "the label is blank");
  if (grader == ZK_CONFIG_GRADER_EXACT || label_number(grader, label, &number)) return ZK_OK;
  return ZK_FAIL(ZK_BAD_INPUT, "label \"%.40s\"%s is not a number%s, which the grader needs", label,
                 num_bytes > 40 ? "..." : "", grader == ZK_CONFIG_GRADER_GSM8K ? " and has no `#### number`" : "");
}

void zk_grader_grade(zk_config_grader grader, const char *label, const char *completion, size_t num_bytes,
                     zk_reward *out) {
  zk_decimal want, last, special;
  bool first, second = false;
  if (grader == ZK_CONFIG_GRADER_EXACT) {
    first = zk_grader_same_text(completion, num_bytes, label, strlen(label));
  } else {
    bool comparable = label_number(grader, label, &want);
    bool last_is_right =
        comparable && zk_decimal_find_last(completion, num_bytes, &last) && zk_decimal_equal(&last, &want);
    if (grader == ZK_CONFIG_GRADER_NUMBER) {
      first = last_is_right;
      second = last_is_right && zk_decimal_parse(completion, num_bytes, &special);
    } else {
      first = comparable && zk_decimal_find_gsm8k(completion, num_bytes, &special) && zk_decimal_equal(&special, &want);
      second = last_is_right;
    }
  }
  *out = (zk_reward){.total = first ? 1.0f : 0.0f, .component = {first ? 1.0f : 0.0f, second ? 1.0f : 0.0f}};
}
