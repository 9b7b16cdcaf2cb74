// One GPU a worker, or a message that says what is there.
#include "shared/device_choice.h"

#include "shared/config_keys.h"

#include <string.h>

static zk_status require_gpus(int wanted) {
  int num = zk_device_count(ZK_DEVICE_CUDA);
  if (num >= wanted) return ZK_OK;
  if (num == 0) {
    zk_device *device = NULL; // its error says why: no kernels in this build, no driver, one too old
    zk_status st = zk_device_open(ZK_DEVICE_CUDA, 0, &device);
    zk_device_close(device);
    if (st == ZK_OK) st = ZK_FAIL(ZK_UNSUPPORTED, "CUDA shows none");
    return zk_status_context(st, "no GPU (device: cpu works)");
  }
  return ZK_FAIL(ZK_UNSUPPORTED, "device: cuda: %d workers on this host and %d GPU%s: start at most %d here, or share one (device: cuda:0), or set device: cpu",
                 wanted, num, num == 1 ? "" : "s", num);
}

zk_status zk_device_choose(zk_config_device choice, int local_rank, int local_size, zk_device_kind *kind, int *ordinal) {
  *kind = ZK_DEVICE_CPU, *ordinal = 0;
  if (choice == ZK_CONFIG_DEVICE_AUTO) choice = zk_device_count(ZK_DEVICE_CUDA) >= local_size ? ZK_CONFIG_DEVICE_CUDA : ZK_CONFIG_DEVICE_CPU;
  if (choice == ZK_CONFIG_DEVICE_CPU) return ZK_OK;
  *kind = ZK_DEVICE_CUDA;
  if (choice == ZK_CONFIG_DEVICE_CUDA) {
    *ordinal = local_rank;
    return require_gpus(local_size);
  }
  *ordinal = (int)choice - (int)ZK_CONFIG_DEVICE_CUDA - 1;
  int num = zk_device_count(ZK_DEVICE_CUDA);
  if (num == 0) return require_gpus(1);
  if (*ordinal < num) return ZK_OK;
  return ZK_FAIL(ZK_UNSUPPORTED, "device: cuda:%d: this host has %d GPU%s, cuda:0 to cuda:%d", *ordinal, num, num == 1 ? "" : "s", num - 1);
}

zk_status zk_device_choose_open(zk_config_device choice, int local_rank, int local_size, zk_device **out) {
  zk_device_kind kind;
  int ordinal;
  *out = NULL;
  ZK_TRY(zk_device_choose(choice, local_rank, local_size, &kind, &ordinal));
  return zk_device_open(kind, ordinal, out);
}

int zk_device_sharers(zk_config_device choice, const zk_device *device, int local_size) {
  bool is_own = zk_device_get_kind(device) == ZK_DEVICE_CUDA && choice <= ZK_CONFIG_DEVICE_CUDA;
  return is_own ? 1 : local_size;
}

bool zk_device_choice_parse(const char *name, zk_config_device *out) {
  const zk_config_key *key = &zk_config_keys[zk_config_key_find("device")];
  for (const zk_config_choice *c = key->choices; c->name; c++) {
    if (strcmp(c->name, name)) continue;
    *out = (zk_config_device)c->value;
    return true;
  }
  return false;
}
