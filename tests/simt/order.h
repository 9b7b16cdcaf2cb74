// In which order the emulated device does what may be done in any: for tests.
#ifndef ZK_SIMT_ORDER_H
#define ZK_SIMT_ORDER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Of the launches from now on. 0, as at first: warps one after the other, and the copy engine does nothing until all wait for it. Odd seeds: warps and
// the copy engine have ranks by chance, now and then others, and who can go on goes before those of higher rank: some hurry and some sleep for long. Even
// ones: warps are left out and copies are done at random. Of both, a warp stops now and then where its lanes have exchanged something.
void zk_simt_set_order(uint64_t seed);
// The multiprocessors that devices opened from now on have: 4 at first.
void zk_simt_set_num_sms(int num_sms);
// What kernels have asked the copy engine for so far: a test of a kernel that uses it can see that it ran.
uint64_t zk_simt_num_copies(void);

#ifdef __cplusplus
}
#endif
#endif
