// The run's configuration: a plain C struct whose member paths are the key paths of the YAML file
// (`rollout.max_new_tokens` is cfg->rollout.max_new_tokens). It owns nothing: copy it by assignment, drop it when done.
// The key table (type, range, default, class, help) is shared/config_keys.c; configs/README.md explains the files.
#ifndef ZK_SHARED_CONFIG_H
#define ZK_SHARED_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kernels/numerics.h"
#include "kernels/status.h"
#include "shared/algorithms.h"
#include "shared/chat.h"
#include "shared/model_config.h"

enum {
  ZK_CONFIG_NAME_BYTES = 128,  // run.name, with its final NUL
  ZK_CONFIG_PATH_BYTES = 1024, // files and folders
  ZK_CONFIG_TEXT_BYTES = 4096, // task.system
  ZK_CONFIG_MAX_STOPS = 16,    // rollout.stop
  ZK_CONFIG_STOP_BYTES = 128,
  ZK_CONFIG_MOST_TRIED = 32,   // algorithm.dynamic_limit, at most
  ZK_CONFIG_TEMPLATE_AUTO = -1, // task.template: the model's own, if it is a known one
};

// ZK_CONFIG_DEVICE_CUDA + 1 + N is GPU N of the host (cuda:N).
typedef enum { ZK_CONFIG_DEVICE_AUTO, ZK_CONFIG_DEVICE_CPU, ZK_CONFIG_DEVICE_CUDA, ZK_CONFIG_DEVICE_LAST = ZK_CONFIG_DEVICE_CUDA + 8 } zk_config_device;
typedef enum {
  ZK_CONFIG_TASK_REVERSE,
  ZK_CONFIG_TASK_ARITHMETIC,
  ZK_CONFIG_TASK_MULTISTEP,
  ZK_CONFIG_TASK_COUNTDOWN,
  ZK_CONFIG_TASK_JSONL
} zk_config_task;
// X(id, name, components: the reward, and a second one or NULL, what it asks)
#define ZK_CONFIG_GRADER_LIST(X)                                                                                       \
  X(EXACT, "exact", "exact", NULL)         /* the completion equals the label, both less white space around them */    \
  X(NUMBER, "number", "number", "whole")   /* its last number is the label's; whole: and there is nothing else */      \
  X(GSM8K, "gsm8k", "strict", "flexible")  /* the number behind #### is; flexible: the last number is */               \
  X(MATH, "math", "math", "boxed")         /* its last \boxed{} is the label's answer; boxed: there is one */          \
  X(REGEX, "regex", "regex", NULL)         /* task.regex matches, and its first group, if any, is the label */         \
  X(JSON, "json", "json", "valid")         /* it is the label's JSON value; valid: it is JSON */                       \
  X(COUNTDOWN, "countdown", "right", "format") /* right: the label's numbers make its target in <answer> tags */
typedef enum {
#define X(id, name, first, second) ZK_CONFIG_GRADER_##id,
  ZK_CONFIG_GRADER_LIST(X)
#undef X
  ZK_CONFIG_NUM_GRADERS
} zk_config_grader;
// ZK_CONFIG_SAMPLER_OTHER + N are the numerics N, which are not the trainer's.
typedef enum { ZK_CONFIG_SAMPLER_TRAINER, ZK_CONFIG_SAMPLER_OTHER, ZK_CONFIG_SAMPLER_LAST = ZK_CONFIG_SAMPLER_OTHER + ZK_NUM_NUMERICS - 1 } zk_config_sampler;
typedef enum { ZK_CONFIG_RATIO_TOKEN, ZK_CONFIG_RATIO_SEQUENCE, ZK_CONFIG_RATIO_NONE } zk_config_ratio;
typedef enum { ZK_CONFIG_CLIP_PPO, ZK_CONFIG_CLIP_CISPO, ZK_CONFIG_CLIP_NONE } zk_config_clip;
typedef enum {
  ZK_CONFIG_LOSS_TOKEN_MEAN,
  ZK_CONFIG_LOSS_SEQUENCE_MEAN,
  ZK_CONFIG_LOSS_CONSTANT
} zk_config_loss_aggregation;
typedef enum {
  ZK_CONFIG_BASELINE_GROUP_MEAN,
  ZK_CONFIG_BASELINE_NONE,
  ZK_CONFIG_BASELINE_LEAVE_ONE_OUT,
  ZK_CONFIG_BASELINE_BATCH_MEAN
} zk_config_baseline;
typedef enum { ZK_CONFIG_SCALE_STD, ZK_CONFIG_SCALE_NONE, ZK_CONFIG_SCALE_BATCH_STD } zk_config_scale;
typedef enum { ZK_CONFIG_KL_K1, ZK_CONFIG_KL_K2, ZK_CONFIG_KL_K3 } zk_config_kl_estimator;
typedef enum { ZK_CONFIG_KL_IN_LOSS, ZK_CONFIG_KL_IN_REWARD } zk_config_kl_place;
typedef enum { ZK_CONFIG_IMPORTANCE_TOKEN, ZK_CONFIG_IMPORTANCE_SEQUENCE } zk_config_importance_level;
typedef enum {
  ZK_CONFIG_IMPORTANCE_NONE,
  ZK_CONFIG_IMPORTANCE_TRUNCATE,
  ZK_CONFIG_IMPORTANCE_MASK
} zk_config_importance_mode;
typedef enum { ZK_CONFIG_LR_CONSTANT, ZK_CONFIG_LR_LINEAR, ZK_CONFIG_LR_COSINE } zk_config_lr_schedule;
typedef enum { ZK_CONFIG_TURNS_AUTO, ZK_CONFIG_TURNS_ALWAYS, ZK_CONFIG_TURNS_NEVER } zk_config_turns;
typedef enum { ZK_CONFIG_COMMAND_STOP, ZK_CONFIG_COMMAND_ZERO } zk_config_on_error;
typedef enum { ZK_CONFIG_RESUME_AUTO, ZK_CONFIG_RESUME_NEVER, ZK_CONFIG_RESUME_MUST } zk_config_resume;

// A list of texts. num of them are used; the rest are all zero.
typedef struct {
  int num;
  char text[ZK_CONFIG_MAX_STOPS][ZK_CONFIG_STOP_BYTES];
} zk_config_list;

typedef struct zk_config {
  uint64_t seed;
  zk_numerics numerics;
  zk_config_device device;
  struct {
    char name[ZK_CONFIG_NAME_BYTES];
    char dir[ZK_CONFIG_PATH_BYTES]; // resolved: never "" after a load
    int steps;                      // last step; steps count from 1
    zk_config_resume resume;
  } run;
  struct {
    char path[ZK_CONFIG_PATH_BYTES]; // Hugging Face folder; "" when the model is made from `init`
    struct {                         // meaningful only where path is ""
      zk_model_architecture architecture;
      int layers, hidden, heads;
      int kv_heads; // resolved: heads where the file says 0
      int head_dim; // resolved: hidden / heads where the file says 0
      int intermediate;
      int vocab;         // 0: as many rows as the byte tokenizer has ids
      int max_positions; // longest sequence, prompt and completion
      bool tie;          // the LM head is the embedding
      double rope_theta, norm_eps;
    } init;
  } model;
  struct {
    int rank;  // of each factor; 0: all weights are trained
    int alpha; // what the factors' product is scaled by, times rank
    zk_config_list target_modules;   // names as in PEFT; empty: all
    char path[ZK_CONFIG_PATH_BYTES]; // folder of the adapter to start from; "": a new one
  } lora;
  struct {
    zk_config_task name;
    int template;                            // a zk_chat_template or ZK_CONFIG_TEMPLATE_AUTO
    char system[ZK_CONFIG_TEXT_BYTES];       // system message; "": none
    char path[ZK_CONFIG_PATH_BYTES];         // jsonl: training items
    char heldout_path[ZK_CONFIG_PATH_BYTES]; // jsonl: held-out items; "": the last `heldout` lines of path
    zk_config_grader grader;                 // jsonl
    zk_config_list rewards;                  // "NAME" or "NAME=WEIGHT" (shared/config_reward.h); empty: the task's own
    char regex[ZK_CONFIG_PATH_BYTES];        // regex
    int num_digits;                          // arithmetic, multistep: digits of each operand, at most
    char operations[8];                      // arithmetic, multistep: some of + - *
    int min_steps, max_steps;                // multistep: operations, both included
    int min_numbers, max_numbers;            // countdown: given numbers, both included
    int max_number;                          // countdown: the largest number and target
    int min_length, max_length;              // reverse: characters, both included
    int num_prompts;                         // size of the training pool; 0: unlimited (jsonl: the whole file)
    int heldout;                             // number of held-out items, disjoint from training
    bool shuffle_rewards;                    // control experiment: permute rewards among prompts
  } task;
  struct {
    char run[ZK_CONFIG_PATH_BYTES]; // what /bin/sh runs; "": nothing
    zk_config_list components;      // names of further numbers that it may give
    int turns;                      // 1: it only rewards; more: it may answer, and the sample goes on
    zk_config_on_error on_error;
    int processes; // of each worker
    double timeout_s;
    int retries;
    uint64_t memory; // bytes of address space of each process; 0: no bound
  } command;
  struct {
    int batch; // sequences per step
  } sft;
  struct {
    int prompts_per_step, samples_per_prompt;
    int max_new_tokens;
    double temperature; // 0: greedy
    int top_k;          // 0: off
    double top_p;       // 1: off
    zk_config_list stop;
    bool ignore_eos;
    int max_batch;     // sequences in one engine step
    int page_tokens;   // tokens in a KV page
    uint64_t kv_bytes; // KV cache per rank; 0: automatic
    int prefill_chunk; // prompt tokens in one engine step
    int speculate;
    bool prefix_cache;
    zk_config_sampler numerics; // control experiment
    int weight_bits;            // control experiment; 0: all of them
  } rollout;
  struct {
    zk_algorithm name; // a preset of other keys: what is computed follows from those alone
    zk_config_ratio ratio;
    zk_config_clip clip;
    double clip_low, clip_high; // the ratio is clipped to [1 - clip_low, 1 + clip_high]
    zk_config_loss_aggregation loss_aggregation;
    int loss_constant; // constant: tokens; resolved: rollout.max_new_tokens where the file says 0
    struct {
      zk_config_baseline baseline;
      zk_config_scale scale;
    } advantage;
    struct {
      double coef;
      zk_config_kl_estimator estimator;
      zk_config_kl_place place;
      char reference[ZK_CONFIG_PATH_BYTES];
    } kl;
    double entropy_coef;
    struct {
      zk_config_importance_level level;
      zk_config_importance_mode mode;
      double cap;
    } importance;
    bool dynamic_sampling;
    int dynamic_limit; // prompts tried in a step, at most, / rollout.prompts_per_step
    struct {
      bool mask;
      int buffer;
      double penalty;
    } overlong;
    int epochs, minibatches;
  } algorithm;
  struct {
    double lr;
    zk_config_lr_schedule schedule;
    int warmup_steps;
    double min_lr_ratio; // linear, cosine: the last step's rate is lr * min_lr_ratio
    double beta1, beta2, eps, weight_decay;
    double grad_clip; // global norm; 0: off
  } optimizer;
  struct {
    int grad_leaves; // a power of two
    int microbatch_tokens;
    bool recompute;
    zk_config_turns turns;
  } trainer;
  struct {
    bool write; // false: none, not even of step 0
    int every; // steps; 0: only the last
    int keep;  // newest checkpoints kept besides step 0; 0: all
  } checkpoint;
  struct {
    int every;   // steps; also before the first and after the last; 0: never
    int prompts; // held-out items used; 0: all
    int samples; // 0: greedy only; n: also n samples per item for avg@n and pass@k
    int k;       // of pass@k; 0: samples
  } eval;
  struct {
    int every; // steps per line of talk
    bool tensorboard, progress;
  } log;
} zk_config;

// Fills `out` with every key's default. Required keys have no useful default, so this alone is not a valid config.
void zk_config_defaults(zk_config *out);

// Reads the YAML file `path`, then applies `overrides` ("key.path=value"), checks types, ranges and the keys against
// each other, and resolves what one key takes from another (algorithm.name's preset, run.dir, model.init.kv_heads, ...). With
// path NULL the overrides are applied to the defaults and no key is required (`zerokl score`). Overriding model.path
// sets a file's model.init aside, and the other way round: so runs chain. Errors name file, line, column and key, or
// the override: ZK_IO (cannot read), ZK_BAD_INPUT, ZK_UNSUPPORTED (a key or value that this build does not deliver).
// `out` is written only on success.
zk_status zk_config_load(const char *path, int num_overrides, char *const *overrides, zk_config *out);

// Without a file, for commands that run no training (`zerokl score`): defaults and overrides of class schedule, and of
// numerics. Any other identity key is ZK_BAD_INPUT by name: it would have no effect.
zk_status zk_config_load_schedule(int num_overrides, char *const *overrides, zk_config *out);

// The same for a YAML text of num_bytes bytes in memory; `name` stands for the file's name in errors.
zk_status zk_config_parse(const char *name, const char *text, size_t num_bytes, int num_overrides,
                          char *const *overrides, zk_config *out);

// What the sampler computes in: numerics, unless rollout.numerics says otherwise. Then, and where rollout.weight_bits rounds its weights, the run is
// off-policy by design: sampler and trainer give other log-probabilities.
zk_numerics zk_config_sampler_numerics(const zk_config *cfg);
bool zk_config_is_off_policy(const zk_config *cfg);
// Whether sampler's and trainer's bits may differ without stopping the run: off-policy, or in numerics vendor.
bool zk_config_may_differ(const zk_config *cfg);
// What an archive says of its numerics: "f32", or of an off-policy run "f32, sampled in bf16" or "f32, sampled in bf16 of 3-bit weights".
typedef struct {
  char s[48];
} zk_config_numerics_text;
zk_config_numerics_text zk_config_describe_numerics(const zk_config *cfg);

// Writes the resolved config, every key that applies, as YAML that zk_config_load reads back to the same struct.
zk_status zk_config_write_yaml(const zk_config *cfg, FILE *file);

// The identity keys alone, sorted, one "key: value" per line, values as in the YAML file. This text is what an archive
// holds and what resume compares. The caller frees *out.
zk_status zk_config_identity_text(const zk_config *cfg, char **out);

// Compares two identity texts. Equal: ZK_OK. Different: ZK_BAD_INPUT, naming the first key that differs and both
// values, each with the name of its side ("optimizer.lr: 0.001 in runs/a, 0.002 in this config").
zk_status zk_config_compare_identity(const char *a_name, const char *a_text, const char *b_name, const char *b_text);

// Prints every key with default, meaning, type and range, class, and the value of another key that it needs (--help-config); with `word` (else
// NULL) those with it in path or meaning. Returns how many.
int zk_config_help(FILE *file, const char *word);

#endif
