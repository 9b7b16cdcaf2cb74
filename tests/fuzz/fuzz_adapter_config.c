// Any bytes as adapter_config.json: refused with a message, or a plain LoRA of the rank, alpha and layers that were asked for.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared/adapter_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t num_bytes) {
  const zk_lora lora = {4, 6, (1u << ZK_LORA_NUM_TARGETS) - 1};
  zk_status_clear();
  if (zk_adapter_config_check("input", (const char *)data, num_bytes, &lora) != ZK_OK && strncmp(zk_status_message(), "input:", 6)) abort();
  return 0;
}
