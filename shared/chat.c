// Chat templates are three small renderers, ChatML, Qwen3 and Llama 3, with a default system message or a preamble as
// data.
#include "shared/chat.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "shared/utf8.h"

typedef struct buffer {
  char *text;
  size_t num_bytes, capacity;
} buffer;

typedef struct conversation {
  const zk_chat_message *messages;
  size_t num_messages;
} conversation;

typedef zk_status renderer(const conversation *c, const char *fixed, buffer *out);
static renderer render_none, render_chatml, render_qwen3, render_llama3;

// What the templates are made of. `fixed`: the default system message of ChatML, the preamble of Llama 3's system
// message.
static const struct {
  const char *name;
  renderer *render;
  const char *fixed;
  const char *reply;  // begins a user's turn behind an assistant's, whose end of turn stands
  const char *behind; // ends it
  const char *answer; // begins the assistant's turn
  const char *end_of_turn;
} TEMPLATES[ZK_NUM_CHAT] = {
#define X(id, name_) [ZK_CHAT_##id] = {.name = name_, TEMPLATE_##id},
#define CHATML_(system)                                                                                                \
  .render = render_chatml, .fixed = system, .reply = "\n<|im_start|>user\n", .behind = "<|im_end|>\n", .answer = "<|im_start|>assistant\n", .end_of_turn = "<|im_end|>"
#define LLAMA_(preamble)                                                                                               \
  .render = render_llama3, .fixed = preamble, .reply = "<|start_header_id|>user<|end_header_id|>\n\n", .behind = "<|eot_id|>", .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",           \
  .end_of_turn = "<|eot_id|>"
#define TEMPLATE_NONE .render = render_none, .reply = "", .behind = "", .answer = ""
#define TEMPLATE_CHATML CHATML_(NULL)
#define TEMPLATE_SMOLLM2 CHATML_("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
#define TEMPLATE_QWEN2 CHATML_("You are a helpful assistant.")
#define TEMPLATE_QWEN25 CHATML_("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")
#define TEMPLATE_QWEN3                                                                                                 \
  .render = render_qwen3, .reply = "\n<|im_start|>user\n", .behind = "<|im_end|>\n", .answer = "<|im_start|>assistant\n", .end_of_turn = "<|im_end|>"
#define TEMPLATE_LLAMA3 LLAMA_(NULL)
#define TEMPLATE_LLAMA31 LLAMA_("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n")
    ZK_CHAT_LIST(X)
#undef X
};

// XXH64 of the sources of known templates, as source_hash takes it.
static const struct {
  uint64_t hash;
  zk_chat_template is;
} KNOWN[] = {
    {0x406244e5f006a13a, ZK_CHAT_SMOLLM2}, // SmolLM2-Instruct, all sizes
    {0xd458413e70e24283, ZK_CHAT_SMOLLM2}, // the same with newlines written \\n, as below
    {0x408946d744ba89ee, ZK_CHAT_CHATML},  {0x3f951c547f06568f, ZK_CHAT_CHATML},
    {0x2bfbf343228a1b96, ZK_CHAT_CHATML}, // other white space between the braces
    {0xb885985d8b9a5a01, ZK_CHAT_CHATML}, // with a default for add_generation_prompt
    {0xd1244203fb4553c4, ZK_CHAT_CHATML},  {0xbbac3cb08b31b175, ZK_CHAT_CHATML},
    {0x301e91d166cf9b9f, ZK_CHAT_QWEN2},                                        // Qwen2-Instruct
    {0xab2957052382cf7c, ZK_CHAT_QWEN2},   {0x313c84272ce8fceb, ZK_CHAT_QWEN2}, // Qwen2.5's, before instruction tuning
    {0x14f39dfcc63bcdcb, ZK_CHAT_QWEN25},                                       // Qwen2.5-Instruct, -Coder-Instruct
    {0xebed4c75e31de940, ZK_CHAT_QWEN3},                                        // Qwen3, first release
    {0xa2f2632e64077a8e, ZK_CHAT_QWEN3},                                        // Qwen3, revised
    {0xdcdc8f0c69cd885e, ZK_CHAT_LLAMA3},                                       // Llama-3-Instruct
    {0x0a1c337d0cdaed22, ZK_CHAT_LLAMA3},  {0xc0e2a829a7f6e18a, ZK_CHAT_LLAMA31}, // Llama-3.1, 3.3
    {0xe980fb39e0834855, ZK_CHAT_LLAMA31}, // Llama-3.2, whose date is today's unless it is given: fixed here
};

const char *zk_chat_name(zk_chat_template t) { return TEMPLATES[t].name; }
const char *zk_chat_end_of_turn(zk_chat_template t) { return TEMPLATES[t].end_of_turn; }

#define X(id, name) " " name
static const char *const ALL_NAMES = ZK_CHAT_LIST(X);
#undef X

zk_status zk_chat_find(const char *name, zk_chat_template *out) {
  for (int i = 0; i < ZK_NUM_CHAT; i++)
    if (!strcmp(name, TEMPLATES[i].name)) {
      *out = (zk_chat_template)i;
      return ZK_OK;
    }
  return ZK_FAIL(ZK_BAD_INPUT, "no chat template is called '%.100s'; there are%s", name, ALL_NAMES);
}

// The hash of a source less what the template language ignores: carriage returns before newlines, one newline at the
// end.
static zk_status source_hash(const char *source, uint64_t *out) {
  size_t n = 0;
  char *text = malloc(strlen(source) + 1);
  *out = 0;
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate the chat template");
  for (const char *p = source; *p; p++)
    if (p[0] != '\r' || p[1] != '\n') text[n++] = *p;
  *out = XXH64(text, n && text[n - 1] == '\n' ? n - 1 : n, 0);
  free(text);
  return ZK_OK;
}

zk_status zk_chat_detect(const zk_tokenizer *tok, zk_chat_template *out) {
  const char *source = zk_tokenizer_chat_template(tok);
  uint64_t hash;
  if (!source || !*source) {
    *out = ZK_CHAT_NONE;
    return ZK_OK;
  }
  ZK_TRY(source_hash(source, &hash));
  for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
    if (KNOWN[i].hash == hash) {
      *out = KNOWN[i].is;
      return ZK_OK;
    }
  return ZK_FAIL(ZK_UNSUPPORTED,
                 "the model's chat template (hash %016llx) is not a known one; set task.template to one of%s",
                 (unsigned long long)hash, ALL_NAMES);
}

// ---- building text
static zk_status put_bytes(buffer *b, const char *text, size_t n) {
  if (b->capacity - b->num_bytes < n + 1) {
    size_t capacity = b->capacity + b->capacity / 2 + n + 1;
    char *bigger = realloc(b->text, capacity);
    if (!bigger) return ZK_FAIL(ZK_OUT_OF_MEMORY, "cannot allocate %zu bytes for a prompt", capacity);
    b->text = bigger;
    b->capacity = capacity;
  }
  memcpy(b->text + b->num_bytes, text, n);
  b->num_bytes += n;
  b->text[b->num_bytes] = 0;
  return ZK_OK;
}

static zk_status put(buffer *b, const char *text) { return put_bytes(b, text, strlen(text)); }

static bool has_role(const zk_chat_message *m, const char *role) { return !strcmp(m->role, role); }

static zk_status check(const conversation *c) {
  if (!c->num_messages) return ZK_FAIL(ZK_BAD_INPUT, "a conversation has no messages");
  for (size_t i = 0; i < c->num_messages; i++)
    if (!has_role(&c->messages[i], "system") && !has_role(&c->messages[i], "user") &&
        !has_role(&c->messages[i], "assistant"))
      return ZK_FAIL(ZK_BAD_INPUT, "messages[%zu] has role '%.100s', which is none of system, user, assistant", i,
                     c->messages[i].role);
  return ZK_OK;
}

// ---- none
static zk_status render_none(const conversation *c, const char *fixed, buffer *out) {
  if (c->num_messages != 1 || !has_role(&c->messages[0], "user"))
    return ZK_FAIL(ZK_BAD_INPUT,
                   "chat template none takes one user message and nothing else; set task.template to use roles");
  return put(out, c->messages[0].content);
}

// ---- ChatML: <|im_start|>role\ncontent<|im_end|>\n
static zk_status put_chatml(buffer *out, const char *role, const char *content) {
  ZK_TRY(put(out, "<|im_start|>"));
  ZK_TRY(put(out, role));
  ZK_TRY(put(out, "\n"));
  ZK_TRY(put(out, content));
  return put(out, "<|im_end|>\n");
}

static zk_status render_chatml(const conversation *c, const char *system, buffer *out) {
  if (system && !has_role(&c->messages[0], "system")) ZK_TRY(put_chatml(out, "system", system));
  for (size_t i = 0; i < c->num_messages; i++) ZK_TRY(put_chatml(out, c->messages[i].role, c->messages[i].content));
  return ZK_OK;
}

// ---- Qwen3: ChatML whose answers hold their reasoning apart
typedef struct slice {
  const char *text;
  size_t num_bytes;
} slice;

static slice strip_newlines(slice s, bool left, bool right) {
  while (left && s.num_bytes && *s.text == '\n') s.text++, s.num_bytes--;
  while (right && s.num_bytes && s.text[s.num_bytes - 1] == '\n') s.num_bytes--;
  return s;
}

// "<think>\nreasoning\n</think>\n\nanswer" into its two parts: reasoning is what lies before the first </think> and
// behind the last <think> before it, the answer what lies behind the last </think>.
static void split_reasoning(const char *content, slice *reasoning, slice *answer) {
  const char *first = strstr(content, "</think>"), *last = first, *begin = content;
  *reasoning = (slice){content, 0};
  *answer = (slice){content, strlen(content)};
  if (!first) return;
  for (const char *next = first; (next = strstr(next, "</think>")); next++) last = next;
  slice before = strip_newlines((slice){content, (size_t)(first - content)}, false, true);
  for (const char *next = content; (next = strstr(next, "<think>")) && next + 7 <= content + before.num_bytes; next++)
    begin = next + 7;
  *reasoning = strip_newlines((slice){begin, (size_t)(content + before.num_bytes - begin)}, true, true);
  *answer = strip_newlines((slice){last + 8, strlen(last + 8)}, true, false);
}

static bool is_tool_response(const char *content) {
  static const char close[] = "</tool_response>";
  size_t n = strlen(content);
  return !strncmp(content, "<tool_response>", 15) && n >= sizeof close - 1 &&
         !strcmp(content + n - (sizeof close - 1), close);
}

// Reasoning is kept only behind the last thing the user said.
static size_t last_query(const conversation *c) {
  for (size_t i = c->num_messages; i-- > 0;)
    if (has_role(&c->messages[i], "user") && !is_tool_response(c->messages[i].content)) return i;
  return c->num_messages - 1;
}

static zk_status put_qwen3_answer(buffer *out, const char *content, bool behind_query, bool is_last) {
  slice reasoning, answer;
  split_reasoning(content, &reasoning, &answer);
  ZK_TRY(put(out, "<|im_start|>assistant\n"));
  if (behind_query && (is_last || reasoning.num_bytes)) {
    ZK_TRY(put(out, "<think>\n"));
    ZK_TRY(put_bytes(out, reasoning.text, reasoning.num_bytes));
    ZK_TRY(put(out, "\n</think>\n\n"));
    answer = strip_newlines(answer, true, false);
  }
  ZK_TRY(put_bytes(out, answer.text, answer.num_bytes));
  return put(out, "<|im_end|>\n");
}

static zk_status render_qwen3(const conversation *c, const char *fixed, buffer *out) {
  size_t query = last_query(c);
  for (size_t i = 0; i < c->num_messages; i++) {
    const zk_chat_message *m = &c->messages[i];
    if (has_role(m, "assistant")) ZK_TRY(put_qwen3_answer(out, m->content, i > query, i + 1 == c->num_messages));
    else ZK_TRY(put_chatml(out, m->role, m->content));
  }
  return ZK_OK;
}

// ---- Llama 3: headers, contents without the white space around them
static bool is_blank(int32_t c) {
  return zk_utf8_is_space(c) || (c >= 0x1C && c <= 0x1F);
} // as the template language's trim

static slice trim(const char *text) {
  slice s = {text, strlen(text)};
  int32_t c;
  for (size_t n; s.num_bytes && (n = zk_utf8_next(s.text, s.num_bytes, &c), is_blank(c)); s.text += n) s.num_bytes -= n;
  for (size_t n; s.num_bytes &&
                 (n = zk_utf8_back(s.text, s.num_bytes), zk_utf8_next(s.text + s.num_bytes - n, n, &c), is_blank(c));)
    s.num_bytes -= n;
  return s;
}

static zk_status put_llama3(buffer *out, const char *role, const char *preamble, const char *content) {
  slice text = trim(content);
  ZK_TRY(put(out, "<|start_header_id|>"));
  ZK_TRY(put(out, role));
  ZK_TRY(put(out, "<|end_header_id|>\n\n"));
  ZK_TRY(put(out, preamble));
  ZK_TRY(put_bytes(out, text.text, text.num_bytes));
  return put(out, "<|eot_id|>");
}

static zk_status render_llama3(const conversation *c, const char *preamble, buffer *out) {
  size_t i = 0;
  ZK_TRY(put(out, "<|begin_of_text|>"));
  if (preamble) { // there is always a system message, which begins with the preamble
    if (has_role(&c->messages[0], "system")) i = 1;
    ZK_TRY(put_llama3(out, "system", preamble, i ? c->messages[0].content : ""));
  }
  for (; i < c->num_messages; i++) ZK_TRY(put_llama3(out, c->messages[i].role, "", c->messages[i].content));
  return ZK_OK;
}

// ---- the interface
zk_status zk_chat_render(zk_chat_template t, const zk_chat_message *messages, size_t num_messages,
                         int add_generation_prompt, char **out_text, size_t *out_bytes) {
  conversation c = {messages, num_messages};
  buffer b = {0};
  ZK_TRY(check(&c));
  zk_status st = TEMPLATES[t].render(&c, TEMPLATES[t].fixed, &b);
  if (st == ZK_OK) st = put(&b, add_generation_prompt ? TEMPLATES[t].answer : "");
  if (st != ZK_OK) {
    free(b.text);
    return st;
  }
  *out_text = b.text;
  *out_bytes = b.num_bytes;
  return ZK_OK;
}

zk_status zk_chat_encode(const zk_tokenizer *tok, zk_chat_template t, const zk_chat_message *messages,
                         size_t num_messages, int add_generation_prompt, zk_tokens *out) {
  char *text = NULL;
  size_t num_bytes = 0;
  ZK_TRY(zk_chat_render(t, messages, num_messages, add_generation_prompt, &text, &num_bytes));
  unsigned flags = ZK_ENCODE_PARSE_SPECIAL | (t == ZK_CHAT_NONE ? ZK_ENCODE_ADD_SPECIAL : 0u);
  zk_status st = zk_tokenizer_encode(tok, text, num_bytes, flags, out);
  free(text);
  return st;
}

static zk_status encode_piece(const zk_tokenizer *tok, const char *text, zk_tokens *out) {
  return text[0] ? zk_tokenizer_encode(tok, text, strlen(text), ZK_ENCODE_PARSE_SPECIAL, out) : ZK_OK;
}

zk_status zk_chat_encode_reply(const zk_tokenizer *tok, zk_chat_template t, const char *text, size_t num_bytes, zk_tokens *out) {
  ZK_TRY(encode_piece(tok, TEMPLATES[t].reply, out));
  if (num_bytes) ZK_TRY(zk_tokenizer_encode(tok, text, num_bytes, ZK_ENCODE_PLAIN, out));
  ZK_TRY(encode_piece(tok, TEMPLATES[t].behind, out));
  return encode_piece(tok, TEMPLATES[t].answer, out);
}

uint64_t zk_chat_hash(zk_chat_template t) {
  static const zk_chat_message probes[][5] = {
      {{"user", "a"}},
      {{"system", " s "}, {"user", " a\n"}, {"assistant", "<think>\nr\n</think>\n\nb"}},
      {{"user", "a"},
       {"assistant", "<think>\nr\n</think>\n\nb"},
       {"user", "c"},
       {"assistant", "d"},
       {"assistant", "\ne"}},
      {{"assistant", "b"}, {"system", "s"}, {"user", "<tool_response>x</tool_response>"}}};
  static const size_t num_messages[] = {1, 3, 5, 3};
  uint64_t hash = 0;
  for (size_t i = 0; i < 2 * sizeof num_messages / sizeof *num_messages; i++) {
    char *text = NULL;
    size_t num_bytes = 0;
    if (zk_chat_render(t, probes[i / 2], num_messages[i / 2], i % 2, &text, &num_bytes) == ZK_OK)
      hash = XXH64(text, num_bytes, hash + 1);
    free(text); // a conversation that the template refuses counts for nothing
  }
  return hash;
}
