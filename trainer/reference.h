// The frozen reference model of a KL term: another set of weights, and the trainer's forward pass over them.
#ifndef ZK_TRAINER_REFERENCE_H
#define ZK_TRAINER_REFERENCE_H

#include "rollout/session.h"
#include "trainer/gradient.h"

typedef struct zk_reference zk_reference;

// What it has in memory of its own: a whole model; beside a frozen base, which is the policy's, an adapter (the run's first weights); nothing, where
// algorithm.kl.reference is the base's own folder.
typedef enum { ZK_REFERENCE_MODEL, ZK_REFERENCE_ADAPTER, ZK_REFERENCE_BASE } zk_reference_kind;
zk_reference_kind zk_reference_kind_of(const zk_config *config);

// Opens what algorithm.kl.reference names, or the run's first weights: first_weights is then their folder ("": made from scratch); where
// an adapter is trained, its folder. *out is NULL without a KL term. A folder of another tokenizer, another vocabulary or a shorter context is ZK_BAD_INPUT, before its weights are read. The caller closes it, before
// the session. Collective.
zk_status zk_reference_open(const zk_session *session, const char *first_weights, zk_reference **out);
void zk_reference_close(zk_reference *reference); // NULL is fine
// Of its working weights, as weights/hash is of the policy's.
uint64_t zk_reference_weights_hash(const zk_reference *reference);
// The shape of the reference that `config` asks for beside a policy of `policy`, for the memory plan: config alone, no weights.
zk_status zk_reference_shape(const zk_config *config, const zk_model_config *policy, zk_model_config *out);
// Fills logprob[targets], on every rank, with the reference's log-probabilities of the sequences' targets at the run's temperature, without top-k and
// top-p (every token has one). Ranks share the sequences. ZK_NOT_FINITE names the first sequence that has none. Collective.
zk_status zk_reference_logprobs(zk_reference *reference, const zk_sequences *seqs, float *logprob);

#endif
