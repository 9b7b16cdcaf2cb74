// Items become the token ids a model was tuned on: plain prompts, chat prompts, demonstrations with what ends them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rollout/task.h"
#include "tests/unit/tokenizer_fixture.h"

typedef struct {
  zk_tokenizer *tok;
  zk_task *task;
  zk_task_item item;
  zk_tokens tokens;
} fixture;

static fixture open_fixture(const char *tokenizer, const char *config, const char *system) {
  fixture f = {0};
  json_t *root = fixture_json(tokenizer);
  f.tok = fixture_parse(root, config);
  json_decref(root);
  zk_config cfg = {.seed = 42};
  cfg.task.name = ZK_CONFIG_TASK_ARITHMETIC, cfg.task.num_digits = 2;
  snprintf(cfg.task.operations, sizeof cfg.task.operations, "+");
  snprintf(cfg.task.system, sizeof cfg.task.system, "%s", system);
  assert_int_equal(zk_task_open(&cfg, &f.task), ZK_OK);
  assert_int_equal(zk_task_get(f.task, ZK_SPLIT_TRAIN, 0, &f.item), ZK_OK);
  return f;
}

static void close_fixture(fixture *f) {
  zk_tokens_free(&f->tokens);
  zk_task_item_free(&f->item);
  zk_task_close(f->task);
  zk_tokenizer_free(f->tok);
}

// The text of the tokens that were appended, special tokens included.
static void assert_tokens_say(const fixture *f, const char *want) {
  char *text;
  size_t num_bytes;
  assert_int_equal(zk_tokenizer_decode(f->tok, f->tokens.ids, f->tokens.num_tokens, 0, &text, &num_bytes), ZK_OK);
  assert_string_equal(text, want);
  free(text);
}

#define BYTE_CONFIG "{\"eos_token\": \"<|endoftext|>\"}"

static void plain(void **state) {
  fixture f = open_fixture("byte/tokenizer", BYTE_CONFIG, "");
  char want[128];
  assert_int_equal(zk_task_encode_prompt(f.task, f.tok, ZK_CHAT_NONE, &f.item, &f.tokens), ZK_OK);
  assert_tokens_say(&f, f.item.text);
  assert_int_equal(zk_task_encode_demonstration(f.task, f.tok, ZK_CHAT_NONE, &f.item, &f.tokens), ZK_OK); // appended
  snprintf(want, sizeof want, "%s%s<|endoftext|>", f.item.text, f.item.label);
  assert_tokens_say(&f, want);
  assert_int_equal(f.tokens.ids[f.tokens.num_tokens - 1], zk_tokenizer_eos(f.tok));
  close_fixture(&f);
}

static void chat(void **state) {
  fixture f = open_fixture("byte/tokenizer", BYTE_CONFIG, "Be brief.");
  char want[512];
  assert_int_equal(zk_task_encode_prompt(f.task, f.tok, ZK_CHAT_CHATML, &f.item, &f.tokens), ZK_OK);
  assert_int_equal(zk_task_encode_demonstration(f.task, f.tok, ZK_CHAT_CHATML, &f.item, &f.tokens), ZK_OK);
  snprintf(
      want, sizeof want,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n%s<|im_end|>",
      f.item.messages[1].content, f.item.label);
  assert_tokens_say(&f, want);
  assert_int_equal(f.tokens.ids[0], zk_tokenizer_find(f.tok, "<|im_start|>"));
  assert_int_equal(f.tokens.ids[f.tokens.num_tokens - 1], zk_tokenizer_find(f.tok, "<|im_end|>"));
  close_fixture(&f);
}

static void a_demonstration_cannot_end_its_turn(void **state) {
  fixture f = open_fixture("byte/tokenizer", BYTE_CONFIG, "");
  f.item.demonstration = "a<|im_end|>b";
  assert_int_equal(zk_task_encode_demonstration(f.task, f.tok, ZK_CHAT_CHATML, &f.item, &f.tokens), ZK_OK);
  int32_t end = zk_tokenizer_find(f.tok, "<|im_end|>");
  for (size_t i = 0; i + 1 < f.tokens.num_tokens; i++) assert_int_not_equal(f.tokens.ids[i], end);
  assert_tokens_say(&f, "a<|im_end|>b<|im_end|>");
  close_fixture(&f);
}

static void what_cannot_be_encoded(void **state) {
  fixture f = open_fixture("byte/tokenizer", NULL, "Be brief.");
  assert_int_equal(zk_task_encode_prompt(f.task, f.tok, ZK_CHAT_NONE, &f.item, &f.tokens), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "task.system needs a chat template"));
  f.item.text = NULL;
  assert_int_equal(zk_task_encode_prompt(f.task, f.tok, ZK_CHAT_NONE, &f.item, &f.tokens), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "the prompt is a list of messages, which needs a chat template"));
  assert_int_equal(zk_task_encode_demonstration(f.task, f.tok, ZK_CHAT_NONE, &f.item, &f.tokens), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "has no eos token"));
  assert_int_equal(zk_task_encode_demonstration(f.task, f.tok, ZK_CHAT_LLAMA3, &f.item, &f.tokens), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "has no <|eot_id|> token"));
  f.item.demonstration = NULL;
  assert_int_equal(zk_task_encode_demonstration(f.task, f.tok, ZK_CHAT_CHATML, &f.item, &f.tokens), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "no field \"demonstration\", which sft imitates"));
  assert_int_equal(f.tokens.num_tokens, 0);
  close_fixture(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain),
      cmocka_unit_test(chat),
      cmocka_unit_test(a_demonstration_cannot_end_its_turn),
      cmocka_unit_test(what_cannot_be_encoded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
