// Preloaded into sanitized runs: modules stay loaded, so that a leak found at exit has names and tests/lsan.supp can tell Open MPI's from ours.
int dlclose(void *handle) {
  (void)handle;
  return 0;
}
