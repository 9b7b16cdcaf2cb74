// Completions that should be JSON.
#ifndef ZK_ROLLOUT_JSON_ANSWER_H
#define ZK_ROLLOUT_JSON_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

// *valid: the completion is one JSON value, or its last ```json fence holds one, no key of an object twice. *equal: and it is the label's value, whatever the order
// of keys and white space (1 and 1.0 are different values). Without a label (NULL) *equal is *valid.
void zk_json_grade(const char *label, const char *completion, size_t num_bytes, bool *equal, bool *valid);
bool zk_json_is_valid(const char *text, size_t num_bytes);

#endif
