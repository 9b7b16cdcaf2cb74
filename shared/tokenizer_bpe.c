// Byte-pair encoding of one word: the pair of the lowest rank merges first, the leftmost among equals (Sennrich et al.
// 2016, arXiv 1508.07909), with a heap of candidates over a linked list of symbols.
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "shared/tokenizer_internal.h"

static zk_status reserve(zk_tok_bpe *bpe, size_t num_bytes) {
  if (num_bytes > bpe->symbol_capacity) {
    zk_tok_symbol *symbols = realloc(bpe->symbols, num_bytes * sizeof *symbols);
    if (symbols) bpe->symbols = symbols;
    // each merge adds at most two candidates and takes a symbol away, so 3 a byte is enough
    zk_tok_candidate *heap = symbols ? realloc(bpe->heap, 3 * num_bytes * sizeof *heap) : NULL;
    if (!heap) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the symbols of a word of %zu bytes", num_bytes);
    bpe->heap = heap;
    bpe->heap_capacity = 3 * num_bytes;
    bpe->symbol_capacity = num_bytes;
  }
  return ZK_OK;
}

static void push_candidate(zk_tok_bpe *bpe, const zk_tok_merges *merges, int32_t at) {
  const zk_tok_symbol *left = &bpe->symbols[at];
  const zk_tok_merge *merge = zk_tok_merges_find(merges, left->id, bpe->symbols[left->next].id);
  if (!merge) return;
  zk_tok_candidate c = {(uint64_t)merge->rank << 32 | (uint32_t)at, merge->id};
  size_t i = bpe->num_candidates++;
  for (; i && bpe->heap[(i - 1) / 2].order > c.order; i = (i - 1) / 2) bpe->heap[i] = bpe->heap[(i - 1) / 2];
  bpe->heap[i] = c;
}

static zk_tok_candidate pop_candidate(zk_tok_bpe *bpe) {
  zk_tok_candidate top = bpe->heap[0], last = bpe->heap[--bpe->num_candidates];
  size_t i = 0, child;
  while ((child = 2 * i + 1) < bpe->num_candidates) {
    if (child + 1 < bpe->num_candidates && bpe->heap[child + 1].order < bpe->heap[child].order) child++;
    if (bpe->heap[child].order >= last.order) break;
    bpe->heap[i] = bpe->heap[child];
    i = child;
  }
  bpe->heap[i] = last;
  return top;
}

// The word's bytes as a list of symbols; bytes without a token are left out. Returns their number.
static size_t init_symbols(const zk_tokenizer *tok, zk_tok_bpe *bpe, const char *word, size_t num_bytes) {
  size_t n = 0;
  for (size_t i = 0; i < num_bytes; i++) {
    int32_t id = tok->byte_ids[(unsigned char)word[i]];
    if (id >= 0) {
      bpe->symbols[n] = (zk_tok_symbol){id, (int32_t)n - 1, (int32_t)n + 1};
      n++;
    }
  }
  if (n) bpe->symbols[n - 1].next = -1;
  return n;
}

static void merge_all(const zk_tokenizer *tok, zk_tok_bpe *bpe, size_t num_symbols) {
  zk_tok_symbol *symbols = bpe->symbols;
  bpe->num_candidates = 0;
  for (size_t i = 0; i + 1 < num_symbols; i++) push_candidate(bpe, &tok->merges, (int32_t)i);
  while (bpe->num_candidates) {
    zk_tok_candidate best = pop_candidate(bpe);
    int32_t at = (int32_t)(uint32_t)best.order, next = symbols[at].next;
    if (symbols[at].id < 0 || next < 0) continue;
    const zk_tok_merge *merge = zk_tok_merges_find(&tok->merges, symbols[at].id, symbols[next].id);
    if (!merge || merge->id != best.id) continue; // the pair has changed since
    symbols[at].id = best.id;
    symbols[at].next = symbols[next].next;
    symbols[next].id = -1;
    if (symbols[at].next >= 0) symbols[symbols[at].next].prev = at;
    if (symbols[at].prev >= 0) push_candidate(bpe, &tok->merges, symbols[at].prev);
    if (symbols[at].next >= 0) push_candidate(bpe, &tok->merges, at);
  }
}

static zk_status encode_word(zk_tokenizer *tok, const char *word, size_t num_bytes, zk_tokens *out) {
  if (tok->ignore_merges) {
    int32_t id = zk_tok_map_find(&tok->by_bytes, word, num_bytes);
    if (id >= 0) return zk_tokens_push(out, id);
  }
  zk_tok_bpe *bpe = &tok->bpe;
  ZK_TRY(reserve(bpe, num_bytes));
  size_t num_symbols = init_symbols(tok, bpe, word, num_bytes);
  merge_all(tok, bpe, num_symbols);
  for (int32_t i = num_symbols ? 0 : -1; i >= 0; i = bpe->symbols[i].next)
    ZK_TRY(zk_tokens_push(out, bpe->symbols[i].id));
  return ZK_OK;
}

zk_status zk_tok_bpe_encode(zk_tokenizer *tok, const char *word, size_t num_bytes, zk_tokens *out) {
  if (num_bytes > ZK_TOK_CACHE_KEY) return encode_word(tok, word, num_bytes, out);
  uint64_t hash = XXH3_64bits(word, num_bytes);
  zk_tok_cached *slot = &tok->bpe.cache[hash % ZK_TOK_CACHE_SLOTS];
  if (slot->hash == hash && slot->key_bytes == num_bytes && !memcmp(slot->key, word, num_bytes)) {
    for (int i = 0; i < slot->num_ids; i++) ZK_TRY(zk_tokens_push(out, slot->ids[i]));
    return ZK_OK;
  }
  size_t before = out->num_tokens;
  ZK_TRY(encode_word(tok, word, num_bytes, out));
  size_t num_ids = out->num_tokens - before;
  if (num_ids > ZK_TOK_CACHE_IDS) return ZK_OK;
  *slot = (zk_tok_cached){.hash = hash, .key_bytes = (unsigned char)num_bytes, .num_ids = (unsigned char)num_ids};
  memcpy(slot->key, word, num_bytes);
  if (num_ids) memcpy(slot->ids, out->ids + before, num_ids * sizeof *slot->ids);
  return ZK_OK;
}
