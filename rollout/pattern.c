// PCRE2's interpreter, whose match limit counts the same everywhere (its compiler's does not).
#define PCRE2_CODE_UNIT_WIDTH 8
#include "rollout/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/grader.h"

struct zk_pattern {
  pcre2_code *code;
  pcre2_match_context *context;
  uint32_t num_groups;
};

enum { MATCH_LIMIT = 1000000, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 65536 };

zk_status zk_pattern_open(const char *pattern, zk_pattern **out) {
  int error;
  PCRE2_SIZE at;
  *out = NULL;
  zk_pattern *p = calloc(1, sizeof *p);
  if (p == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a regular expression");
  p->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
  p->context = pcre2_match_context_create(NULL);
  if (p->code == NULL) {
    char text[120] = "";
    (void)pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
    zk_pattern_close(p);
    return ZK_FAIL(ZK_BAD_INPUT, "task.regex: character %zu: %s", (size_t)at + 1, text);
  }
  if (p->context == NULL) {
    zk_pattern_close(p);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a regular expression");
  }
  pcre2_set_match_limit(p->context, MATCH_LIMIT);
  pcre2_set_depth_limit(p->context, DEPTH_LIMIT);
  pcre2_set_heap_limit(p->context, HEAP_LIMIT_KIB);
  pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &p->num_groups);
  *out = p;
  return ZK_OK;
}

void zk_pattern_close(zk_pattern *p) {
  if (p == NULL) return;
  pcre2_code_free(p->code);
  pcre2_match_context_free(p->context);
  free(p);
}

bool zk_pattern_has_group(const zk_pattern *p) { return p->num_groups > 0; }

bool zk_pattern_matches(const zk_pattern *p, const char *label, const char *text, size_t num_bytes) {
  pcre2_match_data *match = pcre2_match_data_create_from_pattern(p->code, NULL);
  bool right = false;
  if (match == NULL) return false;
  for (PCRE2_SIZE at = 0; at <= num_bytes;) {
    const uint32_t checked = at ? PCRE2_NO_UTF_CHECK : 0; // the first search has looked at all of it
    if (pcre2_match(p->code, (PCRE2_SPTR)text, num_bytes, at, checked, match, p->context) < 1) break;
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(match);
    right = true;
    if (p->num_groups == 0 || label == NULL) break;
    right = place[2] != PCRE2_UNSET && place[3] >= place[2] && zk_grader_same_text(text + place[2], place[3] - place[2], label, strlen(label));
    at = place[1] > at ? place[1] : at + 1;
    while (at < num_bytes && ((unsigned char)text[at] & 0xc0) == 0x80) at++; // not into a character
  }
  pcre2_match_data_free(match);
  return right;
}
