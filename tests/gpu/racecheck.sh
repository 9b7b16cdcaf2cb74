#!/usr/bin/env bash
# limit: 300
# compute-sanitizer racecheck: no hazard between threads that share memory.
. "$(dirname "${BASH_SOURCE[0]}")/lib/sanitizer.sh"
sanitize racecheck
