// A second policy that no optimiser knows.
#include "trainer/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/comm_same.h"
#include "shared/log.h"
#include "shared/model.h"

struct zk_reference {
  const zk_session *session;
  bool shares_base; // the policy's frozen weights are its own too: all but the adapter is borrowed
  zk_policy policy;
  zk_gradient *gradient;
  uint64_t hash;
};

zk_status zk_reference_shape(const zk_config *c, const zk_model_config *policy, zk_model_config *out) {
  if (!c->algorithm.kl.reference[0]) {
    *out = *policy;
    return ZK_OK;
  }
  const char *dir = c->algorithm.kl.reference;
  zk_status st = zk_model_load_config(dir, out);
  if (st == ZK_OK && out->vocab != policy->vocab)
    st = ZK_FAIL(ZK_BAD_INPUT, "%s: a vocabulary of %d, the policy's has %d: the reference must be a model of the same tokens", dir, out->vocab, policy->vocab);
  if (st == ZK_OK && zk_session_positions(out) < zk_session_positions(policy))
    st = ZK_FAIL(ZK_BAD_INPUT, "%s: a context of %d tokens, the policy's has %d", dir, zk_session_positions(out), zk_session_positions(policy));
  return st == ZK_OK ? ZK_OK : zk_status_context(st, "algorithm.kl.reference");
}

// A folder's tokenizer must be the policy's.
static zk_status check_tokenizer(const zk_session *s, const char *dir) {
  zk_tokenizer *tokenizer = NULL;
  zk_status st = zk_tokenizer_load(dir, &tokenizer);
  if (st == ZK_OK && zk_tokenizer_hash(tokenizer) != zk_tokenizer_hash(s->tokenizer))
    st = ZK_FAIL(ZK_BAD_INPUT, "%s: its tokenizer is not the policy's (%016llx, not %016llx): ids would mean other texts", dir,
                 (unsigned long long)zk_tokenizer_hash(tokenizer), (unsigned long long)zk_tokenizer_hash(s->tokenizer));
  zk_tokenizer_free(tokenizer);
  return st == ZK_OK ? ZK_OK : zk_status_context(st, "algorithm.kl.reference");
}

static bool same_folder(const char *a, const char *b) {
  struct stat x, y;
  return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

zk_reference_kind zk_reference_kind_of(const zk_config *c) {
  if (c->lora.rank == 0) return ZK_REFERENCE_MODEL;
  if (!c->algorithm.kl.reference[0]) return ZK_REFERENCE_ADAPTER;
  return same_folder(c->algorithm.kl.reference, c->model.path) ? ZK_REFERENCE_BASE : ZK_REFERENCE_MODEL;
}

static zk_status fill(zk_reference *r, const char *dir) {
  const zk_session *s = r->session;
  zk_weight_source source;
  ZK_TRY(zk_weight_source_open(dir, &r->policy.config, zk_policy_trained(&r->policy).params, s->config.seed, &source));
  zk_status st = r->shares_base ? zk_policy_fill_adapter(&r->policy, s->stream, &source) : zk_policy_fill(&r->policy, s->stream, &source);
  zk_weight_source_close(&source);
  return st;
}

static zk_status load(zk_reference *r, const zk_model_config *shape, const char *dir) {
  const zk_session *s = r->session;
  const zk_config *c = &s->config;
  const zk_reference_kind kind = zk_reference_kind_of(c);
  r->shares_base = kind != ZK_REFERENCE_MODEL;
  if (r->shares_base) r->policy = s->policy, r->policy.adapter = (zk_adapter){0};
  else ZK_TRY(zk_policy_open(s->device, c->numerics, shape, s->policy.num_positions, &r->policy));
  if (kind == ZK_REFERENCE_ADAPTER) ZK_TRY(zk_policy_add_adapter(&r->policy, &s->policy.adapter.lora));
  zk_status st = kind == ZK_REFERENCE_BASE ? ZK_OK : fill(r, dir);
  if (st == ZK_OK) st = zk_policy_weights_hash(&r->policy, s->stream, &r->hash);
  const zk_gradient_options options = {c->rollout.temperature, 0, 1, c->trainer.microbatch_tokens, .recompute = true};
  return st == ZK_OK ? zk_gradient_open(&r->policy, &options, &r->gradient) : st;
}

zk_status zk_reference_open(const zk_session *s, const char *first_weights, zk_reference **out) {
  const char *named = s->config.algorithm.kl.reference;
  *out = NULL;
  if (s->config.algorithm.kl.coef == 0) return ZK_OK;
  zk_reference *r = calloc(1, sizeof *r);
  zk_model_config shape;
  zk_status st = r ? zk_reference_shape(&s->config, &s->policy.config, &shape) : ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a reference model");
  if (st == ZK_OK && named[0]) st = check_tokenizer(s, named);
  if (r) r->session = s;
  st = zk_comm_agree(s->comm, st);
  if (st == ZK_OK) st = zk_comm_agree(s->comm, load(r, &shape, named[0] ? named : first_weights));
  if (st == ZK_OK) st = zk_comm_require_same_hash(s->comm, "the reference model's weights", r->hash, "give every host the same files");
  if (st != ZK_OK) {
    zk_reference_close(r);
    return st;
  }
  if (zk_comm_rank(s->comm) == 0)
    ZK_LOG(INFO, "reference", "%s, weights/hash %016llx", named[0] ? named : "the run's first weights", (unsigned long long)r->hash);
  *out = r;
  return ZK_OK;
}

void zk_reference_close(zk_reference *r) {
  if (!r) return;
  zk_gradient_close(r->gradient);
  if (r->shares_base) zk_adapter_close(r->policy.device, &r->policy.adapter);
  else zk_policy_close(&r->policy);
  free(r);
}

uint64_t zk_reference_weights_hash(const zk_reference *r) { return r->hash; }

static zk_status require_finite(const zk_sequences *seqs, const float *logprob) {
  for (int64_t i = 0; i < seqs->num_seqs; i++)
    for (int64_t k = seqs->target_offsets[i]; k < seqs->target_offsets[i + 1]; k++)
      if (!isfinite(logprob[k]))
        return ZK_FAIL(ZK_NOT_FINITE,
                       "the reference model gives sample %lld, position %lld no finite log-probability: its weights are damaged, or of other numerics",
                       (long long)i, (long long)(k - seqs->target_offsets[i]));
  return ZK_OK;
}

zk_status zk_reference_logprobs(zk_reference *r, const zk_sequences *seqs, float *logprob) {
  zk_comm *comm = r->session->comm;
  const int64_t rank = zk_comm_rank(comm), size = zk_comm_size(comm), first = seqs->num_seqs * rank / size, last = seqs->num_seqs * (rank + 1) / size;
  const zk_gradient_outputs out = {.logprob = logprob};
  ZK_TRY(zk_comm_agree(comm, zk_gradient_forward(r->gradient, seqs, first, last, &out)));
  ZK_TRY(zk_sequences_share(comm, seqs, first, last, logprob));
  return zk_comm_agree(comm, require_finite(seqs, logprob));
}
