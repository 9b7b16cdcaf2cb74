// TFRecord, the framing of TensorBoard's event files: length, CRC of the length, data, CRC of the data.
//
//   uint64 length   uint32 masked CRC-32C of those 8 bytes   data[length]   uint32 masked CRC-32C of data     (little-endian)
#ifndef ZK_SHARED_TFRECORD_H
#define ZK_SHARED_TFRECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// CRC-32C (Castagnoli: reflected polynomial 0x82f63b78, RFC 3720 appendix B.4).
uint32_t zk_crc32c(const void *data, size_t num_bytes);

// Writes one record. Errors stay in the stream.
void zk_tfrecord_write(FILE *out, const void *data, size_t num_bytes);

// The record at *at of bytes[num_bytes]: its data (borrowed) in *out and *out_bytes, and *at moves behind it. False, with nothing changed, when
// what is there is no whole record with the right sums.
bool zk_tfrecord_next(const void *bytes, size_t num_bytes, size_t *at, const uint8_t **out, size_t *out_bytes);

#endif
