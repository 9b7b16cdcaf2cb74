// k1, k2, k3.
#include "trainer/kl.h"

#include "kernels/math.h"

static const double LIMIT = 20;

static zk_kl k2(double d) {
  if (d > LIMIT) return (zk_kl){LIMIT * d - LIMIT * LIMIT / 2, LIMIT};
  if (d < -LIMIT) return (zk_kl){-LIMIT * d - LIMIT * LIMIT / 2, -LIMIT};
  return (zk_kl){d * d / 2, d};
}

static zk_kl k3(double d) {
  if (d >= -LIMIT) return (zk_kl){zk_exp(-d) - 1 + d, 1 - zk_exp(-d)};
  const double e = zk_exp(LIMIT);
  return (zk_kl){e * (1 - d - LIMIT) - 1 + d, 1 - e};
}

zk_kl zk_kl_estimate(zk_config_kl_estimator estimator, double logprob, double reference_logprob) {
  const double d = logprob - reference_logprob;
  switch (estimator) {
  case ZK_CONFIG_KL_K1:
    return (zk_kl){d, 1};
  case ZK_CONFIG_KL_K2:
    return k2(d);
  case ZK_CONFIG_KL_K3:
    return k3(d);
  }
  return (zk_kl){0, 0};
}
