// A handler that stores a number.
#include "shared/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

// Written by a handler, read by two threads.
static atomic_int caught, is_ended;

static void note(int signal) {
  int none = 0;
  (void)atomic_compare_exchange_strong(&caught, &none, signal);
  if (signal == SIGTERM) atomic_store(&is_ended, 1);
}

void zk_stop_catch(void) {
  struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
}

int zk_stop_caught(void) { return atomic_load(&caught); }
bool zk_stop_is_ended(void) { return atomic_load(&is_ended) != 0; }

const char *zk_stop_name(int signal) { return signal == SIGTERM ? "SIGTERM" : signal == SIGUSR1 ? "SIGUSR1" : "a signal"; }
