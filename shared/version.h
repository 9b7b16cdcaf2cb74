// What this build calls itself. The commit and the libraries are in `zerokl --version`.
#ifndef ZK_SHARED_VERSION_H
#define ZK_SHARED_VERSION_H

#ifndef ZK_VERSION
#define ZK_VERSION "0.1.0" // CMake's project version; see CMakeLists.txt
#endif

void zk_version_print(void); // to stdout: version, commit, contract version, libraries

#endif
