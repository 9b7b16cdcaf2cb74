// A JSON value laid out for a person: keys in a column, lists of objects as tables, nothing that could move the cursor.
#ifndef ZK_SHARED_JSON_TEXT_H
#define ZK_SHARED_JSON_TEXT_H

#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

// Writes an object to `out`. Objects inside are indented below their key; an array of objects is a table with the keys
// of its first as the head; reals have 6 digits. Control characters are escaped, but for line breaks of texts outside
// tables.
void zk_json_text_print(FILE *out, const json_t *object);

// A JSON real, or for what JSON has no number for the string "nan", "inf" or "-inf".
json_t *zk_json_text_real(double value);

// A JSON string of any bytes: what is not UTF-8 becomes U+FFFD. NULL when out of memory.
json_t *zk_json_text_string(const char *bytes, size_t num_bytes);

#endif
