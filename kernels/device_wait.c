// Waits for a device, which another thread can look at while they last: nothing tells a host of a kernel that never ends.
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "kernels/backend.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const zk_stream *awaited;
static uint64_t num_waits;

void zk_wait_begin(const zk_stream *stream) {
  pthread_mutex_lock(&lock);
  awaited = stream, num_waits++;
  pthread_mutex_unlock(&lock);
  while (stream->stands) nanosleep(&(struct timespec){1, 0}, NULL); // a fault
}

void zk_wait_end(void) {
  pthread_mutex_lock(&lock);
  awaited = NULL;
  pthread_mutex_unlock(&lock);
}

uint64_t zk_device_wait_number(char *what, size_t room) {
  pthread_mutex_lock(&lock); // while it is held the wait goes on, and the stream is there
  const uint64_t number = awaited ? num_waits : 0;
  char last[256];
  if (awaited)
    snprintf(what, room, "%s%s%s", awaited->device->description, zk_device_last(awaited->device, last, sizeof last) ? ", whose last operation was " : "", last);
  pthread_mutex_unlock(&lock);
  return number;
}
