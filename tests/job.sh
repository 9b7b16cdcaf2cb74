# A job of workers in the background, $job being mpirun's id: what the tests on CPUs and on GPUs do to one alike. Sourced by mpi/run_control.sh and gpu/lib/multi.sh.

# joined ID: waits until that worker watches the others. Open MPI's launcher can wait for ever for what one that dies before has to say.
joined() {
  until cat "/proc/$1"/task/*/comm 2>/dev/null | grep -x watch >/dev/null; do
    kill -0 "$job" 2>/dev/null || fail "worker $1 ended before it had started"
    sleep 0.02
  done
}
# ended: waits for $job; its exit code is $code
ended() {
  code=0
  wait "$job" || code=$?
  job=
}
