// An item's texts live in one block, so that it is made and freed in one step.
#include <stdlib.h>
#include <string.h>

#include "rollout/task_kind.h"

static size_t text_bytes(const char *text) { return text != NULL ? strlen(text) + 1 : 0; }

// Copies `text` to *at and moves *at behind it; NULL stays NULL.
static const char *put(char **at, const char *text) {
  size_t num_bytes = text_bytes(text);
  if (text == NULL) return NULL;
  char *copy = memcpy(*at, text, num_bytes);
  *at += num_bytes;
  return copy;
}

zk_status zk_task_item_make(uint64_t source, const char *system, const char *text, const zk_chat_message *messages,
                            size_t num_messages, const char *label, const char *demonstration, const char *extra, zk_task_item *out) {
  size_t num_all = num_messages + (system != NULL ? 1 : 0);
  size_t num_bytes =
      num_all * sizeof(zk_chat_message) + text_bytes(text) + text_bytes(label) + text_bytes(demonstration) + text_bytes(extra);
  if (system != NULL) num_bytes += text_bytes("system") + text_bytes(system);
  for (size_t i = 0; i < num_messages; i++) num_bytes += text_bytes(messages[i].role) + text_bytes(messages[i].content);

  zk_chat_message *list = malloc(num_bytes);
  if (list == NULL) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a prompt of %zu bytes", num_bytes);
  char *at = (char *)(list + num_all);
  size_t first = 0;
  if (system != NULL) {
    list[first].role = put(&at, "system");
    list[first++].content = put(&at, system);
  }
  for (size_t i = 0; i < num_messages; i++) {
    list[first + i].role = put(&at, messages[i].role);
    list[first + i].content = put(&at, messages[i].content);
  }
  *out = (zk_task_item){.source = source, .messages = list, .num_messages = num_all, .memory = list};
  out->text = put(&at, text);
  out->label = put(&at, label);
  out->demonstration = put(&at, demonstration);
  out->extra = put(&at, extra);
  return ZK_OK;
}

void zk_task_item_free(zk_task_item *item) {
  free(item->memory);
  memset(item, 0, sizeof *item);
}
