// Every key of the configuration, once: type, class, default, range and help.
#include "shared/config_keys.h"

#include <string.h>

#define CHOICES(...) ((const zk_config_choice[]){__VA_ARGS__, {NULL, 0}})
#define NAME(name, value)                                                                                              \
  { name, value }

// The member's offset; a key whose kind does not fit its member does not compile.
#define MEMBER(type, member) _Generic(((zk_config *)0)->member, type : offsetof(zk_config, member))
#define KEY(member, kind_, class_, default_)                                                                           \
  .path = #member, .kind = ZK_CONFIG_##kind_, .class = ZK_CONFIG_##class_, .fallback = default_

// The last arguments are the help text and, after it, further fields by name.
#define BOOL(member, class, default_, ...)                                                                             \
  { KEY(member, BOOL, class, default_), .offset = MEMBER(bool, member), .help = __VA_ARGS__ }
#define INT(member, class, default_, min, max, ...)                                                                    \
  {                                                                                                                    \
    KEY(member, INT, class, default_), .offset = MEMBER(int, member), .min_int = min, .max_int = max,                  \
                                       .help = __VA_ARGS__                                                             \
  }
#define U64(member, kind, class, default_, max, ...)                                                                   \
  { KEY(member, kind, class, default_), .offset = MEMBER(uint64_t, member), .max_int = max, .help = __VA_ARGS__ }
#define REAL(member, class, default_, bounds_, min, max, ...)                                                          \
  {                                                                                                                    \
    KEY(member, REAL, class, default_), .offset = MEMBER(double, member), .bounds = bounds_, .min_real = min,          \
                                        .max_real = max, .help = __VA_ARGS__                                           \
  }
#define CHOICE(member, class, default_, choices_, ...)                                                                 \
  {                                                                                                                    \
    KEY(member, CHOICE, class, default_),                                                                              \
        .offset =                                                                                                      \
            offsetof(zk_config, member) + 0 * sizeof(char[sizeof(((zk_config *)0)->member) == sizeof(int) ? 1 : -1]),  \
        .choices = choices_, .help = __VA_ARGS__                                                                       \
  }
#define TEXT(member, class, default_, ...)                                                                             \
  {                                                                                                                    \
    KEY(member, TEXT, class, default_), .offset = MEMBER(char *, member),                                              \
                                        .capacity = sizeof(((zk_config *)0)->member), .help = __VA_ARGS__              \
  }
#define LIST(member, class, default_, ...)                                                                             \
  { KEY(member, LIST, class, default_), .offset = MEMBER(zk_config_list, member), .help = __VA_ARGS__ }

#define REQUIRED NULL
#define WHEN(condition) .when = ZK_CONFIG_WHEN_##condition

static const zk_config_choice architectures[] = {
#define X(id, type, class_name, qkv_bias, qk_norm) NAME(type, ZK_MODEL_##id),
    ZK_MODEL_ARCHITECTURES(X)
#undef X
        {NULL, 0}};

static const zk_config_choice algorithms[] = {
#define X(id, name, ...) NAME(#name, ZK_ALGORITHM_##id),
    ZK_ALGORITHM_LIST(X)
#undef X
        {NULL, 0}};

static const zk_config_choice templates[] = {NAME("auto", ZK_CONFIG_TEMPLATE_AUTO),
#define X(id, name) NAME(name, ZK_CHAT_##id),
                                             ZK_CHAT_LIST(X)
#undef X
                                                 {NULL, 0}};

static const zk_config_choice graders[] = {
#define X(id, name, first, second) NAME(name, ZK_CONFIG_GRADER_##id),
    ZK_CONFIG_GRADER_LIST(X)
#undef X
        {NULL, 0}};

// clang-format off
const zk_config_key zk_config_keys[] = {
  U64(seed, U64, IDENTITY, "0", INT64_MAX, "every random number of the run follows from it"),
  CHOICE(numerics, IDENTITY, "f32",
    CHOICES(NAME("f32", ZK_F32), NAME("bf16", ZK_BF16), NAME("vendor", ZK_VENDOR)),
    "the arithmetic, which defines the bits; f32: alike on every CPU and GPU; bf16: of Hopper GPUs' tensor cores, which a CPU "
    "emulates; vendor: whatever a library picks, which nothing reproduces"),
  CHOICE(device, SCHEDULE, "auto",
    CHOICES(NAME("auto", ZK_CONFIG_DEVICE_AUTO), NAME("cpu", ZK_CONFIG_DEVICE_CPU), NAME("cuda", ZK_CONFIG_DEVICE_CUDA),
      NAME("cuda:0", ZK_CONFIG_DEVICE_CUDA + 1), NAME("cuda:1", ZK_CONFIG_DEVICE_CUDA + 2), NAME("cuda:2", ZK_CONFIG_DEVICE_CUDA + 3),
      NAME("cuda:3", ZK_CONFIG_DEVICE_CUDA + 4), NAME("cuda:4", ZK_CONFIG_DEVICE_CUDA + 5), NAME("cuda:5", ZK_CONFIG_DEVICE_CUDA + 6),
      NAME("cuda:6", ZK_CONFIG_DEVICE_CUDA + 7), NAME("cuda:7", ZK_CONFIG_DEVICE_CUDA + 8)),
    "where to compute; cuda: a GPU for each worker of a host; cuda:N: that one; auto: GPUs if there are enough, else the CPU"),

  TEXT(run.name, SCHEDULE, REQUIRED, "names the run: letters, digits, . _ -"),
  TEXT(run.dir, SCHEDULE, "", "the run directory itself; empty: runs/<run.name>"),
  INT(run.steps, DECAY_LENGTH, REQUIRED, 0, (1 << 20) - 1, "the last step; steps count from 1"),
  CHOICE(run.resume, SCHEDULE, "auto",
    CHOICES(NAME("auto", ZK_CONFIG_RESUME_AUTO), NAME("never", ZK_CONFIG_RESUME_NEVER),
      NAME("must", ZK_CONFIG_RESUME_MUST)),
    "auto: go on from the newest checkpoint of the run directory if there is one; never: refuse a used directory; "
    "must: refuse a new one"),

  TEXT(model.path, IDENTITY, "", "Hugging Face folder or checkpoint to start from; empty: model.init"),
  CHOICE(model.init.architecture, IDENTITY, "llama",
    architectures,
    "model from scratch: qwen2 has biases on q, k and v, qwen3 norms on q and k", WHEN(INIT)),
  INT(model.init.layers, IDENTITY, REQUIRED, 1, 1024, "decoder layers", WHEN(INIT)),
  INT(model.init.hidden, IDENTITY, REQUIRED, 1, 1 << 17, "width of the residual stream", WHEN(INIT)),
  INT(model.init.heads, IDENTITY, REQUIRED, 1, 1024, "query heads", WHEN(INIT)),
  INT(model.init.kv_heads, IDENTITY, "0", 0, 1024,
    "key and value heads, a divisor of heads; 0: as many as heads", WHEN(INIT)),
  INT(model.init.head_dim, IDENTITY, "0", 0, 4096, "width of a head, a multiple of 8; 0: hidden / heads", WHEN(INIT)),
  INT(model.init.intermediate, IDENTITY, REQUIRED, 1, 1 << 19, "width of the SwiGLU", WHEN(INIT)),
  INT(model.init.vocab, IDENTITY, "0", 0, 1 << 24,
    "rows of the embedding; 0: as many as the byte tokenizer has ids", WHEN(INIT)),
  INT(model.init.max_positions, IDENTITY, "2048", 1, 1 << 24,
    "longest sequence, prompt and completion together", WHEN(INIT)),
  BOOL(model.init.tie, IDENTITY, "true", "the LM head is the embedding", WHEN(INIT)),
  REAL(model.init.rope_theta, IDENTITY, "10000", "[]", 1, 1e12, "base of the rotary embedding", WHEN(INIT)),
  REAL(model.init.norm_eps, IDENTITY, "1e-6", "[]", 1e-12, 1, "epsilon of the RMS norms", WHEN(INIT)),

  INT(lora.rank, IDENTITY, "0", 0, 1024, "train a LoRA adapter of this rank beside frozen weights, without dropout; 0: train all weights", WHEN(LORA)),
  INT(lora.alpha, IDENTITY, "32", 1, 1 << 20, "the adapter's product is scaled by lora.alpha / lora.rank", WHEN(LORA)),
  LIST(lora.target_modules, IDENTITY, "", "linear layers that it has factors for, some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; "
    "empty: all", WHEN(LORA)),
  TEXT(lora.path, IDENTITY, "", "folder of the adapter to start from, of this rank, alpha and these layers: a checkpoint of such a run, or PEFT's; empty: a new one",
    WHEN(LORA)),

  CHOICE(task.name, IDENTITY, REQUIRED,
    CHOICES(NAME("reverse", ZK_CONFIG_TASK_REVERSE), NAME("arithmetic", ZK_CONFIG_TASK_ARITHMETIC),
      NAME("multistep", ZK_CONFIG_TASK_MULTISTEP), NAME("countdown", ZK_CONFIG_TASK_COUNTDOWN), NAME("jsonl", ZK_CONFIG_TASK_JSONL)),
    "reverse a string; one operation on two numbers; several, step by step; numbers that must make a target; or lines of a file"),
  CHOICE(task.template, IDENTITY, "auto",
    templates, "chat template; auto: the one of the model's folder, refused if it is not a known one"),
  TEXT(task.system, IDENTITY, "", "system message; empty: none"),
  TEXT(task.path, IDENTITY, "", "lines of {\"prompt\": text or messages, \"label\": text}, or with verl's reward_model.ground_truth for the label", WHEN(JSONL)),
  TEXT(task.heldout_path, IDENTITY, "",
    "the same for held-out items; empty: the last task.heldout lines of task.path", WHEN(JSONL)),
  CHOICE(task.grader, IDENTITY, "exact", graders,
    "what makes an answer right: equal text; equal last number; GSM8K's #### number; the last \\boxed answer; task.regex; an equal JSON value; "
    "countdown's rules", WHEN(JSONL)),
  LIST(task.rewards, IDENTITY, "", "several rewards, their sum by weights: NAME or NAME=WEIGHT, where NAME is task (the task's own), command (command.run's), or a grader as in "
    "task.grader; each is logged as reward/NAME; the first says what counts as right", WHEN(REWARDS)),
  TEXT(task.regex, IDENTITY, REQUIRED, "grader regex: Perl-compatible, searched in the completion; with a group, the last match's first group must be the "
    "label", WHEN(REGEX)),
  INT(task.num_digits, IDENTITY, "2", 1, 9, "digits of each operand, at most", WHEN(OPERANDS)),
  TEXT(task.operations, IDENTITY, "+-*", "some of + - *, each once", WHEN(OPERANDS)),
  INT(task.min_steps, IDENTITY, "2", 1, 8, "operations, at least", WHEN(MULTISTEP)),
  INT(task.max_steps, IDENTITY, "3", 1, 8, "operations, at most", WHEN(MULTISTEP)),
  INT(task.min_numbers, IDENTITY, "3", 2, 8, "numbers given, at least", WHEN(COUNTDOWN)),
  INT(task.max_numbers, IDENTITY, "4", 2, 8, "numbers given, at most", WHEN(COUNTDOWN)),
  INT(task.max_number, IDENTITY, "99", 1, 9999, "the largest number, and target", WHEN(COUNTDOWN)),
  INT(task.min_length, IDENTITY, "1", 1, 4096, "characters of the shortest string", WHEN(REVERSE)),
  INT(task.max_length, IDENTITY, "8", 1, 4096, "characters of the longest string", WHEN(REVERSE)),
  INT(task.num_prompts, IDENTITY, "0", 0, INT32_MAX, "size of the training pool; 0: all there are"),
  INT(task.heldout, IDENTITY, "500", 0, 1 << 20, "number of held-out items, disjoint from training"),
  BOOL(task.shuffle_rewards, IDENTITY, "false", "control experiment: permute the rewards among prompts"),

  TEXT(command.run, IDENTITY, "", "a program that gives rewards (task.rewards: [command]) or answers (command.turns), as /bin/sh runs it: reads and writes JSON "
    "lines, see experiments/rewards/README.md", WHEN(COMMAND)),
  LIST(command.components, IDENTITY, "", "names of further numbers in its answers' \"components\", logged as reward/NAME and stored", WHEN(COMMAND)),
  INT(command.turns, IDENTITY, "1", 1, 64, "turns of a sample at most; with more than 1 the program may answer a turn with a \"reply\": it is appended, not "
    "trained on, and sampling goes on", WHEN(COMMAND)),
  CHOICE(command.on_error, IDENTITY, "stop",
    CHOICES(NAME("stop", ZK_CONFIG_COMMAND_STOP), NAME("zero", ZK_CONFIG_COMMAND_ZERO)),
    "when there is no answer after all retries: stop the run with one message, or go on with 0, recorded in sample/reward_detail", WHEN(COMMAND)),
  INT(command.processes, SCHEDULE, "2", 1, 1024, "processes of the program, for each worker", WHEN(COMMAND)),
  REAL(command.timeout_s, SCHEDULE, "60", "(]", 0, 1e6, "seconds that an answer may take, its process's start included; who is late is killed", WHEN(COMMAND)),
  INT(command.retries, SCHEDULE, "1", 0, 100, "further tries of a request in a fresh process, after a time-out, an end or what is no answer", WHEN(COMMAND)),
  U64(command.memory, SIZE, SCHEDULE, "4GiB", INT64_MAX, "address space of each process; 0: no bound", WHEN(COMMAND)),

  INT(sft.batch, IDENTITY, "32", 1, 1 << 20, "sequences in a step of `zerokl sft`"),

  INT(rollout.prompts_per_step, IDENTITY, "8", 1, 1 << 16, "prompts (groups) in a step"),
  INT(rollout.samples_per_prompt, IDENTITY, "8", 1, 4096, "completions of each prompt (a group)"),
  INT(rollout.max_new_tokens, IDENTITY, "256", 1, 1 << 20, "tokens of the longest completion"),
  REAL(rollout.temperature, IDENTITY, "1", "[]", 0, 100, "what logits are divided by before sampling; 0: greedy"),
  INT(rollout.top_k, IDENTITY, "0", 0, 1 << 24, "sample from the k most likely tokens; 0: all"),
  REAL(rollout.top_p, IDENTITY, "1", "(]", 0, 1,
    "sample from the most likely tokens of this total probability; 1: all"),
  LIST(rollout.stop, IDENTITY, "", "texts that end a completion"),
  BOOL(rollout.ignore_eos, IDENTITY, "false", "always sample max_new_tokens tokens (for benchmarks)"),
  INT(rollout.max_batch, SCHEDULE, "64", 1, 1 << 16, "sequences in an engine step, per rank"),
  INT(rollout.page_tokens, SCHEDULE, "64", 16, 1 << 16, "tokens in a page of the KV cache", .multiple_of = 16),
  U64(rollout.kv_bytes, SIZE, SCHEDULE, "0", INT64_C(1) << 60, "KV cache per rank; 0: automatic"),
  INT(rollout.prefill_chunk, SCHEDULE, "512", 1, 1 << 20, "prompt tokens in an engine step"),
  INT(rollout.speculate, SCHEDULE, "0", 0, 64, "tokens guessed ahead and checked in one step, per sequence at most; 0: none"),
  BOOL(rollout.prefix_cache, SCHEDULE, "true",
    "prompts that begin alike share what is in the KV cache, within a step and across steps until the weights change"),
  CHOICE(rollout.numerics, IDENTITY, "trainer",
    CHOICES(NAME("trainer", ZK_CONFIG_SAMPLER_TRAINER), NAME("f32", ZK_CONFIG_SAMPLER_OTHER + ZK_F32), NAME("bf16", ZK_CONFIG_SAMPLER_OTHER + ZK_BF16),
      NAME("vendor", ZK_CONFIG_SAMPLER_OTHER + ZK_VENDOR)),
    "control experiment: the sampler computes in these numerics and the trainer in others, so that the run is off-policy: mismatches are counted, stop "
    "nothing, and no bit of sampler and trainer is claimed to be equal; trainer: the same, which is what a run is for", WHEN(OFF_POLICY)),
  INT(rollout.weight_bits, IDENTITY, "0", 0, 6,
    "control experiment: the sampler's weights are the trainer's, rounded to so many bits behind the leading one (an e4m3's are 3), so that the run is "
    "off-policy as with rollout.numerics; 0: all bits", WHEN(WEIGHT_BITS)),

  CHOICE(algorithm.name, IDENTITY, "grpo",
    algorithms, "the algorithm: gives the defaults of other algorithm.* keys, by the table at the end; keys of the file win"),
  CHOICE(algorithm.ratio, IDENTITY, "token",
    CHOICES(NAME("token", ZK_CONFIG_RATIO_TOKEN), NAME("sequence", ZK_CONFIG_RATIO_SEQUENCE), NAME("none", ZK_CONFIG_RATIO_NONE)),
    "the policy's probability over the sampler's, of each token, of a sample (geometric mean of its tokens'), or none: -A log p"),
  CHOICE(algorithm.clip, IDENTITY, "ppo",
    CHOICES(NAME("ppo", ZK_CONFIG_CLIP_PPO), NAME("cispo", ZK_CONFIG_CLIP_CISPO), NAME("none", ZK_CONFIG_CLIP_NONE)),
    "ppo: min(r A, clip(r) A); cispo: clip(r) is a constant weight of A log p; none"),
  REAL(algorithm.clip_low, IDENTITY, "0.2", "[]", 0, 1, "the ratio is clipped from below at 1 - clip_low", WHEN(CLIP)),
  REAL(algorithm.clip_high, IDENTITY, "0.2", "[]", 0, 1e6,
    "the ratio is clipped from above at 1 + clip_high", WHEN(CLIP)),
  CHOICE(algorithm.loss_aggregation, IDENTITY, "token_mean",
    CHOICES(NAME("token_mean", ZK_CONFIG_LOSS_TOKEN_MEAN), NAME("sequence_mean", ZK_CONFIG_LOSS_SEQUENCE_MEAN),
      NAME("constant", ZK_CONFIG_LOSS_CONSTANT)),
    "mean over all tokens of the update, mean of the sequences' means, or sum over sequences x loss_constant"),
  INT(algorithm.loss_constant, IDENTITY, "0", 0, 1 << 20,
    "tokens that a sequence's sum is divided by; 0: rollout.max_new_tokens", WHEN(CONSTANT)),
  CHOICE(algorithm.advantage.baseline, IDENTITY, "group_mean",
    CHOICES(NAME("group_mean", ZK_CONFIG_BASELINE_GROUP_MEAN), NAME("none", ZK_CONFIG_BASELINE_NONE),
      NAME("leave_one_out", ZK_CONFIG_BASELINE_LEAVE_ONE_OUT), NAME("batch_mean", ZK_CONFIG_BASELINE_BATCH_MEAN)),
    "what is subtracted from a reward: the mean of its group, nothing, the mean of the group's others, or the mean of the step"),
  CHOICE(algorithm.advantage.scale, IDENTITY, "std",
    CHOICES(NAME("std", ZK_CONFIG_SCALE_STD),
      NAME("none", ZK_CONFIG_SCALE_NONE), NAME("batch_std", ZK_CONFIG_SCALE_BATCH_STD)),
    "what the difference is divided by: the standard deviation of the group's rewards, nothing, or that of the step's differences"),
  REAL(algorithm.kl.coef, IDENTITY, "0", "[]", 0, 1e6, "weight of the divergence from a frozen reference model; 0: none is loaded"),
  CHOICE(algorithm.kl.estimator, IDENTITY, "k3",
    CHOICES(NAME("k1", ZK_CONFIG_KL_K1), NAME("k2", ZK_CONFIG_KL_K2), NAME("k3", ZK_CONFIG_KL_K3)),
    "estimator of the divergence at a token, d = log p - log p_reference: d, d^2 / 2, or e^-d - 1 + d", WHEN(KL)),
  CHOICE(algorithm.kl.place, IDENTITY, "loss",
    CHOICES(NAME("loss", ZK_CONFIG_KL_IN_LOSS), NAME("reward", ZK_CONFIG_KL_IN_REWARD)),
    "added to each token's loss, or its sum over a sample's tokens subtracted from the reward", WHEN(KL)),
  TEXT(algorithm.kl.reference, IDENTITY, "",
    "folder of the reference model, of the same tokenizer; empty: the run's first weights", WHEN(KL)),
  REAL(algorithm.entropy_coef, IDENTITY, "0", "[]", 0, 1e6, "weight of an entropy bonus: of the tokens' mean entropy, subtracted from the loss"),
  CHOICE(algorithm.importance.level, IDENTITY, "token",
    CHOICES(NAME("token", ZK_CONFIG_IMPORTANCE_TOKEN), NAME("sequence", ZK_CONFIG_IMPORTANCE_SEQUENCE)),
    "importance weights of each token, or of a sample (product of its tokens')", WHEN(IMPORTANCE)),
  CHOICE(algorithm.importance.mode, IDENTITY, "none",
    CHOICES(NAME("none", ZK_CONFIG_IMPORTANCE_NONE), NAME("truncate", ZK_CONFIG_IMPORTANCE_TRUNCATE),
      NAME("mask", ZK_CONFIG_IMPORTANCE_MASK)),
    "correct what sampler and trainer disagree on by a weight; truncate (TIS): the cap is its largest value; mask (MIS): 0 above the cap"),
  REAL(algorithm.importance.cap, IDENTITY, "2", "[]", 1, 1e6, "largest importance weight", WHEN(IMPORTANCE)),
  BOOL(algorithm.dynamic_sampling, IDENTITY, "false",
    "further prompts take the places of those whose samples' rewards are all equal, in the order of the prompts"),
  INT(algorithm.dynamic_limit, SCHEDULE, "10", 1, ZK_CONFIG_MOST_TRIED,
    "prompts tried in a step, times rollout.prompts_per_step; the run stops where they do not fill it", WHEN(DYNAMIC)),
  BOOL(algorithm.overlong.mask, IDENTITY, "false", "leave completions that ended at their greatest length out of the loss"),
  REAL(algorithm.overlong.penalty, IDENTITY, "0", "[]", 0, 1e6, "subtracted from the reward of a completion of max_new_tokens; 0: none"),
  INT(algorithm.overlong.buffer, IDENTITY, "0", 0, 1 << 20,
    "last tokens of max_new_tokens over which the penalty grows from 0; 0: a fifth of them", WHEN(OVERLONG)),
  INT(algorithm.epochs, IDENTITY, "1", 1, 1024, "passes over the samples of a step"),
  INT(algorithm.minibatches, IDENTITY, "1", 1, 4096, "updates in a pass: the step's samples, in order, cut into as many even parts"),

  REAL(optimizer.lr, IDENTITY, "1e-6", "[]", 0, 1e3, "learning rate of AdamW after the warm-up"),
  CHOICE(optimizer.schedule, IDENTITY, "constant",
    CHOICES(NAME("constant", ZK_CONFIG_LR_CONSTANT), NAME("linear", ZK_CONFIG_LR_LINEAR),
      NAME("cosine", ZK_CONFIG_LR_COSINE)),
    "how the rate decays from the end of the warm-up to run.steps"),
  INT(optimizer.warmup_steps, IDENTITY, "0", 0, (1 << 20) - 1, "steps of linear warm-up"),
  REAL(optimizer.min_lr_ratio, IDENTITY, "0", "[]", 0, 1, "linear, cosine: last rate / lr"),
  REAL(optimizer.beta1, IDENTITY, "0.9", "[)", 0, 1, "decay of the first moment"),
  REAL(optimizer.beta2, IDENTITY, "0.95", "[)", 0, 1, "decay of the second moment"),
  REAL(optimizer.eps, IDENTITY, "1e-8", "[]", 1e-30, 1, "added to the root of the second moment"),
  REAL(optimizer.weight_decay, IDENTITY, "0", "[]", 0, 1e3, "decoupled weight decay"),
  REAL(optimizer.grad_clip, IDENTITY, "1", "[]", 0, 1e9, "largest global norm of the gradient; 0: no clipping"),

  INT(trainer.grad_leaves, IDENTITY, "8", 1, 4096,
    "parts of a batch whose gradients are summed in a fixed tree, at least the "
    "number of ranks", .power_of_two = true),
  INT(trainer.microbatch_tokens, SCHEDULE, "4096", 16, 1 << 24, "tokens in one forward and backward pass, at least"),
  BOOL(trainer.recompute, SCHEDULE, "false", "recompute activations in the backward pass: less memory, more time"),
  CHOICE(trainer.turns, SCHEDULE, "auto",
    CHOICES(NAME("auto", ZK_CONFIG_TURNS_AUTO), NAME("always", ZK_CONFIG_TURNS_ALWAYS), NAME("never", ZK_CONFIG_TURNS_NEVER)),
    "sampling and training take turns at the device's memory: the KV cache is given back while training; auto: on a GPU that "
    "has not enough for both"),

  BOOL(checkpoint.write, SCHEDULE, "true", "false: no checkpoints, not even of step 0; such a run cannot go on later (for measurements)"),
  INT(checkpoint.every, SCHEDULE, "50", 0, (1 << 20) - 1, "steps between checkpoints; 0: only after the last"),
  INT(checkpoint.keep, SCHEDULE, "2", 0, 1 << 20, "newest checkpoints kept besides step 0; 0: all"),

  INT(eval.every, SCHEDULE, "0", 0, (1 << 20) - 1,
    "steps between evaluations, also before the first and after the last step; 0: none"),
  INT(eval.prompts, SCHEDULE, "0", 0, 1 << 20, "held-out items used; 0: all"),
  INT(eval.samples, SCHEDULE, "0", 0, 4096, "0: greedy only; n: also n samples an item for avg@n and pass@k"),
  INT(eval.k, SCHEDULE, "0", 0, 4096, "k of pass@k, at most eval.samples, from which it is estimated without bias; 0: eval.samples"),

  INT(log.every, SCHEDULE, "1", 1, (1 << 20) - 1, "steps between lines of talk"),
  BOOL(log.tensorboard, SCHEDULE, "false", "every number of the metrics also as TensorBoard's scalars, in RUN/tensorboard"),
  BOOL(log.progress, SCHEDULE, "true", "show progress within a step"),
};
// clang-format on

const int zk_config_num_keys = sizeof zk_config_keys / sizeof *zk_config_keys;
_Static_assert(sizeof zk_config_keys / sizeof *zk_config_keys <= ZK_CONFIG_MAX_KEYS, "raise ZK_CONFIG_MAX_KEYS");

int zk_config_key_find(const char *path) {
  for (int i = 0; i < zk_config_num_keys; i++)
    if (strcmp(zk_config_keys[i].path, path) == 0) return i;
  return -1;
}

int zk_config_group_find(const char *path) {
  size_t len = strlen(path);
  for (int i = 0; i < zk_config_num_keys; i++)
    if (strncmp(zk_config_keys[i].path, path, len) == 0 && zk_config_keys[i].path[len] == '.') return i;
  return -1;
}

bool zk_config_key_applies(const zk_config_key *key, const zk_config *cfg) {
  switch (key->when) {
#define X(name, governor, condition)                                                                                   \
  case ZK_CONFIG_WHEN_##name:                                                                                          \
    return condition;
    ZK_CONFIG_WHEN_LIST(X)
#undef X
  }
  return true;
}

const char *zk_config_key_governor(const zk_config_key *key) {
  static const char *const governors[] = {
#define X(name, governor, condition) governor,
      ZK_CONFIG_WHEN_LIST(X)
#undef X
  };
  return governors[key->when];
}

bool zk_config_key_is_identity(const zk_config_key *key, const zk_config *cfg) {
  if (key->class == ZK_CONFIG_DECAY_LENGTH) return cfg->optimizer.schedule != ZK_CONFIG_LR_CONSTANT;
  return key->class == ZK_CONFIG_IDENTITY;
}
