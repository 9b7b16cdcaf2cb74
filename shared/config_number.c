// Numbers of the configuration as text: JSON's syntax, exact both ways, whatever the locale.
#include "shared/config_keys.h"

#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

size_t zk_config_scan_number(const char *text, bool real) {
  const char *p = text;
  if (*p == '-') p++;
  if (!is_digit(*p)) return 0;
  if (*p == '0') p++;
  else
    while (is_digit(*p)) p++;
  if (real && *p == '.') {
    if (!is_digit(*++p)) return 0;
    while (is_digit(*p)) p++;
  }
  if (real && (*p == 'e' || *p == 'E')) {
    if (*++p == '+' || *p == '-') p++;
    if (!is_digit(*p)) return 0;
    while (is_digit(*p)) p++;
  }
  return (size_t)(p - text);
}

// strtod and printf follow the thread's locale ("0,5"): hold the C locale around them.
typedef struct {
  locale_t own, before;
} c_locale;
static c_locale c_locale_enter(void) {
  c_locale l = {.own = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0), .before = (locale_t)0};
  if (l.own) l.before = uselocale(l.own);
  return l;
}
static void c_locale_leave(c_locale l) {
  if (!l.own) return;
  uselocale(l.before);
  freelocale(l.own);
}

double zk_config_read_real(const char *text) {
  c_locale l = c_locale_enter();
  double value = strtod(text, NULL);
  c_locale_leave(l);
  return value + 0.0; // -0 becomes +0
}

void zk_config_print_real(double value, FILE *file) {
  if (value > -1e15 && value < 1e15 && value == (double)(int64_t)value) { // whole: 10000, not 1e+04
    fprintf(file, "%" PRId64, (int64_t)value);
    return;
  }
  char text[40];
  c_locale l = c_locale_enter();
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  c_locale_leave(l);
  const char *e = strchr(text, 'e');
  if (e && !strchr(text, '.')) fprintf(file, "%.*s.0%s", (int)(e - text), text, e);
  else fputs(text, file);
}

static const struct {
  const char *suffix;
  int shift;
} units[] = {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}};

int zk_config_size_shift(const char *suffix) {
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (strcmp(suffix, units[i].suffix) == 0) return units[i].shift;
  return -1;
}

void zk_config_print_size(uint64_t bytes, FILE *file) {
  for (size_t i = 0; bytes > 0 && i < sizeof units / sizeof *units; i++) {
    if (bytes & ((UINT64_C(1) << units[i].shift) - 1)) continue;
    fprintf(file, "%" PRIu64 "%s", bytes >> units[i].shift, units[i].suffix);
    return;
  }
  fprintf(file, "%" PRIu64, bytes);
}
