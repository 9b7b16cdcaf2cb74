// tokenizer.json: every part is either understood or refused by name.
#include <string.h>

#include "shared/tokenizer_internal.h"

static zk_status unsupported(const char *part, const char *type, const char *known) {
  return ZK_FAIL(ZK_UNSUPPORTED, "%s of type '%.100s' is not supported (%s)", part, type, known);
}

static zk_status parse_normalizer(zk_tokenizer *tok, const json_t *node, int depth) {
  const char *type = zk_tok_json_type(node);
  if (!node || json_is_null(node)) return ZK_OK;
  if (!strcmp(type, "NFC")) {
    tok->nfc = true;
    return ZK_OK;
  }
  if (strcmp(type, "Sequence") || depth > 4) return unsupported("normalizer", type, "NFC and null are");
  const json_t *list = json_object_get(node, "normalizers"), *child;
  size_t i;
  json_array_foreach(list, i, child) ZK_TRY(parse_normalizer(tok, child, depth + 1));
  return ZK_OK;
}

static zk_status parse_decoder(const json_t *node) {
  const char *type = json_is_null(node) ? "null" : zk_tok_json_type(node);
  const json_t *list = json_object_get(node, "decoders");
  if (!strcmp(type, "Sequence") && json_array_size(list) == 1) return parse_decoder(json_array_get(list, 0));
  return strcmp(type, "ByteLevel") ? unsupported("decoder", type, "ByteLevel is") : ZK_OK;
}

// The ids of the special token `name` of a TemplateProcessing.
static zk_status template_ids(const json_t *specials, const char *name, int32_t num_ids, zk_tokens *out) {
  const json_t *ids = json_object_get(json_object_get(specials, name), "ids"), *id;
  size_t i;
  if (!json_is_array(ids)) return ZK_FAIL(ZK_BAD_INPUT, "post_processor: special token '%.100s' has no ids", name);
  json_array_foreach(ids, i, id) {
    json_int_t value = json_integer_value(id);
    if (!json_is_integer(id) || value < 0 || value >= num_ids)
      return ZK_FAIL(ZK_BAD_INPUT, "post_processor: special token '%.100s' has an id outside of the vocabulary", name);
    ZK_TRY(zk_tokens_push(out, (int32_t)value));
  }
  return ZK_OK;
}

static zk_status parse_template(zk_tokenizer *tok, const json_t *node) {
  const json_t *single = json_object_get(node, "single"), *piece;
  zk_tokens *side = &tok->prefix;
  size_t i;
  json_array_foreach(single, i, piece) {
    const char *special = json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
    const char *text = json_string_value(json_object_get(json_object_get(piece, "Sequence"), "id"));
    if (special) {
      ZK_TRY(template_ids(json_object_get(node, "special_tokens"), special, tok->num_ids, side));
    } else if (text && !strcmp(text, "A") && side == &tok->prefix) {
      side = &tok->suffix;
    } else {
      return ZK_FAIL(ZK_BAD_INPUT,
                     "post_processor TemplateProcessing: single[%zu] is neither a special token nor the one text", i);
    }
  }
  if (side == &tok->prefix)
    return ZK_FAIL(ZK_BAD_INPUT, "post_processor TemplateProcessing: single does not name the text");
  return ZK_OK;
}

static zk_status parse_post(zk_tokenizer *tok, const json_t *node, int depth) {
  const char *type = zk_tok_json_type(node);
  if (!node || json_is_null(node) || !strcmp(type, "ByteLevel")) return ZK_OK; // ByteLevel only moves offsets
  if (!strcmp(type, "TemplateProcessing")) {
    if (tok->prefix.num_tokens || tok->suffix.num_tokens)
      return ZK_FAIL(ZK_UNSUPPORTED, "post_processor: more than one TemplateProcessing");
    return parse_template(tok, node);
  }
  if (strcmp(type, "Sequence") || depth > 4)
    return unsupported("post_processor", type, "ByteLevel, TemplateProcessing and Sequences of these are");
  const json_t *list = json_object_get(node, "processors"), *child;
  size_t i;
  json_array_foreach(list, i, child) ZK_TRY(parse_post(tok, child, depth + 1));
  return ZK_OK;
}

static zk_status parse_model(zk_tokenizer *tok, const json_t *model, const json_t *added) {
  const char *type = zk_tok_json_type(model), *unknown, *text;
  const json_t *dropout = json_object_get(model, "dropout");
  bool byte_fallback;
  if (!json_is_object(model)) return ZK_FAIL(ZK_BAD_INPUT, "model is not an object");
  if (*type && strcmp(type, "BPE")) return unsupported("model", type, "BPE is"); // files of before 2020 name no type
  if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
    return ZK_FAIL(ZK_UNSUPPORTED, "model.dropout is not supported");
  ZK_TRY(zk_tok_json_bool(model, "model", "byte_fallback", false, &byte_fallback));
  if (byte_fallback)
    return ZK_FAIL(ZK_UNSUPPORTED, "model.byte_fallback is not supported: only byte-level tokenizers are");
  ZK_TRY(zk_tok_json_bool(model, "model", "ignore_merges", false, &tok->ignore_merges));
  ZK_TRY(zk_tok_json_string(model, "model", "continuing_subword_prefix", &text));
  if (text && *text) return ZK_FAIL(ZK_UNSUPPORTED, "model.continuing_subword_prefix is not supported");
  ZK_TRY(zk_tok_json_string(model, "model", "end_of_word_suffix", &text));
  if (text && *text) return ZK_FAIL(ZK_UNSUPPORTED, "model.end_of_word_suffix is not supported");
  ZK_TRY(zk_tok_json_string(model, "model", "unk_token", &unknown));
  ZK_TRY(zk_tok_vocab_parse(tok, model, added));
  for (int byte = 0; unknown && byte < 256; byte++) // with all bytes in the vocabulary nothing is ever unknown
    if (tok->byte_ids[byte] < 0)
      return ZK_FAIL(ZK_UNSUPPORTED, "model.unk_token with byte %d missing from the vocabulary is not supported", byte);
  return ZK_OK;
}

static zk_status parse_parts(zk_tokenizer *tok, const json_t *root) {
  const char *version;
  ZK_TRY(zk_tok_json_string(root, "tokenizer.json", "version", &version));
  if (version && strcmp(version, "1.0"))
    return ZK_FAIL(ZK_UNSUPPORTED, "version %.20s is not supported (1.0 is)", version);
  ZK_TRY(parse_normalizer(tok, json_object_get(root, "normalizer"), 0));
  ZK_TRY(zk_tok_pre_parse(tok, json_object_get(root, "pre_tokenizer")));
  ZK_TRY(parse_decoder(json_object_get(root, "decoder")));
  ZK_TRY(parse_model(tok, json_object_get(root, "model"), json_object_get(root, "added_tokens")));
  return parse_post(tok, json_object_get(root, "post_processor"), 0);
}

zk_status zk_tok_json_parse(zk_tokenizer *tok, const char *json, size_t json_bytes) {
  json_t *root = NULL;
  ZK_TRY(zk_tok_json_load(json, json_bytes, "tokenizer.json", &root));
  zk_status st = parse_parts(tok, root);
  json_decref(root);
  return st == ZK_OK ? st : zk_status_context(st, "tokenizer.json");
}
