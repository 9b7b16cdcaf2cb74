// A tokenizer's life: read the folder's files, give it its identity, free it.
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "shared/file.h"
#include "shared/tokenizer_internal.h"

enum { MAX_FILE_BYTES = 256 << 20 };

// ---- identity: everything that decides ids or bytes, each item with its length or in 8 bytes little-endian
static void feed_number(XXH64_state_t *state, uint64_t value) {
  unsigned char bytes[8];
  for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(value >> 8 * i);
  XXH64_update(state, bytes, sizeof bytes);
}

static void feed_text(XXH64_state_t *state, const char *text) {
  size_t n = text ? strlen(text) : 0;
  feed_number(state, n);
  if (n) XXH64_update(state, text, n);
}

static void feed_ids(XXH64_state_t *state, const zk_tokens *ids) {
  feed_number(state, ids->num_tokens);
  for (size_t i = 0; i < ids->num_tokens; i++) feed_number(state, (uint64_t)ids->ids[i]);
}

// The table's order depends on its size only through the hash function, so merges are summed, not listed.
static uint64_t sum_of_merges(const zk_tok_merges *merges) {
  uint64_t sum = 0;
  for (size_t i = 0; i < merges->num_slots; i++) {
    const zk_tok_merge *m = &merges->slots[i];
    uint64_t row[2] = {m->pair, (uint64_t)m->rank << 32 | (uint32_t)m->id};
    XXH64_state_t state;
    if (m->pair == UINT64_MAX) continue;
    XXH64_reset(&state, 0);
    feed_number(&state, row[0]);
    feed_number(&state, row[1]);
    sum += XXH64_digest(&state);
  }
  return sum;
}

static uint64_t identity(const zk_tokenizer *tok) {
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  feed_text(&state, "zerokl tokenizer 1");
  feed_number(&state, (uint64_t)tok->num_ids);
  for (int32_t id = 0; id < tok->num_ids; id++) feed_text(&state, tok->tokens[id].text);
  for (int byte = 0; byte < 256; byte++) feed_number(&state, (uint64_t)(int64_t)tok->byte_ids[byte]);
  feed_number(&state, sum_of_merges(&tok->merges));
  feed_number(&state, (uint64_t)tok->nfc << 1 | (uint64_t)tok->ignore_merges);
  feed_number(&state, tok->num_steps);
  for (size_t i = 0; i < tok->num_steps; i++) {
    feed_text(&state, tok->steps[i].pattern);
    feed_number(&state, (uint64_t)tok->steps[i].behavior << 1 | (uint64_t)tok->steps[i].invert);
  }
  feed_number(&state, tok->num_added);
  for (size_t i = 0; i < tok->num_added; i++) {
    const zk_tok_added *a = &tok->added[i];
    feed_number(&state, (uint64_t)a->id << 5 | (uint64_t)a->special << 4 | (uint64_t)a->single_word << 3 |
                            (uint64_t)a->lstrip << 2 | (uint64_t)a->rstrip << 1 | (uint64_t)a->normalized);
  }
  feed_ids(&state, &tok->prefix);
  feed_ids(&state, &tok->suffix);
  return XXH64_digest(&state);
}

// ---- life
static zk_status create(zk_tokenizer **out) {
  zk_tokenizer *tok = calloc(1, sizeof *tok);
  zk_tok_cached *cache = tok ? calloc(ZK_TOK_CACHE_SLOTS, sizeof *cache) : NULL;
  if (!cache || pthread_mutex_init(&tok->lock, NULL)) {
    free(cache);
    free(tok);
    return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a tokenizer");
  }
  tok->bpe.cache = cache;
  tok->bos = tok->eos = tok->pad = -1;
  for (int byte = 0; byte < 256; byte++) tok->byte_ids[byte] = -1;
  zk_tok_trie_init(&tok->added_raw);
  zk_tok_trie_init(&tok->added_normalized);
  *out = tok;
  return ZK_OK;
}

void zk_tokenizer_free(zk_tokenizer *tok) {
  if (!tok) return;
  for (size_t i = 0; i < tok->num_steps; i++) zk_tok_regex_free(tok->steps[i].regex);
  for (size_t i = 0; i < ZK_TOK_MAX_STEPS; i++) free(tok->spans[i].spans);
  zk_tok_regex_free(tok->word_char);
  zk_tok_map_free(&tok->by_text);
  zk_tok_map_free(&tok->by_bytes);
  zk_tokens_free(&tok->prefix);
  zk_tokens_free(&tok->suffix);
  free(tok->merges.slots);
  free(tok->tokens);
  free(tok->added);
  free(tok->added_raw.nodes);
  free(tok->added_normalized.nodes);
  free(tok->chat_template);
  free(tok->bpe.symbols);
  free(tok->bpe.heap);
  free(tok->bpe.cache);
  zk_tok_arena_free(&tok->arena);
  pthread_mutex_destroy(&tok->lock);
  free(tok);
}

static zk_status fill(zk_tokenizer *tok, const char *json, size_t json_bytes, const char *config, size_t config_bytes,
                      const char *jinja, size_t jinja_bytes) {
  ZK_TRY(zk_tok_json_parse(tok, json, json_bytes));
  if (config) ZK_TRY(zk_tok_config_parse(tok, config, config_bytes));
  if (jinja) { // transformers writes the template to a file of its own since 4.50, and prefers it
    free(tok->chat_template);
    tok->chat_template = strndup(jinja, jinja_bytes);
    if (!tok->chat_template) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the chat template");
  }
  tok->hash = identity(tok);
  return ZK_OK;
}

zk_status zk_tokenizer_parse(const char *json, size_t json_bytes, const char *config, size_t config_bytes,
                             const char *jinja, size_t jinja_bytes, zk_tokenizer **out) {
  zk_tokenizer *tok = NULL;
  ZK_TRY(create(&tok));
  zk_status st = fill(tok, json, json_bytes, config, config_bytes, jinja, jinja_bytes);
  if (st == ZK_OK) *out = tok;
  else zk_tokenizer_free(tok);
  return st;
}

// A file of the folder; with `optional`, *out stays NULL when there is none.
static zk_status read_file(const char *dir, const char *name, int optional, char **out, size_t *num_bytes) {
  char *path = zk_file_join(dir, name);
  if (!path) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate a path");
  zk_status st = optional && !zk_file_exists(path) ? ZK_OK : zk_file_read(path, MAX_FILE_BYTES, out, num_bytes);
  free(path);
  return st;
}

zk_status zk_tokenizer_load(const char *model_dir, zk_tokenizer **out) {
  char *json = NULL, *config = NULL, *jinja = NULL;
  size_t json_bytes = 0, config_bytes = 0, jinja_bytes = 0;
  zk_status st;
  ZK_TRY_GOTO(st, done, read_file(model_dir, "tokenizer.json", 0, &json, &json_bytes));
  ZK_TRY_GOTO(st, done, read_file(model_dir, "tokenizer_config.json", 1, &config, &config_bytes));
  ZK_TRY_GOTO(st, done, read_file(model_dir, "chat_template.jinja", 1, &jinja, &jinja_bytes));
  st = zk_tokenizer_parse(json, json_bytes, config, config_bytes, jinja, jinja_bytes, out);
  if (st != ZK_OK) zk_status_context(st, "%s", model_dir);
done:
  free(json);
  free(config);
  free(jinja);
  return st;
}
