// GPT-2's byte alphabet: printable Latin-1 bytes stand for themselves, the other 68 are numbered from U+0100 in byte
// order.
#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

static bool stands_for_itself(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

int32_t zk_tok_alphabet_char(unsigned byte) {
  if (stands_for_itself(byte)) return (int32_t)byte;
  if (byte <= 32) return 0x100 + (int32_t)byte;
  return byte == 173 ? 0x100 + 67 : 0x100 + 33 + (int32_t)byte - 127; // 127..160, then 173
}

int zk_tok_alphabet_byte(int32_t c) {
  if (c < 0 || c > 0x143) return -1;
  if (c < 0x100) return stands_for_itself((unsigned)c) ? c : -1;
  c -= 0x100;
  return c <= 32 ? c : c == 67 ? 173 : c - 33 + 127;
}

bool zk_tok_alphabet_bytes(const char *text, size_t text_bytes, char *out, size_t *out_bytes) {
  size_t n = 0;
  for (size_t at = 0; at < text_bytes;) {
    int32_t c;
    at += zk_utf8_next(text + at, text_bytes - at, &c);
    int byte = zk_tok_alphabet_byte(c);
    if (byte < 0) return false;
    out[n++] = (char)byte;
  }
  *out_bytes = n;
  return true;
}
