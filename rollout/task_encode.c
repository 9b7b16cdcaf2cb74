// From items to token ids: prompts as the model was tuned on them, demonstrations with the token that ends them.
#include <string.h>

#include "rollout/task_kind.h"

zk_status zk_task_encode_prompt(const zk_task *task, const zk_tokenizer *tok, zk_chat_template template_,
                                const zk_task_item *item, zk_tokens *out) {
  if (template_ != ZK_CHAT_NONE) return zk_chat_encode(tok, template_, item->messages, item->num_messages, 1, out);
  if (item->text == NULL)
    return ZK_FAIL(ZK_BAD_INPUT,
                   "%s:%llu: the prompt is a list of messages, which needs a chat template (task.template)",
                   task->cfg.task.path, (unsigned long long)item->source);
  if (task->cfg.task.system[0] != 0)
    return ZK_FAIL(ZK_BAD_INPUT, "task.system needs a chat template, and the model has none (task.template)");
  return zk_tokenizer_encode(tok, item->text, strlen(item->text), ZK_ENCODE_PARSE_SPECIAL | ZK_ENCODE_ADD_SPECIAL, out);
}

zk_status zk_task_encode_demonstration(const zk_task *task, const zk_tokenizer *tok, zk_chat_template template_,
                                       const zk_task_item *item, zk_tokens *out) {
  if (item->demonstration == NULL)
    return ZK_FAIL(ZK_BAD_INPUT, "%s:%llu: no field \"demonstration\", which sft imitates", task->cfg.task.path,
                   (unsigned long long)item->source);
  const char *end_of_turn = zk_chat_end_of_turn(template_);
  int32_t end = end_of_turn != NULL ? zk_tokenizer_find(tok, end_of_turn) : zk_tokenizer_eos(tok);
  if (end < 0)
    return ZK_FAIL(ZK_BAD_INPUT, "the tokenizer has no %s token to end a demonstration with",
                   end_of_turn != NULL ? end_of_turn : "eos");
  // What a model writes is text: "<|im_end|>" inside a demonstration must not end its turn.
  ZK_TRY(zk_tokenizer_encode(tok, item->demonstration, strlen(item->demonstration), ZK_ENCODE_PLAIN, out));
  return zk_tokens_push(out, end);
}
