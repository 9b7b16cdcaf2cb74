// A short list, looked through from its beginning: a stretch is thousands of times as long as that takes.
#include "trainer/recordings.h"

#include <stdlib.h>
#include <string.h>

#include "shared/log.h"

enum { MOST = 32 };

typedef struct {
  int64_t *key; // NULL: free
  size_t num;
  zk_graph *graph;
  int64_t runs;      // without a graph
  uint64_t last_use;
  bool refused;      // it cannot be recorded
} recording;

struct zk_recordings {
  zk_stream *stream;
  uint64_t uses, replays;
  recording all[MOST];
};

zk_status zk_recordings_open(zk_stream *stream, zk_recordings **out) {
  zk_recordings *r = calloc(1, sizeof *r);
  *out = r;
  if (!r) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for recorded passes");
  r->stream = stream;
  return ZK_OK;
}

static void forget(recording *r) {
  zk_graph_close(r->graph);
  free(r->key);
  *r = (recording){0};
}

void zk_recordings_forget(zk_recordings *r) {
  for (int i = 0; i < MOST; i++) forget(&r->all[i]);
}

void zk_recordings_close(zk_recordings *r) {
  if (!r) return;
  zk_recordings_forget(r);
  free(r);
}

// The key's recording; else that which was used least recently becomes it, or a free one. NULL: no memory.
static recording *find(zk_recordings *r, const int64_t *key, size_t num) {
  recording *oldest = &r->all[0];
  for (int i = 0; i < MOST; i++) {
    recording *one = &r->all[i];
    if (one->key && one->num == num && !memcmp(one->key, key, num * sizeof *key)) return one;
    if (one->last_use < oldest->last_use) oldest = one;
  }
  forget(oldest);
  oldest->key = malloc(num * sizeof *key);
  if (!oldest->key) return NULL;
  memcpy(oldest->key, key, num * sizeof *key);
  oldest->num = num;
  return oldest;
}

static void record(zk_stream *stream, recording *r, zk_status (*queue)(const void *context), const void *context) {
  zk_status st = zk_graph_begin(stream);
  if (st == ZK_OK) {
    st = queue(context);
    const zk_status ended = zk_graph_end(stream, &r->graph);
    if (st == ZK_OK) st = ended;
  }
  if (st == ZK_OK) {
    ZK_LOG(DEBUG, "trainer", "a pass is recorded");
    return;
  }
  ZK_LOG(DEBUG, "trainer", "a pass is not recorded: %s", zk_status_message());
  zk_status_clear();
  zk_graph_close(r->graph);
  r->graph = NULL, r->refused = true;
}

// The first time runs operation by operation, so that all it needs is there; the second is recorded.
zk_status zk_recordings_run(zk_recordings *recordings, const int64_t *key, size_t num, zk_status (*queue)(const void *context), const void *context) {
  recording *r = zk_device_has_graphs(zk_stream_device(recordings->stream)) ? find(recordings, key, num) : NULL;
  if (!r) return queue(context);
  r->last_use = ++recordings->uses;
  if (r->graph && zk_graph_is_stale(r->graph)) {
    zk_graph_close(r->graph);
    r->graph = NULL;
  }
  if (!r->graph && !r->refused && r->runs++ > 0) record(recordings->stream, r, queue, context);
  if (!r->graph) return queue(context);
  recordings->replays++;
  return zk_graph_launch(r->graph);
}

uint64_t zk_recordings_replays(const zk_recordings *recordings) { return recordings->replays; }
