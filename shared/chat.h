// Chat templates: messages -> the exact text a model was tuned on. Known templates are recognised by a hash of their
// source; no template language is interpreted.
#ifndef ZK_SHARED_CHAT_H
#define ZK_SHARED_CHAT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "shared/tokenizer.h"

// X(NAME, "name in task.template"): the one table that config and tests read.
#define ZK_CHAT_LIST(X)                                                                                                \
  X(NONE, "none")        /* no markup: the one user message is the text */                                             \
  X(CHATML, "chatml")    /* ChatML without a default system message */                                                 \
  X(SMOLLM2, "smollm2")  /* ChatML with the default system message of SmolLM2-Instruct */                              \
  X(QWEN2, "qwen2")      /* ChatML with the default system message of Qwen2 */                                         \
  X(QWEN25, "qwen2.5")   /* ChatML with the default system message of Qwen2.5 */                                       \
  X(QWEN3, "qwen3")      /* ChatML of Qwen3, thinking allowed */                                                       \
  X(LLAMA3, "llama3")    /* headers of Llama 3 */                                                                      \
  X(LLAMA31, "llama3.1") /* headers of Llama 3.1, 3.2 and 3.3 with their preamble, its date always 26 Jul 2024 */

typedef enum {
#define X(id, name) ZK_CHAT_##id,
  ZK_CHAT_LIST(X)
#undef X
      ZK_NUM_CHAT
} zk_chat_template;

typedef struct zk_chat_message {
  const char *role;    // "system", "user" or "assistant"
  const char *content; // UTF-8
} zk_chat_message;

const char *zk_chat_name(zk_chat_template template_); // "llama3.1"
// ZK_BAD_INPUT, listing the names, when there is no such template.
zk_status zk_chat_find(const char *name, zk_chat_template *out);

// The template of a tokenizer: NONE when its folder has no chat template, the known one whose source hashes alike, else
// ZK_UNSUPPORTED with the hash and the advice to set task.template.
zk_status zk_chat_detect(const zk_tokenizer *tok, zk_chat_template *out);

// The text for `messages`, malloc'ed into *out_text with a NUL behind *out_bytes bytes. With add_generation_prompt it
// ends where the assistant's answer begins. Encode it with ZK_ENCODE_PARSE_SPECIAL alone (Llama 3's text begins with
// its bos), NONE's with ZK_ENCODE_PARSE_SPECIAL | ZK_ENCODE_ADD_SPECIAL. ZK_BAD_INPUT for a role or an order of roles
// that the template does not take.
zk_status zk_chat_render(zk_chat_template template_, const zk_chat_message *messages, size_t num_messages,
                         int add_generation_prompt, char **out_text, size_t *out_bytes);

// Render and encode in one call, with the right flags; appends to `out`.
zk_status zk_chat_encode(const zk_tokenizer *tok, zk_chat_template template_, const zk_chat_message *messages,
                         size_t num_messages, int add_generation_prompt, zk_tokens *out);

// Appends the ids of what stands between an answer that was just sampled, its end of turn included, and the next one: a user's turn with `text`, and where
// the assistant's begins. The template's own pieces and the text are encoded apart, so that no token of the answer is made again, and a special
// token's name inside the text is text. With NONE: the text alone.
zk_status zk_chat_encode_reply(const zk_tokenizer *tok, zk_chat_template template_, const char *text, size_t num_bytes, zk_tokens *out);

// The text that ends an assistant's turn, a single special token ("<|im_end|>", "<|eot_id|>"); NULL for NONE.
// Supervised completions end with it and sampling stops at it.
const char *zk_chat_end_of_turn(zk_chat_template template_);

// Identity of a template: a hash of what it makes of a fixed set of conversations, so it changes exactly when the
// rendering does.
uint64_t zk_chat_hash(zk_chat_template template_);

#endif
