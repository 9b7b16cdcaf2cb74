// UTF-8 as the Unicode standard has it: well-formed sequences only, and one U+FFFD for each maximal ill-formed part.
#ifndef ZK_SHARED_UTF8_H
#define ZK_SHARED_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

// Reads the character at text[0..num_bytes), num_bytes >= 1. A well-formed one: its code point into *out, returns its
// bytes, 1..4. Ill-formed: -1 into *out, returns the bytes of the maximal part that U+FFFD stands for, 1..3. When the
// text only ends too early: -2.
size_t zk_utf8_next(const char *text, size_t num_bytes, int32_t *out);
size_t zk_utf8_put(int32_t code_point, char out[4]);     // writes a code point below 0x110000, returns its bytes
size_t zk_utf8_back(const char *text, size_t num_bytes); // bytes of the last character of well-formed, non-empty text
int zk_utf8_is_valid(const char *text, size_t num_bytes);

// The text with every ill-formed part replaced by U+FFFD (Unicode 15, section 3.9, "substitution of maximal subparts"),
// malloc'ed, NUL behind *out_bytes bytes.
zk_status zk_utf8_lossy(const char *text, size_t num_bytes, char **out, size_t *out_bytes);

int zk_utf8_is_space(int32_t code_point); // the property White_Space

#endif
