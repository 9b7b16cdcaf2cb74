// The content of a step as one walk over named values: hashed, or compared until the first difference.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "shared/trajectory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "columns are hashed and stored as they lie in memory");

static const char *text_of(const char *s) { return s ? s : ""; }

// The string attributes that are content. run_name and zerokl_version say who wrote, not what.
#define CONTENT_STRINGS(X) X(numerics) X(tokenizer_hash) X(template_hash) X(config)

static void hash_counted(XXH64_state_t *state, const void *data, int64_t count, size_t num_bytes) {
  XXH64_update(state, &count, sizeof count);
  XXH64_update(state, data, num_bytes);
}

static void hash_string(XXH64_state_t *state, const char *s) { hash_counted(state, s, (int64_t)strlen(s), strlen(s)); }

uint64_t zk_trajectory_content_hash(const zk_trajectory *t) {
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  const uint64_t head[] = {ZK_TRAJECTORY_SCHEMA_VERSION, (uint64_t)t->step, t->seed, (uint64_t)t->contract_version,
                           t->weights_hash};
  XXH64_update(&state, head, sizeof head);
#define X(name) hash_string(&state, text_of(t->name));
  CONTENT_STRINGS(X)
#undef X
  for (int i = 0; i < t->num_components; i++) hash_string(&state, text_of(t->component_names[i]));
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++) {
    if (zk_trajectory_is_left_out(t, c)) continue;
    int64_t n = zk_trajectory_num_elements(t, c);
    hash_counted(&state, zk_trajectory_data(t, c), n, (size_t)n * (size_t)zk_trajectory_columns[c].element_bytes);
  }
  return XXH64_digest(&state);
}

// ---- comparison -----------------------------------------------------------------------------------------------------
// ------------------------------------------------------------------------------------------------------

static bool differ(zk_trajectory_difference *out, const char *name, int64_t index, const char *a, const char *b) {
  if (out) {
    *out = (zk_trajectory_difference){.index = index};
    snprintf(out->dataset, sizeof out->dataset, "%s", name);
    snprintf(out->a, sizeof out->a, "%s", a);
    snprintf(out->b, sizeof out->b, "%s", b);
  }
  return false;
}

static bool same_int(const char *name, int64_t a, int64_t b, zk_trajectory_difference *out) {
  if (a == b) return true;
  char text_a[24], text_b[24];
  snprintf(text_a, sizeof text_a, "%" PRId64, a);
  snprintf(text_b, sizeof text_b, "%" PRId64, b);
  return differ(out, name, -1, text_a, text_b);
}

static bool same_hash(const char *name, uint64_t a, uint64_t b, zk_trajectory_difference *out) {
  if (a == b) return true;
  char text_a[24], text_b[24];
  snprintf(text_a, sizeof text_a, "%016" PRIx64, a);
  snprintf(text_b, sizeof text_b, "%016" PRIx64, b);
  return differ(out, name, -1, text_a, text_b);
}

static bool same_string(const char *name, const char *a, const char *b, zk_trajectory_difference *out) {
  size_t at = 0;
  while (a[at] && a[at] == b[at]) at++;
  return a[at] == b[at] || differ(out, name, -1, a + at, b + at); // from where they part
}

static void format_element(const zk_trajectory_column *column, const void *data, int64_t index, char *text,
                           size_t size) {
  unsigned char raw[8] = {0};
  memcpy(raw, (const char *)data + index * column->element_bytes, (size_t)column->element_bytes);
  uint64_t bits;
  memcpy(&bits, raw, sizeof bits);
  if (column->kind == 'f') {
    float value;
    memcpy(&value, raw, sizeof value);
    snprintf(text, size, "%.9g (0x%08" PRIx64 ")", (double)value, bits);
  } else if (column->kind == 'i' && column->element_bytes == 4) {
    snprintf(text, size, "%" PRId32, (int32_t)bits);
  } else if (column->kind == 'i') {
    snprintf(text, size, "%" PRId64, (int64_t)bits);
  } else {
    snprintf(text, size, "%" PRIu64, bits);
  }
}

static bool same_column(const zk_trajectory *a, const zk_trajectory *b, int c, zk_trajectory_difference *out) {
  const zk_trajectory_column *column = &zk_trajectory_columns[c];
  if (!same_int(column->name, zk_trajectory_num_elements(a, c), zk_trajectory_num_elements(b, c), out)) return false;
  const char *data_a = zk_trajectory_data(a, c), *data_b = zk_trajectory_data(b, c);
  int64_t n = zk_trajectory_num_elements(a, c);
  size_t size = (size_t)column->element_bytes;
  if (!memcmp(data_a, data_b, (size_t)n * size)) return true;
  int64_t i = 0;
  while (!memcmp(data_a + (size_t)i * size, data_b + (size_t)i * size, size)) i++;
  char text_a[48], text_b[48];
  format_element(column, data_a, i, text_a, sizeof text_a);
  format_element(column, data_b, i, text_b, sizeof text_b);
  return differ(out, column->name, i, text_a, text_b);
}

bool zk_trajectory_equal(const zk_trajectory *a, const zk_trajectory *b, zk_trajectory_difference *out) {
  if (!same_int("step", a->step, b->step, out) || !same_hash("seed", a->seed, b->seed, out) ||
      !same_int("contract_version", a->contract_version, b->contract_version, out) ||
      !same_hash("weights_hash", a->weights_hash, b->weights_hash, out))
    return false;
#define X(name)                                                                                                        \
  if (!same_string(#name, text_of(a->name), text_of(b->name), out)) return false;
  CONTENT_STRINGS(X)
#undef X
  if (!same_int("num_components", a->num_components, b->num_components, out)) return false;
  for (int i = 0; i < a->num_components; i++)
    if (!same_string("component_names", text_of(a->component_names[i]), text_of(b->component_names[i]), out))
      return false;
  for (int c = 0; c < ZK_TRAJECTORY_NUM_COLUMNS; c++)
    if (!same_column(a, b, c, out)) return false;
  return true;
}
