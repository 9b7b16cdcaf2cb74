// In what sampler and trainer compute.
#include "shared/config.h"

#include <stdio.h>

zk_numerics zk_config_sampler_numerics(const zk_config *c) {
  return c->rollout.numerics == ZK_CONFIG_SAMPLER_TRAINER ? c->numerics : (zk_numerics)(c->rollout.numerics - ZK_CONFIG_SAMPLER_OTHER);
}

bool zk_config_is_off_policy(const zk_config *c) { return zk_config_sampler_numerics(c) != c->numerics || c->rollout.weight_bits > 0; }

bool zk_config_may_differ(const zk_config *c) { return c->numerics == ZK_VENDOR || zk_config_is_off_policy(c); }

zk_config_numerics_text zk_config_describe_numerics(const zk_config *c) {
  zk_config_numerics_text text;
  const char *trainer = zk_numerics_name(c->numerics), *sampler = zk_numerics_name(zk_config_sampler_numerics(c));
  if (c->rollout.weight_bits > 0) snprintf(text.s, sizeof text.s, "%s, sampled in %s of %d-bit weights", trainer, sampler, c->rollout.weight_bits);
  else if (zk_config_is_off_policy(c)) snprintf(text.s, sizeof text.s, "%s, sampled in %s", trainer, sampler);
  else snprintf(text.s, sizeof text.s, "%s", trainer);
  return text;
}
