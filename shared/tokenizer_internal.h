// What the files of the tokenizer share. The way of a text: lossy UTF-8, split at added tokens, normalise, split at
// normalised added tokens, pre-tokenise into words, merge each word's bytes into tokens.
#ifndef ZK_SHARED_TOKENIZER_INTERNAL_H
#define ZK_SHARED_TOKENIZER_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#include "shared/tokenizer.h"

// ---- memory that lives as long as the tokenizer (tokenizer_table.c)
typedef struct zk_tok_block zk_tok_block;
typedef struct zk_tok_arena {
  zk_tok_block *blocks;
  size_t used, capacity; // of the newest block
} zk_tok_arena;
char *zk_tok_arena_copy(zk_tok_arena *arena, const char *bytes,
                        size_t num_bytes); // NUL behind; NULL when out of memory
void zk_tok_arena_free(zk_tok_arena *arena);

// ---- bytes -> id, keys borrowed
typedef struct zk_tok_map {
  struct zk_tok_slot {
    const char *key; // NULL: empty
    uint32_t key_bytes;
    int32_t id;
  } * slots;
  size_t num_slots, num_keys; // num_slots is a power of two or 0
} zk_tok_map;
int32_t zk_tok_map_find(const zk_tok_map *map, const char *key, size_t key_bytes);        // -1 if absent
zk_status zk_tok_map_put(zk_tok_map *map, const char *key, size_t key_bytes, int32_t id); // replaces
void zk_tok_map_free(zk_tok_map *map);

// ---- pair of ids -> rank and id of the merged token
typedef struct zk_tok_merge {
  uint64_t pair; // left << 32 | right; UINT64_MAX: empty
  uint32_t rank;
  int32_t id;
} zk_tok_merge;
typedef struct zk_tok_merges {
  zk_tok_merge *slots;
  size_t num_slots;
} zk_tok_merges;
zk_status zk_tok_merges_init(zk_tok_merges *merges, size_t num_merges);
void zk_tok_merges_put(zk_tok_merges *merges, int32_t left, int32_t right, uint32_t rank,
                       int32_t id);                                                               // the later one wins
const zk_tok_merge *zk_tok_merges_find(const zk_tok_merges *merges, int32_t left, int32_t right); // NULL if absent

// ---- GPT-2's alphabet: every byte as one printable character (tokenizer_alphabet.c)
int32_t zk_tok_alphabet_char(unsigned byte);  // code point that stands for a byte
int zk_tok_alphabet_byte(int32_t code_point); // the byte, -1 for a character outside of the alphabet
// The bytes that `text` stands for into out (room for text_bytes); false, and nothing certain in out, if a character is
// outside.
bool zk_tok_alphabet_bytes(const char *text, size_t text_bytes, char *out, size_t *out_bytes);

// ---- regular expressions with the reference's meaning (tokenizer_regex.c)
typedef struct zk_tok_regex zk_tok_regex;
zk_status zk_tok_regex_compile(const char *pattern, zk_tok_regex **out);
void zk_tok_regex_free(zk_tok_regex *regex);
// The next match at or after *at of well-formed text, as an iterator over non-overlapping matches (*at and *last_end
// begin as 0 and -1). *found 0 at the end. ZK_UNSUPPORTED when the expression needs more than its share of work.
zk_status zk_tok_regex_next(zk_tok_regex *regex, const char *text, size_t num_bytes, size_t *at, long *last_end,
                            size_t *start, size_t *end, int *found);
zk_status zk_tok_regex_literal(const char *text, char **out); // a pattern that matches exactly `text`, malloc'ed

// ---- pre-tokenisers (tokenizer_pre.c)
typedef enum {
  ZK_TOK_ISOLATED,
  ZK_TOK_REMOVED,
  ZK_TOK_MERGED_PREVIOUS,
  ZK_TOK_MERGED_NEXT,
  ZK_TOK_CONTIGUOUS
} zk_tok_behavior;
typedef struct zk_tok_step {
  zk_tok_regex *regex; // NULL: put a space in front of a piece that does not begin with one
  const char *pattern; // as the file has it, for the identity
  zk_tok_behavior behavior;
  bool invert;
} zk_tok_step;
typedef struct zk_tok_span {
  size_t start, end;
  bool drop;
} zk_tok_span;
typedef struct zk_tok_spans { // scratch of one step
  zk_tok_span *spans;
  size_t num_spans, capacity;
} zk_tok_spans;
enum { ZK_TOK_MAX_STEPS = 16 };
zk_status zk_tok_pre_parse(zk_tokenizer *tok, const json_t *node); // "pre_tokenizer" of tokenizer.json
// Cuts a piece of text into words and appends the ids of each to `out`.
zk_status zk_tok_pre_encode(zk_tokenizer *tok, size_t step_idx, const char *text, size_t num_bytes, zk_tokens *out);

// ---- added tokens (tokenizer_added.c)
typedef struct zk_tok_added {
  int32_t id;
  bool special, single_word, lstrip, rstrip, normalized;
} zk_tok_added;
typedef struct zk_tok_trie_node {
  int32_t first_child, next_sibling; // -1: none
  int32_t added_idx;                 // -1: no token ends here
  unsigned char byte;
} zk_tok_trie_node;
typedef struct zk_tok_trie {
  zk_tok_trie_node *nodes;
  size_t num_nodes, capacity;
  int32_t roots[256];
} zk_tok_trie;
void zk_tok_trie_init(zk_tok_trie *trie);
zk_status zk_tok_trie_put(zk_tok_trie *trie, const char *text, size_t num_bytes, int32_t added_idx);
// Walks the text: each added token's id is appended to `out`, each stretch between goes to `between`.
typedef zk_status zk_tok_between(zk_tokenizer *tok, const char *text, size_t num_bytes, unsigned flags, zk_tokens *out);
zk_status zk_tok_added_split(zk_tokenizer *tok, const zk_tok_trie *trie, const char *text, size_t num_bytes,
                             unsigned flags, zk_tok_between *between, zk_tokens *out);

// ---- words -> ids (tokenizer_bpe.c)
enum { ZK_TOK_CACHE_SLOTS = 1 << 14, ZK_TOK_CACHE_KEY = 22, ZK_TOK_CACHE_IDS = 8 };
typedef struct zk_tok_cached {
  uint64_t hash;
  unsigned char key_bytes, num_ids; // key_bytes 0: empty
  char key[ZK_TOK_CACHE_KEY];
  int32_t ids[ZK_TOK_CACHE_IDS];
} zk_tok_cached;
typedef struct zk_tok_symbol {
  int32_t id;         // -1: merged away
  int32_t prev, next; // -1: none
} zk_tok_symbol;
typedef struct zk_tok_candidate {
  uint64_t order; // rank << 32 | position
  int32_t id;
} zk_tok_candidate;
typedef struct zk_tok_bpe { // scratch of one encode
  zk_tok_symbol *symbols;
  size_t symbol_capacity;
  zk_tok_candidate *heap;
  size_t num_candidates, heap_capacity;
  zk_tok_cached *cache;
} zk_tok_bpe;
zk_status zk_tok_bpe_encode(zk_tokenizer *tok, const char *word, size_t num_bytes, zk_tokens *out);

// ---- the tokenizer
typedef struct zk_token {
  const char *text;  // as in the file; NULL: a hole
  const char *bytes; // what it decodes to
  uint32_t text_bytes, num_bytes;
  bool special;
  bool in_alphabet; // text is written in GPT-2's alphabet, so words can become this token
} zk_token;

struct zk_tokenizer {
  zk_tok_arena arena;
  zk_token *tokens; // [num_ids]
  int32_t num_ids;
  zk_tok_map by_text;    // every token
  zk_tok_map by_bytes;   // the vocabulary's tokens that are written in the alphabet
  int32_t byte_ids[256]; // -1: the vocabulary has no such token, and the byte is dropped
  zk_tok_merges merges;
  bool ignore_merges; // a word that is itself a token is not built from its bytes
  bool nfc;
  zk_tok_step steps[ZK_TOK_MAX_STEPS];
  size_t num_steps;
  zk_tok_added *added;
  size_t num_added;
  zk_tok_trie added_raw, added_normalized; // looked for before and after normalisation
  zk_tok_regex *word_char;                 // one character that \w matches; only with single_word tokens
  zk_tokens prefix, suffix;                // what the post-processor puts around one text
  int32_t bos, eos, pad;
  char *chat_template;
  uint64_t hash;
  pthread_mutex_t lock; // of everything below, and of the regexes' match data
  zk_tok_spans spans[ZK_TOK_MAX_STEPS];
  zk_tok_bpe bpe;
};

zk_status zk_tok_json_parse(zk_tokenizer *tok, const char *json,
                            size_t json_bytes); // tokenizer.json (tokenizer_json.c)
zk_status zk_tok_vocab_parse(zk_tokenizer *tok, const json_t *model, const json_t *added); // (tokenizer_vocab.c)
zk_status zk_tok_config_parse(zk_tokenizer *tok, const char *json,
                              size_t json_bytes); // tokenizer_config.json (tokenizer_config.c)
zk_status zk_tok_nfc(const char *text, size_t num_bytes, char **out,
                     size_t *out_bytes); // NFC of well-formed text, malloc'ed (tokenizer_nfc.c)

// ---- JSON members, each error naming `where` and the key (tokenizer_config.c)
zk_status zk_tok_json_load(const char *json, size_t json_bytes, const char *where, json_t **out);
const char *zk_tok_json_type(const json_t *node); // the string "type", "" if there is none
zk_status zk_tok_json_bool(const json_t *node, const char *where, const char *key, bool otherwise,
                           bool *out); // null and absent: otherwise
zk_status zk_tok_json_string(const json_t *node, const char *where, const char *key,
                             const char **out); // null and absent: NULL

#endif
