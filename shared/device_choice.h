// From `device: auto | cpu | cuda | cuda:N` to an open device, for every command alike.
#ifndef ZK_SHARED_DEVICE_CHOICE_H
#define ZK_SHARED_DEVICE_CHOICE_H

#include <stdbool.h>

#include "kernels/device.h"
#include "shared/config.h"

// The kind and ordinal that worker local_rank of local_size on this host gets. cuda: a GPU each, ZK_UNSUPPORTED when there are fewer GPUs
// than workers, or none; cuda:N: that GPU for all of them; auto: as cuda where there are GPUs enough, else the CPU. Opens nothing.
zk_status zk_device_choose(zk_config_device choice, int local_rank, int local_size, zk_device_kind *kind, int *ordinal);
// Opens it. The caller closes it.
zk_status zk_device_choose_open(zk_config_device choice, int local_rank, int local_size, zk_device **out);
// Workers that will share one device's memory.
int zk_device_sharers(zk_config_device choice, const zk_device *device, int local_size);

// The choice of this name; false when there is none. For --device.
bool zk_device_choice_parse(const char *name, zk_config_device *out);
#define ZK_DEVICE_CHOICE_ARG "cpu|cuda|cuda:N|auto"

#endif
