# Sourced behind common.sh: runs of four ranks in the background that something is done to.
. "$(dirname "${BASH_SOURCE[0]}")/../job.sh"

job=
trap '[ -z "$job" ] || kill -9 "$job" 2>/dev/null || true; rm -rf "$ZK_TMP"' EXIT

# start RUN RANKS [ARGUMENT...]: RUN in the background, its talk in ./log; $job is mpirun's id. $mpirun_options may hold more of mpirun's own.
start() {
  local run=$1 n=$2
  shift 2
  # shellcheck disable=SC2086
  mpirun -n "$n" --oversubscribe --bind-to none ${mpirun_options:-} "$ZK_BUILD/zerokl" train tiny.yaml run.dir="$run" "$@" 2>log & job=$!
}
# worker RANK: the id of that worker of $job
worker() {
  local id
  for id in $(pgrep -P "$job" -x zerokl); do
    ! grep -qz "^OMPI_COMM_WORLD_RANK=$1\$" "/proc/$id/environ" || echo "$id"
  done
}
# await FILE: waits until $job has made it
await() {
  until [ -f "$1" ]; do
    kill -0 "$job" 2>/dev/null || { cat log >&2; fail "$1 never came"; }
    sleep 0.02
  done
}
# one_error TEXT...: the log holds one line of error, and it says all of these.
one_error() {
  local text
  [ "$(grep -c 'error: ' log)" = 1 ] || { cat log >&2; fail "not one line of error"; }
  for text; do grep 'error: ' log | grep -F -- "$text" >/dev/null || { cat log >&2; fail "the error does not say: $text"; }; done
}
# last_step RUN: of its trajectories
last_step() { find "$1/trajectories" -name 'step_*.h5' 2>/dev/null | sed 's/.*step_0*\(.*\).h5/\1/' | sort -n | tail -1 | grep . || echo 0; }
# finish RUN WHAT RANKS: RUN goes on to the step after its last, and has the bits of a run of one worker that nothing happened to.
finish() {
  local steps=$(($(last_step "$1") + 1))
  workers "$3" "$ZK_BUILD/zerokl" train tiny.yaml run.dir="$1" run.steps=$steps 2>log || { cat log >&2; fail "$2: cannot resume"; }
  zerokl train tiny.yaml run.dir=reference run.steps=$steps 2>log || { cat log >&2; fail "the reference of $steps steps"; }
  diff <(chain reference | head_of $steps) <(chain "$1") >/dev/null || { diff <(chain reference | head_of $steps) <(chain "$1") >&2 || true; fail "$2: other bits"; }
}
# head_of STEPS: of a chain, the lines of steps up to this one
head_of() { awk -v n="$1" '/h5$/ ? h++ < n : w++ <= n'; }
