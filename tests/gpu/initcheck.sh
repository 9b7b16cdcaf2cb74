#!/usr/bin/env bash
# limit: 600
# compute-sanitizer initcheck: no read of device memory that nobody wrote.
. "$(dirname "${BASH_SOURCE[0]}")/lib/sanitizer.sh"
sanitize initcheck
