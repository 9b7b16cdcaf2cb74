// One key of the configuration for reading: its value as YAML, and the values it takes.
#include "shared/config_keys.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Whether YAML reads the text back without quotes, in flow and block, as text.
static bool is_plain_safe(const char *text) {
  if (zk_config_is_nothing(text, strlen(text)) || !(is_letter(text[0]) || text[0] == '_' || text[0] == '/'))
    return false;
  for (const char *p = text; *p; p++)
    if (!is_letter(*p) && !(*p >= '0' && *p <= '9') && !strchr("_./-", *p)) return false;
  return true;
}

// Controls, line breaks and what YAML does not allow in a stream.
static bool is_special(utf8proc_int32_t code) {
  return code < 0x20 || (code >= 0x7F && code <= 0xA0) || code == 0x2028 || code == 0x2029 || code == 0xFEFF ||
         code == 0xFFFE || code == 0xFFFF;
}

static void print_text(const char *text, FILE *file) {
  if (is_plain_safe(text)) {
    fputs(text, file);
    return;
  }
  fputc('"', file);
  const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
  for (utf8proc_int32_t code; *p;) {
    utf8proc_ssize_t len = utf8proc_iterate(p, -1, &code);
    if (len <= 0) break; // set_text lets no such text in
    if (code == '"' || code == '\\') fprintf(file, "\\%c", (char)code);
    else if (code == '\n') fputs("\\n", file);
    else if (code == '\t') fputs("\\t", file);
    else if (is_special(code)) fprintf(file, code < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)code);
    else fwrite(p, 1, (size_t)len, file);
    p += len;
  }
  fputc('"', file);
}

static void print_list(const zk_config_list *list, FILE *file) {
  fputc('[', file);
  for (int i = 0; i < list->num; i++) {
    if (i) fputs(", ", file);
    print_text(list->text[i], file);
  }
  fputc(']', file);
}

static const char *choice_name(const zk_config_key *key, int value) {
  for (const zk_config_choice *c = key->choices; c->name; c++)
    if (c->value == value) return c->name;
  return "?";
}

void zk_config_value_print(const zk_config_key *key, const zk_config *cfg, FILE *file) {
  const void *at = (const char *)cfg + key->offset;
  switch (key->kind) {
  case ZK_CONFIG_BOOL:
    fputs(*(const bool *)at ? "true" : "false", file);
    break;
  case ZK_CONFIG_INT:
    fprintf(file, "%d", *(const int *)at);
    break;
  case ZK_CONFIG_U64:
    fprintf(file, "%" PRIu64, *(const uint64_t *)at);
    break;
  case ZK_CONFIG_SIZE:
    zk_config_print_size(*(const uint64_t *)at, file);
    break;
  case ZK_CONFIG_REAL:
    zk_config_print_real(*(const double *)at, file);
    break;
  case ZK_CONFIG_CHOICE:
    fputs(choice_name(key, *(const int *)at), file);
    break;
  case ZK_CONFIG_TEXT:
    print_text(at, file);
    break;
  case ZK_CONFIG_LIST:
    print_list(at, file);
    break;
  }
}

char *zk_config_value_text(const zk_config_key *key, const zk_config *cfg) {
  char *text = NULL;
  size_t num_bytes = 0;
  FILE *file = open_memstream(&text, &num_bytes);
  if (!file) return NULL;
  zk_config_value_print(key, cfg, file);
  if (fclose(file) == 0) return text;
  free(text);
  return NULL;
}

// ---- what a key takes ------------------------------------------------------------------------------------------

const char *zk_config_key_choices(const zk_config_key *key, char out[ZK_CONFIG_RANGE_BYTES]) {
  out[0] = 0;
  for (const zk_config_choice *c = key->choices; c->name; c++) {
    const size_t used = strlen(out);
    snprintf(out + used, ZK_CONFIG_RANGE_BYTES - used, "%s%s", used ? ", " : "", c->name);
  }
  return out;
}

static void print_bounds(const zk_config_key *key, FILE *file) {
  if (key->kind != ZK_CONFIG_REAL) {
    fprintf(file, "[%" PRId64 ", %" PRId64 "]", key->min_int, key->max_int);
    return;
  }
  fputc(key->bounds[0], file);
  zk_config_print_real(key->min_real, file);
  fputs(", ", file);
  zk_config_print_real(key->max_real, file);
  fputc(key->bounds[1], file);
}

const char *zk_config_key_range(const zk_config_key *key, char out[ZK_CONFIG_RANGE_BYTES]) {
  char names[ZK_CONFIG_RANGE_BYTES];
  FILE *file = fmemopen(out, ZK_CONFIG_RANGE_BYTES, "w");
  if (!file) return "";
  switch (key->kind) {
  case ZK_CONFIG_BOOL:
    fputs("true or false", file);
    break;
  case ZK_CONFIG_INT:
  case ZK_CONFIG_U64:
    fputs("an integer in ", file);
    print_bounds(key, file);
    if (key->multiple_of > 1) fprintf(file, ", a multiple of %" PRId64, key->multiple_of);
    if (key->power_of_two) fputs(", a power of two", file);
    break;
  case ZK_CONFIG_SIZE:
    fputs("bytes, or a whole number of KiB, MiB, GiB or TiB", file);
    break;
  case ZK_CONFIG_REAL:
    fputs("a number in ", file);
    print_bounds(key, file);
    break;
  case ZK_CONFIG_CHOICE:
    fprintf(file, "one of %s", zk_config_key_choices(key, names));
    break;
  case ZK_CONFIG_TEXT:
    fprintf(file, "a text of at most %zu bytes", key->capacity - 1);
    break;
  case ZK_CONFIG_LIST:
    fprintf(file, "a list of at most %d texts of at most %d bytes", ZK_CONFIG_MAX_STOPS, ZK_CONFIG_STOP_BYTES - 1);
    break;
  }
  fputc(0, file);
  fclose(file);
  out[ZK_CONFIG_RANGE_BYTES - 1] = 0;
  return out;
}

const char *zk_config_quote(const char *text, size_t num_bytes, char out[ZK_CONFIG_QUOTE_BYTES]) {
  size_t used = 0, max = ZK_CONFIG_QUOTE_BYTES - 6;
  bool whole = num_bytes <= max;
  if (!whole)
    for (num_bytes = max - 3; num_bytes > 0 && ((unsigned char)text[num_bytes] & 0xC0) == 0x80;) num_bytes--;
  out[used++] = '"';
  for (size_t i = 0; i < num_bytes; i++) out[used++] = (unsigned char)text[i] < 0x20 || text[i] == 0x7F ? '?' : text[i];
  memcpy(out + used, whole ? "\"" : "...\"", whole ? 2 : 5);
  return out;
}
