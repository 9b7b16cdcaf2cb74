// Escapes.
#include "shared/markup.h"

#include <stdbool.h>
#include <string.h>

#include "shared/utf8.h"

static void put_character(int32_t c, FILE *out) {
  char bytes[4];
  fwrite(bytes, 1, zk_utf8_put(c, bytes), out);
}

// Marks that reorder the text around them (Unicode 15, 23.2 and 9 of UAX 9), and noncharacters that XML refuses.
static bool is_unruly(int32_t c) {
  return c < 0 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff ||
         c == 0xfffe || c == 0xffff;
}

static void put_escaped(int32_t c, FILE *out) {
  switch (c) {
  case '&': fputs("&amp;", out); return;
  case '<': fputs("&lt;", out); return;
  case '>': fputs("&gt;", out); return;
  case '"': fputs("&quot;", out); return;
  case '\'': fputs("&#39;", out); return;
  case '\n':
  case '\t': fputc((int)c, out); return;
  }
  put_character(c >= 0 && c < 0x20 ? 0x2400 + c : is_unruly(c) ? 0xfffd : c, out); // U+2400: SYMBOL FOR NULL
}

void zk_markup_bytes(const char *text, size_t num_bytes, FILE *out) {
  for (size_t at = 0; at < num_bytes;) {
    int32_t c;
    at += zk_utf8_next(text + at, num_bytes - at, &c);
    put_escaped(c, out);
  }
}

void zk_markup_text(const char *text, FILE *out) { zk_markup_bytes(text, strlen(text), out); }

void zk_markup_json_string(const char *text, FILE *out) {
  size_t num_bytes = strlen(text);
  fputc('"', out);
  for (size_t at = 0; at < num_bytes;) {
    int32_t c;
    at += zk_utf8_next(text + at, num_bytes - at, &c);
    bool is_escaped = c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x2028 || c == 0x2029;
    if (c < 0) put_character(0xfffd, out);
    else if (is_escaped) fprintf(out, "\\u%04x", (unsigned)c);
    else put_character(c, out);
  }
  fputc('"', out);
}
