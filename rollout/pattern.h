// task.regex: one compiled pattern, matched so that the answer does not depend on the machine.
#ifndef ZK_ROLLOUT_PATTERN_H
#define ZK_ROLLOUT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"

typedef struct zk_pattern zk_pattern;

// Compiles a Perl-compatible pattern over UTF-8 (`.` matches a newline only with (?s)). ZK_BAD_INPUT says what is wrong, and where.
zk_status zk_pattern_open(const char *pattern, zk_pattern **out);
void zk_pattern_close(zk_pattern *pattern); // NULL is fine
bool zk_pattern_has_group(const zk_pattern *pattern);

// Whether `text` (any bytes; what is no UTF-8 matches nothing) holds a match; with a group and a label, whether the first group of the last match is
// the label, both less white space around them. Backtracking is bounded by a count, not by time: a pattern that takes more does not match.
bool zk_pattern_matches(const zk_pattern *pattern, const char *label, const char *text, size_t num_bytes);

#endif
