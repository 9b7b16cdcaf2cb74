// One decoder of UTF-8 that everything else here is made of.
#include "shared/utf8.h"

#include <stdlib.h>
#include <string.h>

// Table 3-7 of the Unicode standard: the second byte's range depends on the first, all later bytes are 80..BF.
static size_t sequence(unsigned char first, unsigned char *low, unsigned char *high) {
  *low = 0x80, *high = 0xBF;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first == 0xE0) *low = 0xA0;
  if (first == 0xED) *high = 0x9F;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first == 0xF0) *low = 0x90;
  if (first == 0xF4) *high = 0x8F;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 0;
}

size_t zk_utf8_next(const char *text, size_t num_bytes, int32_t *out) {
  unsigned char first = (unsigned char)text[0], low, high;
  size_t length = sequence(first, &low, &high);
  if (length <= 1) {
    *out = length ? first : -1;
    return 1;
  }
  int32_t code_point = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; i++) {
    if (i == num_bytes) {
      *out = -2;
      return i;
    }
    unsigned char byte = (unsigned char)text[i];
    if (byte < low || byte > high) {
      *out = -1;
      return i;
    }
    code_point = code_point << 6 | (byte & 0x3F);
    low = 0x80, high = 0xBF;
  }
  *out = code_point;
  return length;
}

size_t zk_utf8_put(int32_t c, char out[4]) {
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = length - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
  out[0] = (char)(0xF00 >> length | c);
  return length;
}

size_t zk_utf8_back(const char *text, size_t num_bytes) {
  size_t n = 1;
  while (n < num_bytes && n < 4 && ((unsigned char)text[num_bytes - n] & 0xC0) == 0x80) n++;
  return n;
}

int zk_utf8_is_valid(const char *text, size_t num_bytes) {
  int32_t c;
  for (size_t at = 0; at < num_bytes;) {
    at += zk_utf8_next(text + at, num_bytes - at, &c);
    if (c < 0) return 0;
  }
  return 1;
}

zk_status zk_utf8_lossy(const char *text, size_t num_bytes, char **out, size_t *out_bytes) {
  if (num_bytes > (SIZE_MAX - 1) / 3) return ZK_FAIL(ZK_OUT_OF_MEMORY, "text of %zu bytes", num_bytes);
  char *to = malloc(num_bytes * 3 + 1); // the worst case: each byte alone is ill-formed
  if (!to) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu bytes for text", num_bytes * 3 + 1);
  size_t n = 0;
  for (size_t at = 0; at < num_bytes;) {
    int32_t c;
    size_t length = zk_utf8_next(text + at, num_bytes - at, &c);
    n += zk_utf8_put(c < 0 ? 0xFFFD : c, to + n);
    at += length;
  }
  to[n] = 0;
  *out = to;
  *out_bytes = n;
  return ZK_OK;
}

int zk_utf8_is_space(int32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}
