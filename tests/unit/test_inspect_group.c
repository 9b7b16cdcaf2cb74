// Tokens as text with whole characters; columns that are as wide as they say, whatever is in them; a group side by side.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/inspect_group.h"
#include "shared/text_cell.h"
#include "shared/token_text.h"

static char dir[] = "/tmp/zk_inspect_group_XXXXXX";
static zk_tokenizer *tokenizer;

static int make_tokenizer(void **state) {
  if (!mkdtemp(dir) || zk_tokenizer_write_bytes(dir) != ZK_OK) return -1;
  return zk_tokenizer_load(dir, &tokenizer) == ZK_OK ? 0 : -1;
}
static int free_tokenizer(void **state) {
  zk_tokenizer_free(tokenizer);
  return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1;
}

// ---- tokens

static void expect_pieces(const zk_tokenizer *t, const int32_t *ids, int64_t num, const char *expected) {
  zk_token_text text;
  char all[256] = "";
  int64_t next = 0;
  assert_int_equal(zk_token_text_make(t, ids, num, &text), ZK_OK);
  for (int64_t i = 0; i < text.num_pieces; i++) {
    const zk_token_piece *p = &text.pieces[i];
    assert_true(p->first == next && p->end > p->first); // together all tokens, each once
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.*s:%d", i ? "|" : "", (int)p->num_bytes, text.text + p->at, (int)(p->end - p->first));
    next = p->end;
  }
  assert_int_equal(next, num);
  assert_int_equal(strlen(text.text), text.num_bytes);
  assert_string_equal(all, expected);
  zk_token_text_free(&text);
}

static void characters_stay_whole(void **state) { // of the byte tokenizer: a token a byte
  expect_pieces(tokenizer, (int32_t[]){'a', 0xc3, 0xbc, 'b', 256}, 5, "a:1|\u00fc:2|b:1|<|endoftext|>:1");
  expect_pieces(tokenizer, (int32_t[]){0xe2, 0x82, 0xac}, 3, "\u20ac:3");
  expect_pieces(tokenizer, (int32_t[]){0xff, 'a'}, 2, "\ufffd:1|a:1");
  expect_pieces(tokenizer, (int32_t[]){'a', 0xe2, 0x82}, 3, "a:1|\ufffd:2"); // ends in the middle of one
  expect_pieces(tokenizer, (int32_t[]){0xe2, 0x82, 'b'}, 3, "\ufffdb:3");
  expect_pieces(tokenizer, (int32_t[]){0xc3, 9999, 0xbc}, 3, "\ufffd:1|<9999>:1|\ufffd:1"); // an id without a token
  expect_pieces(tokenizer, (int32_t[]){-1, 'a'}, 2, "<-1>:1|a:1");
  expect_pieces(NULL, (int32_t[]){7, 8}, 2, "<7>:1|<8>:1");
  expect_pieces(tokenizer, NULL, 0, "");
}

static void bands_are_of_the_probability(void **state) {
  static const double probability[] = {1, 0.51, 0.49, 0.11, 0.09, 0.011, 0.009, 0.0011, 0.0009, 0};
  static const int expected[] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4};
  for (int i = 0; i < 10; i++) assert_int_equal(zk_token_band(log(probability[i])), expected[i]);
  assert_int_equal(zk_token_band(NAN), 4);
}

// ---- columns

static char *print(zk_text_cell *cells, int num) {
  char *text = NULL;
  size_t num_bytes;
  FILE *out = open_memstream(&text, &num_bytes);
  assert_int_equal(zk_text_cells_print(out, cells, num, 2), ZK_OK);
  fclose(out);
  return text;
}

static void cells_wrap_pad_and_escape(void **state) {
  zk_text_cell cells[2];
  zk_text_cell_init(&cells[0], 6);
  zk_text_cell_init(&cells[1], 8);
  const char *odd = "abcdefgh\n\x1b[2J\t\u4f60\u597d\xff";
  zk_text_cell_put(&cells[0], odd, strlen(odd));
  zk_text_cell_style(&cells[1], "\033[1m");
  zk_text_cell_put(&cells[1], "0123456789", 10);
  zk_text_cell_style(&cells[1], "");
  zk_text_cell_put(&cells[1], "x", 1);
  char *text = print(cells, 2);
  assert_string_equal(text, "abcdef  \033[1m01234567\033[0m\n"
                            "gh\u21b5     \033[1m89\033[0mx\n"
                            "\\u001b\n"
                            "[2J\\t\n"
                            "\u4f60\u597d\ufffd\n"); // two wide characters and one
  free(text);
  zk_text_cell_free(&cells[0]);
  zk_text_cell_free(&cells[1]);
}

// ---- a group

static void make_step(zk_trajectory *t) { // "ab" asks; "x" and a reply "!"; "y"
  assert_int_equal(zk_trajectory_alloc(t, 1, 2, 2, 3, 1), ZK_OK);
  t->component_names[0] = strdup("exact");
  t->prompt_offsets[1] = 2;
  memcpy(t->prompt_tokens, (int32_t[]){'a', 'b'}, 8);
  memcpy(t->sample_offsets, (int64_t[]){0, 2, 3}, 24);
  memcpy(t->sample_tokens, (int32_t[]){'x', '!', 'y'}, 12);
  memcpy(t->sampler_logprob, (float[]){-0.01f, 0, -5}, 12);
  memcpy(t->trainer_logprob, (float[]){-0.01f, 0, -5}, 12);
  memcpy(t->loss_mask, (uint8_t[]){1, 0, 1}, 3);
  t->sample_index[1] = 1;
  t->reward[0] = t->reward_component[0] = 1;
}

static char *print_group(const json_t *group, int width, bool color) {
  char *text = NULL;
  size_t num_bytes;
  FILE *out = open_memstream(&text, &num_bytes);
  assert_int_equal(zk_inspect_group_print(out, group, width, color), ZK_OK);
  fclose(out);
  return text;
}

static void a_group_has_the_reference_where_the_file_does(void **state) {
  zk_trajectory t;
  json_t *group;
  make_step(&t);
  assert_int_equal(zk_inspect_group(&t, 0, tokenizer, &group), ZK_OK);
  assert_null(json_object_get(json_array_get(json_object_get(group, "samples"), 0), "reference_logprob"));
  json_decref(group);
  memcpy(t.reference_logprob, (float[]){-0.5f, 0, -3}, 12);
  assert_int_equal(zk_inspect_group(&t, 0, tokenizer, &group), ZK_OK);
  const json_t *reference = json_object_get(json_array_get(json_object_get(group, "samples"), 1), "reference_logprob");
  assert_int_equal(json_array_size(reference), 1);
  assert_true(json_number_value(json_array_get(reference, 0)) == -3);
  json_decref(group);
  zk_trajectory_free(&t);
}

static void a_group_stands_side_by_side(void **state) {
  zk_trajectory t;
  json_t *group;
  make_step(&t);
  assert_int_equal(zk_inspect_group(&t, 0, tokenizer, &group), ZK_OK);
  char *text = print_group(group, 70, false);
  assert_non_null(strstr(text, "group 0, prompt 0\nab\n"));
  assert_non_null(strstr(text, "sample 0  reward 1                  sample 1  reward 0\n"));
  assert_non_null(strstr(text, "1 tokens, eos                       1 tokens, eos\n"));
  assert_non_null(strstr(text, "\nx!                                  y\n"));
  assert_null(strchr(text, '\x1b'));
  free(text);
  text = print_group(group, 20, false); // no room: one below another
  assert_non_null(strstr(text, "sample 0  reward 1\n"));
  free(text);
  text = print_group(group, 70, true);
  assert_non_null(strstr(text, "x\033[2m!\033[0m"));                      // likely; not the policy's
  assert_non_null(strstr(text, "\033[38;5;16;48;5;215my\033[0m"));        // 0.0067
  free(text);
  json_decref(group);
  t.trainer_logprob[0] = -0.010000001f;
  t.reward_detail[1] = 1;
  assert_int_equal(zk_inspect_group(&t, 0, tokenizer, &group), ZK_OK);
  text = print_group(group, 70, true);
  assert_non_null(strstr(text, "\033[1;4;31mx\033[0m")); // bits differ
  assert_non_null(strstr(text, "differing 1"));
  assert_non_null(strstr(text, "sample 1  reward 0, timed out"));
  free(text);
  json_decref(group);
  zk_trajectory_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(characters_stay_whole), cmocka_unit_test(bands_are_of_the_probability),
                                     cmocka_unit_test(cells_wrap_pad_and_escape), cmocka_unit_test(a_group_stands_side_by_side),
                                     cmocka_unit_test(a_group_has_the_reference_where_the_file_does)};
  return cmocka_run_group_tests(tests, make_tokenizer, free_tokenizer);
}
