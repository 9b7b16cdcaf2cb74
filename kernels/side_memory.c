// Memory of one side's work that makes way for the other's: sampling and training each want what the other leaves, and take turns.
// Addresses are reserved once; pages come and go.
#include "kernels/backend.h"

zk_status zk_side_alloc(zk_device *device, zk_side side, size_t bytes, const char *what, void **out) {
  *out = NULL;
  if (side == ZK_SIDE_NONE) return ZK_FAIL(ZK_INTERNAL, "%s: memory of no side", what);
  zk_allocation a = {.bytes = bytes > 0 ? bytes : 64, .side = side, .is_mapped = true};
  ZK_TRY(zk_device_require_free(device, bytes, what));
  zk_status status = device->backend->reserve(device, a.bytes, &a.memory);
  if (status != ZK_OK) return zk_status_context(status, "%s", what);
  status = device->backend->map(device, a.memory, a.bytes);
  a.is_mapped = status == ZK_OK;
  if (status == ZK_OK && !zk_device_remember(device, a)) status = ZK_FAIL(ZK_OUT_OF_MEMORY, "no memory for the list of allocations");
  if (status != ZK_OK) {
    zk_side_free(device, a);
    return zk_status_context(status, "%s", what);
  }
  *out = a.memory;
  return ZK_OK;
}

// A device that has failed keeps pages and addresses to its end; why it failed is what is told, and not this.
void zk_side_free(zk_device *device, zk_allocation a) {
  zk_status_record before;
  zk_status_save(&before);
  if (a.is_mapped && device->backend->unmap(device, a.memory, a.bytes) != ZK_OK) {
    zk_status_restore(&before);
    return;
  }
  device->backend->release(device, a.memory, a.bytes);
}

static zk_status change(zk_device *device, zk_allocation *a, bool map) {
  if (map == a->is_mapped) return ZK_OK;
  ZK_TRY(map ? device->backend->map(device, a->memory, a->bytes) : device->backend->unmap(device, a->memory, a->bytes));
  a->is_mapped = map;
  device->bytes_now = map ? device->bytes_now + a->bytes : device->bytes_now - a->bytes;
  if (device->bytes_now > device->bytes_peak) device->bytes_peak = device->bytes_now;
  return ZK_OK;
}

static zk_status change_all(zk_device *device, zk_side side, bool map) {
  zk_status status = side == ZK_SIDE_NONE ? ZK_FAIL(ZK_INTERNAL, "memory of no side") : ZK_OK;
  pthread_mutex_lock(&device->lock);
  for (size_t i = 0; i < device->num_allocations && status == ZK_OK; i++)
    if (device->allocations[i].side == side) status = change(device, &device->allocations[i], map);
  pthread_mutex_unlock(&device->lock);
  return status;
}

size_t zk_side_bytes(zk_device *device, zk_side side) {
  size_t bytes = 0;
  pthread_mutex_lock(&device->lock);
  for (size_t i = 0; i < device->num_allocations; i++)
    if (device->allocations[i].side == side) bytes += device->allocations[i].bytes;
  pthread_mutex_unlock(&device->lock);
  return bytes;
}

zk_status zk_side_rest(zk_device *device, zk_side side) { return change_all(device, side, false); }
zk_status zk_side_wake(zk_device *device, zk_side side) { return change_all(device, side, true); }
