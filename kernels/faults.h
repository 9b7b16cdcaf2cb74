// Whether this build can be told to compute wrongly (ZK_FAULT): the test builds can.
#ifndef ZK_KERNELS_FAULTS_H
#define ZK_KERNELS_FAULTS_H

#include <stdbool.h>

bool zk_faults_are_built(void);

#endif
