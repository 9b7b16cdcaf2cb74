// Events encoded, and read back as far as a writer that goes on must know.
#include "shared/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };                                  // wire types
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };    // field numbers
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2 };

// ---- writing

static void put_varint(FILE *out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) fputc((int)(value & 0x7f) | 0x80, out);
  fputc((int)value, out);
}

static void put_key(FILE *out, int field, int wire) { put_varint(out, (uint64_t)field << 3 | (uint64_t)wire); }

static void put_bytes(FILE *out, int field, const void *data, size_t num_bytes) {
  put_key(out, field, LENGTH);
  put_varint(out, num_bytes);
  fwrite(data, 1, num_bytes, out);
}

// A little-endian machine's own bytes, as everywhere in this project (x86-64).
static void put_fixed(FILE *out, int field, int wire, const void *value, size_t num_bytes) {
  put_key(out, field, wire);
  fwrite(value, 1, num_bytes, out);
}

static void put_value(FILE *out, const char *tag, double value) {
  float rounded = (float)value;
  size_t n = strlen(tag), tag_bytes = 2;
  for (size_t rest = n; rest >= 0x80; rest >>= 7) tag_bytes++;
  put_key(out, SUMMARY_VALUE, LENGTH);
  put_varint(out, tag_bytes + n + 1 + sizeof rounded);
  put_bytes(out, VALUE_TAG, tag, n);
  put_fixed(out, VALUE_SIMPLE, FIXED32, &rounded, sizeof rounded);
}

static zk_status finish(FILE *stream, uint8_t **out) {
  bool failed = !stream || ferror(stream) || fclose(stream);
  if (failed) free(*out);
  return failed ? ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for an event") : ZK_OK;
}

zk_status zk_event_version(double wall_time_s, uint8_t **out, size_t *out_bytes) {
  static const char version[] = "brain.Event:2";
  *out = NULL;
  FILE *event = open_memstream((char **)out, out_bytes);
  if (event) {
    put_fixed(event, EVENT_WALL_TIME, FIXED64, &wall_time_s, sizeof wall_time_s);
    put_bytes(event, EVENT_FILE_VERSION, version, strlen(version));
  }
  return finish(event, out);
}

static zk_status make_summary(json_t *line, char **out, size_t *out_bytes) {
  FILE *summary = open_memstream(out, out_bytes);
  const char *key;
  json_t *value;
  if (summary) json_object_foreach(line, key, value) {
    if (json_is_number(value) && strcmp(key, "step")) put_value(summary, key, json_number_value(value));
  }
  return finish(summary, (uint8_t **)out);
}

zk_status zk_event_scalars(double wall_time_s, int64_t step, json_t *line, uint8_t **out, size_t *out_bytes) {
  char *summary = NULL;
  size_t summary_bytes = 0;
  *out = NULL;
  ZK_TRY(make_summary(line, &summary, &summary_bytes));
  FILE *event = open_memstream((char **)out, out_bytes);
  if (event) {
    put_fixed(event, EVENT_WALL_TIME, FIXED64, &wall_time_s, sizeof wall_time_s);
    put_key(event, EVENT_STEP, VARINT);
    put_varint(event, (uint64_t)step);
    put_bytes(event, EVENT_SUMMARY, summary, summary_bytes);
  }
  free(summary);
  return finish(event, out);
}

// ---- reading

static bool get_varint(const uint8_t **at, const uint8_t *end, uint64_t *out) {
  *out = 0;
  for (int shift = 0; *at < end && shift < 64; shift += 7) {
    uint8_t byte = *(*at)++;
    *out |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

// Moves *at behind a field's value; a varint's is in *value.
static bool skip_value(int wire, const uint8_t **at, const uint8_t *end, uint64_t *value) {
  uint64_t length = wire == FIXED64 ? 8 : wire == FIXED32 ? 4 : 0;
  if (wire == VARINT) return get_varint(at, end, value);
  if (wire != FIXED64 && wire != FIXED32 && wire != LENGTH) return false;
  if (wire == LENGTH && !get_varint(at, end, &length)) return false;
  if (length > (uint64_t)(end - *at)) return false;
  *at += length;
  return true;
}

bool zk_event_read(const uint8_t *message, size_t num_bytes, bool *is_version, int64_t *step) {
  const uint8_t *at = message, *end = message + num_bytes;
  *is_version = false, *step = 0;
  while (at < end) {
    uint64_t key, value = 0;
    if (!get_varint(&at, end, &key) || !skip_value((int)(key & 7), &at, end, &value)) return false;
    if (key >> 3 == EVENT_FILE_VERSION) *is_version = true;
    if (key == (EVENT_STEP << 3 | VARINT)) *step = (int64_t)value;
  }
  return true;
}
