// Adds up what session, engine and updater would allocate.
#include "trainer/plan.h"

#include <string.h>

#include "shared/device_choice.h"
#include "shared/log.h"
#include "shared/model.h"
#include "trainer/gradient.h"
#include "trainer/leaf_exchange.h"
#include "trainer/leaf_tree.h"
#include "trainer/optimizer.h"
#include "trainer/reference.h"

#define USUAL_PROMPT_TOKENS 512
#define LINK_BYTES ((size_t)3 << 29) // of NCCL, among GPUs of a host
#define GPU_SLACK ((size_t)2 << 30) // operations' scratch, and what an allocator loses: this, or a 16th of a small device

// ---- what is taken after the KV cache is made -------------------------------------------------------------------------

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The most tokens a microbatch can have: whole chunks, or one long sequence; no more than a leaf has.
static int64_t microbatch_rows(const zk_config *c, const zk_policy *p) {
  int64_t longest = smaller(p->num_positions, (int64_t)c->rollout.max_new_tokens + USUAL_PROMPT_TOKENS);
  int64_t seqs = larger((int64_t)c->rollout.prompts_per_step * c->rollout.samples_per_prompt, c->sft.batch);
  int64_t leaf = (seqs + c->trainer.grad_leaves - 1) / c->trainer.grad_leaves * p->num_positions;
  return smaller(leaf, larger(larger(c->trainer.microbatch_tokens, ZK_CHUNK_TOKENS), longest));
}

static size_t activation_bytes(const zk_config *c, zk_plan_kind kind, const zk_policy *p) {
  zk_gradient_options g = {1, 0, 1, c->trainer.microbatch_tokens, .recompute = c->trainer.recompute};
  int64_t rows = microbatch_rows(c, p);
  return kind == ZK_PLAN_EVALUATE ? 0 : zk_gradient_bytes(p, &g, rows, rows, kind == ZK_PLAN_TRAIN);
}

// What the reference model of a KL term takes: its weights, and its forward pass. Nothing where its folder cannot be read, which open_shape has told.
typedef struct {
  size_t weights, activations;
} reference_bytes;

static reference_bytes reference_of(const zk_config *c, zk_plan_kind kind, const zk_policy *policy) {
  reference_bytes bytes = {0, 0};
  zk_policy shape = {.device = policy->device, .numerics = policy->numerics, .num_positions = policy->num_positions};
  if (kind == ZK_PLAN_EVALUATE || c->algorithm.kl.coef == 0 || zk_reference_shape(c, &policy->config, &shape.config) != ZK_OK) return bytes;
  const zk_reference_kind reference = zk_reference_kind_of(c);
  if (reference != ZK_REFERENCE_MODEL) { // beside the policy's base
    size_t packed = 0;
    if (reference == ZK_REFERENCE_ADAPTER) zk_adapter_bytes(policy->device, policy->numerics, &policy->adapter.params, &bytes.weights, &packed);
    bytes.weights += packed;
    bytes.activations = activation_bytes(c, ZK_PLAN_SAMPLE, policy);
    return bytes;
  }
  if (zk_params_create(&shape.config, &shape.params) == ZK_OK) {
    bytes.weights = zk_policy_bytes(shape.device, shape.numerics, &shape.config, &shape.params, shape.num_positions);
    bytes.activations = activation_bytes(c, ZK_PLAN_SAMPLE, &shape);
  }
  zk_params_destroy(&shape.params);
  return bytes;
}

static int64_t num_trained(const zk_policy *p) { return zk_policy_trained(p).params->num_elements; }

static size_t tree_bytes(const zk_config *c, const zk_policy *p, int num_ranks) {
  return zk_leaf_tree_bytes(num_trained(p), c->trainer.grad_leaves, num_ranks);
}

static size_t exchange_bytes(const zk_config *c, const zk_policy *p, int num_ranks) {
  return num_ranks > 1 ? zk_leaf_exchange_bytes(num_trained(p), c->trainer.grad_leaves, num_ranks) : 0;
}

// The policy that samples, as a shape: `p`, but for the numerics.
static zk_policy sampler_of(const zk_config *c, const zk_policy *p) {
  zk_policy sampler = *p;
  sampler.numerics = zk_config_sampler_numerics(c);
  return sampler;
}

static size_t sampler_bytes(const zk_config *c, const zk_policy *policy) {
  const zk_policy sampler = sampler_of(c, policy), *p = &sampler;
  const int64_t draws = (int64_t)c->rollout.max_batch * (1 + c->rollout.speculate);
  return zk_layer_activations_bytes(p, draws + c->rollout.prefill_chunk, false) +
         2 * (size_t)draws * (size_t)p->config.hidden * zk_numerics_bytes(p->numerics);
}

static size_t slack_bytes(bool is_gpu, size_t available) { return !is_gpu ? 0 : available / 16 < GPU_SLACK ? available / 16 : GPU_SLACK; }
// Workers that share a GPU exchange through host memory (shared/comm_device.h).
static size_t link_bytes(bool is_gpu, zk_plan_kind kind, int num_ranks, int num_sharers) {
  return is_gpu && kind == ZK_PLAN_TRAIN && num_ranks > 1 && num_sharers == 1 ? LINK_BYTES : 0;
}

static size_t cache_bytes(const zk_config *c, const zk_policy *p, const zk_engine_options *options) {
  const zk_policy sampler = sampler_of(c, p);
  return zk_engine_kv_bytes(&sampler, options);
}

// A cache for max_batch sequences of usual length.
static size_t usual_cache_bytes(const zk_config *c, const zk_policy *p, const zk_engine_options *options) {
  zk_engine_options o = *options;
  o.takes_rest = false, o.kv_room = SIZE_MAX;
  return cache_bytes(c, p, &o);
}

// Whether a cache of `room` bytes, beside training, would be too small.
static bool takes_turns(const zk_config *c, const zk_policy *p, const zk_engine_options *options, bool is_gpu, size_t room) {
  if (c->trainer.turns != ZK_CONFIG_TURNS_AUTO) return c->trainer.turns == ZK_CONFIG_TURNS_ALWAYS;
  return is_gpu && usual_cache_bytes(c, p, options) > room;
}

// In turns a cache takes no more than sequences of twice the usual length: what it has, training gives back and takes again in every step.
static size_t room_in_turns(const zk_config *c, const zk_policy *p, const zk_engine_options *options, size_t room) {
  const size_t enough = 2 * usual_cache_bytes(c, p, options);
  return enough < room ? enough : room;
}

// ---- what is free when the engine is opened ---------------------------------------------------------------------------

typedef struct {
  size_t share, sampling, training; // free for this worker; what sampling and training will still take of it, but for the cache
  bool is_gpu;
} room;

static room room_of(const zk_session *s, zk_plan_kind kind) {
  const zk_config *c = &s->config;
  const int size = zk_comm_size(s->comm);
  room r = {.share = zk_device_memory_free(s->device) / (size_t)s->num_sharers, .is_gpu = zk_device_get_kind(s->device) == ZK_DEVICE_CUDA};
  r.sampling = sampler_bytes(c, &s->policy) + slack_bytes(r.is_gpu, r.share) + link_bytes(r.is_gpu, kind, size, s->num_sharers);
  r.training = activation_bytes(c, kind, &s->policy) + reference_of(c, kind, &s->policy).activations;
  if (kind == ZK_PLAN_TRAIN) r.training += tree_bytes(c, &s->policy, size) - exchange_bytes(c, &s->policy, size);
  return r;
}

static size_t less(size_t a, size_t b) { return a > b ? a - b : 1; }

zk_status zk_plan_turns(const zk_session *s, bool *out) {
  const room r = room_of(s, ZK_PLAN_TRAIN);
  const zk_engine_options o = zk_session_engine_options(s);
  uint64_t turns = takes_turns(&s->config, &s->policy, &o, r.is_gpu, less(r.share, r.sampling + r.training));
  ZK_TRY(zk_comm_sum_u64(s->comm, &turns, 1));
  *out = turns > 0;
  return ZK_OK;
}

zk_status zk_plan_engine_options(const zk_session *s, zk_plan_kind kind, bool in_turns, zk_engine_options *out) {
  *out = zk_session_engine_options(s);
  const room r = room_of(s, kind);
  out->takes_rest = r.is_gpu;
  // On a CPU what is free is an estimate, and so is what training takes: half of it is the cache's at most.
  out->kv_room = r.is_gpu ? less(r.share, r.sampling + (in_turns ? 0 : r.training)) : r.share / 2;
  if (in_turns) out->kv_room = room_in_turns(&s->config, &s->policy, out, out->kv_room);
  return zk_comm_barrier(s->comm); // workers that share a device have all looked before one takes its share
}

// ---- the plan ---------------------------------------------------------------------------------------------------------

static void add(zk_plan *plan, zk_plan_phase phase, const char *what, size_t bytes, bool is_most, const char *lower) {
  if (bytes) plan->rows[plan->num_rows++] = (zk_plan_row){what, lower, bytes, is_most, phase};
}

static void add_training(zk_plan *plan, const zk_config *c, const zk_policy *p, int num_ranks) {
  const char *workers = "start more workers, which share it, or take a smaller model";
  const size_t exchange = exchange_bytes(c, p, num_ranks);
  zk_optimizer_sizes optimizer = zk_optimizer_bytes(p->numerics, num_trained(p), num_ranks);
  add(plan, ZK_PLAN_ALWAYS, "master weights", optimizer.master, false, workers);
  add(plan, ZK_PLAN_ALWAYS, "optimiser state", optimizer.moments, false, workers);
  add(plan, ZK_PLAN_ALWAYS, "gradient exchange", exchange, false, workers);
  add(plan, ZK_PLAN_TRAINING, "gradient shard", optimizer.grad, false, workers);
  add(plan, ZK_PLAN_TRAINING, "gradients (tree of leaves)", tree_bytes(c, p, num_ranks) - exchange, false,
      "start more workers, or lower trainer.grad_leaves (which changes the bits)");
}

static void add_adapter(zk_plan *plan, const zk_policy *p) {
  size_t weights, packed;
  zk_adapter_bytes(p->device, p->numerics, &p->adapter.params, &weights, &packed);
  add(plan, ZK_PLAN_ALWAYS, "adapter, packed too", weights + packed, false, "lower lora.rank (which changes the bits)");
}

// Bytes of one phase's rows.
static size_t phase_bytes(const zk_plan *plan, zk_plan_phase phase, bool with_bounds) {
  size_t bytes = 0;
  for (int i = 0; i < plan->num_rows; i++)
    if (plan->rows[i].phase == phase && (with_bounds || !plan->rows[i].is_most)) bytes += plan->rows[i].bytes;
  return bytes;
}

// Of two phases in turns the one that needs more.
static zk_plan_phase greater_phase(const zk_plan *plan, bool with_bounds) {
  return phase_bytes(plan, ZK_PLAN_SAMPLING, with_bounds) > phase_bytes(plan, ZK_PLAN_TRAINING, with_bounds) ? ZK_PLAN_SAMPLING : ZK_PLAN_TRAINING;
}

static size_t bytes_needed(const zk_plan *plan, bool with_bounds) {
  const size_t always = phase_bytes(plan, ZK_PLAN_ALWAYS, with_bounds);
  if (plan->in_turns) return always + phase_bytes(plan, greater_phase(plan, with_bounds), with_bounds);
  return always + phase_bytes(plan, ZK_PLAN_SAMPLING, with_bounds) + phase_bytes(plan, ZK_PLAN_TRAINING, with_bounds);
}

void zk_plan_make(const zk_config *c, zk_plan_kind kind, const zk_policy *p, int num_ranks, int num_sharers, size_t available, bool takes_rest, zk_plan *out) {
  zk_engine_options o = {.max_new_tokens = c->rollout.max_new_tokens, .max_batch = c->rollout.max_batch, .page_tokens = c->rollout.page_tokens,
                         .kv_bytes = c->rollout.kv_bytes, .prefill_chunk = c->rollout.prefill_chunk, .max_sequence = p->num_positions,
                         .takes_rest = takes_rest};
  const size_t weights = (size_t)p->params.num_elements * zk_numerics_bytes(p->numerics);
  *out = (zk_plan){.available = available};
  add(out, ZK_PLAN_ALWAYS, zk_config_is_off_policy(c) ? "weights of the trainer" : "weights (shared by sampler and trainer)", weights, false, "take a smaller model");
  add(out, ZK_PLAN_ALWAYS, "weights packed for this device, RoPE tables",
      zk_policy_bytes(p->device, p->numerics, &p->config, &p->params, p->num_positions) - weights, false, "take a smaller model");
  if (zk_config_is_off_policy(c))
    add(out, ZK_PLAN_ALWAYS, "weights of the sampler, a control",
        zk_policy_bytes(p->device, zk_config_sampler_numerics(c), &p->config, &p->params, p->num_positions), false, "leave out rollout.numerics and rollout.weight_bits");
  add_adapter(out, p);
  if (kind == ZK_PLAN_TRAIN) add_training(out, c, p, num_ranks);
  add(out, ZK_PLAN_TRAINING, "trainer activations and scratch, full microbatch", activation_bytes(c, kind, p), true,
      "set trainer.recompute, or lower trainer.microbatch_tokens");
  const reference_bytes reference = reference_of(c, kind, p);
  add(out, ZK_PLAN_ALWAYS, "reference model", reference.weights, false, "take a smaller algorithm.kl.reference, or algorithm.kl.coef: 0");
  add(out, ZK_PLAN_TRAINING, "reference activations, full microbatch", reference.activations, true, "lower trainer.microbatch_tokens");
  add(out, ZK_PLAN_ALWAYS, "sampler activations", sampler_bytes(c, p), false, "lower rollout.prefill_chunk, rollout.max_batch or rollout.speculate");
  add(out, ZK_PLAN_ALWAYS, "buffers of the link among GPUs", link_bytes(takes_rest, kind, num_ranks, num_sharers), false, "use a GPU with more memory");
  add(out, ZK_PLAN_ALWAYS, "scratch of operations, slack", slack_bytes(takes_rest, available), false, "use a GPU with more memory");
  size_t rest = less(available, bytes_needed(out, true));
  out->in_turns = kind == ZK_PLAN_TRAIN && takes_turns(c, p, &o, takes_rest, rest);
  if (out->in_turns) rest = room_in_turns(c, p, &o, less(available, phase_bytes(out, ZK_PLAN_ALWAYS, true)));
  o.kv_room = takes_rest ? rest : available / 2;
  add(out, ZK_PLAN_SAMPLING, "KV cache", cache_bytes(c, p, &o), false, "lower rollout.kv_bytes, rollout.max_batch or rollout.max_new_tokens");
  out->total = bytes_needed(out, true);
}

typedef struct {
  char s[32];
} size_text;

static size_text text_of(size_t bytes) {
  size_text t;
  bool is_large = bytes >= (size_t)1 << 30;
  snprintf(t.s, sizeof t.s, "%.1f %s", (double)bytes / (is_large ? 1073741824.0 : 1048576.0), is_large ? "GiB" : "MiB");
  return t;
}

zk_status zk_plan_fits(const zk_plan *plan, bool with_bounds, const char *device) {
  const zk_plan_row *largest = NULL;
  const zk_plan_phase phase = greater_phase(plan, with_bounds);
  const size_t needed = bytes_needed(plan, with_bounds);
  for (int i = 0; i < plan->num_rows; i++) {
    const zk_plan_row *row = &plan->rows[i];
    if (row->is_most && !with_bounds) continue;
    if (plan->in_turns && row->phase != ZK_PLAN_ALWAYS && row->phase != phase) continue; // less of the other phase would not help
    if (!largest || row->bytes > largest->bytes) largest = row;
  }
  if (needed <= plan->available || !largest) return ZK_OK;
  return ZK_FAIL(ZK_OUT_OF_MEMORY, "the plan needs %s, %s are free on %s; the largest part is %s, %s: %s", text_of(needed).s, text_of(plan->available).s,
                 device, largest->what, text_of(largest->bytes).s, largest->lower);
}

// ---- before a run -----------------------------------------------------------------------------------------------------

// The shape of the policy that config asks for, on this worker's device, opened. The caller closes both.
static zk_status open_shape(const zk_config *c, zk_comm *comm, zk_policy *shape) {
  zk_model_config model;
  *shape = (zk_policy){.numerics = c->numerics};
  ZK_TRY(zk_session_model_config(c, &model));
  zk_model_config reference;
  if (c->algorithm.kl.coef > 0) ZK_TRY(zk_reference_shape(c, &model, &reference));
  shape->config = model, shape->num_positions = zk_session_positions(&model);
  ZK_TRY(zk_params_create(&model, &shape->params));
  shape->adapter.lora = zk_lora_of_config(c);
  if (c->lora.rank > 0) ZK_TRY(zk_lora_params(&shape->adapter.lora, &model, &shape->adapter.params));
  ZK_TRY(zk_device_choose_open(c->device, zk_comm_local_rank(comm), zk_comm_local_size(comm), &shape->device));
  ZK_TRY(zk_device_require(shape->device, zk_config_sampler_numerics(c)));
  return zk_device_require(shape->device, c->numerics);
}

static void close_shape(zk_policy *shape) {
  zk_device_close(shape->device);
  zk_params_destroy(&shape->params);
  zk_params_destroy(&shape->adapter.params);
}

static void make(const zk_config *c, zk_plan_kind kind, const zk_policy *shape, zk_comm *comm, zk_plan *out) {
  const int sharers = zk_device_sharers(c->device, shape->device, zk_comm_local_size(comm));
  zk_plan_make(c, kind, shape, zk_comm_size(comm), sharers, zk_device_memory_free(shape->device) / (size_t)sharers,
               zk_device_get_kind(shape->device) == ZK_DEVICE_CUDA, out);
}

static void print(const zk_plan *plan, const zk_policy *shape, int num_ranks, FILE *out) {
  fprintf(out, "# model: %s, %lld parameters%s\n", zk_model_architecture_name(shape->config.architecture), (long long)shape->params.num_elements,
          shape->adapter.lora.rank > 0 ? ", frozen" : "");
  if (shape->adapter.lora.rank > 0)
    fprintf(out, "# adapter: LoRA of rank %d, %lld parameters\n", shape->adapter.lora.rank, (long long)shape->adapter.params.num_elements);
  fprintf(out, "# memory of one of %d worker%s, bytes\n", num_ranks, num_ranks == 1 ? "" : "s");
  const char *const phases[] = {"", "; while sampling", "; while training"};
  for (int i = 0; i < plan->num_rows; i++)
    fprintf(out, "# %16zu  %s%s%s\n", plan->rows[i].bytes, plan->rows[i].what, plan->rows[i].is_most ? ", at most" : "",
            plan->in_turns ? phases[plan->rows[i].phase] : "");
  if (plan->in_turns)
    for (zk_plan_phase phase = ZK_PLAN_SAMPLING; phase <= ZK_PLAN_TRAINING; phase++)
      fprintf(out, "# %16zu  all%s, in turns\n", phase_bytes(plan, ZK_PLAN_ALWAYS, true) + phase_bytes(plan, phase, true), phases[phase]);
  fprintf(out, "# %16zu  %s; %zu free on %s\n", plan->total, plan->in_turns ? "the greater" : "all", plan->available,
          zk_device_describe(shape->device));
}

zk_status zk_plan_print(const zk_config *c, zk_plan_kind kind, zk_comm *comm, FILE *out) {
  ZK_TRY(zk_config_write_yaml(c, out));
  zk_policy shape;
  zk_plan plan;
  zk_status st = open_shape(c, comm, &shape);
  if (st == ZK_OK) st = zk_session_check_adapter(c, comm, c->lora.path, &shape.config);
  if (st == ZK_OK) {
    make(c, kind, &shape, comm, &plan);
    print(&plan, &shape, zk_comm_size(comm), out);
    st = zk_plan_fits(&plan, true, zk_device_describe(shape.device));
  }
  close_shape(&shape);
  return st;
}

static void talk(const zk_plan *plan, const zk_policy *shape) {
  char parts[640] = "";
  size_t used = 0;
  for (int i = 0; i < plan->num_rows && used < sizeof parts; i++)
    used += (size_t)snprintf(parts + used, sizeof parts - used, "%s%s %s", i ? ", " : "", plan->rows[i].what, text_of(plan->rows[i].bytes).s);
  ZK_LOG(INFO, "memory", "%s of %s free on %s%s: %s", text_of(plan->total).s, text_of(plan->available).s, zk_device_describe(shape->device),
         plan->in_turns ? ", sampling and training in turns" : "", parts);
}

zk_status zk_plan_check(const zk_config *c, zk_plan_kind kind, zk_comm *comm) {
  zk_policy shape;
  zk_plan plan;
  zk_status st = open_shape(c, comm, &shape);
  if (st == ZK_OK) {
    bool is_gpu = zk_device_get_kind(shape.device) == ZK_DEVICE_CUDA;
    make(c, kind, &shape, comm, &plan);
    if (is_gpu && zk_comm_rank(comm) == 0) talk(&plan, &shape);
    st = zk_plan_fits(&plan, is_gpu, zk_device_describe(shape.device));
  }
  close_shape(&shape);
  return zk_comm_agree(comm, st);
}
