// The tokenizers and strings of tests/fixtures/tokenizers (made by tests/fixtures/make_tokenizers.py), in memory.
#ifndef ZK_TESTS_TOKENIZER_FIXTURE_H
#define ZK_TESTS_TOKENIZER_FIXTURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file.h"
#include "shared/tokenizer.h"

static inline char *fixture_read(const char *name, size_t *num_bytes) {
  char path[4096], *text = NULL;
  snprintf(path, sizeof path, ZK_FIXTURES "/tokenizers/%s", name);
  if (zk_file_read(path, (size_t)1 << 28, &text, num_bytes) != ZK_OK) fail_msg("%s", zk_status_message());
  return text;
}

static inline size_t fixture_varint(const unsigned char **at) {
  size_t n = 0;
  int shift = 0;
  while (**at & 128) n |= (size_t)(*(*at)++ & 127) << shift, shift += 7;
  return n | (size_t) * (*at)++ << shift;
}

// The tokens and merges of a packed tokenizer into its JSON (the format: pack in make_tokenizers.py).
static inline void fixture_unpack_model(const unsigned char *at, json_t *vocab, json_t *merges) {
  size_t capacity = 1 << 19, free_id = 0;
  const char **texts = calloc(capacity, sizeof *texts); // by id, borrowed from the vocabulary's keys
  for (size_t n = fixture_varint(&at); n > 0; n--) {
    char text[1024] = {0};
    size_t id = fixture_varint(&at), length = fixture_varint(&at);
    memcpy(text, at, length);
    at += length;
    json_object_set_new(vocab, text, json_integer((json_int_t)id));
    texts[id] = json_object_iter_key(json_object_iter_at(vocab, text));
  }
  for (size_t n = fixture_varint(&at); n > 0; n--) {
    char text[2048];
    const char *left = texts[fixture_varint(&at)], *right = texts[fixture_varint(&at)];
    json_array_append_new(merges, json_sprintf("%s %s", left, right));
    snprintf(text, sizeof text, "%s%s", left, right);
    if (json_object_get(vocab, text)) continue;
    while (texts[free_id]) free_id++;
    json_object_set_new(vocab, text, json_integer((json_int_t)free_id));
    texts[free_id] = json_object_iter_key(json_object_iter_at(vocab, text));
  }
  free(texts);
}

// tokenizer.json of a fixture: NAME.json as it is, or NAME.bpe unpacked. The caller decrefs.
static inline json_t *fixture_json(const char *name) {
  char file[256], path[4096];
  size_t num_bytes;
  snprintf(file, sizeof file, "%s.json", name);
  snprintf(path, sizeof path, ZK_FIXTURES "/tokenizers/%s", file);
  if (zk_file_exists(path)) {
    char *text = fixture_read(file, &num_bytes);
    json_t *root = json_loadb(text, num_bytes, 0, NULL);
    free(text);
    return root;
  }
  snprintf(file, sizeof file, "%s.bpe", name);
  char *packed = fixture_read(file, &num_bytes);
  const unsigned char *at = (const unsigned char *)packed;
  size_t length = fixture_varint(&at);
  json_t *root = json_loadb((const char *)at, length, 0, NULL), *model = json_object_get(root, "model");
  fixture_unpack_model(at + length, json_object_get(model, "vocab"), json_object_get(model, "merges"));
  free(packed);
  return root;
}

// Loads a tokenizer from its JSON (NULL on failure, the message in zk_status_message).
static inline zk_tokenizer *fixture_parse(const json_t *root, const char *config) {
  char *text = json_dumps(root, JSON_COMPACT);
  zk_tokenizer *tok = NULL;
  zk_status st = zk_tokenizer_parse(text, strlen(text), config, config ? strlen(config) : 0, NULL, 0, &tok);
  free(text);
  return st == ZK_OK ? tok : NULL;
}

static inline zk_tokenizer *fixture_tokenizer(const char *name, const char *config) {
  json_t *root = fixture_json(name);
  zk_tokenizer *tok = fixture_parse(root, config);
  json_decref(root);
  if (!tok) fail_msg("%s: %s", name, zk_status_message());
  return tok;
}

// strings.jsonl as a list of JSON strings (NUL characters allowed). The caller decrefs.
static inline json_t *fixture_lines(const char *name) {
  size_t num_bytes;
  char *text = fixture_read(name, &num_bytes);
  json_t *list = json_array();
  for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
    json_array_append_new(list, json_loadb(line, (size_t)(end - line), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
  free(text);
  return list;
}

#endif
