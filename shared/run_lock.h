// One writer for a run directory: a kernel lock on RUN/lock, which ends with its process however that ends.
#ifndef ZK_SHARED_RUN_LOCK_H
#define ZK_SHARED_RUN_LOCK_H

#include "kernels/status.h"

// Takes the lock of an existing folder, waiting up to wait_ms; then ZK_BUSY names the holder (pid and host, which it
// writes into RUN/lock). *out_fd is closed to let go.
zk_status zk_run_lock_take(const char *run_path, int wait_ms, int *out_fd);

#endif
