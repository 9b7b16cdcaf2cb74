// Marks and flops as metrics.
#include "trainer/step_times.h"

#include "trainer/flops.h"

// What this rank received from the others, and how fast.
static void put_traffic(zk_updater *u, zk_metrics_line *line) {
  static const char *const names[ZK_NUM_COMM_KINDS] = {[ZK_COMM_ALL_TO_ALL] = "all_to_all", [ZK_COMM_ALL_GATHER] = "all_gather"};
  zk_comm_traffic traffic[ZK_NUM_COMM_KINDS];
  zk_comm_device_take_traffic(u->optimizer.link, traffic);
  for (int i = 0; i < ZK_NUM_COMM_KINDS; i++) {
    char key[48];
    snprintf(key, sizeof key, "perf/%s_bytes", names[i]);
    zk_metrics_put_int(line, key, (int64_t)traffic[i].bytes);
    snprintf(key, sizeof key, "perf/%s_bytes_per_s", names[i]);
    zk_metrics_put_double(line, key, (double)traffic[i].bytes / (traffic[i].seconds + 1e-9));
  }
}

zk_status zk_step_times_put(zk_updater *u, const zk_sequences *seqs, int passes, double seconds, zk_metrics_line *line) {
  const zk_session *s = u->session;
  double phases[ZK_NUM_PHASES];
  ZK_TRY(zk_phases_take(zk_gradient_phases(u->gradient), phases));
  zk_metrics_put_double(line, "time/train", seconds);
  for (int i = 0; i < ZK_NUM_PHASES; i++) {
    char key[32];
    snprintf(key, sizeof key, "time/%s", zk_phase_name((zk_phase)i));
    zk_metrics_put_double(line, key, phases[i]);
  }
  zk_metrics_put_double(line, "perf/train_tokens_per_s", passes * (double)seqs->offsets[seqs->num_seqs] / (seconds + 1e-9));
  if (zk_comm_size(s->comm) > 1) {
    zk_metrics_put_double(line, "perf/train_balance", u->balance);
    put_traffic(u, line);
  }
  if (zk_device_get_kind(s->device) == ZK_DEVICE_CUDA)
    zk_metrics_put_double(line, "perf/mfu", passes * zk_train_flops(&s->policy, seqs) / ((seconds + 1e-9) * zk_comm_size(s->comm) * ZK_PEAK_FLOPS));
  return ZK_OK;
}
