// One line of a JSON Lines data set: strict parsing, every complaint with file, line and field.
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "rollout/jsonl.h"
#include "rollout/task_kind.h"

static const char *json_kind(const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_OBJECT:
    return "an object";
  case JSON_ARRAY:
    return "an array";
  case JSON_STRING:
    return "a string";
  case JSON_INTEGER:
    return "an integer";
  case JSON_REAL:
    return "a real number";
  case JSON_NULL:
    return "null";
  default:
    return "a boolean";
  }
}

// "prompt" of messages: fills list[0 .. num - 1], texts borrowed from the JSON.
static zk_status read_messages(const json_t *array, zk_chat_message *list) {
  size_t num = json_array_size(array);
  for (size_t i = 0; i < num; i++) {
    const json_t *message = json_array_get(array, i), *role = json_object_get(message, "role"),
                 *content = json_object_get(message, "content");
    if (!json_is_object(message))
      return ZK_FAIL(ZK_BAD_INPUT, "\"prompt\"[%zu] is %s, not a message {\"role\", \"content\"}", i,
                     json_kind(message));
    if (!json_is_string(role) || !json_is_string(content) || json_object_size(message) != 2)
      return ZK_FAIL(ZK_BAD_INPUT, "\"prompt\"[%zu] must have exactly the texts \"role\" and \"content\"", i);
    list[i] = (zk_chat_message){.role = json_string_value(role), .content = json_string_value(content)};
    if (strcmp(list[i].role, "system") != 0 && strcmp(list[i].role, "user") != 0 &&
        strcmp(list[i].role, "assistant") != 0)
      return ZK_FAIL(ZK_BAD_INPUT, "\"prompt\"[%zu]: role \"%.40s\" is not system, user or assistant", i, list[i].role);
  }
  if (num == 0 || strcmp(list[num - 1].role, "user") != 0)
    return ZK_FAIL(ZK_BAD_INPUT, "\"prompt\" must end with a message whose role is user");
  return ZK_OK;
}

// The messages of "prompt"; a text is one user message. The caller frees *out, on failure too.
static zk_status read_prompt(const json_t *prompt, zk_chat_message **out, size_t *num_messages) {
  if (prompt == NULL) return ZK_FAIL(ZK_BAD_INPUT, "no field \"prompt\"");
  if (!json_is_string(prompt) && !json_is_array(prompt))
    return ZK_FAIL(ZK_BAD_INPUT, "\"prompt\" is %s, not a text or a list of messages", json_kind(prompt));
  *num_messages = json_is_array(prompt) ? json_array_size(prompt) : 1;
  *out = calloc(*num_messages + 1, sizeof **out);
  if (*out == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for %zu messages", *num_messages);
  if (json_is_array(prompt)) return read_messages(prompt, *out);
  if (json_string_length(prompt) == 0) return ZK_FAIL(ZK_BAD_INPUT, "\"prompt\" is empty");
  **out = (zk_chat_message){.role = "user", .content = json_string_value(prompt)};
  return ZK_OK;
}

// The label, under its own name or verl's; NULL when it has none.
static zk_status find_label(const json_t *root, const char **name, const json_t **out) {
  const json_t *model = json_object_get(root, "reward_model"), *truth = json_object_get(model, "ground_truth");
  *name = "label";
  *out = json_object_get(root, *name);
  if (model != NULL && !json_is_object(model)) return ZK_FAIL(ZK_BAD_INPUT, "\"reward_model\" is %s, not an object", json_kind(model));
  if (*out != NULL && truth != NULL && !json_equal(*out, truth))
    return ZK_FAIL(ZK_BAD_INPUT, "\"label\" and \"reward_model\".\"ground_truth\" differ: leave one out");
  if (*out == NULL && truth != NULL) *name = "reward_model\".\"ground_truth", *out = truth;
  return ZK_OK;
}

// The label as text, to free: an integer as its digits, an object or array as JSON, unless a grader compares texts. NULL when there is none.
static zk_status read_label(const json_t *root, uint32_t labels, char **out) {
  const json_t *label;
  const char *name;
  ZK_TRY(find_label(root, &name, &label));
  bool needed = false;
  for (int g = 0; g < ZK_CONFIG_NUM_GRADERS; g++) needed |= (labels & 1u << g) && zk_grader_needs_label((zk_config_grader)g);
  if (label == NULL && needed)
    return ZK_FAIL(ZK_BAD_INPUT, "no field \"label\" (slime's name), and no \"reward_model\": {\"ground_truth\"} (verl's), which the grader needs");
  if (label == NULL) return ZK_OK;
  const uint32_t of_text = 1u << ZK_CONFIG_GRADER_EXACT | 1u << ZK_CONFIG_GRADER_NUMBER | 1u << ZK_CONFIG_GRADER_GSM8K | 1u << ZK_CONFIG_GRADER_MATH;
  const bool structured = (json_is_object(label) || json_is_array(label)) && !(labels & of_text);
  if (!json_is_string(label) && !json_is_integer(label) && !structured)
    return ZK_FAIL(ZK_BAD_INPUT, "\"%s\" is %s, not a text or an integer", name, json_kind(label));
  *out = json_is_string(label) ? strdup(json_string_value(label)) : json_dumps(label, JSON_ENCODE_ANY | JSON_SORT_KEYS);
  if (*out == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a label");
  for (int g = 0; g < ZK_CONFIG_NUM_GRADERS; g++)
    if (labels & 1u << g) ZK_TRY(zk_grader_check_label((zk_config_grader)g, *out));
  return ZK_OK;
}

// What reward programs may want to know of a line, as one JSON text to free; NULL when it has none of it.
static zk_status read_extra(const json_t *root, char **out) {
  static const char *const names[] = {"data_source", "extra_info", "metadata"};
  json_t *kept = json_object();
  bool ok = kept != NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && ok; i++) {
    json_t *value = json_object_get(root, names[i]);
    if (value != NULL) ok = json_object_set(kept, names[i], value) == 0;
  }
  if (ok && json_object_size(kept) > 0) ok = (*out = json_dumps(kept, JSON_COMPACT | JSON_SORT_KEYS)) != NULL;
  json_decref(kept);
  return ok ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a line of data");
}

static uint64_t hash_messages(const zk_chat_message *messages, size_t num_messages) {
  uint64_t hash = num_messages;
  for (size_t i = 0; i < num_messages; i++) {
    hash = XXH64(messages[i].role, strlen(messages[i].role) + 1, hash);
    hash = XXH64(messages[i].content, strlen(messages[i].content) + 1, hash);
  }
  return hash;
}

static zk_status make_item(const json_t *root, uint64_t line, uint32_t labels, const char *system,
                           zk_task_item *out, uint64_t *identity) {
  zk_status st = ZK_OK;
  zk_chat_message *messages = NULL;
  size_t num_messages = 0;
  char *label = NULL, *extra = NULL;
  const json_t *prompt = json_object_get(root, "prompt"), *demonstration = json_object_get(root, "demonstration");
  ZK_TRY_GOTO(st, done, read_prompt(prompt, &messages, &num_messages));
  ZK_TRY_GOTO(st, done, read_label(root, labels, &label));
  ZK_TRY_GOTO(st, done, read_extra(root, &extra));
  if (demonstration != NULL && !json_is_string(demonstration)) {
    st = ZK_FAIL(ZK_BAD_INPUT, "\"demonstration\" is %s, not a text", json_kind(demonstration));
    goto done;
  }
  if (strcmp(messages[0].role, "system") == 0) system = NULL; // the line's own wins
  ZK_TRY_GOTO(st, done,
              zk_task_item_make(line, system, json_string_value(prompt), messages, num_messages, label,
                                json_string_value(demonstration), extra, out));
  *identity = hash_messages(messages, num_messages);
done:
  free(messages);
  free(label);
  free(extra);
  return st;
}

zk_status zk_jsonl_parse_line(const char *name, uint64_t line, uint32_t labels, const char *system,
                              const char *text, size_t num_bytes, zk_task_item *out, uint64_t *identity) {
  json_error_t error;
  json_t *root = json_loadb(text, num_bytes, JSON_REJECT_DUPLICATES, &error);
  zk_status st;
  if (root == NULL) st = ZK_FAIL(ZK_BAD_INPUT, "column %d: %s", error.column, error.text);
  else if (!json_is_object(root)) st = ZK_FAIL(ZK_BAD_INPUT, "the line is %s, not an object", json_kind(root));
  else st = make_item(root, line, labels, system, out, identity);
  json_decref(root);
  return st == ZK_OK ? ZK_OK : zk_status_context(st, "%s:%" PRIu64, name, line);
}
