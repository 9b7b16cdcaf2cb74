// One value of the configuration: from text into its struct member, for every kind of key.
#include "shared/config_keys.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static void *member(const zk_config_key *key, zk_config *cfg) { return (char *)cfg + key->offset; }

static size_t member_bytes(const zk_config_key *key) {
  switch (key->kind) {
  case ZK_CONFIG_BOOL:
    return sizeof(bool);
  case ZK_CONFIG_INT:
  case ZK_CONFIG_CHOICE:
    return sizeof(int);
  case ZK_CONFIG_U64:
  case ZK_CONFIG_SIZE:
    return sizeof(uint64_t);
  case ZK_CONFIG_REAL:
    return sizeof(double);
  case ZK_CONFIG_TEXT:
    return key->capacity;
  case ZK_CONFIG_LIST:
    return sizeof(zk_config_list);
  }
  return 0;
}

static zk_status wrong_type(const zk_config_key *key, const char *text, size_t num_bytes, const char *expected) {
  char quoted[ZK_CONFIG_QUOTE_BYTES];
  return ZK_FAIL(ZK_BAD_INPUT, "%s: expected %s, found %s", key->path, expected,
                 zk_config_quote(text, num_bytes, quoted));
}

static zk_status out_of_range(const zk_config_key *key, const char *text) {
  char range[ZK_CONFIG_RANGE_BYTES];
  return ZK_FAIL(ZK_BAD_INPUT, "%s: %s is out of range: expected %s", key->path, text, zk_config_key_range(key, range));
}

static zk_status set_integer(const zk_config_key *key, const char *text, zk_config *cfg) {
  size_t digits = zk_config_scan_number(text, false);
  int shift = text[digits] == 0 ? 0 : key->kind == ZK_CONFIG_SIZE ? zk_config_size_shift(text + digits) : -1;
  if (digits == 0 || shift < 0)
    return wrong_type(key, text, strlen(text), key->kind == ZK_CONFIG_SIZE ? "a size such as 4GiB" : "an integer");
  errno = 0;
  int64_t value = strtoll(text, NULL, 10);
  if (errno || value > (key->max_int >> shift) || value < key->min_int) return out_of_range(key, text);
  value <<= shift;
  if (key->multiple_of > 1 && value % key->multiple_of) return out_of_range(key, text);
  if (key->power_of_two && (value & (value - 1))) return out_of_range(key, text);
  if (key->kind == ZK_CONFIG_INT) *(int *)member(key, cfg) = (int)value;
  else *(uint64_t *)member(key, cfg) = (uint64_t)value;
  return ZK_OK;
}

static zk_status set_real(const zk_config_key *key, const char *text, zk_config *cfg) {
  size_t len = zk_config_scan_number(text, true);
  if (len == 0 || text[len]) return wrong_type(key, text, strlen(text), "a finite number");
  double value = zk_config_read_real(text);
  bool above = key->bounds[0] == '[' ? value >= key->min_real : value > key->min_real;
  bool below = key->bounds[1] == ']' ? value <= key->max_real : value < key->max_real;
  if (!isfinite(value) || !above || !below) return out_of_range(key, text);
  *(double *)member(key, cfg) = value;
  return ZK_OK;
}

static zk_status set_choice(const zk_config_key *key, const char *text, zk_config *cfg) {
  char names[ZK_CONFIG_RANGE_BYTES];
  for (const zk_config_choice *c = key->choices; c->name; c++) {
    if (strcmp(c->name, text)) continue;
    *(int *)member(key, cfg) = c->value;
    return ZK_OK;
  }
  return wrong_type(key, text, strlen(text), zk_config_key_range(key, names));
}

// Copies text into out[capacity], zero behind it.
static zk_status set_text(const zk_config_key *key, const char *text, size_t num_bytes, char *out, size_t capacity) {
  if (num_bytes >= capacity)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: %zu bytes of text, at most %zu fit", key->path, num_bytes, capacity - 1);
  for (size_t i = 0; i < num_bytes;) {
    utf8proc_int32_t code;
    utf8proc_ssize_t len =
        utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(num_bytes - i), &code);
    if (len <= 0) return ZK_FAIL(ZK_BAD_INPUT, "%s: byte %zu of the text is not UTF-8", key->path, i + 1);
    if (code == 0) return ZK_FAIL(ZK_BAD_INPUT, "%s: a text cannot hold a NUL", key->path);
    i += (size_t)len;
  }
  memset(out, 0, capacity);
  memcpy(out, text, num_bytes);
  return ZK_OK;
}

static zk_status append_text(const zk_config_key *key, const char *text, size_t num_bytes, zk_config_list *list) {
  if (num_bytes == 0) return ZK_FAIL(ZK_BAD_INPUT, "%s: an empty text in the list", key->path);
  if (list->num == ZK_CONFIG_MAX_STOPS)
    return ZK_FAIL(ZK_BAD_INPUT, "%s: at most %d texts", key->path, ZK_CONFIG_MAX_STOPS);
  ZK_TRY(set_text(key, text, num_bytes, list->text[list->num], ZK_CONFIG_STOP_BYTES));
  list->num++;
  return ZK_OK;
}

bool zk_config_is_nothing(const char *text, size_t num_bytes) {
  static const char *const words[] = {"", "~", "null", "Null", "NULL"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (num_bytes == strlen(words[i]) && memcmp(text, words[i], num_bytes) == 0) return true;
  return false;
}

static zk_status set_scalar(const zk_config_key *key, const char *text, bool plain, zk_config *cfg) {
  if (key->kind == ZK_CONFIG_CHOICE) return set_choice(key, text, cfg);
  if (!plain) return wrong_type(key, text, strlen(text), "a value without quotes");
  if (key->kind == ZK_CONFIG_REAL) return set_real(key, text, cfg);
  if (key->kind != ZK_CONFIG_BOOL) return set_integer(key, text, cfg);
  if (strcmp(text, "true") && strcmp(text, "false")) return wrong_type(key, text, strlen(text), "true or false");
  *(bool *)member(key, cfg) = text[0] == 't';
  return ZK_OK;
}

zk_status zk_config_value_set(const zk_config_key *key, const char *text, size_t num_bytes, bool plain,
                              zk_config *cfg) {
  bool is_text = key->kind == ZK_CONFIG_TEXT || key->kind == ZK_CONFIG_LIST;
  if (plain && zk_config_is_nothing(text, num_bytes))
    return ZK_FAIL(ZK_BAD_INPUT, "%s: no value given%s", key->path, is_text ? " (an empty text is \"\")" : "");
  if (key->kind == ZK_CONFIG_TEXT) {
    ZK_TRY(set_text(key, text, num_bytes, member(key, cfg), key->capacity));
  } else if (key->kind == ZK_CONFIG_LIST) {
    ZK_TRY(append_text(key, text, num_bytes, member(key, cfg)));
  } else {
    char word[64];
    if (num_bytes >= sizeof word || memchr(text, 0, num_bytes))
      return wrong_type(key, text, num_bytes, "one short word");
    memcpy(word, text, num_bytes);
    word[num_bytes] = 0;
    ZK_TRY(set_scalar(key, word, plain, cfg));
  }
  return ZK_OK;
}

void zk_config_value_reset(const zk_config_key *key, zk_config *cfg) {
  memset(member(key, cfg), 0, member_bytes(key));
  if (!key->fallback || key->kind == ZK_CONFIG_LIST) return;
  zk_status st = key->kind == ZK_CONFIG_TEXT
                     ? set_text(key, key->fallback, strlen(key->fallback), member(key, cfg), key->capacity)
                     : set_scalar(key, key->fallback, true, cfg);
  (void)st; // a test checks every default of the table
}

bool zk_config_value_is_default(const zk_config_key *key, const zk_config *cfg) {
  if (!key->fallback) return false;
  zk_config fallback;
  zk_config_value_reset(key, &fallback);
  return memcmp((const char *)cfg + key->offset, (const char *)&fallback + key->offset, member_bytes(key)) == 0;
}
