// Ids equal the reference tokenizer's on adversarial strings, text comes back from ids, and broken files are refused by
// name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include "shared/tokenizer_internal.h"
#include "shared/utf8.h"
#include "tests/unit/tokenizer_fixture.h"

// The tokenizers that several tests read, loaded once.
static const char *const NAMES[] = {"smollm2", "qwen", "llama3_style"};
enum { SMOLLM2, QWEN, LLAMA3_STYLE, NUM_NAMES };
static zk_tokenizer *loaded[NUM_NAMES];

static int load_all(void **state) {
  (void)state;
  for (int i = 0; i < NUM_NAMES; i++) loaded[i] = fixture_tokenizer(NAMES[i], NULL);
  return 0;
}

static int free_all(void **state) {
  (void)state;
  for (int i = 0; i < NUM_NAMES; i++) zk_tokenizer_free(loaded[i]);
  return 0;
}

// ---- against the reference
// Counts the strings of NAME.ids / NAME.plain whose ids differ; *checked counts all. Lines of .plain begin with the
// string's index.
static int count_differences(const zk_tokenizer *tok, const char *name, const char *suffix, unsigned flags,
                             int *checked) {
  char file[256];
  size_t num_bytes;
  snprintf(file, sizeof file, "%s.%s", name, suffix);
  char *text = fixture_read(file, &num_bytes), *at = text;
  json_t *strings = fixture_lines("strings.jsonl");
  int differences = 0;
  zk_tokens want = {0}, got = {0};
  for (size_t line = 0; at < text + num_bytes; line++, at++, ++*checked) {
    want.num_tokens = got.num_tokens = 0;
    while (*at != '\n') assert_int_equal(zk_tokens_push(&want, (int32_t)strtol(at, &at, 10)), ZK_OK);
    size_t skip = !strcmp(suffix, "plain"), i = skip ? (size_t)want.ids[0] : line;
    const json_t *string = json_array_get(strings, i);
    assert_int_equal(zk_tokenizer_encode(tok, json_string_value(string), json_string_length(string), flags, &got),
                     ZK_OK);
    bool same = got.num_tokens == want.num_tokens - skip;
    if (same && got.num_tokens) same = !memcmp(got.ids, want.ids + skip, got.num_tokens * sizeof *got.ids);
    if (!same && differences++ < 5) {
      char *shown = json_dumps(string, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
      print_message("%s: string %zu %s\n", file, i, shown);
      free(shown);
    }
  }
  zk_tokens_free(&want);
  zk_tokens_free(&got);
  json_decref(strings);
  free(text);
  return differences;
}

static void check_against_reference(const zk_tokenizer *tok, const char *name) {
  int checked = 0;
  assert_int_equal(count_differences(tok, name, "ids", ZK_ENCODE_PARSE_SPECIAL, &checked), 0);
  assert_true(checked >= 2000);
  assert_int_equal(count_differences(tok, name, "plain", ZK_ENCODE_PLAIN, &checked), 0);
  assert_int_equal(count_differences(tok, name, "ids", ZK_ENCODE_PARSE_SPECIAL, &checked),
                   0); // again, out of a warm cache
}

static void ids_equal_the_reference(void **state) {
  (void)state;
  for (int i = 0; i < NUM_NAMES; i++) check_against_reference(loaded[i], NAMES[i]);
  static const char *const small[] = {"flags", "splits"};
  for (int i = 0; i < 2; i++) {
    zk_tokenizer *tok = fixture_tokenizer(small[i], NULL);
    check_against_reference(tok, small[i]);
    zk_tokenizer_free(tok);
  }
}

static void ids_equal_the_reference_llama3(void **state) {
  (void)state;
  char dir[4096];
  zk_tokenizer *tok = NULL;
  if (!getenv("ZK_TOKENIZERS")) skip(); // the real vocabulary is not ours to ship; see make_tokenizers.py
  snprintf(dir, sizeof dir, "%s/llama3", getenv("ZK_TOKENIZERS"));
  if (zk_tokenizer_load(dir, &tok) != ZK_OK) fail_msg("%s", zk_status_message());
  check_against_reference(tok, "llama3");
  zk_tokenizer_free(tok);
}

// Negative control: two neighbouring merges in each other's place, and the comparison above must see it.
static void a_swapped_merge_is_seen(void **state) {
  (void)state;
  json_t *root = fixture_json("smollm2"), *merges = json_object_get(json_object_get(root, "model"), "merges");
  json_t *first = json_incref(json_array_get(merges, 4));
  assert_string_equal(json_string_value(first), "Ġ Ġ");
  json_array_remove(merges, 4);
  json_array_insert_new(merges, 900, first);
  zk_tokenizer *swapped = fixture_parse(root, NULL);
  int checked = 0;
  assert_non_null(swapped);
  assert_true(count_differences(swapped, "smollm2", "ids", ZK_ENCODE_PARSE_SPECIAL, &checked) > 0);
  assert_true(zk_tokenizer_hash(loaded[SMOLLM2]) != zk_tokenizer_hash(swapped));
  zk_tokenizer_free(swapped);
  json_decref(root);
}

// ---- back to text
// What must come back: the text, composed if the tokenizer composes, without the bytes that it has no token for.
static void expected_text(const zk_tokenizer *tok, const json_t *string, char **out, size_t *out_bytes) {
  if (tok->nfc) {
    assert_int_equal(zk_tok_nfc(json_string_value(string), json_string_length(string), out, out_bytes), ZK_OK);
  } else {
    *out_bytes = json_string_length(string);
    *out = malloc(*out_bytes + 1);
    memcpy(*out, json_string_value(string), *out_bytes + 1);
  }
  size_t n = 0;
  for (size_t i = 0; i < *out_bytes; i++)
    if (tok->byte_ids[(unsigned char)(*out)[i]] >= 0) (*out)[n++] = (*out)[i];
  *out_bytes = n;
}

static void check_stream(const zk_tokenizer *tok, const zk_tokens *ids, const char *text, size_t num_bytes) {
  zk_decode_stream stream = {0};
  char *lossy = NULL, *joined = malloc(3 * num_bytes + 4);
  const char *part;
  size_t lossy_bytes, part_bytes, total = 0;
  for (size_t i = 0; i <= ids->num_tokens; i++) {
    zk_status st = i < ids->num_tokens ? zk_decode_stream_push(&stream, tok, ids->ids[i], 0, &part, &part_bytes)
                                       : zk_decode_stream_end(&stream, &part, &part_bytes);
    assert_int_equal(st, ZK_OK);
    assert_true(zk_utf8_is_valid(part, part_bytes));
    assert_true(total + part_bytes <= 3 * num_bytes + 3);
    memcpy(joined + total, part, part_bytes);
    total += part_bytes;
  }
  assert_int_equal(zk_utf8_lossy(text, num_bytes, &lossy, &lossy_bytes), ZK_OK);
  assert_int_equal(total, lossy_bytes);
  assert_memory_equal(joined, lossy, total);
  zk_decode_stream_free(&stream);
  free(joined);
  free(lossy);
}

static void text_comes_back(void **state) {
  (void)state;
  json_t *strings = fixture_lines("strings.jsonl"), *string;
  for (int t = 0; t < NUM_NAMES; t++) {
    const zk_tokenizer *tok = loaded[t];
    zk_tokens ids = {0};
    size_t i;
    json_array_foreach(strings, i, string) {
      char *text = NULL, *want = NULL;
      size_t num_bytes, want_bytes;
      ids.num_tokens = 0;
      assert_int_equal(zk_tokenizer_encode(tok, json_string_value(string), json_string_length(string),
                                           ZK_ENCODE_PARSE_SPECIAL, &ids),
                       ZK_OK);
      assert_int_equal(zk_tokenizer_decode(tok, ids.ids, ids.num_tokens, 0, &text, &num_bytes), ZK_OK);
      expected_text(tok, string, &want, &want_bytes);
      assert_int_equal(num_bytes, want_bytes);
      assert_memory_equal(text, want, num_bytes);
      check_stream(tok, &ids, text, num_bytes);
      free(text);
      free(want);
    }
    zk_tokens_free(&ids);
  }
  json_decref(strings);
}

static void any_ids_stream_as_they_decode(void **state) {
  (void)state;
  const zk_tokenizer *tok = loaded[LLAMA3_STYLE];
  uint64_t seed = 1;
  for (int round = 0; round < 2000; round++) { // random tokens cut characters anywhere
    zk_tokens ids = {0};
    char *text = NULL;
    size_t num_bytes;
    for (int i = 0; i < 6; i++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      uint32_t draw = (uint32_t)(seed >> 33);
      int32_t id = i % 2 ? tok->byte_ids[128 + draw % 128] : (int32_t)(draw % 25000); // some ids have no token
      assert_int_equal(zk_tokens_push(&ids, id), ZK_OK);
    }
    assert_int_equal(zk_tokenizer_decode(tok, ids.ids, ids.num_tokens, 0, &text, &num_bytes), ZK_OK);
    check_stream(tok, &ids, text, num_bytes);
    free(text);
    zk_tokens_free(&ids);
  }
  char *text = NULL;
  size_t num_bytes;
  assert_int_equal(zk_tokenizer_decode(tok, (int32_t[]){5, -1}, 2, 0, &text, &num_bytes), ZK_BAD_INPUT);
}

static void ill_formed_text_becomes_replacements(void **state) {
  (void)state;
  json_t *cases = fixture_lines("lossy.jsonl"), *item;
  const zk_tokenizer *tok = loaded[LLAMA3_STYLE];
  size_t i;
  json_array_foreach(cases, i, item) {
    char bytes[64], *lossy = NULL;
    const char *hex = json_string_value(json_array_get(item, 0));
    const json_t *want = json_array_get(item, 1);
    size_t n = strlen(hex) / 2, lossy_bytes;
    for (size_t k = 0; k < n; k++) sscanf(hex + 2 * k, "%2hhx", (unsigned char *)&bytes[k]);
    assert_int_equal(zk_utf8_lossy(bytes, n, &lossy, &lossy_bytes), ZK_OK);
    assert_int_equal(lossy_bytes, json_string_length(want));
    assert_memory_equal(lossy, json_string_value(want), lossy_bytes);
    zk_tokens raw = {0}, clean = {0};
    assert_int_equal(zk_tokenizer_encode(tok, bytes, n, 0, &raw), ZK_OK);
    assert_int_equal(zk_tokenizer_encode(tok, lossy, lossy_bytes, 0, &clean), ZK_OK);
    assert_int_equal(raw.num_tokens, clean.num_tokens);
    assert_memory_equal(raw.ids, clean.ids, raw.num_tokens * sizeof *raw.ids);
    zk_tokens_free(&raw);
    zk_tokens_free(&clean);
    free(lossy);
  }
  json_decref(cases);
}

// ---- special tokens and look-ups
static void special_tokens(void **state) {
  (void)state;
  const char *config =
      "{\"bos_token\": {\"content\": \"<|begin_of_text|>\"}, \"eos_token\": \"<|eot_id|>\", \"pad_token\": null,"
      " \"chat_template\": [{\"name\": \"rag\", \"template\": \"x\"}, {\"name\": \"default\", \"template\": \"y\"}]}";
  zk_tokenizer *tok = fixture_tokenizer("llama3_style", config);
  zk_tokens ids = {0};
  int32_t bos = zk_tokenizer_bos(tok), eot = zk_tokenizer_eos(tok);
  assert_int_equal(bos, 24000);
  assert_int_equal(eot, 24009);
  assert_int_equal(zk_tokenizer_pad(tok), -1);
  assert_int_equal(zk_tokenizer_vocab_size(tok), 24256);
  assert_string_equal(zk_tokenizer_chat_template(tok), "y");
  assert_string_equal(zk_tokenizer_token_text(tok, bos), "<|begin_of_text|>");
  assert_null(zk_tokenizer_token_text(tok, 24256));
  assert_true(zk_tokenizer_is_special(tok, eot));
  assert_false(zk_tokenizer_is_special(tok, 0));
  assert_int_equal(zk_tokenizer_find(tok, "<|nothing|>"), -1);
  assert_int_equal(zk_tokenizer_encode(tok, "a<|eot_id|>", 11, ZK_ENCODE_PARSE_SPECIAL | ZK_ENCODE_ADD_SPECIAL, &ids),
                   ZK_OK);
  assert_int_equal(ids.num_tokens, 3);
  assert_int_equal(ids.ids[0], bos);
  assert_int_equal(ids.ids[2], eot);
  char *text = NULL;
  size_t num_bytes;
  assert_int_equal(zk_tokenizer_decode(tok, ids.ids, 3, 1, &text, &num_bytes), ZK_OK);
  assert_string_equal(text, "a");
  free(text);
  zk_tokens_free(&ids);
  zk_tokenizer_free(tok);
}

static void hash_is_of_the_content(void **state) {
  (void)state;
  json_t *root = fixture_json("flags");
  zk_tokenizer *tok = fixture_parse(root, NULL);
  assert_int_equal(zk_tokenizer_hash(tok), 0x8ac89258af6b7049u); // fixed for ever: archives hold it
  json_t *merges = json_object_get(json_object_get(root, "model"), "merges"), *pair;
  for (size_t i = 0; i < json_array_size(merges); i++) { // the same merges in the other spelling
    pair = json_array_get(merges, i);
    json_array_set_new(
        merges, i,
        json_sprintf("%s %s", json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1))));
  }
  json_object_set_new(root, "truncation", json_pack("{s:i}", "max_length", 5));
  zk_tokenizer *same = fixture_parse(root, "{\"eos_token\": \"foo\"}");
  assert_int_equal(zk_tokenizer_hash(tok), zk_tokenizer_hash(same));
  json_object_set_new(root, "normalizer", json_null());
  zk_tokenizer *other = fixture_parse(root, NULL);
  assert_true(zk_tokenizer_hash(tok) != zk_tokenizer_hash(other));
  zk_tokenizer_free(tok);
  zk_tokenizer_free(same);
  zk_tokenizer_free(other);
  json_decref(root);
}

static void *encode_many(void *arg) {
  int checked = 0;
  return (void *)(intptr_t)count_differences(arg, "smollm2", "ids", ZK_ENCODE_PARSE_SPECIAL, &checked);
}

static void threads_share_a_tokenizer(void **state) {
  (void)state;
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_many, loaded[SMOLLM2]), 0);
  for (int i = 0; i < 3; i++) {
    void *differences;
    pthread_join(threads[i], &differences);
    assert_null(differences);
  }
}

// ---- files
static void byte_tokenizer_and_copies(void **state) {
  (void)state;
  char dir[] = "/tmp/zk_tokenizer_XXXXXX", other[] = "/tmp/zk_tokenizer_XXXXXX", path[4096];
  static const char *const files[] = {"tokenizer.json", "tokenizer_config.json"};
  assert_non_null(mkdtemp(dir));
  assert_non_null(mkdtemp(other));
  assert_int_equal(zk_tokenizer_write_bytes(dir), ZK_OK);
  assert_int_equal(zk_tokenizer_copy_files(dir, other), ZK_OK);
  zk_tokenizer *tok = NULL;
  assert_int_equal(zk_tokenizer_load(other, &tok), ZK_OK);
  assert_int_equal(zk_tokenizer_vocab_size(tok), ZK_BYTE_TOKENIZER_VOCAB);
  assert_int_equal(zk_tokenizer_eos(tok), ZK_BYTE_TOKENIZER_EOS);
  assert_int_equal(zk_tokenizer_pad(tok), ZK_BYTE_TOKENIZER_PAD);
  assert_null(zk_tokenizer_chat_template(tok));
  zk_tokens ids = {0};
  const char text[] = "h\0é<|im_end|>";
  assert_int_equal(
      zk_tokenizer_encode(tok, text, sizeof text - 1, ZK_ENCODE_PARSE_SPECIAL | ZK_ENCODE_ADD_SPECIAL, &ids), ZK_OK);
  assert_int_equal(ids.num_tokens, 5);
  assert_memory_equal(ids.ids, ((int32_t[]){'h', 0, 0xC3, 0xA9, 258}), 5 * sizeof(int32_t));
  for (int i = 0; i < 2; i++) { // the copy that the reference library has read (make_tokenizers.py)
    char *written = NULL, *known, name[64];
    size_t written_bytes, known_bytes;
    snprintf(path, sizeof path, "%s/%s", other, files[i]);
    snprintf(name, sizeof name, "byte/%s", files[i]);
    assert_int_equal(zk_file_read(path, 1 << 20, &written, &written_bytes), ZK_OK);
    known = fixture_read(name, &known_bytes);
    assert_string_equal(written, known);
    free(written);
    free(known);
    unlink(path);
    snprintf(path, sizeof path, "%s/%s", dir, files[i]);
    unlink(path);
  }
  zk_tokens_free(&ids);
  zk_tokenizer_free(tok);
  rmdir(dir);
  assert_int_equal(zk_tokenizer_load(dir, &tok), ZK_IO);
  assert_non_null(strstr(zk_status_message(), "tokenizer.json"));
  rmdir(other);
}

#define MODEL(rest) "\"model\":{\"type\":\"BPE\"," rest "}"
#define SMALL MODEL("\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]")
#define PRE "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define DEC "\"decoder\":{\"type\":\"ByteLevel\"}"
#define SPLIT(pattern)                                                                                                 \
  "{" DEC "," SMALL                                                                                                    \
  ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern \
  "\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}}"

static void broken_files_are_refused_by_name(void **state) {
  (void)state;
  static const struct {
    const char *json, *message;
    zk_status st;
  } cases[] = {
      {"{", "tokenizer.json:1:1: ", ZK_BAD_INPUT},
      {"[]", "not a JSON object", ZK_BAD_INPUT},
      {"{\"version\":\"2.0\"}", "version 2.0", ZK_UNSUPPORTED},
      {"{\"a\":1,\n\"a\":2}", "tokenizer.json:2:", ZK_BAD_INPUT},
      {"{" SMALL "," DEC "}", "pre_tokenizer is null", ZK_UNSUPPORTED},
      {"{" SMALL "," PRE "}", "decoder", ZK_UNSUPPORTED},
      {"{" SMALL "," DEC ",\"pre_tokenizer\":{\"type\":\"Metaspace\"}}", "'Metaspace'", ZK_UNSUPPORTED},
      {"{" SMALL "," DEC "," PRE ",\"normalizer\":{\"type\":\"NFKC\"}}", "'NFKC'", ZK_UNSUPPORTED},
      {"{" SMALL "," DEC "," PRE ",\"post_processor\":{\"type\":\"BertProcessing\"}}", "'BertProcessing'",
       ZK_UNSUPPORTED},
      {"{" DEC "," PRE ",\"model\":{\"type\":\"Unigram\"}}", "'Unigram'", ZK_UNSUPPORTED},
      {"{" DEC "," PRE "}", "model is not an object", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"byte_fallback\":true") "}", "byte_fallback", ZK_UNSUPPORTED},
      {"{" DEC "," PRE "," MODEL("\"dropout\":0.1") "}", "dropout", ZK_UNSUPPORTED},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]") "}", "id 0 is both 'a' and 'b'",
       ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":-1},\"merges\":[]") "}", "'a' is -1", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":2000000000},\"merges\":[]") "}", "out of range", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":\"x\"},\"merges\":[]") "}", "not an integer", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]") "}", "merges[0] makes 'ab'",
       ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a c\"]") "}", "'c' is not in the vocabulary",
       ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]") "}", "merges[0] is neither",
       ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"vocab\":{\"a\":0},\"merges\":[7]") "}", "merges[0] is neither", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," MODEL("\"unk_token\":\"a\",\"vocab\":{\"a\":0},\"merges\":[]") "}", "unk_token",
       ZK_UNSUPPORTED},
      {"{" DEC "," PRE "," SMALL ",\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]}", "'a' has id 1 where 0 is due",
       ZK_BAD_INPUT},
      {"{" DEC "," PRE "," SMALL ",\"added_tokens\":[{\"id\":9,\"content\":\"<x>\"}]}", "'<x>' has id 9 where 3 is due",
       ZK_BAD_INPUT},
      {"{" DEC "," PRE "," SMALL ",\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":3,\"content\":\"x\"}]}",
       "twice", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," SMALL ",\"added_tokens\":[{\"id\":3}]}", "added_tokens[0] has no content", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," SMALL ",\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"special\":1}]}",
       "special is not true", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," SMALL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}",
       "does not name the text", ZK_BAD_INPUT},
      {"{" DEC "," PRE "," SMALL
       ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
       "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[3]}}}}",
       "outside of the vocabulary", ZK_BAD_INPUT},
      {SPLIT("\\\\w+"), "\\w", ZK_UNSUPPORTED},
      {SPLIT("a\\\\K"), "\\K", ZK_UNSUPPORTED},
      {SPLIT("[a[b]]"), "[ inside a class", ZK_UNSUPPORTED},
      {SPLIT("[^a&&b]"), "&&", ZK_UNSUPPORTED},
      {SPLIT("^a$"), "^ or $", ZK_UNSUPPORTED},
      {SPLIT("a{,3}"), "no count", ZK_UNSUPPORTED},
      {SPLIT("(?<n>a)"), "(?...", ZK_UNSUPPORTED},
      {SPLIT("a|(b"), "does not compile", ZK_BAD_INPUT},
      {SPLIT(""), "empty", ZK_BAD_INPUT},
      {SPLIT("\\\\p{Nothing}"), "does not compile", ZK_BAD_INPUT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_tokenizer *tok = NULL;
    zk_status st = zk_tokenizer_parse(cases[i].json, strlen(cases[i].json), NULL, 0, NULL, 0, &tok);
    if (st != cases[i].st || !strstr(zk_status_message(), cases[i].message) || tok)
      fail_msg("case %zu: status %d, message '%s', wanted '%s'", i, (int)st, zk_status_message(), cases[i].message);
  }
  const char *good = "{" DEC "," PRE "," SMALL "}", *bad = "{\"eos_token\":\"</s>\"}";
  zk_tokenizer *tok = NULL;
  assert_int_equal(zk_tokenizer_parse(good, strlen(good), bad, strlen(bad), NULL, 0, &tok), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "eos_token '</s>' is not a token"));
  assert_int_equal(zk_tokenizer_parse(good, strlen(good), NULL, 0, NULL, 0, &tok), ZK_OK);
  zk_tokenizer_free(tok);
}

// A text that would take an exponential walk of a hostile expression ends in an error, not in a hang.
static void costly_expressions_end(void **state) {
  (void)state;
  const char *json = SPLIT("(?:a|aa)+(?:a|aa)+(?:a|aa)+\\\\p{Lu}");
  zk_tokenizer *tok = NULL;
  zk_tokens ids = {0};
  char text[400];
  memset(text, 'a', sizeof text);
  assert_int_equal(zk_tokenizer_parse(json, strlen(json), NULL, 0, NULL, 0, &tok), ZK_OK);
  assert_int_equal(zk_tokenizer_encode(tok, text, sizeof text, 0, &ids), ZK_UNSUPPORTED);
  assert_int_equal(ids.num_tokens, 0);
  zk_tokens_free(&ids);
  zk_tokenizer_free(tok);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_equal_the_reference),
      cmocka_unit_test(ids_equal_the_reference_llama3),
      cmocka_unit_test(a_swapped_merge_is_seen),
      cmocka_unit_test(text_comes_back),
      cmocka_unit_test(any_ids_stream_as_they_decode),
      cmocka_unit_test(ill_formed_text_becomes_replacements),
      cmocka_unit_test(special_tokens),
      cmocka_unit_test(hash_is_of_the_content),
      cmocka_unit_test(threads_share_a_tokenizer),
      cmocka_unit_test(byte_tokenizer_and_copies),
      cmocka_unit_test(broken_files_are_refused_by_name),
      cmocka_unit_test(costly_expressions_end),
  };
  return cmocka_run_group_tests(tests, load_all, free_all);
}
