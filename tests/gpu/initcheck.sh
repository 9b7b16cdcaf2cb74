#!/usr/bin/env bash
# limit: 300
# compute-sanitizer initcheck: no read of device memory that nobody wrote. (Scratch memory begins as NaNs: kernels/device.c.)
. "$(dirname "${BASH_SOURCE[0]}")/lib/sanitizer.sh"
sanitize initcheck
