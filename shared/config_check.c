// What only the whole configuration shows: missing keys, keys without effect, derived values, keys that contradict each
// other.
#include "shared/config_keys.h"
#include "shared/params.h"

#include <stdlib.h>
#include <string.h>

static zk_config_origin origin_of(const zk_config_reader *r, const char *path) {
  return r->origin[zk_config_key_find(path)];
}

static bool is_given(zk_config_origin origin) { return origin.line > 0 || origin.override_num > 0; }

// Where a key that is missing could have stood: the innermost group of it that the file gives.
static zk_config_origin missing_origin(const zk_config_reader *r, const char *path) {
  zk_config_origin best = {0};
  size_t best_len = 0;
  for (int i = 0; i < r->num_groups; i++) {
    size_t len = r->group[i].path_len;
    if (len && (strncmp(path, r->group[i].path, len) || path[len] != '.')) continue;
    if (len >= best_len) {
      best = r->group[i].origin;
      best_len = len;
    }
  }
  return best;
}

static bool any_init_given(const zk_config_reader *r) {
  for (int i = 0; i < zk_config_num_keys; i++)
    if (zk_config_keys[i].when == ZK_CONFIG_WHEN_INIT && is_given(r->origin[i])) return true;
  return false;
}

static zk_status check_required(const zk_config_reader *r) {
  if (r->cfg.model.path[0] == 0 && !any_init_given(r))
    return zk_config_reader_place(r, missing_origin(r, "model.path"),
                                  ZK_FAIL(ZK_BAD_INPUT,
                                          "model: give model.path (a Hugging Face folder or a checkpoint) "
                                          "or model.init (a model from scratch)"));
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    bool empty = key->kind == ZK_CONFIG_TEXT && ((const char *)&r->cfg)[key->offset] == 0;
    if (key->fallback || (is_given(r->origin[i]) && !empty) || !zk_config_key_applies(key, &r->cfg)) continue;
    char range[ZK_CONFIG_RANGE_BYTES];
    return zk_config_reader_place(
        r, missing_origin(r, key->path),
        ZK_FAIL(ZK_BAD_INPUT, "%s: missing; expected %s: %s", key->path, zk_config_key_range(key, range), key->help));
  }
  return ZK_OK;
}

// The defaults that algorithm.name gives to keys that are not given.
static zk_status apply_preset(zk_config_reader *r) {
  const zk_algorithm_row *row = &zk_algorithms[r->cfg.algorithm.name];
  for (int i = 0; i < ZK_ALGORITHM_NUM_KEYS; i++) {
    const int idx = zk_config_key_find(zk_algorithm_keys[i]);
    if (is_given(r->origin[idx])) continue;
    ZK_TRY(zk_config_value_set(&zk_config_keys[idx], row->values[i], strlen(row->values[i]), true, &r->cfg));
  }
  return ZK_OK;
}

// Where a key's value comes from; of a preset's, algorithm.name.
static zk_config_origin governor_origin(const zk_config_reader *r, int idx) {
  for (int i = 0; i < ZK_ALGORITHM_NUM_KEYS && !is_given(r->origin[idx]); i++)
    if (!strcmp(zk_config_keys[idx].path, zk_algorithm_keys[i])) return origin_of(r, "algorithm.name");
  return r->origin[idx];
}

// A key that was given but has no effect: set aside when it is the file's and an override is what made it so, else
// refused.
static zk_status check_effect(zk_config_reader *r) {
  for (int i = 0; i < zk_config_num_keys; i++) {
    const zk_config_key *key = &zk_config_keys[i];
    if (!is_given(r->origin[i]) || zk_config_key_applies(key, &r->cfg) || zk_config_value_is_default(key, &r->cfg))
      continue;
    int governor_idx = zk_config_key_find(zk_config_key_governor(key));
    if (r->origin[i].override_num == 0 && governor_origin(r, governor_idx).override_num > 0) {
      zk_config_value_reset(key, &r->cfg);
      r->origin[i] = (zk_config_origin){0};
      continue;
    }
    const zk_config_key *governor = &zk_config_keys[governor_idx];
    char *value = zk_config_value_text(governor, &r->cfg);
    zk_status st =
        ZK_FAIL(ZK_BAD_INPUT, "%s: has no effect with %s: %s", key->path, governor->path, value ? value : "?");
    free(value);
    return zk_config_reader_place(r, r->origin[i], st);
  }
  return ZK_OK;
}

// ---- keys against each other -----------------------------------------------------------------------------------

static bool bad_name(const zk_config *c) {
  if (c->run.name[0] == '.') return true;
  for (const char *p = c->run.name; *p; p++)
    if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') && !strchr("._-", *p))
      return true;
  return false;
}

static bool bad_operations(const zk_config *c) {
  const char *ops = c->task.operations;
  for (const char *p = ops; *p; p++)
    if (!strchr("+-*", *p) || strchr(p + 1, *p)) return true;
  return ops[0] == 0;
}

static bool from_init(const zk_config *c) { return c->model.path[0] == 0 && c->model.init.heads > 0; }
static bool bad_hidden(const zk_config *c) {
  return from_init(c) && c->model.init.head_dim == 0 && c->model.init.hidden % c->model.init.heads != 0;
}
static bool bad_head_dim(const zk_config *c) {
  int dim =
      from_init(c) && c->model.init.head_dim == 0 ? c->model.init.hidden / c->model.init.heads : c->model.init.head_dim;
  return dim % 8 != 0;
}
static bool bad_kv_heads(const zk_config *c) {
  return from_init(c) && c->model.init.kv_heads > 0 && c->model.init.heads % c->model.init.kv_heads != 0;
}
// Whether an entry of lora.target_modules is no name of a target, or stands twice.
static bool bad_targets(const zk_config *c) {
  const zk_config_list *list = &c->lora.target_modules;
  for (int i = 0; i < list->num; i++) {
    int found = 0;
    for (int t = 0; t < ZK_LORA_NUM_TARGETS; t++) found += !strcmp(list->text[i], zk_lora_target_name((zk_lora_target)t));
    for (int j = 0; j < i; j++) found -= !strcmp(list->text[i], list->text[j]);
    if (found != 1) return true;
  }
  return false;
}
static bool lists_command(const zk_config *c) {
  for (int i = 0; i < c->task.rewards.num; i++)
    if (!strncmp(c->task.rewards.text[i], "command", 7)) return true;
  return false;
}
static bool bad_rewards(const zk_config *c) { return lists_command(c) && c->command.run[0] == 0; }
static bool bad_command(const zk_config *c) { return c->command.run[0] != 0 && !lists_command(c) && c->command.turns == 1; }
static bool bad_components(const zk_config *c) { return c->command.components.num > 0 && !lists_command(c); }
static bool bad_k(const zk_config *c) { return c->eval.k > c->eval.samples; }
static bool bad_steps(const zk_config *c) { return c->task.min_steps > c->task.max_steps; }
static bool bad_numbers(const zk_config *c) { return c->task.min_numbers > c->task.max_numbers; }
static bool bad_lengths(const zk_config *c) { return c->task.min_length > c->task.max_length; }
static bool bad_jsonl(const zk_config *c) { return c->task.name == ZK_CONFIG_TASK_JSONL && c->task.path[0] == 0; }
static bool bad_temperature(const zk_config *c) { return c->rollout.temperature > 0 && c->rollout.temperature < 0.01; }
static bool bad_group(const zk_config *c) {
  return c->rollout.samples_per_prompt < 2 && (c->algorithm.advantage.baseline == ZK_CONFIG_BASELINE_GROUP_MEAN ||
                                               c->algorithm.advantage.baseline == ZK_CONFIG_BASELINE_LEAVE_ONE_OUT ||
                                               c->algorithm.advantage.scale == ZK_CONFIG_SCALE_STD || c->algorithm.dynamic_sampling);
}
static bool bad_clip(const zk_config *c) {
  return c->algorithm.ratio == ZK_CONFIG_RATIO_NONE && c->algorithm.clip != ZK_CONFIG_CLIP_NONE;
}
static bool bad_buffer(const zk_config *c) { return c->algorithm.overlong.buffer > c->rollout.max_new_tokens; }
static bool bad_sampler_adapter(const zk_config *c) { return c->rollout.numerics && c->lora.rank > 0; }
static bool bad_sampler_numerics(const zk_config *c) { return c->rollout.numerics && zk_config_sampler_numerics(c) == c->numerics; }
static bool bad_bits_adapter(const zk_config *c) { return c->rollout.weight_bits > 0 && c->lora.rank > 0; }
static bool bad_minibatches(const zk_config *c) {
  return c->algorithm.minibatches > (int64_t)c->rollout.prompts_per_step * c->rollout.samples_per_prompt;
}

static bool has_filter(const zk_config *c) { return c->rollout.top_k > 0 || c->rollout.top_p < 1; }
// A token that was sampled within the filter may lie outside of it once the weights have changed, and its log-probability is -inf then.
static bool bad_filter(const zk_config *c) { return has_filter(c) && (c->algorithm.epochs > 1 || c->algorithm.minibatches > 1); }
// So may one at the filter's edge, where the trainer's logits are not the sampler's.
static bool bad_filter_control(const zk_config *c) { return has_filter(c) && c->rollout.numerics; }
static bool bad_filter_bits(const zk_config *c) { return has_filter(c) && c->rollout.weight_bits > 0; }
static bool bad_filter_vendor(const zk_config *c) { return has_filter(c) && c->numerics == ZK_VENDOR; }

static const struct {
  const char *path; // the key to blame
  bool (*is_bad)(const zk_config *cfg);
  const char *text;
} rules[] = {
    {"run.name", bad_name, "letters, digits, . _ - only, and no . first"},
    {"model.init.hidden", bad_hidden, "not a multiple of model.init.heads: change one, or give model.init.head_dim"},
    {"model.init.head_dim", bad_head_dim, "must be a multiple of 8, the elements that a kernel reads at once (0: hidden / heads)"},
    {"model.init.kv_heads", bad_kv_heads, "does not divide model.init.heads"},
    {"lora.target_modules", bad_targets, "some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, each once"},
    {"task.path", bad_jsonl, "task.name: jsonl needs a file of training items"},
    {"task.operations", bad_operations, "some of + - *, each once"},
    {"task.min_length", bad_lengths, "greater than task.max_length"},
    {"task.min_steps", bad_steps, "greater than task.max_steps"},
    {"task.min_numbers", bad_numbers, "greater than task.max_numbers"},
    {"task.rewards", bad_rewards, "command needs a program: give command.run"},
    {"command.run", bad_command, "nothing uses it: list command in task.rewards, or let it answer with command.turns"},
    {"command.components", bad_components, "has no effect without command in task.rewards"},
    {"eval.k", bad_k, "greater than eval.samples, which it is estimated from"},
    {"rollout.temperature", bad_temperature, "must be 0 (greedy) or at least 0.01"},
    {"rollout.numerics", bad_sampler_adapter, "the control of a sampler in other numerics has no adapter: leave it or lora.rank out"},
    {"rollout.numerics", bad_sampler_numerics, "the trainer computes in these too: leave the key out (it makes a sampler that differs, as a control)"},
    {"rollout.weight_bits", bad_bits_adapter, "the control of a sampler with coarser weights has no adapter: leave it or lora.rank out"},
    {"rollout.samples_per_prompt", bad_group,
     "must be at least 2 with algorithm.advantage.baseline: group_mean or leave_one_out, scale: std, or dynamic_sampling"},
    {"algorithm.clip", bad_clip, "there is nothing to clip with algorithm.ratio: none: set it to none too, or choose a ratio"},
    {"algorithm.overlong.buffer", bad_buffer, "greater than rollout.max_new_tokens"},
    {"algorithm.minibatches", bad_minibatches, "more than the step has samples (rollout.prompts_per_step x samples_per_prompt)"},
    {"algorithm.minibatches", bad_filter, "with rollout.top_k or top_p a step is one update: a sampled token may leave the filter with the first, and has "
     "probability 0 then. Set epochs and minibatches to 1, or top_k to 0 and top_p to 1"},
    {"rollout.numerics", bad_filter_control, "with rollout.top_k or top_p the sampler draws tokens that have probability 0 for a trainer in other numerics. Set top_k to 0 "
     "and top_p to 1, or leave the key out"},
    {"rollout.weight_bits", bad_filter_bits, "with rollout.top_k or top_p the sampler draws tokens that have probability 0 for a trainer with finer weights. Set top_k to 0 "
     "and top_p to 1, or leave the key out"},
    {"numerics", bad_filter_vendor, "in vendor, sampler and trainer differ, and with rollout.top_k or top_p tokens are drawn that have probability 0 for the trainer. Set top_k to 0 "
     "and top_p to 1, or choose other numerics"},
};

static zk_status check_rules(const zk_config_reader *r) {
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    if (!rules[i].is_bad(&r->cfg)) continue;
    zk_config_origin origin = origin_of(r, rules[i].path);
    if (!is_given(origin)) origin = missing_origin(r, rules[i].path);
    return zk_config_reader_place(r, origin, ZK_FAIL(ZK_BAD_INPUT, "%s: %s", rules[i].path, rules[i].text));
  }
  return ZK_OK;
}

static void resolve(zk_config *c) {
  if (c->algorithm.loss_aggregation == ZK_CONFIG_LOSS_CONSTANT && c->algorithm.loss_constant == 0)
    c->algorithm.loss_constant = c->rollout.max_new_tokens;
  if (c->algorithm.overlong.penalty > 0 && c->algorithm.overlong.buffer == 0) c->algorithm.overlong.buffer = (c->rollout.max_new_tokens + 4) / 5;
  if (from_init(c)) {
    if (c->model.init.kv_heads == 0) c->model.init.kv_heads = c->model.init.heads;
    if (c->model.init.head_dim == 0) c->model.init.head_dim = c->model.init.hidden / c->model.init.heads;
  }
  if (c->run.dir[0] == 0 && c->run.name[0]) snprintf(c->run.dir, sizeof c->run.dir, "runs/%s", c->run.name);
}

zk_status zk_config_reader_finish(zk_config_reader *r) {
  ZK_TRY(apply_preset(r));
  ZK_TRY(check_effect(r));
  if (r->name) ZK_TRY(check_required(r));
  ZK_TRY(check_rules(r));
  zk_status rewards = zk_config_check_rewards(&r->cfg);
  if (rewards != ZK_OK) return zk_config_reader_place(r, origin_of(r, "task.rewards"), rewards);
  resolve(&r->cfg);
  return ZK_OK;
}
