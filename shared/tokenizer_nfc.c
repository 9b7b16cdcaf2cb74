// Normalisation form C as the reference has it, which is Unicode 9's, whatever version the system's utf8proc is of: a
// mark or composition that came later passes through as it is and parts the text on both sides of it.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

// Code points that gained a combining class other than 0, or take part in a canonical composition, since Unicode 9.
static const struct {
  int32_t first, last;
} NEWER[] = {{0x5C8, 0x5C9},     {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
             {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1AF0},
             {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x105C9, 0x105E4}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D},
             {0x10EAB, 0x10EAC}, {0x10ECB, 0x10ECF}, {0x10EF0, 0x10EFB}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
             {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x11380, 0x113D5}, {0x1145E, 0x1145E},
             {0x11839, 0x1183A}, {0x11930, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
             {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
             {0x16100, 0x16139}, {0x16D40, 0x16D79}, {0x16FF0, 0x16FF1}, {0x1D127, 0x1D128}, {0x1D250, 0x1D252},
             {0x1D25B, 0x1D25C}, {0x1D25F, 0x1D25F}, {0x1D280, 0x1D281}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
             {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3},
             {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}};

static bool is_newer(int32_t c) {
  size_t low = 0, high = sizeof NEWER / sizeof *NEWER;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (c > NEWER[mid].last) low = mid + 1;
    else high = mid;
  }
  return low < sizeof NEWER / sizeof *NEWER && c >= NEWER[low].first;
}

typedef struct buffer {
  char *text;
  size_t num_bytes, capacity;
} buffer;

static zk_status append(buffer *b, const char *text, size_t num_bytes) {
  if (b->capacity - b->num_bytes < num_bytes + 1) {
    size_t capacity = b->capacity + b->capacity / 2 + num_bytes + 1;
    char *bigger = realloc(b->text, capacity);
    if (!bigger) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu bytes of text", capacity);
    b->text = bigger;
    b->capacity = capacity;
  }
  memcpy(b->text + b->num_bytes, text, num_bytes);
  b->num_bytes += num_bytes;
  b->text[b->num_bytes] = 0;
  return ZK_OK;
}

static zk_status append_composed(buffer *b, const char *text, size_t num_bytes) {
  utf8proc_uint8_t *composed = NULL;
  if (!num_bytes) return ZK_OK;
  utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)num_bytes, &composed,
                                    UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (n < 0) return ZK_FAIL(n == UTF8PROC_ERROR_NOMEM ? ZK_OUT_OF_MEMORY : ZK_BAD_INPUT, "NFC: %s", utf8proc_errmsg(n));
  zk_status st = append(b, (const char *)composed, (size_t)n);
  free(composed);
  return st;
}

static zk_status compose(buffer *b, const char *text, size_t num_bytes) {
  size_t begun = 0; // of the stretch without newer code points
  for (size_t at = 0; at < num_bytes;) {
    int32_t c;
    size_t n = zk_utf8_next(text + at, num_bytes - at, &c);
    if (is_newer(c)) {
      ZK_TRY(append_composed(b, text + begun, at - begun));
      ZK_TRY(append(b, text + at, n));
      begun = at + n;
    }
    at += n;
  }
  return append_composed(b, text + begun, num_bytes - begun);
}

zk_status zk_tok_nfc(const char *text, size_t num_bytes, char **out, size_t *out_bytes) {
  buffer b = {0};
  zk_status st = append(&b, "", 0); // so that empty text has a buffer too
  if (st == ZK_OK) st = compose(&b, text, num_bytes);
  if (st != ZK_OK) {
    free(b.text);
    return st;
  }
  *out = b.text;
  *out_bytes = b.num_bytes;
  return ZK_OK;
}
