// Text of any origin in HTML, SVG and scripts, so that it stays text.
#ifndef ZK_SHARED_MARKUP_H
#define ZK_SHARED_MARKUP_H

#include <stddef.h>
#include <stdio.h>

// Text for an element or a quoted attribute: & < > " ' as entities; control characters as Unicode's pictures of them, but for line breaks and
// tabs, which stay; U+FFFD for ill-formed UTF-8 and for what turns the direction of reading. Errors stay in the stream.
void zk_markup_text(const char *text, FILE *out);
void zk_markup_bytes(const char *text, size_t num_bytes, FILE *out);
// A JSON string, quotes included, that may stand in a <script>: nothing in it ends one.
void zk_markup_json_string(const char *text, FILE *out);

#endif
