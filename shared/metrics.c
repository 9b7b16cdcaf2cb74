// Lines of metrics.jsonl: read, looked up, appended once.
#include "shared/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared/file_util.h"
#include "shared/line_file.h"

enum { MOST_STEPS = 1 << 20 }; // more than run.steps can be; readers walk from step to step

// What a resumed run must reproduce of a step it repeats; the rest of a line holds times.
static const char *const compared_keys[] = {"weights/hash", "state/hash"};

struct zk_metrics {
  zk_path path;
  json_t **lines; // [num_lines], steps ascending by one
  int64_t first_step;
  size_t num_lines, capacity;
};

static zk_status add_line(zk_metrics *m, const char *text, size_t num_bytes) {
  size_t number = m->num_lines + 1;
  json_error_t error;
  json_t *object = json_loadb(text, num_bytes, JSON_REJECT_DUPLICATES, &error);
  if (!object) return ZK_FAIL(ZK_BAD_ARCHIVE, "%s:%zu: %s", m->path.s, number, error.text);
  json_t *step = json_object_get(object, "step");
  zk_status st = ZK_OK;
  if (!json_is_integer(step) || json_integer_value(step) < 0 || json_integer_value(step) > MOST_STEPS)
    st = ZK_FAIL(ZK_BAD_ARCHIVE, "%s:%zu: not an object with a step (0 to %d)", m->path.s, number, MOST_STEPS);
  else if (m->num_lines && json_integer_value(step) != zk_metrics_last_step(m) + 1)
    st = ZK_FAIL(ZK_BAD_ARCHIVE, "%s:%zu: step %lld follows step %" PRId64, m->path.s, number,
                 (long long)json_integer_value(step), zk_metrics_last_step(m));
  if (st == ZK_OK && m->num_lines == m->capacity) {
    size_t capacity = 2 * m->capacity + 16;
    json_t **grown = realloc(m->lines, capacity * sizeof *grown);
    if (!grown) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory for %zu lines", m->path.s, capacity);
    else {
      m->lines = grown;
      m->capacity = capacity;
    }
  }
  if (st != ZK_OK) {
    json_decref(object);
    return st;
  }
  if (!m->num_lines) m->first_step = json_integer_value(step);
  m->lines[m->num_lines++] = object;
  return ZK_OK;
}

static zk_status open_at(const char *path, bool repair, zk_metrics **out) {
  zk_line_file file;
  ZK_TRY(zk_line_file_read(path, repair, &file));
  zk_metrics *m = calloc(1, sizeof *m);
  zk_status st = m ? ZK_OK : ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", path);
  if (m) m->path = zk_path_make("%s", path);
  for (size_t i = 0; st == ZK_OK && i < file.num_lines; i++)
    st = add_line(m, file.lines[i].text, file.lines[i].num_bytes);
  zk_line_file_free(&file);
  if (st != ZK_OK) {
    zk_metrics_close(m);
    m = NULL;
  }
  *out = m;
  return st;
}

zk_status zk_metrics_open(const char *path, zk_metrics **out) { return open_at(path, true, out); }
zk_status zk_metrics_open_read(const char *path, zk_metrics **out) { return open_at(path, false, out); }

void zk_metrics_close(zk_metrics *m) {
  if (!m) return;
  for (size_t i = 0; i < m->num_lines; i++) json_decref(m->lines[i]);
  free(m->lines);
  free(m);
}

int64_t zk_metrics_last_step(const zk_metrics *m) {
  return m->num_lines ? m->first_step + (int64_t)m->num_lines - 1 : -1;
}

json_t *zk_metrics_find(const zk_metrics *m, int64_t step) {
  return m->num_lines && step >= m->first_step && step <= zk_metrics_last_step(m) ? m->lines[step - m->first_step]
                                                                                  : NULL;
}

static zk_status hash_of(const zk_metrics *m, json_t *line, int64_t step, const char *key, uint64_t *out) {
  const char *text = json_string_value(json_object_get(line, key));
  if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
    return ZK_FAIL(ZK_BAD_ARCHIVE, "%s: step %" PRId64 " has no %s of 16 hex digits", m->path.s, step, key);
  *out = strtoull(text, NULL, 16);
  return ZK_OK;
}

zk_status zk_metrics_get_hash(const zk_metrics *m, int64_t step, const char *key, uint64_t *out) {
  json_t *line = zk_metrics_find(m, step);
  if (!line) return ZK_FAIL(ZK_BAD_ARCHIVE, "%s: no line for step %" PRId64, m->path.s, step);
  return hash_of(m, line, step, key, out);
}

static zk_status compare_repeated(const zk_metrics *m, int64_t step, json_t *now) {
  for (size_t i = 0; i < sizeof compared_keys / sizeof *compared_keys; i++) {
    const char *key = compared_keys[i];
    if (!json_object_get(now, key)) continue;
    uint64_t before, after;
    ZK_TRY(zk_metrics_get_hash(m, step, key, &before));
    ZK_TRY(hash_of(m, now, step, key, &after));
    if (before != after)
      return ZK_FAIL(ZK_MISMATCH,
                     "%s: step %" PRId64 " came out differently: %s was %016" PRIx64 ", is now %016" PRIx64, m->path.s,
                     step, key, before, after);
  }
  return ZK_OK;
}

static zk_status append_text(zk_metrics *m, int64_t step, const char *text, size_t num_bytes) {
  if (zk_metrics_find(m, step)) {
    json_t *now = json_loadb(text, num_bytes, 0, NULL);
    zk_status st =
        now ? compare_repeated(m, step, now) : ZK_FAIL(ZK_INTERNAL, "%s: step %" PRId64 " is no JSON", m->path.s, step);
    json_decref(now);
    return st;
  }
  if (m->num_lines && step != zk_metrics_last_step(m) + 1)
    return ZK_FAIL(ZK_BAD_ARCHIVE,
                   "%s ends at step %" PRId64 ", so step %" PRId64 " cannot follow; resume from an earlier checkpoint",
                   m->path.s, zk_metrics_last_step(m), step);
  ZK_TRY(add_line(m, text, num_bytes));
  zk_status st = zk_file_append(m->path.s, text, num_bytes);
  if (st != ZK_OK) json_decref(m->lines[--m->num_lines]);
  return st;
}

zk_status zk_metrics_append(zk_metrics *m, const zk_metrics_line *line) {
  ZK_TRY(zk_metrics_line_check(line));
  char *text = malloc(line->num_bytes + 3);
  if (!text) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: out of memory", m->path.s);
  memcpy(text, line->text, line->num_bytes);
  memcpy(text + line->num_bytes, "}\n", 3);
  zk_status st = append_text(m, line->step, text, line->num_bytes + 2);
  free(text);
  return st;
}
