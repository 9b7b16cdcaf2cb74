// Reads a configuration: YAML by libyaml's document API, which knows each node's line and column, then overrides.
#include "shared/config_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_FILE_BYTES = 64 << 10 };

zk_status zk_config_reader_place(const zk_config_reader *r, zk_config_origin at, zk_status st) {
  char quoted[ZK_CONFIG_QUOTE_BYTES];
  if (at.override_num > 0) {
    const char *text = r->overrides[at.override_num - 1];
    return zk_status_context(st, "argument %s", zk_config_quote(text, strlen(text), quoted));
  }
  if (at.line > 0) return zk_status_context(st, "%s:%d:%d", r->name, at.line, at.column);
  return r->name ? zk_status_context(st, "%s", r->name) : st;
}

static zk_config_origin origin_of(const zk_config_reader *r, yaml_mark_t mark) {
  if (r->override_num > 0) return (zk_config_origin){.override_num = r->override_num};
  return (zk_config_origin){.line = (int)mark.line + 1, .column = (int)mark.column + 1};
}

static const char *node_kind(const yaml_node_t *node) {
  return node->type == YAML_MAPPING_NODE ? "a mapping" : node->type == YAML_SEQUENCE_NODE ? "a list" : "a value";
}

static zk_status unknown_key(const char *path) {
  char quoted[ZK_CONFIG_QUOTE_BYTES], suggested[ZK_CONFIG_MAX_PATH];
  const char *near = zk_config_key_suggest(path, suggested);
  if (zk_config_key_find(path) >= 0) // only "a.b: value" written as one key comes here
    return ZK_FAIL(ZK_BAD_INPUT, "%s: give the last part under its groups, one line each", path);
  zk_config_quote(path, strlen(path), quoted);
  quoted[strlen(quoted) - 1] = 0; // without its quotes
  return ZK_FAIL(ZK_BAD_INPUT, "%s: no such key%s%s%s", quoted + 1, near ? "; did you mean " : "", near ? near : "",
                 near ? "?" : "");
}

// ---- one key's value -------------------------------------------------------------------------------------------

// A scalar node of no other tag than a text's, which every untagged scalar has.
static zk_status check_scalar(const char *path, const yaml_node_t *node) {
  if (node->type != YAML_SCALAR_NODE)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: expected a value, found %s", path, node_kind(node));
  if (node->tag && strcmp((const char *)node->tag, YAML_STR_TAG))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: a tag (!...) has no meaning here", path);
  return ZK_OK;
}

static zk_status set_from_scalar(zk_config_reader *r, const zk_config_key *key, const yaml_node_t *node) {
  zk_status st = check_scalar(key->path, node);
  if (st == ZK_OK)
    st = zk_config_value_set(key, (const char *)node->data.scalar.value, node->data.scalar.length,
                             node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, &r->cfg);
  return st == ZK_OK ? ZK_OK : zk_config_reader_place(r, origin_of(r, node->start_mark), st);
}

static zk_status set_from_node(zk_config_reader *r, yaml_document_t *doc, const zk_config_key *key, yaml_node_t *node) {
  if (key->kind != ZK_CONFIG_LIST) return set_from_scalar(r, key, node);
  if (node->type != YAML_SEQUENCE_NODE)
    return zk_config_reader_place(r, origin_of(r, node->start_mark),
                                  ZK_FAIL(ZK_BAD_INPUT, "%s: expected a list, found %s", key->path, node_kind(node)));
  zk_config_value_reset(key, &r->cfg);
  for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++)
    ZK_TRY(set_from_scalar(r, key, yaml_document_get_node(doc, *item)));
  return ZK_OK;
}

// ---- the file --------------------------------------------------------------------------------------------------

static zk_status read_mapping(zk_config_reader *r, yaml_document_t *doc, const char *group, yaml_node_t *node);

// Puts "group.key" into `path`, cut to what fits: a path that long is unknown anyhow.
static zk_status join_path(const char *group, const yaml_node_t *key, char path[ZK_CONFIG_MAX_PATH]) {
  if (key->type != YAML_SCALAR_NODE || memchr(key->data.scalar.value, 0, key->data.scalar.length))
    return ZK_FAIL(ZK_BAD_INPUT, "%s%sexpected the name of a key", group, group[0] ? ": " : "");
  size_t used = (size_t)snprintf(path, ZK_CONFIG_MAX_PATH, "%s%s", group, group[0] ? "." : "");
  snprintf(path + used, ZK_CONFIG_MAX_PATH - used, "%s", (const char *)key->data.scalar.value);
  return ZK_OK;
}

static void add_group(zk_config_reader *r, int key_idx, size_t path_len, zk_config_origin at) {
  if (r->num_groups == ZK_CONFIG_MAX_GROUPS) return;
  r->group[r->num_groups].path = zk_config_keys[key_idx].path;
  r->group[r->num_groups].path_len = path_len;
  r->group[r->num_groups++].origin = at;
}

static zk_status read_pair(zk_config_reader *r, yaml_document_t *doc, const char *path, yaml_node_t *key,
                           yaml_node_t *value) {
  zk_config_origin at = origin_of(r, key->start_mark);
  int group_idx = zk_config_group_find(path);
  if (group_idx >= 0) {
    if (value->type != YAML_MAPPING_NODE)
      return zk_config_reader_place(
          r, origin_of(r, value->start_mark),
          ZK_FAIL(ZK_BAD_INPUT, "%s: expected a mapping of keys, found %s", path, node_kind(value)));
    add_group(r, group_idx, strlen(path), at);
    return read_mapping(r, doc, path, value);
  }
  int idx = zk_config_key_find(path);
  if (idx < 0 || strchr((const char *)key->data.scalar.value, '.'))
    return zk_config_reader_place(r, at, unknown_key(path));
  r->origin[idx] = at;
  return set_from_node(r, doc, &zk_config_keys[idx], value);
}

// The pair of the mapping before `pair` with the same key, or NULL.
static yaml_node_t *earlier_key(yaml_document_t *doc, const yaml_node_t *mapping, const yaml_node_pair_t *pair) {
  const yaml_node_t *key = yaml_document_get_node(doc, pair->key);
  for (yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < pair; p++) {
    yaml_node_t *other = yaml_document_get_node(doc, p->key); // a scalar: it has been read
    if (other->data.scalar.length == key->data.scalar.length &&
        memcmp(other->data.scalar.value, key->data.scalar.value, key->data.scalar.length) == 0)
      return other;
  }
  return NULL;
}

static zk_status read_mapping(zk_config_reader *r, yaml_document_t *doc, const char *group, yaml_node_t *node) {
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
    yaml_node_t *key = yaml_document_get_node(doc, pair->key);
    char path[ZK_CONFIG_MAX_PATH];
    zk_status st = join_path(group, key, path);
    yaml_node_t *earlier = st == ZK_OK ? earlier_key(doc, node, pair) : NULL;
    if (earlier)
      st = ZK_FAIL(ZK_BAD_INPUT, "%s: given twice, first in line %d", path, (int)earlier->start_mark.line + 1);
    if (st != ZK_OK) return zk_config_reader_place(r, origin_of(r, key->start_mark), st);
    ZK_TRY(read_pair(r, doc, path, key, yaml_document_get_node(doc, pair->value)));
  }
  return ZK_OK;
}

// ---- documents -------------------------------------------------------------------------------------------------

static zk_status yaml_failed(const zk_config_reader *r, const yaml_parser_t *parser) {
  zk_config_origin at = origin_of(r, parser->problem_mark);
  if (parser->error == YAML_MEMORY_ERROR)
    return zk_config_reader_place(r, at, ZK_FAIL(ZK_OUT_OF_MEMORY, "not enough memory to parse it"));
  if (parser->error == YAML_READER_ERROR) // before there are lines: an encoding that is broken
    return zk_config_reader_place(
        r, (zk_config_origin){.override_num = r->override_num},
        ZK_FAIL(ZK_BAD_INPUT, "not valid YAML at byte %zu: %s", parser->problem_offset + 1, parser->problem));
  return zk_config_reader_place(
      r, at, ZK_FAIL(ZK_BAD_INPUT, "not valid YAML: %s", parser->problem ? parser->problem : "malformed"));
}

// Loads the one document of a stream. On success the caller deletes *doc.
static zk_status load_only_document(const zk_config_reader *r, yaml_parser_t *parser, yaml_document_t *doc) {
  if (!yaml_parser_load(parser, doc)) return yaml_failed(r, parser);
  if (!yaml_document_get_root_node(doc)) return ZK_OK;
  yaml_document_t second;
  zk_status st = ZK_OK;
  if (!yaml_parser_load(parser, &second)) {
    st = yaml_failed(r, parser);
  } else {
    const yaml_node_t *root = yaml_document_get_root_node(&second);
    if (root)
      st = zk_config_reader_place(r, origin_of(r, root->start_mark),
                                  ZK_FAIL(ZK_BAD_INPUT, "a second document begins here"));
    yaml_document_delete(&second);
  }
  if (st != ZK_OK) yaml_document_delete(doc);
  return st;
}

static zk_status parse_document(const zk_config_reader *r, const char *text, size_t num_bytes, yaml_document_t *doc) {
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) return ZK_FAIL(ZK_OUT_OF_MEMORY, "not enough memory for the YAML parser");
  yaml_parser_set_input_string(&parser, (const unsigned char *)text, num_bytes);
  zk_status st = load_only_document(r, &parser, doc);
  yaml_parser_delete(&parser);
  return st;
}

static zk_status read_file_text(zk_config_reader *r, const char *text, size_t num_bytes) {
  if (num_bytes > MAX_FILE_BYTES)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: more than %d KiB, too long for a config", r->name, MAX_FILE_BYTES >> 10);
  yaml_document_t doc;
  ZK_TRY(parse_document(r, text, num_bytes, &doc));
  yaml_node_t *root = yaml_document_get_root_node(&doc);
  zk_status st = ZK_OK;
  if (root && root->type == YAML_MAPPING_NODE) {
    add_group(r, 0, 0, origin_of(r, root->start_mark));
    st = read_mapping(r, &doc, "", root);
  } else {
    st = ZK_FAIL(ZK_BAD_INPUT, "expected a mapping of keys, found %s", root ? node_kind(root) : "nothing");
    st = zk_config_reader_place(r, root ? origin_of(r, root->start_mark) : (zk_config_origin){0}, st);
  }
  yaml_document_delete(&doc);
  return st;
}

// ---- overrides -------------------------------------------------------------------------------------------------

// "a" is one text, "[a, b]" a list in YAML.
static zk_status override_list(zk_config_reader *r, const zk_config_key *key, const char *value) {
  if (value[0] != '[') {
    zk_config_value_reset(key, &r->cfg);
    zk_status st = zk_config_value_set(key, value, strlen(value), false, &r->cfg);
    return st == ZK_OK ? ZK_OK : zk_config_reader_place(r, (zk_config_origin){.override_num = r->override_num}, st);
  }
  yaml_document_t doc;
  ZK_TRY(parse_document(r, value, strlen(value), &doc));
  zk_status st = set_from_node(r, &doc, key, yaml_document_get_root_node(&doc));
  yaml_document_delete(&doc);
  return st;
}

static zk_status read_override(zk_config_reader *r, const char *text) {
  zk_config_origin at = {.override_num = r->override_num};
  const char *equals = strchr(text, '=');
  if (!equals || equals == text) return zk_config_reader_place(r, at, ZK_FAIL(ZK_BAD_INPUT, "expected key.path=value"));
  char path[ZK_CONFIG_MAX_PATH];
  snprintf(path, sizeof path, "%.*s", equals - text < ZK_CONFIG_MAX_PATH ? (int)(equals - text) : ZK_CONFIG_MAX_PATH,
           text);
  int idx = zk_config_key_find(path), group_idx = zk_config_group_find(path);
  if (group_idx >= 0)
    return zk_config_reader_place(
        r, at,
        ZK_FAIL(ZK_BAD_INPUT, "%s: a group: name one of its keys, such as %s", path, zk_config_keys[group_idx].path));
  if (idx < 0) return zk_config_reader_place(r, at, unknown_key(path));
  const zk_config_key *key = &zk_config_keys[idx];
  r->origin[idx] = at;
  if (key->kind == ZK_CONFIG_LIST) return override_list(r, key, equals + 1);
  zk_status st = zk_config_value_set(key, equals + 1, strlen(equals + 1), key->kind != ZK_CONFIG_TEXT, &r->cfg);
  return st == ZK_OK ? ZK_OK : zk_config_reader_place(r, at, st);
}

// ---- entry points ----------------------------------------------------------------------------------------------

void zk_config_defaults(zk_config *out) {
  memset(out, 0, sizeof *out);
  for (int i = 0; i < zk_config_num_keys; i++) zk_config_value_reset(&zk_config_keys[i], out);
}

static zk_status read_all(zk_config_reader *r, const char *text, size_t num_bytes, int num_overrides) {
  zk_config_defaults(&r->cfg);
  if (r->name) ZK_TRY(read_file_text(r, text, num_bytes));
  for (int i = 0; i < num_overrides; i++) {
    r->override_num = i + 1;
    ZK_TRY(read_override(r, r->overrides[i]));
  }
  r->override_num = 0;
  return zk_config_reader_finish(r);
}

zk_status zk_config_parse(const char *name, const char *text, size_t num_bytes, int num_overrides,
                          char *const *overrides, zk_config *out) {
  zk_config_reader *r = calloc(1, sizeof *r);
  if (!r) return ZK_FAIL(ZK_OUT_OF_MEMORY, "not enough memory to read a config");
  r->name = name;
  r->overrides = overrides;
  zk_status st = read_all(r, text, num_bytes, num_overrides);
  if (st == ZK_OK) memcpy(out, &r->cfg, sizeof *out); // its padding too: equal configs have equal bytes
  free(r);
  return st;
}

static zk_status read_error(const char *path) { return ZK_FAIL(ZK_IO, "%s: cannot read: %s", path, strerror(errno)); }

zk_status zk_config_load(const char *path, int num_overrides, char *const *overrides, zk_config *out) {
  if (!path) return zk_config_parse(NULL, "", 0, num_overrides, overrides, out);
  FILE *file = fopen(path, "rb");
  if (!file) return read_error(path);
  char *text = malloc(MAX_FILE_BYTES + 1);
  size_t num_bytes = text ? fread(text, 1, MAX_FILE_BYTES + 1, file) : 0;
  zk_status st = !text          ? ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: not enough memory to read it", path)
                 : ferror(file) ? read_error(path)
                                : zk_config_parse(path, text, num_bytes, num_overrides, overrides, out);
  free(text);
  fclose(file);
  return st;
}

zk_status zk_config_load_schedule(int num_overrides, char *const *overrides, zk_config *out) {
  for (int i = 0; i < num_overrides; i++) {
    size_t path_len = strcspn(overrides[i], "=");
    char path[ZK_CONFIG_MAX_PATH];
    snprintf(path, sizeof path, "%.*s", path_len < sizeof path ? (int)path_len : (int)sizeof path, overrides[i]);
    int idx = zk_config_key_find(path);
    if (idx >= 0 && zk_config_keys[idx].class != ZK_CONFIG_SCHEDULE && strcmp(path, "numerics"))
      return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is part of a run's identity; here only numerics and keys of class schedule have a meaning", overrides[i],
                     path);
  }
  return zk_config_load(NULL, num_overrides, overrides, out);
}
