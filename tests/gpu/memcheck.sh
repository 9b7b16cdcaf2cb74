#!/usr/bin/env bash
# limit: 300
# compute-sanitizer memcheck: no access outside a buffer, no leak of device memory.
. "$(dirname "${BASH_SOURCE[0]}")/lib/sanitizer.sh"
sanitize memcheck
