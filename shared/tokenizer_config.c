// tokenizer_config.json: the special tokens by name and the chat template; and the JSON helpers of the tokenizer's
// parsers.
#include <stdlib.h>
#include <string.h>

#include "shared/tokenizer_internal.h"

zk_status zk_tok_json_load(const char *json, size_t json_bytes, const char *where, json_t **out) {
  json_error_t error;
  json_t *root = json_loadb(json, json_bytes, JSON_REJECT_DUPLICATES, &error);
  if (!root) return ZK_FAIL(ZK_BAD_INPUT, "%s:%d:%d: %s", where, error.line, error.column, error.text);
  if (!json_is_object(root)) {
    json_decref(root);
    return ZK_FAIL(ZK_BAD_INPUT, "%s: not a JSON object", where);
  }
  *out = root;
  return ZK_OK;
}

const char *zk_tok_json_type(const json_t *node) {
  const char *type = json_string_value(json_object_get(node, "type"));
  return type ? type : "";
}

zk_status zk_tok_json_bool(const json_t *node, const char *where, const char *key, bool otherwise, bool *out) {
  const json_t *value = json_object_get(node, key);
  if (value && !json_is_null(value) && !json_is_boolean(value))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is not true or false", where, key);
  *out = json_is_boolean(value) ? json_is_true(value) : otherwise;
  return ZK_OK;
}

zk_status zk_tok_json_string(const json_t *node, const char *where, const char *key, const char **out) {
  const json_t *value = json_object_get(node, key);
  if (value && !json_is_null(value) && !json_is_string(value))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is not a string", where, key);
  *out = json_string_value(value);
  return ZK_OK;
}

// "eos_token": "<|im_end|>" or {"content": "<|im_end|>", ...} or null.
static zk_status named_token(const zk_tokenizer *tok, const json_t *root, const char *key, int32_t *out) {
  const json_t *value = json_object_get(root, key);
  const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
  if (!value || json_is_null(value)) return ZK_OK;
  if (!text) return ZK_FAIL(ZK_BAD_INPUT, "tokenizer_config.json: %s is neither a string nor an added token", key);
  *out = zk_tokenizer_find(tok, text);
  if (*out < 0)
    return ZK_FAIL(ZK_BAD_INPUT, "tokenizer_config.json: %s '%.100s' is not a token of tokenizer.json", key, text);
  return ZK_OK;
}

// "chat_template": text, or [{"name": "default", "template": text}, ...].
static zk_status chat_template(zk_tokenizer *tok, const json_t *root) {
  const json_t *value = json_object_get(root, "chat_template"), *item;
  const char *text = json_string_value(value);
  size_t i;
  if (!value || json_is_null(value)) return ZK_OK;
  if (!json_is_string(value) && !json_is_array(value))
    return ZK_FAIL(ZK_BAD_INPUT, "tokenizer_config.json: chat_template is neither text nor a list");
  json_array_foreach(value, i, item) {
    const char *name = json_string_value(json_object_get(item, "name"));
    if (name && !strcmp(name, "default")) text = json_string_value(json_object_get(item, "template"));
  }
  if (!text) return ZK_FAIL(ZK_UNSUPPORTED, "tokenizer_config.json: chat_template names no default template");
  tok->chat_template = strdup(text);
  return tok->chat_template ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the chat template");
}

static zk_status parse(zk_tokenizer *tok, const json_t *root) {
  ZK_TRY(named_token(tok, root, "bos_token", &tok->bos));
  ZK_TRY(named_token(tok, root, "eos_token", &tok->eos));
  ZK_TRY(named_token(tok, root, "pad_token", &tok->pad));
  return chat_template(tok, root);
}

zk_status zk_tok_config_parse(zk_tokenizer *tok, const char *json, size_t json_bytes) {
  json_t *root = NULL;
  ZK_TRY(zk_tok_json_load(json, json_bytes, "tokenizer_config.json", &root));
  zk_status st = parse(tok, root);
  json_decref(root);
  return st;
}
