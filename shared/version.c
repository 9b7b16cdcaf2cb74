// Versions of this program and of what it was built and runs with. CMake says which (shared/CMakeLists.txt).
#include "shared/version.h"

#include <hdf5.h>
#include <jansson.h>
#include <mpi.h>
#include <stdio.h>
#include <yaml.h>

#include "kernels/numerics.h"
#include "zk_commit.h"

const char *zk_version(void) { return ZK_VERSION; }
const char *zk_version_commit(void) { return ZK_COMMIT; }

void zk_version_print(void) {
  unsigned major, minor, release;
  H5get_libversion(&major, &minor, &release);
  char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int n = 0;
  MPI_Get_library_version(mpi, &n);
  for (char *c = mpi; *c; c++)
    if (*c == ',' || *c == '\n') *c = 0; // the first clause names the release
  printf("zerokl %s (commit %s, contract %d)\n", ZK_VERSION, ZK_COMMIT, ZK_CONTRACT_VERSION);
  printf("HDF5 %u.%u.%u; %s; jansson %s; libyaml %s; CUDA: %s\n", major, minor, release, mpi, JANSSON_VERSION, yaml_get_version_string(), ZK_CUDA_FOUND);
}
