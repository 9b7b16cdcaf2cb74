// Estimators of the divergence of the policy from the reference model, a token at a time (Schulman 2020, "Approximating KL divergence").
#ifndef ZK_TRAINER_KL_H
#define ZK_TRAINER_KL_H

#include "shared/config.h"
#include "shared/trajectory.h"

typedef struct {
  double value; // nat
  double slope; // d value / d logprob
} zk_kl;

// With d = logprob - reference_logprob:  k1 = d,  k2 = d^2 / 2,  k3 = e^-d - 1 + d. Beyond |d| = 20 (k3: beyond e^20) a curve goes on as its tangent, so
// that no two finite log-probabilities give an infinity or NaN, nor a slope of 0 where the pull should be strongest.
zk_kl zk_kl_estimate(zk_config_kl_estimator estimator, double logprob, double reference_logprob);

#endif
