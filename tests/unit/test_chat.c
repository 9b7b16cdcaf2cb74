// Conversations render to the text that the real templates make (tests/fixtures/make_chat.py), and templates are known
// by hash.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shared/chat.h"
#include "tests/unit/tokenizer_fixture.h"

static void renders_as_the_real_templates(void **state) {
  (void)state;
  json_t *lines = fixture_lines("../chat.jsonl"), *line, *item;
  bool seen[ZK_NUM_CHAT] = {false};
  size_t i, k;
  json_array_foreach(lines, i, line) {
    zk_chat_message messages[8];
    zk_chat_template template_;
    char *text = NULL;
    size_t num_bytes, num_messages = 0;
    json_array_foreach(json_object_get(line, "messages"), k, item) messages[num_messages++] =
        (zk_chat_message){json_string_value(json_array_get(item, 0)), json_string_value(json_array_get(item, 1))};
    assert_int_equal(zk_chat_find(json_string_value(json_object_get(line, "template")), &template_), ZK_OK);
    int generate = json_is_true(json_object_get(line, "generate"));
    assert_int_equal(zk_chat_render(template_, messages, num_messages, generate, &text, &num_bytes), ZK_OK);
    assert_string_equal(text, json_string_value(json_object_get(line, "text")));
    assert_int_equal(num_bytes, strlen(text));
    seen[template_] = true;
    free(text);
  }
  for (int t = ZK_CHAT_CHATML; t < ZK_NUM_CHAT; t++)
    if (!seen[t]) fail_msg("no line of %s", zk_chat_name((zk_chat_template)t));
  json_decref(lines);
}

static zk_tokenizer *with_template(const char *source) {
  json_t *root = fixture_json("byte/tokenizer"), *config = json_object();
  if (source) json_object_set_new(config, "chat_template", json_string(source));
  char *text = json_dumps(config, 0);
  zk_tokenizer *tok = fixture_parse(root, text);
  assert_non_null(tok);
  free(text);
  json_decref(config);
  json_decref(root);
  return tok;
}

#define LOOP "{% for message in messages %}"
#define TURN "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
#define END "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
#define SYSTEM(text)                                                                                                   \
  "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" text "<|im_end|>\n' }}{% endif %}"
#define SMOL "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

static void templates_are_known_by_hash(void **state) {
  (void)state;
  static const struct {
    const char *source;
    zk_chat_template is;
  } cases[] = {
      {NULL, ZK_CHAT_NONE},
      {LOOP SYSTEM(SMOL) TURN END, ZK_CHAT_SMOLLM2},
      {LOOP SYSTEM(SMOL) TURN END "\n", ZK_CHAT_SMOLLM2},
      {LOOP TURN END, ZK_CHAT_CHATML},
      {LOOP SYSTEM("You are a helpful assistant.") TURN END, ZK_CHAT_QWEN2},
  };
  zk_chat_template found;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_tokenizer *tok = with_template(cases[i].source);
    assert_int_equal(zk_chat_detect(tok, &found), ZK_OK);
    assert_int_equal(found, cases[i].is);
    zk_tokenizer_free(tok);
  }
  zk_tokenizer *tok = with_template(LOOP SYSTEM(SMOL ".") TURN END); // one character more: not ours to guess
  assert_int_equal(zk_chat_detect(tok, &found), ZK_UNSUPPORTED);
  assert_non_null(strstr(zk_status_message(), "task.template"));
  assert_non_null(strstr(zk_status_message(), "llama3.1"));
  zk_tokenizer_free(tok);
}

static void encodes_with_the_right_flags(void **state) {
  (void)state;
  zk_tokenizer *tok = fixture_tokenizer("llama3_style", NULL);
  zk_chat_message message = {"user", "hi"};
  zk_tokens ids = {0};
  assert_int_equal(zk_chat_encode(tok, ZK_CHAT_LLAMA3, &message, 1, 1, &ids), ZK_OK);
  int32_t bos = zk_tokenizer_find(tok, "<|begin_of_text|>"),
          eot = zk_tokenizer_find(tok, zk_chat_end_of_turn(ZK_CHAT_LLAMA3));
  size_t num_bos = 0, num_eot = 0;
  for (size_t i = 0; i < ids.num_tokens; i++) num_bos += ids.ids[i] == bos, num_eot += ids.ids[i] == eot;
  assert_int_equal(ids.ids[0], bos); // once, from the text, and not again from the post-processor
  assert_int_equal(num_bos, 1);
  assert_int_equal(num_eot, 1);
  ids.num_tokens = 0;
  assert_int_equal(zk_chat_encode(tok, ZK_CHAT_NONE, &message, 1, 1, &ids), ZK_OK);
  assert_int_equal(ids.num_tokens, 2);
  assert_int_equal(ids.ids[0], bos);
  zk_tokens_free(&ids);
  zk_tokenizer_free(tok);
}

// Prompt, sampled answer and reply, each encoded on its own, are the text that the template makes of the conversation.
static void replies_continue_the_conversation(void **state) {
  (void)state;
  static const struct {
    zk_chat_template template_;
    const char *tokenizer;
  } cases[] = {{ZK_CHAT_CHATML, "qwen"}, {ZK_CHAT_QWEN2, "qwen"},   {ZK_CHAT_QWEN25, "qwen"},         {ZK_CHAT_QWEN3, "qwen"},
               {ZK_CHAT_SMOLLM2, "smollm2"}, {ZK_CHAT_LLAMA3, "llama3_style"}, {ZK_CHAT_LLAMA31, "llama3_style"}};
  static const zk_chat_message talk[] = {{"user", "What is 2+3?"}, {"assistant", "2+3;"}, {"user", "5 \xc3\xa9"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const zk_chat_template t = cases[i].template_;
    zk_tokenizer *tok = fixture_tokenizer(cases[i].tokenizer, NULL);
    zk_tokens ids = {0}, tricky = {0};
    char *whole = NULL, *parts = NULL;
    size_t whole_bytes, parts_bytes;
    const int32_t end = zk_tokenizer_find(tok, zk_chat_end_of_turn(t));
    assert_int_equal(zk_chat_encode(tok, t, talk, 1, 1, &ids), ZK_OK);
    assert_int_equal(zk_tokenizer_encode(tok, talk[1].content, strlen(talk[1].content), ZK_ENCODE_PLAIN, &ids), ZK_OK);
    assert_int_equal(zk_tokens_push(&ids, end), ZK_OK);
    assert_int_equal(zk_chat_encode_reply(tok, t, talk[2].content, strlen(talk[2].content), &ids), ZK_OK);
    assert_int_equal(zk_tokenizer_decode(tok, ids.ids, ids.num_tokens, 0, &parts, &parts_bytes), ZK_OK);
    assert_int_equal(zk_chat_render(t, talk, 3, 1, &whole, &whole_bytes), ZK_OK);
    assert_string_equal(parts, whole);
    // A special token's name in a reply is text: one token ends the turn, the template's own.
    const char *name = zk_chat_end_of_turn(t);
    int num_ends = 0;
    assert_int_equal(zk_chat_encode_reply(tok, t, name, strlen(name), &tricky), ZK_OK);
    for (size_t k = 0; k < tricky.num_tokens; k++) num_ends += tricky.ids[k] == end;
    assert_int_equal(num_ends, 1);
    zk_tokens_free(&ids);
    zk_tokens_free(&tricky);
    free(whole);
    free(parts);
    zk_tokenizer_free(tok);
  }
}

static void conversations_that_do_not_fit_are_refused(void **state) {
  (void)state;
  zk_chat_message messages[] = {{"user", "a"}, {"tool", "b"}};
  char *text = NULL;
  size_t num_bytes;
  zk_chat_template found;
  assert_int_equal(zk_chat_render(ZK_CHAT_CHATML, messages, 2, 1, &text, &num_bytes), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "messages[1] has role 'tool'"));
  assert_int_equal(zk_chat_render(ZK_CHAT_CHATML, messages, 0, 1, &text, &num_bytes), ZK_BAD_INPUT);
  messages[1].role = "assistant";
  assert_int_equal(zk_chat_render(ZK_CHAT_NONE, messages, 2, 1, &text, &num_bytes), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "task.template"));
  assert_int_equal(zk_chat_find("alpaca", &found), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "smollm2"));
}

// The identities stand in archives, so they are fixed; a template's changes with its rendering, so no two are alike.
static void identities(void **state) {
  (void)state;
  static const uint64_t fixed[ZK_NUM_CHAT] = {0x218f12c9aa3c8128, 0x14d894f7011ec96d, 0x7a94ff7da7a481bc,
                                              0x8277a30db3f11068, 0x2ed16c26a15646cf, 0x937a43140e889cc8,
                                              0x9d9e4a0a5c95efcf, 0xd13f1d4483f4cb1e};
  for (int a = 0; a < ZK_NUM_CHAT; a++) {
    assert_true(zk_chat_hash((zk_chat_template)a) == fixed[a]);
    for (int b = 0; b < a; b++) assert_true(zk_chat_hash((zk_chat_template)a) != zk_chat_hash((zk_chat_template)b));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(renders_as_the_real_templates),
      cmocka_unit_test(templates_are_known_by_hash),
      cmocka_unit_test(encodes_with_the_right_flags),
      cmocka_unit_test(replies_continue_the_conversation),
      cmocka_unit_test(conversations_that_do_not_fit_are_refused),
      cmocka_unit_test(identities),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
