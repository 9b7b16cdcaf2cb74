// What this build calls itself. The commit and the libraries are in `zerokl --version`.
#ifndef ZK_SHARED_VERSION_H
#define ZK_SHARED_VERSION_H

const char *zk_version(void);  // "0.1.0", the project's version in CMakeLists.txt
const char *zk_version_commit(void); // the commit it was configured at, or "unknown"
void zk_version_print(void); // to stdout: version, commit, contract version, libraries

#endif
