// Columns and tables for a person, from JSON.
#include "shared/json_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { INDENT = 2, GAP = 2 };

json_t *zk_json_text_real(double value) {
  return isfinite(value) ? json_real(value) : json_string(isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

json_t *zk_json_text_string(const char *bytes, size_t num_bytes) {
  char *text = malloc(3 * num_bytes + 1);
  if (!text) return NULL;
  size_t used = 0;
  for (size_t at = 0; at < num_bytes;) {
    utf8proc_int32_t code;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)bytes + at, (utf8proc_ssize_t)(num_bytes - at), &code);
    if (n > 0) memcpy(text + used, bytes + at, (size_t)n);
    else memcpy(text + used, "\xef\xbf\xbd", 3); // U+FFFD
    used += n > 0 ? (size_t)n : 3;
    at += n > 0 ? (size_t)n : 1;
  }
  json_t *string = json_stringn(text, used);
  free(text);
  return string;
}

// ---- cells
// -----------------------------------------------------------------------------------------------------------

// Writes (or, without `out`, only measures) a string with control characters escaped; returns its width in characters.
// With indent >= 0 line breaks are kept, and followed by that many blanks; one at the end is dropped.
static int put_string(FILE *out, const char *text, size_t num_bytes, int indent) {
  int width = 0;
  for (size_t at = 0; at < num_bytes;) {
    utf8proc_int32_t code;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(num_bytes - at), &code);
    if (n <= 0) return width; // jansson's strings are UTF-8
    char escaped[16] = "";
    if (code == '\n') snprintf(escaped, sizeof escaped, "\\n");
    else if (code == '\t') snprintf(escaped, sizeof escaped, "\\t");
    else if (utf8proc_category(code) == UTF8PROC_CATEGORY_CC || utf8proc_category(code) == UTF8PROC_CATEGORY_CF)
      snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)code);
    if (code == '\n' && indent >= 0) {
      if (out && at + 1 < num_bytes) fprintf(out, "\n%*s", indent, "");
    } else {
      if (out) fwrite(*escaped ? escaped : text + at, 1, *escaped ? strlen(escaped) : (size_t)n, out);
      width += *escaped ? (int)strlen(escaped) : utf8proc_charwidth(code);
    }
    at += (size_t)n;
  }
  return width;
}

static int put_number(FILE *out, const json_t *value) {
  char text[40];
  int n = json_is_integer(value) ? snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value))
                                 : snprintf(text, sizeof text, "%.6g", json_real_value(value));
  if (out) fputs(text, out);
  return n;
}

// A scalar, or a list of scalars; returns its width.
static int put_cell(FILE *out, const json_t *value, int indent) {
  if (json_is_string(value)) return put_string(out, json_string_value(value), json_string_length(value), indent);
  if (json_is_number(value)) return put_number(out, value);
  int width = 0;
  size_t i;
  json_t *item;
  if (!json_is_array(value)) {
    const char *word = json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-";
    return put_string(out, word, strlen(word), -1);
  }
  json_array_foreach(value, i, item) {
    if (i) width += put_string(out, " ", 1, -1);
    width += put_cell(out, item, -1);
  }
  return width;
}

static void put_blanks(FILE *out, int num) {
  if (num > 0) fprintf(out, "%*s", num, "");
}

// ---- tables
// ----------------------------------------------------------------------------------------------------------

typedef struct {
  int width;
  bool right; // numbers stand at the right of their column, all else at the left
} column_layout;

static column_layout lay_out(const json_t *rows, const char *key) {
  column_layout column = {put_string(NULL, key, strlen(key), -1), false};
  size_t i;
  json_t *row;
  json_array_foreach(rows, i, row) {
    const json_t *value = json_object_get(row, key);
    int width = put_cell(NULL, value, -1);
    if (width > column.width) column.width = width;
    column.right |= json_is_number(value);
  }
  return column;
}

// The last column is not padded. A NULL row prints the head.
static void put_row(FILE *out, json_t *head, const json_t *row, const column_layout *columns, int indent) {
  const char *key;
  json_t *ignored;
  size_t c = 0, num_columns = json_object_size(head);
  put_blanks(out, indent);
  json_object_foreach(head, key, ignored) {
    const json_t *value = json_object_get(row, key);
    int pad = columns[c].width - (row ? put_cell(NULL, value, -1) : put_string(NULL, key, strlen(key), -1));
    if (columns[c].right) put_blanks(out, pad);
    if (row) put_cell(out, value, -1);
    else put_string(out, key, strlen(key), -1);
    if (c + 1 < num_columns) put_blanks(out, (columns[c].right ? 0 : pad) + GAP);
    c++;
  }
  fputc('\n', out);
}

static void put_table(FILE *out, const json_t *rows, int indent) {
  json_t *head = json_array_get(rows, 0), *ignored, *row;
  column_layout *columns = calloc(json_object_size(head) + 1, sizeof *columns);
  if (!columns) return;
  const char *key;
  size_t i, c = 0;
  json_object_foreach(head, key, ignored) columns[c++] = lay_out(rows, key);
  put_row(out, head, NULL, columns, indent);
  json_array_foreach(rows, i, row) put_row(out, head, row, columns, indent);
  free(columns);
}

// ---- objects
// ---------------------------------------------------------------------------------------------------------

static bool is_nested(const json_t *value) {
  return json_is_object(value) || (json_is_array(value) && json_is_object(json_array_get(value, 0)));
}

static bool has_lines(const json_t *value) { return json_is_string(value) && strchr(json_string_value(value), '\n'); }

static void put_object(FILE *out, const json_t *object, int indent) {
  const char *key;
  json_t *value;
  int width = 0;
  json_object_foreach((json_t *)object, key, value) {
    if (!is_nested(value) && !has_lines(value) && (int)strlen(key) > width) width = (int)strlen(key);
  }
  json_object_foreach((json_t *)object, key, value) {
    put_blanks(out, indent);
    int used = put_string(out, key, strlen(key), -1);
    if (is_nested(value) || has_lines(value)) {
      fputc('\n', out);
      if (json_is_object(value)) put_object(out, value, indent + INDENT);
      else if (json_is_array(value)) put_table(out, value, indent + INDENT);
      else {
        put_blanks(out, indent + INDENT);
        put_cell(out, value, indent + INDENT);
        fputc('\n', out);
      }
    } else {
      put_blanks(out, width - used + GAP);
      put_cell(out, value, -1);
      fputc('\n', out);
    }
  }
}

void zk_json_text_print(FILE *out, const json_t *object) { put_object(out, object, 0); }
