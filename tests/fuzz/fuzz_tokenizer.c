// Any bytes as tokenizer.json, behind a NUL as tokenizer_config.json, behind another NUL as text: refused with a
// message, or a tokenizer whose ids are in range and stream to the same text as they decode to.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared/chat.h"
#include "shared/tokenizer.h"
#include "shared/utf8.h"

static void require(int condition) {
  if (!condition) abort();
}

static void check_stream(const zk_tokenizer *tok, const zk_tokens *ids, const char *text, size_t num_bytes) {
  zk_decode_stream stream = {0};
  char *lossy = NULL;
  const char *part;
  size_t lossy_bytes, part_bytes, at = 0;
  if (zk_utf8_lossy(text, num_bytes, &lossy, &lossy_bytes) != ZK_OK) return;
  for (size_t i = 0; i <= ids->num_tokens; i++) {
    zk_status st = i < ids->num_tokens ? zk_decode_stream_push(&stream, tok, ids->ids[i], 0, &part, &part_bytes)
                                       : zk_decode_stream_end(&stream, &part, &part_bytes);
    require(st == ZK_OK && at + part_bytes <= lossy_bytes && !memcmp(lossy + at, part, part_bytes));
    at += part_bytes;
  }
  require(at == lossy_bytes);
  zk_decode_stream_free(&stream);
  free(lossy);
}

static void check_text(const zk_tokenizer *tok, const char *text, size_t num_bytes, unsigned flags) {
  zk_tokens ids = {0};
  char *back = NULL;
  size_t back_bytes;
  if (zk_tokenizer_encode(tok, text, num_bytes, flags, &ids) == ZK_OK) {
    for (size_t i = 0; i < ids.num_tokens; i++) require(ids.ids[i] >= 0 && ids.ids[i] < zk_tokenizer_vocab_size(tok));
    if (zk_tokenizer_decode(tok, ids.ids, ids.num_tokens, 0, &back, &back_bytes) == ZK_OK)
      check_stream(tok, &ids, back, back_bytes);
  }
  free(back);
  zk_tokens_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t num_bytes) {
  char *all = malloc(num_bytes + 1), *end = all + num_bytes;
  if (!all) return 0;
  memcpy(all, data, num_bytes);
  *end = 0;
  char *config = all + strlen(all) + (all + strlen(all) < end),
       *text = config + strlen(config) + (config + strlen(config) < end);
  zk_tokenizer *tok = NULL;
  if (zk_tokenizer_parse(all, strlen(all), *config ? config : NULL, strlen(config), NULL, 0, &tok) == ZK_OK) {
    zk_chat_template template_;
    zk_status st = zk_chat_detect(tok, &template_);
    require(st == ZK_OK || st == ZK_UNSUPPORTED);
    for (unsigned flags = 0; flags < 4; flags++) check_text(tok, text, (size_t)(end - text), flags);
    zk_tokenizer_free(tok);
  }
  free(all);
  return 0;
}
