// Every class of error in a config names the place, the key and the way out, in exactly these words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "shared/config.h"

// A file that is right; cases put lines behind it or replace it.
#define RUN "run: {name: a, steps: 1}\n"
#define TASK "task: {name: reverse}\n"
#define MODEL "model: {path: m}\n"
#define INIT "layers: 1, hidden: 48, heads: 6, intermediate: 8"

typedef struct {
  const char *yaml, *override; // override NULL: none
  zk_status status;
  const char *text;
} error_case;

static void check(const error_case *cases, size_t num) {
  for (size_t i = 0; i < num; i++) {
    char override[512];
    snprintf(override, sizeof override, "%s", cases[i].override ? cases[i].override : "");
    char *overrides[] = {override};
    zk_config cfg;
    zk_status st =
        zk_config_parse("c.yaml", cases[i].yaml, strlen(cases[i].yaml), cases[i].override != NULL, overrides, &cfg);
    if (st == ZK_OK) print_error("accepted: %s%s\n", cases[i].yaml, override);
    assert_int_not_equal(st, ZK_OK);
    assert_string_equal(zk_status_message(), cases[i].text);
    assert_int_equal(st, cases[i].status);
  }
}
#define CHECK(cases) check(cases, sizeof cases / sizeof *cases)

static void the_base_is_right(void **state) {
  (void)state;
  zk_config cfg;
  const char *yaml = RUN TASK MODEL;
  assert_int_equal(zk_config_parse("c.yaml", yaml, strlen(yaml), 0, NULL, &cfg), ZK_OK);
}

static void unknown_keys(void **state) {
  (void)state;
  static const error_case cases[] = {
      {RUN "rollout:\n  top_k: 1\n  max_new_tokns: 3\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:3: rollout.max_new_tokns: no such key; did you mean rollout.max_new_tokens?"},
      {"top_p: 1\n", NULL, ZK_BAD_INPUT, "c.yaml:1:1: top_p: no such key; did you mean rollout.top_p?"},
      {RUN "optimiser: {lr: 1}\n", NULL, ZK_BAD_INPUT, "c.yaml:2:1: optimiser: no such key; did you mean optimizer?"},
      {"zzz: 1\n", NULL, ZK_BAD_INPUT, "c.yaml:1:1: zzz: no such key"},
      {"rollout.top_p: 1\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:1: rollout.top_p: give the last part under its groups, one line each"},
      {"model: {init: {a.b: 1}}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:16: model.init.a.b: no such key"},
      {"? [a, b]\n: 1\n", NULL, ZK_BAD_INPUT, "c.yaml:1:3: expected the name of a key"},
      {"run: {[a]: 1}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: run: expected the name of a key"},
      {"run: &r {name: a}\nmodel: {<<: *r}\n", NULL, ZK_BAD_INPUT, "c.yaml:2:9: model.<<: no such key"},
  };
  CHECK(cases);
}

static void duplicate_keys(void **state) {
  (void)state;
  static const error_case cases[] = {
      {"seed: 1\nnumerics: f32\nseed: 1\n", NULL, ZK_BAD_INPUT, "c.yaml:3:1: seed: given twice, first in line 1"},
      {"run: {name: a}\nrun: {steps: 1}\n", NULL, ZK_BAD_INPUT, "c.yaml:2:1: run: given twice, first in line 1"},
      {"rollout:\n  top_k: 1\n  \"top_k\": 1\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:3: rollout.top_k: given twice, first in line 2"},
  };
  CHECK(cases);
}

static void missing_keys(void **state) {
  (void)state;
  static const error_case cases[] = {
      {RUN MODEL, NULL, ZK_BAD_INPUT,
       "c.yaml:1:1: task.name: missing; expected one of reverse, arithmetic, multistep, countdown, jsonl: reverse a string; "
       "one operation on two numbers; several, step by step; numbers that must make a target; or lines of a file"},
      {TASK MODEL "run:\n  steps: 1\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:1: run.name: missing; expected a text of at most 127 bytes: names the run: letters, digits, . _ -"},
      {RUN TASK, NULL, ZK_BAD_INPUT,
       "c.yaml:1:1: model: give model.path (a Hugging Face folder or a checkpoint) or model.init (a model from "
       "scratch)"},
      {RUN TASK "model:\n  init: {layers: 2}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:3: model.init.hidden: missing; expected an integer in [1, 131072]: width of the residual stream"},
      {"", NULL, ZK_BAD_INPUT, "c.yaml: expected a mapping of keys, found nothing"},
      {"# only talk\n", NULL, ZK_BAD_INPUT, "c.yaml: expected a mapping of keys, found nothing"},
  };
  CHECK(cases);
}

static void wrong_types(void **state) {
  (void)state;
  static const error_case cases[] = {
      {"- a\n", NULL, ZK_BAD_INPUT, "c.yaml:1:1: expected a mapping of keys, found a list"},
      {"a\n", NULL, ZK_BAD_INPUT, "c.yaml:1:1: expected a mapping of keys, found a value"},
      {"run: 3\n", NULL, ZK_BAD_INPUT, "c.yaml:1:6: run: expected a mapping of keys, found a value"},
      {"run:\n  - 3\n", NULL, ZK_BAD_INPUT, "c.yaml:2:3: run: expected a mapping of keys, found a list"},
      {"seed: {a: 1}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: seed: expected a value, found a mapping"},
      {"seed: [1]\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: seed: expected a value, found a list"},
      {"seed: 1.5\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: seed: expected an integer, found \"1.5\""},
      {"seed: 010\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: seed: expected an integer, found \"010\""},
      {"seed: 1_000\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: seed: expected an integer, found \"1_000\""},
      {"seed: '1'\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: seed: expected a value without quotes, found \"1\""},
      {"seed: !!int 1\n", NULL, ZK_BAD_INPUT, "c.yaml:1:7: seed: a tag (!...) has no meaning here"},
      {"seed:\n", NULL, ZK_BAD_INPUT, "c.yaml:1:6: seed: no value given"},
      {"run: {name: ~}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:13: run.name: no value given (an empty text is \"\")"},
      {"optimizer: {lr: abc}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:17: optimizer.lr: expected a finite number, found \"abc\""},
      {"optimizer: {lr: .nan}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:17: optimizer.lr: expected a finite number, found \".nan\""},
      {"optimizer: {lr: inf}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:17: optimizer.lr: expected a finite number, found \"inf\""},
      {"optimizer: {lr: 0x1p3}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:17: optimizer.lr: expected a finite number, found \"0x1p3\""},
      {"model: {init: {tie: yes}}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:21: model.init.tie: expected true or false, found \"yes\""},
      {"numerics: f16\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:11: numerics: expected one of f32, bf16, vendor, found \"f16\""},
      {"rollout: {kv_bytes: 4GB}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:21: rollout.kv_bytes: expected a size such as 4GiB, found \"4GB\""},
      {"rollout: {stop: x}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:17: rollout.stop: expected a list, found a value"},
      {"rollout: {stop: [a, [b]]}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:21: rollout.stop: expected a value, found a list"},
      {"rollout: {stop: [a, \"\"]}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:21: rollout.stop: an empty text in the list"},
      {"task: {system: \"a\\0b\"}\n", NULL, ZK_BAD_INPUT, "c.yaml:1:16: task.system: a text cannot hold a NUL"},
      {"seed: "
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
       NULL, ZK_BAD_INPUT,
       "c.yaml:1:7: seed: expected one short word, found "
       "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\""},
  };
  CHECK(cases);
}

static void out_of_range(void **state) {
  (void)state;
  static const error_case cases[] = {
      {"rollout: {top_p: 0}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:18: rollout.top_p: 0 is out of range: expected a number in (0, 1]"},
      {"rollout: {top_p: 1.0000001}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:18: rollout.top_p: 1.0000001 is out of range: expected a number in (0, 1]"},
      {"optimizer: {beta1: 1}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:20: optimizer.beta1: 1 is out of range: expected a number in [0, 1)"},
      {"optimizer: {lr: 1e999}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:17: optimizer.lr: 1e999 is out of range: expected a number in [0, 1000]"},
      {"rollout: {samples_per_prompt: 4097}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:31: rollout.samples_per_prompt: 4097 is out of range: expected an integer in [1, 4096]"},
      {"rollout: {top_k: -1}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:18: rollout.top_k: -1 is out of range: expected an integer in [0, 16777216]"},
      {"run: {steps: 1048576}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:14: run.steps: 1048576 is out of range: expected an integer in [0, 1048575]"},
      {"seed: 99999999999999999999\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:7: seed: 99999999999999999999 is out of range: expected an integer in [0, 9223372036854775807]"},
      {"seed: -1\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:7: seed: -1 is out of range: expected an integer in [0, 9223372036854775807]"},
      {"trainer: {grad_leaves: 6}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:24: trainer.grad_leaves: 6 is out of range: expected an integer in [1, 4096], a power of two"},
      {"rollout: {page_tokens: 40}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:24: rollout.page_tokens: 40 is out of range: expected an integer in [16, 65536], a multiple of 16"},
      {"rollout: {kv_bytes: 9999999999TiB}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:21: rollout.kv_bytes: 9999999999TiB is out of range: expected bytes, or a whole number of KiB, MiB, "
       "GiB "
       "or TiB"},
      {"task: {operations: '+-*+-*+-*'}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:20: task.operations: 9 bytes of text, at most 7 fit"},
      {"rollout: {stop: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:1:73: rollout.stop: at most 16 texts"},
  };
  CHECK(cases);
}

static void keys_against_each_other(void **state) {
  (void)state;
  static const error_case cases[] = {
      {RUN TASK "model:\n  path: m\n  init: {" INIT "}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:5:10: model.init.layers: has no effect with model.path: m"},
      {RUN MODEL "task: {name: jsonl}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:1: task.path: task.name: jsonl needs a file of training items"},
      {RUN MODEL "task: {name: reverse, num_digits: 3}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:23: task.num_digits: has no effect with task.name: reverse"},
      {RUN MODEL TASK "algorithm: {name: reinforce, clip_low: 0.3}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:30: algorithm.clip_low: has no effect with algorithm.clip: none"},
      {RUN MODEL TASK "rollout: {samples_per_prompt: 1}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:11: rollout.samples_per_prompt: must be at least 2 with algorithm.advantage.baseline: group_mean or "
       "leave_one_out, scale: std, or dynamic_sampling"},
      {RUN MODEL TASK "algorithm: {overlong: {penalty: 1, buffer: 300}}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:36: algorithm.overlong.buffer: greater than rollout.max_new_tokens"},
      {RUN MODEL TASK "algorithm: {kl: {reference: m}}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:18: algorithm.kl.reference: has no effect with algorithm.kl.coef: 0"},
      {RUN MODEL TASK "algorithm: {ratio: none}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:1: algorithm.clip: there is nothing to clip with algorithm.ratio: none: set it to none too, or choose a ratio"},
      {RUN MODEL TASK "algorithm: {name: ppo}\nrollout: {prompts_per_step: 1, samples_per_prompt: 3}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:1: algorithm.minibatches: more than the step has samples (rollout.prompts_per_step x samples_per_prompt)"},
      {RUN MODEL TASK "algorithm: {minibatches: 2}\nrollout: {top_k: 20}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:13: algorithm.minibatches: with rollout.top_k or top_p a step is one update: a sampled token may leave the filter with the first, and has "
       "probability 0 then. Set epochs and minibatches to 1, or top_k to 0 and top_p to 1"},
      {RUN MODEL TASK "algorithm: {epochs: 2}\nrollout: {top_p: 0.9}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:1: algorithm.minibatches: with rollout.top_k or top_p a step is one update: a sampled token may leave the filter with the first, and has "
       "probability 0 then. Set epochs and minibatches to 1, or top_k to 0 and top_p to 1"},
      {RUN MODEL TASK "rollout: {top_k: 20, numerics: bf16}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:22: rollout.numerics: with rollout.top_k or top_p the sampler draws tokens that have probability 0 for a trainer in other numerics. Set top_k to 0 "
       "and top_p to 1, or leave the key out"},
      {RUN MODEL TASK "rollout: {top_p: 0.5, weight_bits: 3}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:23: rollout.weight_bits: with rollout.top_k or top_p the sampler draws tokens that have probability 0 for a trainer with finer weights. Set top_k to 0 "
       "and top_p to 1, or leave the key out"},
      {RUN MODEL TASK "rollout: {weight_bits: 3}\nlora: {rank: 4}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:11: rollout.weight_bits: the control of a sampler with coarser weights has no adapter: leave it or lora.rank out"},
      {RUN MODEL TASK "numerics: vendor\nrollout: {top_p: 0.9}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:1: numerics: in vendor, sampler and trainer differ, and with rollout.top_k or top_p tokens are drawn that have probability 0 for the trainer. Set top_k to "
       "0 and top_p to 1, or choose other numerics"},
      {RUN TASK "model: {init: {layers: 1, hidden: 48, heads: 6, kv_heads: 4, intermediate: 8}}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:49: model.init.kv_heads: does not divide model.init.heads"},
      {RUN TASK "model: {init: {layers: 1, hidden: 50, heads: 6, intermediate: 8}}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:27: model.init.hidden: not a multiple of model.init.heads: change one, or give model.init.head_dim"},
      {RUN TASK "model: {init: {layers: 1, hidden: 54, heads: 6, intermediate: 8}}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:9: model.init.head_dim: must be a multiple of 8, the elements that a kernel reads at once (0: hidden / heads)"},
      {RUN MODEL "task: {name: reverse, min_length: 9}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:23: task.min_length: greater than task.max_length"},
      {RUN MODEL "task: {name: reverse, rewards: [command]}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:23: task.rewards: command needs a program: give command.run"},
      {RUN MODEL TASK "command: {run: x}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:11: command.run: nothing uses it: list command in task.rewards, or let it answer with command.turns"},
      {RUN MODEL TASK "command: {turns: 2}\n", NULL, ZK_BAD_INPUT, "c.yaml:4:11: command.turns: has no effect with command.run: \"\""},
      {RUN MODEL "task: {name: reverse, rewards: [command]}\ncommand: {run: x, components: [std]}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:23: command.components: \"std\" is no name: at most 31 letters, digits, . _ -, and not mean, std, zero_std_groups or penalty"},
      {RUN MODEL "task: {name: reverse, rewards: [command]}\ncommand: {run: x, components: [penalty]}\n", NULL, ZK_BAD_INPUT, // DAPO's metric has that name
       "c.yaml:3:23: command.components: \"penalty\" is no name: at most 31 letters, digits, . _ -, and not mean, std, zero_std_groups or penalty"},
      {RUN MODEL TASK "eval: {samples: 4, k: 5}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:20: eval.k: greater than eval.samples, which it is estimated from"},
      {RUN MODEL "task: {name: jsonl, path: f, grader: regex}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:1: task.regex: missing; expected a text of at most 1023 bytes: grader regex: Perl-compatible, searched in the "
       "completion; with a group, the last match's first group must be the label"},
      {RUN MODEL "task: {name: jsonl, path: f, regex: x}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:30: task.regex: has no effect with task.grader: exact"},
      {RUN MODEL "task: {name: reverse, rewards: [task, maths]}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:23: task.rewards: \"maths\" is no reward; there are task, command, and the graders of task.grader"},
      {RUN MODEL "task: {name: arithmetic, operations: '++'}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:26: task.operations: some of + - *, each once"},
      {RUN MODEL TASK "rollout: {temperature: 0.001}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:4:11: rollout.temperature: must be 0 (greedy) or at least 0.01"},
      {MODEL TASK "run: {name: a/b, steps: 1}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:7: run.name: letters, digits, . _ - only, and no . first"},
      {MODEL TASK "run: {name: ..., steps: 1}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:7: run.name: letters, digits, . _ - only, and no . first"},
      {MODEL TASK "run: {name: '', steps: 1}\n", NULL, ZK_BAD_INPUT,
       "c.yaml:3:1: run.name: missing; expected a text of at most 127 bytes: names the run: letters, digits, . _ -"},
  };
  CHECK(cases);
}

static void overrides_name_themselves(void **state) {
  (void)state;
  static const error_case cases[] = {
      {RUN TASK MODEL, "rollout.top_k=x", ZK_BAD_INPUT,
       "argument \"rollout.top_k=x\": rollout.top_k: expected an integer, found \"x\""},
      {RUN TASK MODEL, "rollout.top_k=", ZK_BAD_INPUT, "argument \"rollout.top_k=\": rollout.top_k: no value given"},
      {RUN TASK MODEL, "rollout.tpo_k=1", ZK_BAD_INPUT,
       "argument \"rollout.tpo_k=1\": rollout.tpo_k: no such key; did you mean rollout.top_k?"},
      {RUN TASK MODEL, "rollout=1", ZK_BAD_INPUT,
       "argument \"rollout=1\": rollout: a group: name one of its keys, such as rollout.prompts_per_step"},
      {RUN TASK MODEL, "--steps", ZK_BAD_INPUT, "argument \"--steps\": expected key.path=value"},
      {RUN TASK MODEL, "=1", ZK_BAD_INPUT, "argument \"=1\": expected key.path=value"},
      {RUN TASK MODEL, "rollout.stop=[a", ZK_BAD_INPUT,
       "argument \"rollout.stop=[a\": not valid YAML: did not find expected ',' or ']'"},
      {RUN TASK MODEL, "rollout.stop=[a]\n---\nb", ZK_BAD_INPUT,
       "argument \"rollout.stop=[a]?---?b\": a second document begins here"},
      {RUN TASK MODEL, "run.dir=a\xFF", ZK_BAD_INPUT,
       "argument \"run.dir=a\xFF\": run.dir: byte 2 of the text is not UTF-8"},
      {RUN TASK MODEL, "task.max_length=0", ZK_BAD_INPUT,
       "argument \"task.max_length=0\": task.max_length: 0 is out of range: expected an integer in [1, 4096]"},
      {RUN TASK MODEL, "task.min_length=9", ZK_BAD_INPUT,
       "argument \"task.min_length=9\": task.min_length: greater than task.max_length"},
      {RUN TASK MODEL, "task.num_digits=3", ZK_BAD_INPUT,
       "argument \"task.num_digits=3\": task.num_digits: has no effect with task.name: reverse"},
  };
  CHECK(cases);
}

static void malformed_yaml(void **state) {
  (void)state;
  static const error_case cases[] = {
      {"run: {name: a\n", NULL, ZK_BAD_INPUT, "c.yaml:2:1: not valid YAML: did not find expected ',' or '}'"},
      {"run:\n\t- x\n", NULL, ZK_BAD_INPUT, "c.yaml:2:1: not valid YAML: found character that cannot start any token"},
      {"a: *b\n", NULL, ZK_BAD_INPUT, "c.yaml:1:4: not valid YAML: found undefined alias"},
      {RUN TASK MODEL "---\nseed: 1\n", NULL, ZK_BAD_INPUT, "c.yaml:5:1: a second document begins here"},
      {"seed: \xFF\n", NULL, ZK_BAD_INPUT, "c.yaml: not valid YAML at byte 7: invalid leading UTF-8 octet"},
  };
  CHECK(cases);
}

static void a_file_too_long(void **state) {
  (void)state;
  size_t num_bytes = (64 << 10) + 1;
  char *text = malloc(num_bytes);
  assert_non_null(text);
  memset(text, '#', num_bytes);
  zk_config cfg;
  assert_int_equal(zk_config_parse("c.yaml", text, num_bytes, 0, NULL, &cfg), ZK_BAD_INPUT);
  assert_string_equal(zk_status_message(), "c.yaml: more than 64 KiB, too long for a config");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_base_is_right), cmocka_unit_test(unknown_keys),
      cmocka_unit_test(duplicate_keys),    cmocka_unit_test(missing_keys),
      cmocka_unit_test(wrong_types),       cmocka_unit_test(out_of_range),     cmocka_unit_test(keys_against_each_other),
      cmocka_unit_test(malformed_yaml),    cmocka_unit_test(overrides_name_themselves),
      cmocka_unit_test(a_file_too_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
