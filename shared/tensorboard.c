// An event file kept in step with metrics.jsonl.
#include "shared/tensorboard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/event.h"
#include "shared/file_util.h"
#include "shared/log.h"
#include "shared/tfrecord.h"

#define MAX_FILE_BYTES ((size_t)1 << 36)

struct zk_tensorboard {
  zk_path path;
  bool has_version; // the first record is there
  int64_t step;     // of the last record; -1: none yet
};

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- what is there

// The first line of metrics behind step `after`, which may be -1: metrics need not begin at 0. -1: none.
static int64_t next_step(const zk_metrics *m, int64_t after) {
  for (int64_t step = after + 1; step <= zk_metrics_last_step(m); step++)
    if (zk_metrics_find(m, step)) return step;
  return -1;
}

// The length of what can be kept: the version, then the events of the lines of metrics in order.
static size_t count_good(zk_tensorboard *tb, const zk_metrics *m, const char *bytes, size_t num_bytes) {
  size_t good = 0, at = 0, message_bytes;
  const uint8_t *message;
  bool is_version;
  int64_t step;
  while (zk_tfrecord_next(bytes, num_bytes, &at, &message, &message_bytes) && zk_event_read(message, message_bytes, &is_version, &step)) {
    if (is_version ? tb->has_version : !tb->has_version || step != next_step(m, tb->step)) break;
    if (is_version) tb->has_version = true;
    else tb->step = step;
    good = at;
  }
  return good;
}

static zk_status take_up(zk_tensorboard *tb, const zk_metrics *m) {
  char *bytes;
  size_t num_bytes;
  if (!zk_file_exists(tb->path.s)) return ZK_OK;
  ZK_TRY(zk_file_read(tb->path.s, MAX_FILE_BYTES, &bytes, &num_bytes));
  size_t good = count_good(tb, m, bytes, num_bytes);
  free(bytes);
  if (good == num_bytes) return ZK_OK;
  ZK_LOG(INFO, "archive", "%s: %zu bytes behind step %" PRId64 " were not whole, or not of this run; they are written again", tb->path.s,
         num_bytes - good, tb->step);
  if (truncate(tb->path.s, (off_t)good)) return ZK_FAIL(ZK_IO, "%s: cannot cut off what is not whole: %s", tb->path.s, strerror(errno));
  return zk_file_sync(tb->path.s);
}

zk_status zk_tensorboard_open(const char *run_path, const zk_metrics *metrics, zk_tensorboard **out) {
  *out = NULL;
  zk_path folder = zk_path_make("%s/tensorboard", run_path);
  ZK_TRY(zk_file_make_directories(folder.s));
  zk_tensorboard *tb = calloc(1, sizeof *tb);
  if (!tb) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for event files");
  tb->path = zk_path_make("%s/events.out.tfevents.zerokl", folder.s);
  tb->step = -1;
  zk_status st = take_up(tb, metrics);
  if (st == ZK_OK) st = zk_tensorboard_follow(tb, metrics);
  if (st == ZK_OK) *out = tb;
  else zk_tensorboard_close(tb);
  return st;
}

void zk_tensorboard_close(zk_tensorboard *tb) { free(tb); }

// ---- what is new

static double step_s(json_t *line) { return json_number_value(json_object_get(line, "time/step")); }

static zk_status put_record(FILE *out, zk_status st, uint8_t *message, size_t num_bytes) {
  if (st == ZK_OK) zk_tfrecord_write(out, message, num_bytes);
  if (st == ZK_OK) free(message);
  return st;
}

// Everything behind tb->step as records.
static zk_status put_records(const zk_tensorboard *tb, const zk_metrics *m, FILE *out) {
  const int64_t first = next_step(m, tb->step), last = zk_metrics_last_step(m);
  double at = now_s();
  uint8_t *message = NULL;
  size_t num_bytes = 0;
  for (int64_t s = first + 1; first >= 0 && s <= last; s++) at -= step_s(zk_metrics_find(m, s));
  if (!tb->has_version) {
    const zk_status st = zk_event_version(at, &message, &num_bytes);
    ZK_TRY(put_record(out, st, message, num_bytes));
  }
  for (int64_t s = first; first >= 0 && s <= last; s++) {
    json_t *line = zk_metrics_find(m, s);
    if (s > first) at += step_s(line);
    const zk_status st = zk_event_scalars(at, s, line, &message, &num_bytes);
    ZK_TRY(put_record(out, st, message, num_bytes));
  }
  return ZK_OK;
}

zk_status zk_tensorboard_follow(zk_tensorboard *tb, const zk_metrics *metrics) {
  if (tb->has_version && next_step(metrics, tb->step) < 0) return ZK_OK;
  char *bytes = NULL;
  size_t num_bytes = 0;
  FILE *out = open_memstream(&bytes, &num_bytes);
  if (!out) return ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: no memory", tb->path.s);
  zk_status st = put_records(tb, metrics, out);
  if (fclose(out) && st == ZK_OK) st = ZK_FAIL(ZK_OUT_OF_MEMORY, "%s: no memory", tb->path.s);
  if (st == ZK_OK) st = zk_file_append(tb->path.s, bytes, num_bytes);
  free(bytes);
  if (st != ZK_OK) return st;
  tb->has_version = true;
  tb->step = zk_metrics_last_step(metrics);
  return ZK_OK;
}
