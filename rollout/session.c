// Opening in the order in which mistakes are cheapest to find: task data, tokenizer, model config, device, then weights.
#include "rollout/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/check.h"
#include "shared/adapter_base_name.h"
#include "shared/adapter_folder.h"
#include "shared/comm_same.h"
#include "shared/device_choice.h"
#include "shared/file_util.h"
#include "shared/log.h"
#include "shared/model.h"

// The model of model.init: a config, the byte tokenizer in a temporary folder, and weights as a function of the seed.
static zk_model_config init_config(const zk_config *c) {
  zk_model_config m = zk_model_config_default(c->model.init.architecture);
  m.num_layers = c->model.init.layers, m.hidden = c->model.init.hidden, m.num_heads = c->model.init.heads;
  m.num_kv_heads = c->model.init.kv_heads, m.head_dim = c->model.init.head_dim, m.intermediate = c->model.init.intermediate;
  m.vocab = c->model.init.vocab ? c->model.init.vocab : ZK_BYTE_TOKENIZER_VOCAB;
  m.tie_embeddings = c->model.init.tie, m.rms_eps = (float)c->model.init.norm_eps, m.rope.theta = c->model.init.rope_theta;
  m.max_position = c->model.init.max_positions;
  m.num_eos = 1, m.eos_ids[0] = ZK_BYTE_TOKENIZER_EOS;
  return m;
}

static zk_status make_temporary_dir(zk_session *s) {
  const char *base = getenv("TMPDIR");
  snprintf(s->model_dir, sizeof s->model_dir, "%s/zerokl-XXXXXX", base && *base ? base : "/tmp");
  if (!mkdtemp(s->model_dir)) return ZK_FAIL(ZK_IO, "%s: cannot make a temporary folder", s->model_dir);
  s->model_dir_is_temporary = true;
  return zk_tokenizer_write_bytes(s->model_dir);
}

static zk_status choose_chat(zk_session *s) {
  if (s->config.task.template != ZK_CONFIG_TEMPLATE_AUTO) {
    s->chat = (zk_chat_template)s->config.task.template;
    return ZK_OK;
  }
  return zk_chat_detect(s->tokenizer, &s->chat);
}

static void add_eos(zk_session *s, int32_t id) {
  for (int32_t i = 0; i < s->num_eos; i++)
    if (s->eos_ids[i] == id) return;
  if (id >= 0 && s->num_eos < ZK_MODEL_MAX_EOS + 1) s->eos_ids[s->num_eos++] = id;
}

// A completion ends at any eos of the model, and where the chat template ends a turn.
static void collect_eos(zk_session *s, const zk_model_config *m) {
  for (int i = 0; i < m->num_eos; i++) add_eos(s, m->eos_ids[i]);
  const char *end = zk_chat_end_of_turn(s->chat);
  if (end) add_eos(s, zk_tokenizer_find(s->tokenizer, end));
  if (!s->num_eos) add_eos(s, zk_tokenizer_eos(s->tokenizer));
}

// Longest sequences are the model's own; tables end somewhere.
int32_t zk_session_positions(const zk_model_config *m) { return m->max_position < (1 << 18) ? m->max_position : 1 << 18; }

zk_status zk_session_model_config(const zk_config *config, zk_model_config *out) {
  if (config->model.path[0]) return zk_model_load_config(config->model.path, out);
  *out = init_config(config);
  return zk_model_config_check(out);
}

static bool has_adapter(const zk_session *s) { return s->config.lora.rank > 0; }

const char *zk_session_origin(const zk_session *s) { return has_adapter(s) ? s->adapter_dir : s->weights_dir; }

zk_status zk_session_weights(const zk_session *s, zk_weight_source *out) {
  return zk_weight_source_open(zk_session_origin(s), &s->policy.config, zk_policy_trained(&s->policy).params, s->config.seed, out);
}

static zk_status load_weights(zk_session *s) {
  zk_weight_source source;
  ZK_TRY(zk_weight_source_open(s->weights_dir, &s->policy.config, &s->policy.params, s->config.seed, &source));
  zk_status st = zk_policy_fill(&s->policy, s->stream, &source);
  zk_weight_source_close(&source);
  return st;
}

// The talk of a rank 0 about numerics that a person should know of.
static void tell_numerics(const zk_session *s) {
  const zk_config *c = &s->config;
  const zk_numerics sampler = zk_config_sampler_numerics(c);
  if ((c->numerics == ZK_BF16 || sampler == ZK_BF16) && zk_device_get_kind(s->device) == ZK_DEVICE_CPU)
    ZK_LOG(INFO, "session", "numerics: bf16 on a CPU is a tensor core emulated bit for bit: right, and slow");
  if (c->numerics == ZK_VENDOR || sampler == ZK_VENDOR)
    ZK_LOG(INFO, "session", "numerics: vendor: sums in whatever order the vendor's library takes; what sampler and trainer disagree on is reported "
                            "and stops nothing");
  if (zk_config_is_off_policy(c))
    ZK_LOG(WARN, "session", "%s: an off-policy control. Sampler's and trainer's log-probabilities differ, which is reported and stops nothing; what is said "
                            "elsewhere of equal bits does not hold for this run",
           zk_config_describe_numerics(c).s);
}

// Of an adapter whose folder has no hash of its base a name is all there is to compare.
static void tell_base(const char *dir, const char *model) {
  const zk_path name = zk_adapter_base_name(dir);
  if (!name.s[0] || zk_file_exists(zk_path_make("%s/zerokl_base.json", dir).s)) return;
  if (!zk_adapter_base_is_named(name.s, model))
    ZK_LOG(WARN, "session", "lora.path: %s was trained on %s, and model.path is %s: beside other weights than its own an adapter of the right shape is noise", dir, name.s,
           model[0] ? model : "empty");
}

zk_status zk_session_check_adapter(const zk_config *config, zk_comm *comm, const char *dir, const zk_model_config *model) {
  const zk_lora lora = zk_lora_of_config(config);
  zk_params params = {0};
  zk_weight_source source = {0};
  if (lora.rank == 0 || !dir[0]) return ZK_OK;
  if (zk_comm_rank(comm) == 0) tell_base(dir, config->model.path);
  zk_status st = zk_adapter_folder_check(dir, &lora);
  if (st == ZK_OK) st = zk_lora_params(&lora, model, &params);
  if (st == ZK_OK) st = zk_weight_source_open(dir, model, &params, 0, &source);
  zk_weight_source_close(&source);
  zk_params_destroy(&params);
  return st;
}

// The base is loaded.
static zk_status load_adapter(zk_session *s) {
  zk_weight_source source;
  if (s->adapter_dir[0]) ZK_TRY(zk_adapter_folder_check_base(s->adapter_dir, s->config.numerics, s->policy.frozen_hash));
  ZK_TRY(zk_session_weights(s, &source));
  zk_status st = zk_policy_fill_adapter(&s->policy, s->stream, &source);
  zk_weight_source_close(&source);
  return st;
}

static zk_status open_device(zk_session *s, bool shared_cores) {
  const int workers = zk_comm_local_size(s->comm);
  ZK_TRY(zk_device_choose_open(s->config.device, zk_comm_local_rank(s->comm), workers, &s->device));
  ZK_TRY(zk_device_require(s->device, s->config.numerics));
  ZK_TRY(zk_device_require(s->device, zk_config_sampler_numerics(&s->config)));
  s->num_sharers = zk_device_sharers(s->config.device, s->device, workers);
  if (zk_comm_rank(s->comm) == 0) tell_numerics(s);
  if (shared_cores && !getenv("OMP_NUM_THREADS")) {
    int threads = zk_device_threads(s->device) / workers;
    zk_device_set_threads(s->device, threads < 1 ? 1 : threads);
  }
  ZK_LOG(DEBUG, "session", "%s", zk_device_describe(s->device));
  return zk_stream_open(s->device, ZK_SIDE_NONE, &s->stream);
}

// The tokenizer, what follows from it, and the task.
static zk_status open_task(zk_session *s, const zk_model_config *model) {
  ZK_TRY(zk_tokenizer_load(s->model_dir, &s->tokenizer));
  ZK_TRY(zk_model_check_tokenizer(model, s->model_dir, s->tokenizer));
  ZK_TRY(choose_chat(s));
  collect_eos(s, model);
  if (s->config.command.turns > 1 && s->chat == ZK_CHAT_NONE && !s->config.rollout.stop.num)
    return ZK_FAIL(ZK_BAD_INPUT, "command.turns: without a chat template a turn ends at a stop text, and rollout.stop has none: no reply could ever come");
  return zk_task_open(&s->config, &s->task);
}

// What takes moments: the model's shape, the task, the device.
static zk_status open_local(zk_session *s, const char *model_dir, bool with_task, bool shared_cores, zk_model_config *model) {
  const zk_config *c = &s->config;
  bool from_init = !model_dir && !c->model.path[0];
  if (from_init) ZK_TRY(make_temporary_dir(s));
  else snprintf(s->model_dir, sizeof s->model_dir, "%s", model_dir ? model_dir : c->model.path);
  if (!from_init) memcpy(s->weights_dir, s->model_dir, sizeof s->weights_dir);
  if (has_adapter(s)) {
    memcpy(s->weights_dir, c->model.path, sizeof s->weights_dir);
    memcpy(s->adapter_dir, model_dir ? s->model_dir : c->lora.path, sizeof s->adapter_dir);
  }
  *model = from_init ? init_config(c) : zk_model_config_default(ZK_MODEL_LLAMA);
  if (!from_init) ZK_TRY(zk_model_load_config(s->model_dir, model));
  ZK_TRY(zk_model_config_check(model));
  ZK_TRY(zk_session_check_adapter(c, s->comm, s->adapter_dir, model));
  if (with_task) ZK_TRY(open_task(s, model));
  return open_device(s, shared_cores);
}

// What may take minutes. A machine that does not keep the contract is refused before it has computed anything.
static zk_status load_local(zk_session *s, const zk_model_config *model) {
  ZK_TRY(zk_check_quick(s->device, s->config.numerics));
  ZK_TRY(zk_policy_open(s->device, s->config.numerics, model, zk_session_positions(model), &s->policy));
  if (zk_config_is_off_policy(&s->config)) {
    const zk_numerics sampler = zk_config_sampler_numerics(&s->config);
    ZK_TRY(zk_check_quick(s->device, sampler));
    ZK_TRY(zk_policy_open(s->device, sampler, model, zk_session_positions(model), &s->control));
    zk_policy_lead(&s->policy, &s->control, s->config.rollout.weight_bits);
  }
  const zk_lora lora = zk_lora_of_config(&s->config);
  if (has_adapter(s)) ZK_TRY(zk_policy_add_adapter(&s->policy, &lora));
  ZK_TRY(load_weights(s));
  return has_adapter(s) ? load_adapter(s) : ZK_OK;
}

static zk_status open_session(const zk_config *config, zk_comm *comm, const char *model_dir, bool with_task, zk_session *out) {
  memset(out, 0, sizeof *out);
  out->config = *config;
  for (int i = 0; i < out->config.rollout.stop.num; i++) out->stop[i] = out->config.rollout.stop.text[i];
  out->comm = comm;
  zk_progress_set_enabled(config->log.progress);
  zk_model_config model;
  zk_status st = zk_comm_agree(comm, open_local(out, model_dir, with_task, zk_comm_cores_are_shared(comm), &model));
  uint64_t hash = 0;
  const char *copy = "give every host the same files";
  if (st == ZK_OK) st = zk_comm_require_same_device(comm, out->device);
  if (st == ZK_OK && with_task) st = zk_comm_require_same_hash(comm, "the tokenizer", zk_tokenizer_hash(out->tokenizer), copy);
  if (st == ZK_OK && with_task) st = zk_comm_require_same_hash(comm, "the task's data", zk_task_hash(out->task), copy);
  if (st == ZK_OK) st = zk_comm_agree(comm, load_local(out, &model));
  if (st == ZK_OK) st = zk_comm_agree(comm, zk_policy_weights_hash(&out->policy, out->stream, &hash));
  if (st == ZK_OK) st = zk_comm_require_same_hash(comm, "the model's weights", hash, copy);
  if (st != ZK_OK) zk_session_close(out);
  return st;
}

zk_status zk_session_open(const zk_config *config, zk_comm *comm, const char *model_dir, zk_session *out) {
  return open_session(config, comm, model_dir, true, out);
}

zk_status zk_session_open_model(const zk_config *config, zk_comm *comm, const char *model_dir, zk_session *out) {
  return open_session(config, comm, model_dir, false, out);
}

void zk_session_close(zk_session *s) {
  zk_policy_close(&s->policy);
  zk_policy_close(&s->control);
  zk_judge_close(s->judge);
  zk_task_close(s->task);
  zk_tokenizer_free(s->tokenizer);
  if (s->stream) zk_stream_close(s->stream);
  if (s->device) zk_device_close(s->device);
  if (s->model_dir_is_temporary && zk_file_remove_tree(s->model_dir) != ZK_OK) ZK_LOG(WARN, "session", "%s", zk_status_message());
  memset(s, 0, sizeof *s);
}

zk_status zk_session_load_weights(zk_session *s, const char *model_dir) {
  snprintf(has_adapter(s) ? s->adapter_dir : s->weights_dir, sizeof s->weights_dir, "%s", model_dir);
  return zk_comm_agree(s->comm, has_adapter(s) ? load_adapter(s) : load_weights(s));
}

const zk_policy *zk_session_sampler(const zk_session *s) { return zk_config_is_off_policy(&s->config) ? &s->control : &s->policy; }

zk_engine_options zk_session_engine_options(const zk_session *s) {
  const zk_config *c = &s->config;
  zk_engine_options o = {
      .seed = c->seed, .temperature = c->rollout.temperature, .top_k = c->rollout.top_k, .top_p = c->rollout.top_p,
      .max_new_tokens = c->rollout.max_new_tokens, .ignore_eos = c->rollout.ignore_eos, .num_eos = s->num_eos,
      .num_stop = c->rollout.stop.num, .stop = s->stop, .tokenizer = s->tokenizer, .max_batch = c->rollout.max_batch,
      .page_tokens = c->rollout.page_tokens, .kv_bytes = c->rollout.kv_bytes, .prefill_chunk = c->rollout.prefill_chunk, .speculate = c->rollout.speculate,
      .prefix_cache = c->rollout.prefix_cache, .steps_ahead = zk_device_get_kind(s->device) == ZK_DEVICE_CUDA,
      .max_sequence = s->policy.num_positions};
  memcpy(o.eos_ids, s->eos_ids, sizeof s->eos_ids);
  return o;
}

void zk_session_hashes(const zk_session *s, char tokenizer_hash[17], char template_hash[17]) {
  snprintf(tokenizer_hash, 17, "%016llx", (unsigned long long)zk_tokenizer_hash(s->tokenizer));
  snprintf(template_hash, 17, "%016llx", (unsigned long long)zk_chat_hash(s->chat));
}
