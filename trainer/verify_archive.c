// Digests: quick, and no proof of anything, since whoever alters a file can seal it again; but they cover every byte.
#include <stdlib.h>
#include <string.h>

#include "trainer/verify_impl.h"

// False for trajectories, evaluations and checkpoints of steps that the audit passes over.
static bool is_in_range(const zk_auditor *a, const char *path) {
  const char *at = strstr(path, "/step_");
  if (!at) return true;
  long long step = strtoll(at + strlen("/step_"), NULL, 10);
  bool is_of_start = strncmp(path, "trajectories/", strlen("trajectories/")) != 0; // what the state after a step left, and not the step itself
  return step <= a->last_step && (step > a->start || (step == a->start && is_of_start));
}

static void take_problem(zk_auditor *a, const zk_manifest_problem *p) {
  if (!is_in_range(a, p->path)) return;
  if (p->fault == ZK_MANIFEST_MISSING) zk_verify_skip(a->once, ZK_VERIFY_DIGESTS, 1, "%s", p->text);
  else zk_verify_differ(a->once, ZK_VERIFY_DIGESTS, -1, 0, "%s", p->text);
}

static void check_manifest(zk_auditor *a) {
  zk_manifest_report report;
  if (zk_manifest_verify(a->dir.path.s, &report) != ZK_OK) {
    zk_verify_skip(a->once, ZK_VERIFY_DIGESTS, 1, "%s", zk_status_message());
    return;
  }
  zk_verify_count(a->once, ZK_VERIFY_DIGESTS, (int64_t)report.num_checked);
  for (size_t i = 0; i < report.num_problems; i++) take_problem(a, &report.problems[i]);
  zk_manifest_report_free(&report);
}

void zk_verify_digests(zk_auditor *a) {
  if (a->once != &a->here) return;
  check_manifest(a);
  for (int64_t step = a->start; step <= a->last_step; step++) {
    if (!zk_auditor_has_checkpoint(a, step)) continue;
    zk_verify_count(a->once, ZK_VERIFY_DIGESTS, 1);
    if (zk_checkpoint_check(zk_run_dir_checkpoint_path(&a->dir, step).s) != ZK_OK)
      zk_verify_differ(a->once, ZK_VERIFY_DIGESTS, -1, 0, "%s", zk_status_message());
  }
}
