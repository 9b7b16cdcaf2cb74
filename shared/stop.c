// A handler that stores a number.
#include "shared/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_int caught; // written by a handler, read by two threads

static void note(int signal) {
  int none = 0;
  (void)atomic_compare_exchange_strong(&caught, &none, signal);
}

void zk_stop_catch(void) {
  struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
}

int zk_stop_caught(void) { return atomic_load(&caught); }

const char *zk_stop_name(int signal) { return signal == SIGTERM ? "SIGTERM" : signal == SIGUSR1 ? "SIGUSR1" : "a signal"; }
