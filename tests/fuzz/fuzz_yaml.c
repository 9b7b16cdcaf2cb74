// Any bytes as a config file: refused with a message, or read, written and read back to the same struct.
// The first line, if it begins with '#', is also an override behind the '#'.
#include <stdlib.h>
#include <string.h>

#include "shared/config.h"

static void require(int condition) {
  if (!condition) abort();
}

static void check_round_trip(const zk_config *cfg) {
  char *yaml = NULL, *identity = NULL, *identity_again = NULL;
  size_t num_bytes = 0;
  FILE *file = open_memstream(&yaml, &num_bytes);
  require(file != NULL);
  require(zk_config_write_yaml(cfg, file) == ZK_OK);
  require(fclose(file) == 0);
  static zk_config again;
  require(zk_config_parse("written", yaml, num_bytes, 0, NULL, &again) == ZK_OK);
  require(memcmp(cfg, &again, sizeof again) == 0);
  require(zk_config_identity_text(cfg, &identity) == ZK_OK);
  require(zk_config_identity_text(&again, &identity_again) == ZK_OK);
  require(zk_config_compare_identity("a", identity, "b", identity_again) == ZK_OK);
  free(yaml);
  free(identity);
  free(identity_again);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t num_bytes) {
  static zk_config cfg;
  char override[256] = "";
  if (num_bytes > 0 && data[0] == '#')
    for (size_t i = 1; i < num_bytes && i < sizeof override && data[i] != '\n' && data[i] != 0; i++)
      override[i - 1] = (char)data[i];
  char *overrides[] = {override};
  zk_status st = zk_config_parse("fuzz", (const char *)data, num_bytes, override[0] != 0, overrides, &cfg);
  if (st == ZK_OK) check_round_trip(&cfg);
  else require((st == ZK_BAD_INPUT || st == ZK_UNSUPPORTED) && zk_status_message()[0] != 0);
  return 0;
}
