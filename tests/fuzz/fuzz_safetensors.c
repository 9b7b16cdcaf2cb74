// Any bytes as a safetensors file: refused with a message, or every tensor can be found and read to its last element.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared/safetensors.h"

static void require(int condition) {
  if (!condition) abort();
}

static void read_ends(const zk_safetensor *t) {
  float value;
  int64_t integer;
  if (t->num_elements == 0) return;
  int is_float = zk_safetensor_read_f32(t, 0, 1, &value) == ZK_OK,
      is_integer = zk_safetensor_read_i64(t, 0, 1, &integer) == ZK_OK;
  require(!is_float || zk_safetensor_read_f32(t, t->num_elements - 1, 1, &value) == ZK_OK);
  require(!is_integer || zk_safetensor_read_i64(t, t->num_elements - 1, 1, &integer) == ZK_OK);
  require(zk_safetensor_read_f32(t, t->num_elements, 1, &value) != ZK_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t num_bytes) {
  zk_safetensors *file = NULL;
  zk_status_clear();
  if (zk_safetensors_open_memory("input", data, num_bytes, &file) != ZK_OK) {
    require(!strncmp(zk_status_message(), "input: ", 7));
    return 0;
  }
  size_t total = 0;
  for (int i = 0; i < zk_safetensors_count(file); i++) {
    const zk_safetensor *t = zk_safetensors_at(file, i);
    require(zk_safetensors_find(file, t->name) == t);
    total += (size_t)t->num_elements * zk_dtype_bytes(t->dtype);
    read_ends(t);
  }
  require(total <= num_bytes);
  zk_safetensors_close(file);
  return 0;
}
