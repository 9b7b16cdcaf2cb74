#!/usr/bin/env bash
# limit: 300
# compute-sanitizer synccheck: every barrier is reached by whom it waits for.
. "$(dirname "${BASH_SOURCE[0]}")/lib/sanitizer.sh"
sanitize synccheck
