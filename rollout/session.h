// What every command that runs a model stands on: workers, device, policy, tokenizer, chat template, task.
#ifndef ZK_ROLLOUT_SESSION_H
#define ZK_ROLLOUT_SESSION_H

#include "rollout/engine.h"
#include "rollout/judge.h"
#include "rollout/task.h"
#include "shared/comm.h"
#include "shared/config.h"
#include "shared/policy.h"

typedef struct {
  zk_config config;
  zk_comm *comm; // borrowed
  zk_device *device;
  int num_sharers;   // workers that share its memory, this one included
  zk_stream *stream; // of neither side: loading, hashing, checks
  zk_tokenizer *tokenizer;
  zk_chat_template chat;
  zk_task *task;
  zk_judge *judge; // of the task's program, from when it is first asked; NULL before
  zk_policy policy;  // the trainer's, and the sampler's too
  zk_policy control; // with rollout.numerics or rollout.weight_bits, the sampler's instead: the same weights in other numerics, or coarser
  char model_dir[ZK_CONFIG_PATH_BYTES]; // where the tokenizer's files are
  bool model_dir_is_temporary;          // of a model made from scratch: removed at close
  char weights_dir[ZK_CONFIG_PATH_BYTES]; // where the policy's weights came from (with an adapter, the base's); "": from scratch
  char adapter_dir[ZK_CONFIG_PATH_BYTES]; // where its adapter came from; "": from scratch
  int32_t num_eos, eos_ids[ZK_MODEL_MAX_EOS + 1];
  const char *stop[ZK_CONFIG_MAX_STOPS]; // texts of config.rollout.stop
} zk_session;

// Opens all of it. model_dir: a Hugging Face folder, e.g. a checkpoint, in the place of what config names; NULL for config's
// own (model.path or model.init). With lora.rank such a folder holds an adapter, in the place of lora.path, and the base is config's own. The comm layer's threads are divided among the ranks of a host. Checks the kernels against the
// contract (the short form) before anything runs. Collective: all ranks fail alike, with one message.
zk_status zk_session_open(const zk_config *config, zk_comm *comm, const char *model_dir, zk_session *out);
// The same for work on given tokens: no task, and no tokenizer (both stay NULL; a tokenizer put there is freed at close). Collective.
zk_status zk_session_open_model(const zk_config *config, zk_comm *comm, const char *model_dir, zk_session *out);
void zk_session_close(zk_session *session);
// The model that config asks for, before anything is loaded; how many positions a policy of it tabulates.
zk_status zk_session_model_config(const zk_config *config, zk_model_config *out);
int32_t zk_session_positions(const zk_model_config *model);
// Whether the adapter in `dir` is what lora.* ask for beside such a model: what its folder says and the shapes of its tensors, no values. Nothing to check
// without lora.rank, or where dir is "". On rank 0 it warns of a base of another name. ZK_BAD_INPUT, ZK_UNSUPPORTED and ZK_IO name the file. Not collective.
zk_status zk_session_check_adapter(const zk_config *config, zk_comm *comm, const char *dir, const zk_model_config *model);
// The policy that samples. Borrowed.
const zk_policy *zk_session_sampler(const zk_session *session);
// The engine options that the config asks for, for the session's tokens.
zk_engine_options zk_session_engine_options(const zk_session *session);
// Hashes that trajectory files carry, as 16 hex digits.
void zk_session_hashes(const zk_session *session, char tokenizer_hash[17], char template_hash[17]);
// What the policy's trained part was filled from, in fp32: a trainer's master weights. The caller closes it.
zk_status zk_session_weights(const zk_session *session, zk_weight_source *out);
// The folder of that; "": from scratch.
const char *zk_session_origin(const zk_session *session);
// Loads other weights of the same model (a later checkpoint), or another adapter of the same base. Collective.
zk_status zk_session_load_weights(zk_session *session, const char *model_dir);

#endif
