// Any bytes as config.json, and behind a NUL as generation_config.json: refused with a message, or a checked config
// whose parameter table is sound.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared/model_config.h"
#include "shared/params.h"

static void require(int condition) {
  if (!condition) abort();
}

static void check_table(const zk_model_config *config) {
  zk_params params;
  if (config->num_layers > 64) return; // time, not meaning
  require(zk_params_create(config, &params) == ZK_OK);
  const zk_param *last = &params.params[params.num_params - 1];
  require(last->first + last->num_elements == params.num_elements && params.num_elements > 0);
  zk_params_destroy(&params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t num_bytes) {
  zk_model_config config;
  size_t first = num_bytes ? strnlen((const char *)data, num_bytes) : 0;
  zk_status_clear();
  if (zk_model_config_parse("input", (const char *)data, first, &config) != ZK_OK) {
    require(!strncmp(zk_status_message(), "input:", 6));
    return 0;
  }
  require(zk_model_config_check(&config) == ZK_OK);
  check_table(&config);
  if (first + 1 < num_bytes && zk_model_config_parse_generation("input", (const char *)data + first + 1,
                                                                num_bytes - first - 1, &config) == ZK_OK)
    require(zk_model_config_check(&config) == ZK_OK);
  return 0;
}
