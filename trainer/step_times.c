// Marks and flops as metrics.
#include "trainer/step_times.h"

#include "trainer/flops.h"

zk_status zk_step_times_put(zk_updater *u, const zk_sequences *seqs, double seconds, zk_metrics_line *line) {
  const zk_session *s = u->session;
  double phases[ZK_NUM_PHASES];
  ZK_TRY(zk_phases_take(zk_gradient_phases(u->gradient), phases));
  zk_metrics_put_double(line, "time/train", seconds);
  for (int i = 0; i < ZK_NUM_PHASES; i++) {
    char key[32];
    snprintf(key, sizeof key, "time/%s", zk_phase_name((zk_phase)i));
    zk_metrics_put_double(line, key, phases[i]);
  }
  zk_metrics_put_double(line, "perf/train_tokens_per_s", (double)seqs->offsets[seqs->num_seqs] / (seconds + 1e-9));
  if (zk_device_get_kind(s->device) == ZK_DEVICE_CUDA)
    zk_metrics_put_double(line, "perf/mfu", zk_train_flops(&s->policy, seqs) / ((seconds + 1e-9) * zk_comm_size(s->comm) * ZK_PEAK_FLOPS));
  return ZK_OK;
}
