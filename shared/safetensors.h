// Reads and writes safetensors: an 8-byte header length, a JSON table of (dtype, shape, byte range), then raw
// little-endian data. A model is one file `model.safetensors`, or `model.safetensors.index.json` beside shards. Files
// are not trusted: every length, offset and shape is checked before use. Format:
// https://huggingface.co/docs/safetensors
#ifndef ZK_SHARED_SAFETENSORS_H
#define ZK_SHARED_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

// clang-format off
// X(name as in the file, bytes per element)
#define ZK_SAFETENSORS_DTYPES(X)                                                                                       \
  X(F64, 8) X(F32, 4) X(F16, 2) X(BF16, 2) X(F8_E4M3, 1) X(F8_E5M2, 1)                                                 \
  X(I64, 8) X(I32, 4) X(I16, 2) X(I8, 1) X(U64, 8) X(U32, 4) X(U16, 2) X(U8, 1) X(BOOL, 1)
// clang-format on

typedef enum {
#define X(name, bytes) ZK_DTYPE_##name,
  ZK_SAFETENSORS_DTYPES(X)
#undef X
      ZK_NUM_DTYPES
} zk_dtype;

const char *zk_dtype_name(zk_dtype dtype); // "BF16"
size_t zk_dtype_bytes(zk_dtype dtype);     // of one element

#define ZK_SAFETENSORS_MAX_DIMS 8

// One tensor of an open file. Valid until zk_safetensors_close.
typedef struct zk_safetensor {
  const char *name;
  const char *file; // path of the file that holds it, for messages
  zk_dtype dtype;
  int num_dims;
  int64_t shape[ZK_SAFETENSORS_MAX_DIMS];
  int64_t num_elements;
  const void *data; // num_elements x zk_dtype_bytes(dtype) mapped bytes, little-endian, not necessarily aligned
} zk_safetensor;

typedef struct zk_safetensors zk_safetensors;

// Opens one file, or a folder holding model.safetensors or model.safetensors.index.json (the single file wins when
// both exist, as in transformers). Tensors are mapped, not read. Fails with ZK_BAD_INPUT (truncated, overlapping, out
// of range, unknown dtype, duplicate name, tensor in a shard other than the index says ...) or ZK_IO; the message names
// the file and the tensor. Close what was opened.
zk_status zk_safetensors_open(const char *path, zk_safetensors **out);
// The same from memory that the caller keeps until zk_safetensors_close. `name` stands for the path in messages.
zk_status zk_safetensors_open_memory(const char *name, const void *bytes, size_t num_bytes, zk_safetensors **out);
void zk_safetensors_close(zk_safetensors *file); // NULL is fine

int zk_safetensors_count(const zk_safetensors *file);
const zk_safetensor *zk_safetensors_at(const zk_safetensors *file, int idx);            // in bytewise order of names
const zk_safetensor *zk_safetensors_find(const zk_safetensors *file, const char *name); // NULL if absent

// Converts elements [first, first + count) to out[count]. F32, BF16 and F16 only (all exact); any other dtype fails
// with the tensor's name (ZK_UNSUPPORTED). Bits of NaN are kept for F32 and BF16.
zk_status zk_safetensor_read_f32(const zk_safetensor *tensor, int64_t first, int64_t count, float *out);
// The same for I32 and I64 (the latter must fit int64_t), for files of ours that hold indices.
zk_status zk_safetensor_read_i64(const zk_safetensor *tensor, int64_t first, int64_t count, int64_t *out);

float zk_float_from_f16(uint16_t bits); // exact, subnormals too; bf16 is kernels/bf16.h's

// ---- writing

// A tensor to be written; num_dims <= ZK_SAFETENSORS_MAX_DIMS. Names must come in strictly ascending bytewise order.
typedef struct zk_safetensors_entry {
  const char *name;
  int num_dims;
  int64_t shape[ZK_SAFETENSORS_MAX_DIMS];
} zk_safetensors_entry;

typedef struct zk_safetensors_writer zk_safetensors_writer;

// Begins `dir`/model.safetensors, or shards plus index when the data is larger than max_shard_bytes (0: one file). A
// shard holds whole tensors. dtype: ZK_DTYPE_F32 or ZK_DTYPE_BF16 (round to nearest even). Entries are copied. The
// bytes are a function of the entries, the values, dtype and max_shard_bytes alone. Not collective: one process writes.
zk_status zk_safetensors_writer_open(const char *dir, const zk_safetensors_entry *entries, int num_entries,
                                     zk_dtype dtype, int64_t max_shard_bytes, zk_safetensors_writer **out);
// The same as `dir`/STEM.safetensors, STEM-00001-of-...; `stem` is a constant, "model" above.
zk_status zk_safetensors_writer_open_as(const char *dir, const char *stem, const zk_safetensors_entry *entries, int num_entries,
                                        zk_dtype dtype, int64_t max_shard_bytes, zk_safetensors_writer **out);
// Appends the next `count` elements: all entries' elements in order, row-major, in pieces of any size.
zk_status zk_safetensors_writer_append(zk_safetensors_writer *writer, const float *values, int64_t count);
// Flushes and renames files into place (data first, index last). Always frees the writer; on failure, and when elements
// are missing, the temporary files are removed and nothing in place has changed.
zk_status zk_safetensors_writer_close(zk_safetensors_writer *writer);
void zk_safetensors_writer_abort(zk_safetensors_writer *writer); // removes the temporary files and frees; NULL is fine

#endif
