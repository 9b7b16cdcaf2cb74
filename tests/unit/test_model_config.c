// config.json as transformers 4 and 5 write it; every field that changes the mathematics is delivered or refused by
// name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/file.h"
#include "shared/model_config.h"

#define SHAPE                                                                                                          \
  "\"vocab_size\":100,\"hidden_size\":64,\"intermediate_size\":80,\"num_hidden_layers\":2,\"num_attention_heads\":4,"  \
  "\"num_key_value_heads\":2"
#define LLAMA "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"]," SHAPE
#define QWEN2 "{\"model_type\":\"qwen2\",\"architectures\":[\"Qwen2ForCausalLM\"]," SHAPE
#define QWEN3 "{\"model_type\":\"qwen3\",\"architectures\":[\"Qwen3ForCausalLM\"]," SHAPE
#define LLAMA3 "\"factor\":8.0,\"low_freq_factor\":1,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":256"

static zk_model_config parse(const char *text) {
  zk_model_config c;
  if (zk_model_config_parse("F", text, strlen(text), &c) != ZK_OK) fail_msg("%s", zk_status_message());
  return c;
}

// Field by field: a struct's padding says nothing.
static void assert_same(zk_model_config a, zk_model_config b) {
  zk_model_config *both[] = {&a, &b};
  zk_model_config clean[2];
  memset(clean, 0, sizeof clean);
  for (int i = 0; i < 2; i++) {
    zk_model_config *c = &clean[i], *from = both[i];
    c->architecture = from->architecture, c->num_layers = from->num_layers, c->hidden = from->hidden;
    c->num_heads = from->num_heads, c->num_kv_heads = from->num_kv_heads, c->head_dim = from->head_dim;
    c->intermediate = from->intermediate, c->vocab = from->vocab, c->tie_embeddings = from->tie_embeddings;
    c->qkv_bias = from->qkv_bias, c->qk_norm = from->qk_norm, c->rms_eps = from->rms_eps;
    c->rope.theta = from->rope.theta, c->rope.scaling = from->rope.scaling, c->rope.factor = from->rope.factor;
    c->rope.low_freq_factor = from->rope.low_freq_factor, c->rope.high_freq_factor = from->rope.high_freq_factor;
    c->rope.original_max_position = from->rope.original_max_position, c->max_position = from->max_position;
    c->bos_id = from->bos_id, c->num_eos = from->num_eos;
    memcpy(c->eos_ids, from->eos_ids, sizeof c->eos_ids);
  }
  assert_memory_equal(&clean[0], &clean[1], sizeof clean[0]);
}

static void defaults_and_flags(void **state) {
  (void)state;
  zk_model_config c = parse(LLAMA "}");
  assert_int_equal(c.architecture, ZK_MODEL_LLAMA);
  assert_int_equal(c.head_dim, 16);
  assert_int_equal(c.num_kv_heads, 2);
  assert_int_equal(c.qkv_bias + c.qk_norm + c.tie_embeddings, 0);
  assert_true(c.rms_eps == 1e-6f && c.rope.theta == 10000.0 && c.rope.scaling == ZK_ROPE_PLAIN);
  assert_int_equal(c.bos_id, -1);
  assert_int_equal(c.num_eos, 0);
  c = parse(QWEN2
            ",\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-5,\"use_sliding_window\":false,\"sliding_window\":4096,"
            "\"layer_types\":[\"full_attention\",\"full_attention\"],\"eos_token_id\":[9,3,9],\"bos_token_id\":1}");
  assert_true(c.qkv_bias && !c.qk_norm && c.tie_embeddings && c.rms_eps == 1e-5f);
  assert_int_equal(c.num_eos, 2);
  assert_int_equal(c.eos_ids[0], 3);
  assert_int_equal(c.eos_ids[1], 9);
  assert_int_equal(c.bos_id, 1);
  const char *generation = "{\"eos_token_id\":[5,3],\"bos_token_id\":2,\"temperature\":0.6}";
  assert_int_equal(zk_model_config_parse_generation("G", generation, strlen(generation), &c), ZK_OK);
  assert_int_equal(c.num_eos, 3);
  assert_int_equal(c.eos_ids[1], 5);
  assert_int_equal(c.bos_id, 1); // config.json's wins
  c = parse(QWEN3 "}");
  assert_true(c.qk_norm && !c.qkv_bias);
  assert_int_equal(c.head_dim, 128); // Qwen3's own default
  assert_int_equal(parse(QWEN3 ",\"head_dim\":32}").head_dim, 32);
  assert_int_equal(parse(LLAMA ",\"head_dim\":null,\"rope_scaling\":null,\"rope_parameters\":{}}").head_dim, 16);
}

static void rope_as_both_versions_write_it(void **state) {
  (void)state;
  zk_model_config old = parse(LLAMA ",\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3 "}}");
  zk_model_config new =
      parse(LLAMA ",\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"llama3\"," LLAMA3 "}}");
  zk_model_config both =
      parse(LLAMA ",\"rope_theta\":500000,\"rope_scaling\":{\"type\":\"llama3\"," LLAMA3 "},"
                  "\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"llama3\"," LLAMA3 "}}");
  assert_same(old, new);
  assert_same(old, both);
  assert_int_equal(old.rope.scaling, ZK_ROPE_LLAMA3);
  assert_true(old.rope.theta == 500000.0 && old.rope.factor == 8.0 && old.rope.low_freq_factor == 1.0 &&
              old.rope.high_freq_factor == 4.0);
  assert_int_equal(old.rope.original_max_position, 256);
  zk_model_config linear = parse(LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}");
  assert_true(linear.rope.scaling == ZK_ROPE_LINEAR && linear.rope.factor == 2.0 &&
              linear.rope.original_max_position == 0);
  zk_model_config outside =
      parse(LLAMA ",\"max_position_embeddings\":512,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
                  "\"low_freq_factor\":1,\"high_freq_factor\":4}}");
  assert_int_equal(outside.rope.original_max_position, 512); // transformers' default
}

static void unsupported_mathematics_is_refused_by_name(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } cases[] = {
      {"{\"model_type\":\"gemma2\"}",
       "F: model_type: architecture \"gemma2\" is not supported; there are: llama, qwen2, qwen3"},
      {"{\"model_type\":\"llama\",\"architectures\":[\"LlamaForSequenceClassification\"]," SHAPE "}",
       "F: architectures is"},
      {LLAMA ",\"attention_bias\":true}", "F: attention_bias is true"},
      {LLAMA ",\"mlp_bias\":true}", "F: mlp_bias is true"},
      {LLAMA ",\"hidden_act\":\"gelu\"}", "F: hidden_act is \"gelu\""},
      {LLAMA ",\"sliding_window\":128}", "F: sliding_window is 128"},
      {QWEN2 ",\"use_sliding_window\":true}", "F: use_sliding_window is true"},
      {QWEN2 ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
       "F: layer_types: layer 1 is sliding_attention"},
      {QWEN2 ",\"layer_types\":[\"full_attention\"]}", "F: layer_types is not a list of 2 layers"},
      {LLAMA ",\"partial_rotary_factor\":0.5}", "F: partial_rotary_factor is 0.5"},
      {LLAMA ",\"pretraining_tp\":2}", "F: pretraining_tp is 2"},
      {LLAMA ",\"quantization_config\":{\"bits\":4}}", "F: quantization_config is {\"bits\":4}"},
      {LLAMA ",\"final_logit_softcapping\":30.0}", "F: final_logit_softcapping is 30.0"},
      {LLAMA ",\"embedding_multiplier\":12.0}", "F: embedding_multiplier is 12.0"},
      {LLAMA ",\"attention_multiplier\":0.1}", "F: attention_multiplier is 0.1"},
      {LLAMA ",\"auto_map\":{\"AutoModel\":\"x.Y\"}}", "F: auto_map is"},
      {LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0}}", "F: rope_scaling.rope_type is yarn"},
      {LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4.0}}", "F: rope_scaling.rope_type is dynamic"},
      {LLAMA ",\"rope_parameters\":{\"rope_type\":\"longrope\"}}", "F: rope_parameters.rope_type is longrope"},
      {LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}}",
       "F: rope_parameters.partial_rotary_factor is 0.5"},
      {LLAMA ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", "F: rope_parameters.full_attention is"},
      {LLAMA ",\"head_dim\":20}", "F: head_dim 20 is not a multiple of 8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_model_config c;
    zk_status st = zk_model_config_parse("F", cases[i].text, strlen(cases[i].text), &c);
    if (st == ZK_OK || !strstr(zk_status_message(), cases[i].why))
      fail_msg("wanted \"%s\", got \"%s\"", cases[i].why, zk_status_message());
    if (!strstr(cases[i].why, "not a list")) assert_int_equal(st, ZK_UNSUPPORTED);
  }
}

static void values_that_mean_nothing_are_fine(void **state) {
  (void)state;
  zk_model_config plain = parse(LLAMA "}");
  zk_model_config same =
      parse(LLAMA ",\"attention_bias\":false,\"mlp_bias\":null,\"hidden_act\":\"silu\",\"partial_rotary_factor\":1.0,"
                  "\"pretraining_tp\":1,\"sliding_window\":null,\"use_cache\":true,\"torch_dtype\":\"bfloat16\","
                  "\"dtype\":\"float16\",\"attention_dropout\":0.1,\"pad_token_id\":-1,\"_name_or_path\":\"x\","
                  "\"transformers_version\":\"4.46.0\",\"is_llama_config\":true,\"rope_interleaved\":false}");
  assert_same(plain, same);
}

static void malformed_files_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } cases[] = {
      {"", "F:1:0"},
      {"[]", "F: not a JSON object"},
      {"{\"model_type\":\"llama\",\n\"model_type\":\"llama\"}", "F:2:"},
      {"{}", "F: field model_type is missing"},
      {"{\"model_type\":\"llama\"}", "F: field num_hidden_layers is missing"},
      {LLAMA ",\"max_position_embeddings\":\"512\"}", "F: max_position_embeddings is not an integer"},
      {LLAMA ",\"max_position_embeddings\":5000000000}", "F: max_position_embeddings is not an integer"},
      {LLAMA ",\"rms_norm_eps\":\"x\"}", "F: rms_norm_eps is not a number"},
      {LLAMA ",\"rms_norm_eps\":1e300}", "F: rms_norm_eps is 1e+300"},
      {LLAMA ",\"tie_word_embeddings\":1}", "F: tie_word_embeddings is not true or false"},
      {LLAMA ",\"eos_token_id\":100}", "F: eos_token_id is not an id of the vocabulary of 100"},
      {LLAMA ",\"eos_token_id\":\"</s>\"}", "F: eos_token_id is not an id"},
      {LLAMA ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}", "F: eos_token_id: more than 8 ids"},
      {LLAMA ",\"rope_theta\":-1}", "F: rope_theta is -1"},
      {LLAMA ",\"rope_scaling\":7}", "F: rope_scaling is not an object"},
      {LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", "F: field factor is missing"},
      {LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"llama3\",\"factor\":2}}",
       "F: rope_scaling has rope_type llama3 and type linear"},
      {LLAMA ",\"rope_theta\":1e4,\"rope_parameters\":{\"rope_theta\":2e4}}",
       "F: rope_theta is 10000, but rope_parameters.rope_theta is 20000"},
      {LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_type\":\"default\"}}",
       "disagree"},
      {"{\"model_type\":\"llama\",\"vocab_size\":9,\"hidden_size\":30,\"intermediate_size\":8,\"num_hidden_layers\":1,"
       "\"num_attention_heads\":4}",
       "hidden_size 30 is not a multiple of num_attention_heads 4"},
      {"{\"model_type\":\"llama\",\"vocab_size\":9,\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":1,"
       "\"num_attention_heads\":4,"
       "\"num_key_value_heads\":3}",
       "num_attention_heads 4 is not a multiple of num_key_value_heads 3"},
      {"{\"model_type\":\"llama\",\"vocab_size\":9,\"hidden_size\":32,\"intermediate_size\":8,\"num_hidden_layers\":0,"
       "\"num_attention_heads\":4}",
       "F: num_hidden_layers is 0, must be 1 to 4096"},
      {"{\"model_type\":\"llama\",\"vocab_size\":16000000,\"hidden_size\":262144,\"intermediate_size\":1048576,\"num_"
       "hidden_layers\":4096,"
       "\"num_attention_heads\":4096}",
       "2^40 parameters"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    zk_model_config c;
    zk_status st = zk_model_config_parse("F", cases[i].text, strlen(cases[i].text), &c);
    if (st == ZK_OK || !strstr(zk_status_message(), cases[i].why))
      fail_msg("wanted \"%s\", got \"%s\"", cases[i].why, zk_status_message());
    assert_int_equal(zk_status_exit_code(st), 2);
  }
}

static void save_then_load_is_equal(void **state) {
  (void)state;
  char dir[] = "/tmp/zk_config_XXXXXX", path[64], *first, *second;
  size_t num_first, num_second;
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/config.json", dir);
  static const char *const texts[] = {
      LLAMA ",\"rope_theta\":500000,\"rms_norm_eps\":1e-05,\"rope_scaling\":{\"rope_type\":\"llama3\"," LLAMA3
            "},\"eos_token_id\":[2,9]}",
      QWEN2 ",\"tie_word_embeddings\":true,\"bos_token_id\":4,\"eos_token_id\":9,\"rope_scaling\":{\"type\":\"linear\","
            "\"factor\":2.5}}",
      QWEN2 ",\"rope_theta\":10000.000000000002}",
      QWEN3 ",\"rms_norm_eps\":0.000123456789,\"max_position_embeddings\":77}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    zk_model_config c = parse(texts[i]), again;
    assert_int_equal(zk_model_config_save(dir, &c, "float32"), ZK_OK);
    assert_int_equal(zk_file_read(path, 1 << 20, &first, &num_first), ZK_OK);
    if (zk_model_config_load(dir, &again) != ZK_OK) fail_msg("%s", zk_status_message());
    assert_same(c, again);
    assert_int_equal(zk_model_config_save(dir, &again, "float32"), ZK_OK);
    assert_int_equal(zk_file_read(path, 1 << 20, &second, &num_second), ZK_OK);
    assert_string_equal(first, second);
    free(first);
    free(second);
  }
  unlink(path);
  snprintf(path, sizeof path, "%s/generation_config.json", dir);
  unlink(path);
  rmdir(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_and_flags),
      cmocka_unit_test(rope_as_both_versions_write_it),
      cmocka_unit_test(unsupported_mathematics_is_refused_by_name),
      cmocka_unit_test(values_that_mean_nothing_are_fine),
      cmocka_unit_test(malformed_files_are_refused),
      cmocka_unit_test(save_then_load_is_equal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
