// Final answers of mathematics in LaTeX: found in a completion, brought to one form, compared by text or by exact value.
#ifndef ZK_ROLLOUT_MATH_ANSWER_H
#define ZK_ROLLOUT_MATH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

enum {
  ZK_MATH_MAX_BYTES = 1024, // of an answer's one form; a longer one equals nothing
  ZK_MATH_MAX_SOURCE = 4096 // of an answer as it was written, likewise: groups in groups are followed no deeper
};

// What the last \boxed{...} (or \fbox{...}, or `\boxed 5`) of `text` holds, braces balanced. False: there is none, or it never closes, and
// the outputs are as before.
bool zk_math_find_boxed(const char *text, size_t num_bytes, const char **answer, size_t *answer_bytes);

// One form for what is written differently: no white space, \left, \right, dollar and percent signs, degrees or spacing commands; \dfrac and \tfrac are
// \frac, \frac12 is \frac{1}{2}, \sqrt3 is \sqrt{3}; \text{...} is its content, or nothing where it is the unit behind a number, as are units in words;
// a leading `x=` and a last point go. Writes at most ZK_MATH_MAX_BYTES with the final NUL; false: it would be longer, or num_bytes is above
// ZK_MATH_MAX_SOURCE.
bool zk_math_normalise(const char *text, size_t num_bytes, char out[ZK_MATH_MAX_BYTES]);

// Whether two answers are the same: equal once normalised; or numbers of the same value (integers with or without thousands separators, decimals,
// fractions, mixed numbers); or lists in the same brackets whose elements are the same, in order.
bool zk_math_equal(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

#endif
