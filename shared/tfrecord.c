// Records written and read back, each with its sums.
#include "shared/tfrecord.h"

enum { HEAD_BYTES = 12, TAIL_BYTES = 4 };

uint32_t zk_crc32c(const void *data, size_t num_bytes) {
  const uint8_t *at = data;
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < num_bytes; i++) {
    crc ^= at[i];
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0x82f63b78u & -(crc & 1));
  }
  return ~crc;
}

// So that the sum of a text with sums in it is no sum of sums: rotated, and moved by a constant.
static uint32_t masked(const void *data, size_t num_bytes) {
  uint32_t crc = zk_crc32c(data, num_bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static void put_little(uint8_t *to, uint64_t value, int num_bytes) {
  for (int i = 0; i < num_bytes; i++) to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_little(const uint8_t *from, int num_bytes) {
  uint64_t value = 0;
  for (int i = 0; i < num_bytes; i++) value |= (uint64_t)from[i] << (8 * i);
  return value;
}

void zk_tfrecord_write(FILE *out, const void *data, size_t num_bytes) {
  uint8_t head[HEAD_BYTES], tail[TAIL_BYTES];
  put_little(head, num_bytes, 8);
  put_little(head + 8, masked(head, 8), 4);
  put_little(tail, masked(data, num_bytes), 4);
  fwrite(head, 1, sizeof head, out);
  fwrite(data, 1, num_bytes, out);
  fwrite(tail, 1, sizeof tail, out);
}

bool zk_tfrecord_next(const void *bytes, size_t num_bytes, size_t *at, const uint8_t **out, size_t *out_bytes) {
  const uint8_t *head = (const uint8_t *)bytes + *at;
  size_t left = num_bytes - *at;
  if (left < HEAD_BYTES + TAIL_BYTES || get_little(head + 8, 4) != masked(head, 8)) return false;
  uint64_t length = get_little(head, 8);
  if (length > left - HEAD_BYTES - TAIL_BYTES) return false;
  const uint8_t *data = head + HEAD_BYTES;
  if (get_little(data + length, 4) != masked(data, (size_t)length)) return false;
  *out = data, *out_bytes = (size_t)length;
  *at += HEAD_BYTES + (size_t)length + TAIL_BYTES;
  return true;
}
