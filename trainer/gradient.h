// The trainer's forward and backward pass over whole sequences, packed without padding: log-probabilities of every trained token, and
// the gradient of a loss given through dLoss/dlogprob.
#ifndef ZK_TRAINER_GRADIENT_H
#define ZK_TRAINER_GRADIENT_H

#include <stdbool.h>

#include "shared/decoder.h"
#include "trainer/phases.h"
#include "trainer/sequences.h"

typedef struct zk_gradient zk_gradient;

typedef struct {
  double temperature; // of the distribution that was sampled from; 1, 0, 1 for none
  int32_t top_k;
  double top_p;
  int64_t microbatch_tokens;
  bool recompute;     // keep only each layer's input, and run the layer again before its backward pass
  bool unrecorded;    // queue every operation, also of a microbatch whose like has been recorded (recordings.h)
} zk_gradient_options;

// Opens the trainer's side of `policy` (which must outlive it). Buffers grow to what the microbatches need. Nothing is recorded with ZK_GRAPHS=0 in the
// environment.
zk_status zk_gradient_open(const zk_policy *policy, const zk_gradient_options *options, zk_gradient **out);
void zk_gradient_close(zk_gradient *gradient);
zk_stream *zk_gradient_stream(zk_gradient *gradient);
uint64_t zk_gradient_replays(const zk_gradient *gradient); // parts of microbatches (layers forwards; head, layers backwards) that came from a recorded graph
zk_phases *zk_gradient_phases(zk_gradient *gradient); // of all that is queued on that stream
// Bytes of activations and scratch for microbatches of num_rows tokens, num_targets of them trained, with or without a backward pass; for
// the memory plan.
size_t zk_gradient_bytes(const zk_policy *policy, const zk_gradient_options *options, int64_t num_rows, int64_t num_targets, bool backward);

// Per-target outputs, host arrays indexed by target_offsets; any may be NULL.
typedef struct {
  float *logprob;
  float *lse;
  float *entropy;
  uint64_t *logits_hash;
} zk_gradient_outputs;

// Turns the log-probabilities of the targets of sequence `seq` into dLoss/dlogprob. Called once a sequence, in order; entropy is NULL where the
// log-probabilities are the sequences' known ones, which are given before the forward pass.
typedef zk_status (*zk_loss_fn)(void *context, int64_t seq, int64_t num_targets, const float *logprob, const float *entropy, float *dlogprob);

// Told, while a leaf is computed, that the first num_stretches stretches of its gradient (leaf_stretches.h) are final once what is queued on the stream now
// is done; the number ascends, and ends with all. A failure ends the leaf.
typedef struct {
  zk_status (*tell)(void *context, int num_stretches);
  void *context;
} zk_gradient_listener;

// Forward only, over sequences [first, last).
zk_status zk_gradient_forward(zk_gradient *gradient, const zk_sequences *seqs, int64_t first, int64_t last, const zk_gradient_outputs *out);
// Forward and backward over the sequences of one leaf; grad (device, fp32, the elements of what is trained, zk_policy_trained) is overwritten. `listener` may be NULL.
// The gradient's bits do not depend on whether targets are known beforehand, if the forward pass finds what was known; it is of the known ones otherwise.
zk_status zk_gradient_leaf(zk_gradient *gradient, const zk_sequences *seqs, int64_t first, int64_t last, zk_loss_fn loss, void *context, float *grad,
                           const zk_gradient_outputs *out, const zk_gradient_listener *listener);

#endif
