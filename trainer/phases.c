// Marks in a list, folded into sums when it is full or they are asked for.
#include "trainer/phases.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_MARKS = 512, NONE = ZK_NUM_PHASES };

struct zk_phases {
  zk_stream *stream;
  zk_mark *marks[MAX_MARKS]; // opened as they are first used
  int from[MAX_MARKS];       // the phase that begins at a mark
  int num;
  double seconds[ZK_NUM_PHASES];
};

const char *zk_phase_name(zk_phase phase) {
  static const char *const names[ZK_NUM_PHASES] = {"forward", "head", "backward", "reduce", "optimizer"};
  return names[phase];
}

zk_status zk_phases_open(zk_stream *stream, zk_phases **out) {
  zk_phases *p = calloc(1, sizeof *p);
  if (!p) return ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for a step's times");
  p->stream = stream;
  *out = p;
  return ZK_OK;
}

void zk_phases_close(zk_phases *p) {
  if (!p) return;
  for (int i = 0; i < MAX_MARKS; i++) zk_mark_close(p->marks[i]);
  free(p);
}

// Adds up what lies between the marks. The phase that goes on keeps the last mark as its first.
static zk_status fold(zk_phases *p) {
  if (p->num == 0) return ZK_OK;
  const int last = p->num - 1;
  ZK_TRY(zk_mark_wait(p->marks[last]));
  for (int i = 0; i < last; i++)
    if (p->from[i] != NONE) p->seconds[p->from[i]] += zk_mark_seconds(p->marks[i], p->marks[i + 1]);
  zk_mark *kept = p->marks[last];
  p->marks[last] = p->marks[0], p->marks[0] = kept;
  p->from[0] = p->from[last];
  p->num = 1;
  return ZK_OK;
}

static zk_status set(zk_phases *p, int from) {
  if (p->num == MAX_MARKS) ZK_TRY(fold(p));
  zk_mark **mark = &p->marks[p->num];
  if (!*mark) ZK_TRY(zk_mark_open(p->stream, mark));
  ZK_TRY(zk_mark_set(*mark));
  p->from[p->num++] = from;
  return ZK_OK;
}

zk_status zk_phases_begin(zk_phases *p, zk_phase phase) { return set(p, (int)phase); }
zk_status zk_phases_end(zk_phases *p) { return set(p, NONE); }

zk_status zk_phases_take(zk_phases *p, double seconds[ZK_NUM_PHASES]) {
  ZK_TRY(fold(p));
  memcpy(seconds, p->seconds, sizeof p->seconds);
  memset(p->seconds, 0, sizeof p->seconds);
  return ZK_OK;
}
