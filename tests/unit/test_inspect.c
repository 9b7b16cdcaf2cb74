// inspect describes each of our files, for programs and for a person, whatever bytes are in them; h5dump lists them
// too.
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
#include "shared/inspect.h"
#include "shared/json_text.h"
#include "shared/metrics.h"
#include "shared/model.h"
#include "shared/optimizer_file.h"
#include "shared/run_dir.h"
#include "shared/tokenizer.h"
#include "shared/trajectory.h"

static char dir[] = "/tmp/zk_inspect_XXXXXX";
static zk_path run_path;

static void put_ids(int32_t *ids, const char *text) {
  zk_tokenizer *tokenizer;
  zk_tokens tokens = {0};
  assert_int_equal(zk_tokenizer_load(zk_path_make("%s/model", dir).s, &tokenizer), ZK_OK);
  assert_int_equal(zk_tokenizer_encode(tokenizer, text, strlen(text), 0, &tokens), ZK_OK);
  memcpy(ids, tokens.ids, tokens.num_tokens * sizeof *ids);
  zk_tokens_free(&tokens);
  zk_tokenizer_free(tokenizer);
}

// One prompt "abc?", two samples: "cba" + eos, and an escape sequence with a NaN advantage and one mismatch.
static void write_step(zk_run_dir *run) {
  zk_trajectory t;
  assert_int_equal(zk_trajectory_alloc(&t, 1, 4, 2, 8, 1), ZK_OK);
  t.run_name = strdup("in\xffvalid");
  t.step = 1;
  t.config = strdup("seed: 1\nmodel:\n  path: m\n");
  t.component_names[0] = strdup("correct");
  t.prompt_offsets[1] = 4;
  t.sample_offsets[1] = 4;
  t.sample_offsets[2] = 8;
  t.sample_index[1] = 1;
  put_ids(t.prompt_tokens, "abc?");
  put_ids(t.sample_tokens, "cba");
  t.sample_tokens[3] = ZK_BYTE_TOKENIZER_EOS;
  put_ids(t.sample_tokens + 4, "\x1b[31");
  t.reward[0] = t.reward_component[0] = 1;
  t.advantage[1] = NAN;
  t.trainer_logprob[5] = -0.0f;
  t.finish_reason[1] = ZK_FINISH_LENGTH;
  assert_int_equal(zk_trajectory_write(zk_run_dir_trajectory_path(run, 1).s, &t, NULL), ZK_OK);
  zk_trajectory_free(&t);
}

static void write_checkpoint(zk_run_dir *run, const zk_model_config *config, const zk_params *params,
                             const float *weights) {
  zk_path scratch;
  zk_optimizer_file *f;
  assert_int_equal(zk_run_dir_begin_checkpoint(run, 0, &scratch), ZK_OK);
  assert_int_equal(zk_model_save(scratch.s, config, params, weights, ZK_DTYPE_F32, zk_path_make("%s/model", dir).s),
                   ZK_OK);
  assert_int_equal(zk_optimizer_file_create(zk_path_make("%s/optimizer.h5", scratch.s).s, 0, params->num_elements, &f),
                   ZK_OK);
  for (int d = 0; d < ZK_OPTIMIZER_NUM_DATASETS; d++)
    assert_int_equal(zk_optimizer_file_write(f, (zk_optimizer_dataset)d, 0, params->num_elements, weights), ZK_OK);
  assert_int_equal(zk_optimizer_file_finish(f), ZK_OK);
  assert_int_equal(zk_run_dir_finish_checkpoint(run, 0), ZK_OK);
}

static void write_metrics(const zk_run_dir *run) {
  zk_metrics *m;
  assert_int_equal(zk_metrics_open(zk_run_dir_metrics_path(run).s, &m), ZK_OK);
  for (int64_t step = 0; step < 15; step++) {
    zk_metrics_line line;
    zk_metrics_line_init(&line, step);
    zk_metrics_put_double(&line, "reward/mean", 0.25);
    zk_metrics_put_hash(&line, "weights/hash", 0xabc);
    assert_int_equal(zk_metrics_append(m, &line), ZK_OK);
    zk_metrics_line_free(&line);
  }
  zk_metrics_close(m);
}

static int make_run(void **state) {
  zk_run_dir run;
  zk_params params;
  zk_model_config config = zk_model_config_default(ZK_MODEL_LLAMA);
  config.num_layers = 1;
  config.hidden = config.intermediate = 8;
  config.num_heads = config.num_kv_heads = 1;
  config.head_dim = 8;
  config.vocab = ZK_BYTE_TOKENIZER_VOCAB;
  config.tie_embeddings = 1;
  if (!mkdtemp(dir)) return -1;
  run_path = zk_path_make("%s/run", dir);
  assert_int_equal(zk_file_make_directories(zk_path_make("%s/model", dir).s), ZK_OK);
  assert_int_equal(zk_tokenizer_write_bytes(zk_path_make("%s/model", dir).s), ZK_OK);
  assert_int_equal(zk_params_create(&config, &params), ZK_OK);
  float *weights = calloc((size_t)params.num_elements, sizeof *weights);
  assert_int_equal(zk_run_dir_open(run_path.s, 0, &run), ZK_OK);
  assert_int_equal(zk_run_dir_write_config(&run, "seed: 1\n"), ZK_OK);
  write_checkpoint(&run, &config, &params, weights);
  write_step(&run);
  write_metrics(&run);
  zk_run_dir_close(&run);
  zk_params_destroy(&params);
  free(weights);
  return 0;
}
static int remove_dir(void **state) { return zk_file_remove_tree(dir) == ZK_OK ? 0 : -1; }

// Inspects `name` in the run; the object, and the same for a person in `text`.
static json_t *inspect(const char *name, char *text, size_t size) {
  json_t *object;
  zk_inspect_options options = {0};
  if (zk_inspect(zk_path_make("%s/%s", run_path.s, name).s, &options, &object) != ZK_OK)
    fail_msg("%s", zk_status_message());
  memset(text, 0, size);
  FILE *out = fmemopen(text, size - 1, "w");
  zk_json_text_print(out, object);
  fclose(out);
  return object;
}

static const char *string_at(const json_t *object, const char *key, const char *inner) {
  return json_string_value(json_object_get(json_object_get(object, key), inner));
}

static void a_trajectory(void **state) {
  char text[16384];
  json_t *object = inspect("trajectories/step_000001.h5", text, sizeof text);
  assert_string_equal(json_string_value(json_object_get(object, "kind")), "trajectory");
  assert_string_equal(string_at(object, "attributes", "run_name"), "in\xef\xbf\xbdvalid");
  assert_int_equal(json_array_size(json_object_get(object, "datasets")), ZK_TRAJECTORY_NUM_COLUMNS - 4); // the optional ones say nothing
  json_t *summary = json_object_get(object, "summary");
  assert_int_equal(json_integer_value(json_object_get(summary, "mismatch_tokens")), 1);
  assert_true(json_real_value(json_object_get(summary, "component_mean/correct")) == 0.5);
  assert_string_equal(string_at(object, "group", "prompt"), "abc?");
  json_t *samples = json_object_get(json_object_get(object, "group"), "samples");
  assert_string_equal(json_string_value(json_object_get(json_array_get(samples, 0), "completion")), "cba<|endoftext|>");
  assert_string_equal(json_string_value(json_object_get(json_array_get(samples, 1), "advantage")), "nan");
  json_t *texts = json_object_get(json_array_get(samples, 0), "token_texts");
  assert_int_equal(json_array_size(texts), 4);
  assert_string_equal(json_string_value(json_array_get(texts, 3)), "<|endoftext|>");
  assert_int_equal(json_array_size(json_object_get(json_array_get(samples, 1), "trainer_logprob")), 4);
  assert_null(json_object_get(json_array_get(samples, 1), "loss_mask")); // every token is the policy's
  assert_non_null(strstr(text, "\\u001b[31")); // no escape reaches the terminal
  assert_null(strchr(text, '\x1b'));
  assert_non_null(strstr(text, "sample/tokens"));
  assert_non_null(strstr(text, "\n  model:\n")); // the config keeps its lines
  json_decref(object);
}

static void wrong_group_and_ids_without_a_tokenizer(void **state) {
  json_t *object;
  zk_path path = zk_path_make("%s/trajectories/step_000001.h5", run_path.s), alone = zk_path_make("%s/alone.h5", dir);
  assert_int_equal(zk_inspect(path.s, &(zk_inspect_options){.group = 1}, &object), ZK_BAD_INPUT);
  assert_non_null(strstr(zk_status_message(), "--group 1"));
  char *bytes;
  size_t num_bytes;
  assert_int_equal(zk_file_read(path.s, 1 << 20, &bytes, &num_bytes), ZK_OK);
  assert_int_equal(zk_file_write(alone.s, bytes, num_bytes), ZK_OK);
  free(bytes);
  assert_int_equal(zk_inspect(alone.s, &(zk_inspect_options){0}, &object), ZK_OK);
  assert_int_equal(json_array_size(json_object_get(json_object_get(object, "group"), "prompt_ids")), 4);
  assert_string_equal(string_at(object, "group", "prompt"), "<97><98><99><63>");
  json_decref(object);
  zk_path model = zk_path_make("%s/model", dir);
  assert_int_equal(zk_inspect(alone.s, &(zk_inspect_options){.tokenizer = model.s}, &object), ZK_OK);
  assert_string_equal(string_at(object, "group", "prompt"), "abc?");
  json_decref(object);
}

static void a_checkpoint_and_its_files(void **state) {
  char text[16384];
  json_t *object = inspect("checkpoints/step_000000", text, sizeof text);
  assert_string_equal(json_string_value(json_object_get(object, "kind")), "checkpoint");
  assert_true(json_is_true(json_object_get(object, "complete")));
  assert_string_equal(string_at(object, "config", "architecture"), "llama");
  int64_t parameters = json_integer_value(json_object_get(object, "parameters"));
  assert_true(parameters > ZK_BYTE_TOKENIZER_VOCAB * 8);
  assert_non_null(strstr(text, "model.embed_tokens.weight"));
  json_decref(object);
  object = inspect("checkpoints/step_000000/optimizer.h5", text, sizeof text);
  assert_int_equal(json_integer_value(json_object_get(object, "num_elements")), parameters);
  json_decref(object);
  object = inspect("checkpoints/step_000000/model.safetensors", text, sizeof text);
  assert_int_equal(json_integer_value(json_object_get(object, "elements")), parameters);
  json_decref(object);
}

static void a_run(void **state) {
  char text[16384];
  json_t *object = inspect("", text, sizeof text);
  assert_string_equal(json_string_value(json_object_get(object, "kind")), "run");
  assert_int_equal(json_integer_value(json_object_get(object, "last_step")), 14);
  assert_int_equal(json_array_size(json_object_get(object, "last_steps")), 10);
  assert_int_equal(json_array_size(json_object_get(object, "checkpoints")), 1);
  assert_null(json_object_get(json_array_get(json_object_get(object, "last_steps"), 0), "eval/accuracy"));
  assert_non_null(strstr(text, "0000000000000abc"));
  json_decref(object);
}

static void what_is_none_of_these(void **state) {
  json_t *object;
  zk_inspect_options options = {0};
  assert_int_equal(zk_inspect("/no/such/file", &options, &object), ZK_IO);
  assert_int_equal(zk_inspect(dir, &options, &object), ZK_BAD_INPUT);
  zk_path odd = zk_path_make("%s/odd.txt", dir), broken = zk_path_make("%s/broken.h5", dir);
  assert_int_equal(zk_file_write(odd.s, "x", 1), ZK_OK);
  assert_int_equal(zk_file_write(broken.s, "x", 1), ZK_OK);
  assert_int_equal(zk_inspect(odd.s, &options, &object), ZK_BAD_INPUT);
  assert_int_equal(zk_inspect(broken.s, &options, &object), ZK_BAD_ARCHIVE);
}

static void h5dump_lists_everything(void **state) {
  if (system("command -v h5dump >/dev/null 2>&1") != 0) skip();
  zk_path list = zk_path_make("%s/list", dir);
  zk_path command = zk_path_make("h5dump -H %s/trajectories/step_000001.h5 >%s", run_path.s, list.s);
  char *text;
  size_t num_bytes, num = 0;
  assert_int_equal(system(command.s), 0);
  assert_int_equal(zk_file_read(list.s, 1 << 20, &text, &num_bytes), ZK_OK);
  for (const char *at = text; (at = strstr(at, "ATTRIBUTE \"description\"")); at++) num++;
  assert_int_equal(num, ZK_TRAJECTORY_NUM_COLUMNS - 4);
  free(text);
  command = zk_path_make("h5dump -d sample/sampler_logprob %s/trajectories/step_000001.h5 >/dev/null", run_path.s);
  assert_int_equal(system(command.s), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_trajectory),
      cmocka_unit_test(wrong_group_and_ids_without_a_tokenizer),
      cmocka_unit_test(a_checkpoint_and_its_files),
      cmocka_unit_test(a_run),
      cmocka_unit_test(what_is_none_of_these),
      cmocka_unit_test(h5dump_lists_everything),
  };
  return cmocka_run_group_tests(tests, make_run, remove_dir);
}
