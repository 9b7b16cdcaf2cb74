// The contract on the device one got: every kernel variant against the straight loops of kernels/reference/, bit for
// bit, on random and adversarial data. `zerokl check` prints it whole; the short form starts every run. It fails
// closed, naming the operation.
#ifndef ZK_KERNELS_CHECK_H
#define ZK_KERNELS_CHECK_H

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// One operation in one numerics on one variant (on a CPU: an instruction set).
typedef struct {
  const char *operation; // "linear_backward_input"
  const char *numerics;  // "bf16"
  const char *device;    // "cpu"
  const char *variant;   // "avx512"
  int64_t num_cases;
  uint64_t num_bits, differing_bits;
  const char *first_difference; // the case, the element and both bit patterns; "" when there is none
} zk_check_row;

typedef void (*zk_check_report)(const zk_check_row *row, void *user);

// Every operation (or the one named `only`), in every numerics of the contract, on every variant that `device` has, with changing thread
// counts; under a minute. `report` gets each row as it is done (may be NULL). All rows run; then ZK_MISMATCH names the first operation
// that differs. Streams are of ZK_SIDE_NONE ("check" in ZK_FAULT). A CPU's thread count is left at another value.
zk_status zk_check_full(zk_device *device, const char *only, zk_check_report report, void *user);

// The short form, about a second: every operation on the one variant that `device` will run, in what a run of these numerics computes with (f32
// alone, or both). ZK_MISMATCH as above; when bf16 alone differs, the message offers f32.
zk_status zk_check_quick(zk_device *device, zk_numerics numerics);
zk_status zk_check_quick_rows(zk_device *device, const char *only, zk_check_report report, void *user); // both, with rows

#ifdef __cplusplus
}
#endif
#endif
