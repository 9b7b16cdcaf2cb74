// Added tokens: found in the text before any pre-tokeniser sees it, leftmost and longest first.
#include <stdlib.h>
#include <string.h>

#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"

void zk_tok_trie_init(zk_tok_trie *trie) {
  *trie = (zk_tok_trie){0};
  for (int i = 0; i < 256; i++) trie->roots[i] = -1;
}

static zk_status new_node(zk_tok_trie *trie, unsigned char byte, int32_t sibling, int32_t *out) {
  if (trie->num_nodes == trie->capacity) {
    size_t capacity = trie->capacity ? trie->capacity * 2 : 256;
    zk_tok_trie_node *bigger = capacity > INT32_MAX ? NULL : realloc(trie->nodes, capacity * sizeof *bigger);
    if (!bigger) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the added tokens");
    trie->nodes = bigger;
    trie->capacity = capacity;
  }
  *out = (int32_t)trie->num_nodes;
  trie->nodes[trie->num_nodes++] =
      (zk_tok_trie_node){.first_child = -1, .next_sibling = sibling, .added_idx = -1, .byte = byte};
  return ZK_OK;
}

static int32_t child_of(const zk_tok_trie *trie, int32_t first, unsigned char byte) {
  while (first >= 0 && trie->nodes[first].byte != byte) first = trie->nodes[first].next_sibling;
  return first;
}

zk_status zk_tok_trie_put(zk_tok_trie *trie, const char *text, size_t num_bytes, int32_t added_idx) {
  int32_t node = -1;
  for (size_t i = 0; i < num_bytes; i++) {
    unsigned char byte = (unsigned char)text[i];
    int32_t first = i ? trie->nodes[node].first_child : trie->roots[byte], next = child_of(trie, first, byte);
    if (next < 0) {
      ZK_TRY(new_node(trie, byte, first, &next));
      if (i) trie->nodes[node].first_child = next;
      else trie->roots[byte] = next;
    }
    node = next;
  }
  if (node >= 0 && trie->nodes[node].added_idx < 0) trie->nodes[node].added_idx = added_idx;
  return ZK_OK;
}

// The longest added token at the beginning of the text: its index and its bytes; -1 if none.
static int32_t longest(const zk_tok_trie *trie, const char *text, size_t num_bytes, size_t *out_bytes) {
  int32_t best = -1, node = trie->roots[(unsigned char)text[0]];
  for (size_t i = 0; node >= 0;) {
    i++;
    if (trie->nodes[node].added_idx >= 0) best = trie->nodes[node].added_idx, *out_bytes = i;
    if (i == num_bytes) break;
    node = child_of(trie, trie->nodes[node].first_child, (unsigned char)text[i]);
  }
  return best;
}

static zk_status is_word_char(const zk_tokenizer *tok, const char *text, size_t num_bytes, int *out) {
  size_t at = 0, start, end;
  long last_end = -1;
  return zk_tok_regex_next(tok->word_char, text, num_bytes, &at, &last_end, &start, &end, out);
}

// A single_word token counts only with no word character on either side.
static zk_status stands_alone(const zk_tokenizer *tok, const char *text, size_t num_bytes, size_t start, size_t end,
                              bool *out) {
  int before = 0, behind = 0;
  int32_t c;
  size_t n = start ? zk_utf8_back(text, start) : 0;
  if (start) ZK_TRY(is_word_char(tok, text + start - n, n, &before));
  if (end < num_bytes) ZK_TRY(is_word_char(tok, text + end, zk_utf8_next(text + end, num_bytes - end, &c), &behind));
  *out = !before && !behind;
  return ZK_OK;
}

static size_t spaces_before(const char *text, size_t start) { // where the white space that ends at `start` begins
  while (start) {
    int32_t c;
    size_t n = zk_utf8_back(text, start);
    zk_utf8_next(text + start - n, n, &c);
    if (!zk_utf8_is_space(c)) break;
    start -= n;
  }
  return start;
}

static size_t spaces_behind(const char *text, size_t num_bytes, size_t end) {
  while (end < num_bytes) {
    int32_t c;
    size_t n = zk_utf8_next(text + end, num_bytes - end, &c);
    if (!zk_utf8_is_space(c)) break;
    end += n;
  }
  return end;
}

zk_status zk_tok_added_split(zk_tokenizer *tok, const zk_tok_trie *trie, const char *text, size_t num_bytes,
                             unsigned flags, zk_tok_between *between, zk_tokens *out) {
  size_t covered = 0, match_bytes = 0;
  for (size_t at = 0; at < num_bytes;) {
    int32_t idx = trie->num_nodes ? longest(trie, text + at, num_bytes - at, &match_bytes) : -1;
    if (idx < 0) {
      at++;
      continue;
    }
    const zk_tok_added *added = &tok->added[idx];
    size_t start = at, end = at + match_bytes;
    at = end; // also behind a match that does not count: the reference looks for the next one there
    if (added->special && !(flags & ZK_ENCODE_PARSE_SPECIAL)) continue;
    bool alone = true;
    if (added->single_word) ZK_TRY(stands_alone(tok, text, num_bytes, start, end, &alone));
    if (!alone) continue;
    if (added->lstrip) start = spaces_before(text, start);
    if (start < covered) start = covered; // white space that the token before has taken
    if (added->rstrip) end = spaces_behind(text, num_bytes, end);
    if (start > covered) ZK_TRY(between(tok, text + covered, start - covered, flags, out));
    ZK_TRY(zk_tokens_push(out, added->id));
    covered = end;
  }
  return covered < num_bytes ? between(tok, text + covered, num_bytes - covered, flags, out) : ZK_OK;
}
