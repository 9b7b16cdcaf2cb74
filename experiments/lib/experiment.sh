# Sourced by an experiment's run.sh: which form is wanted, what is missing, what was measured, and the verdict. README.md here says how to write one.
#   . "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"; zk_experiment NAME "$@"
#   zk_value chains 1; zk_row workers 2 "final weights/hash" 0123...; zk_finish
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

zk_lib=$ZK_ROOT/experiments/lib

zk_usage() {
  cat <<END
Usage: experiments/$zk_name/run.sh [FORM] [--break] [--record]
  FORM      ${zk_forms[*]} (default --cpu)
  --break   breaks the claim on purpose: the check must fail, and exit code 1 says that it did
  --record  keeps what was measured in experiments/$zk_name/results/ and makes the tables of the READMEs anew
ZK_BUILD=DIR takes DIR/zerokl in place of building one; ZK_RUNS=DIR puts runs elsewhere than runs/; ZK_CORES=N is how many cores it may fill.
Exit codes: 0 every check passed, 1 one failed, 2 it could not be run, 77 not run: the last line says what is missing and how to get it.
END
}

# zk_experiment NAME ARGUMENT...: reads the arguments; goes to the repository's root; makes $runs, a fresh folder for its runs.
# Sets $form (cpu, gpu, ...), $here (the experiment's folder), $runs, $out (its results), $breaks (yes or empty).
zk_experiment() {
  zk_name=$1 form=cpu breaks='' zk_record=''
  shift
  here=experiments/$zk_name
  cd "$ZK_ROOT" || exit 2
  local argument
  mapfile -t zk_forms < <(sed -n 's/^  "\([a-z0-9_]*\)": {.*/--\1/p' "$here/expected.json")
  for argument; do
    case $argument in
    -h | --help) zk_usage; exit 0 ;;
    --break) breaks=yes ;;
    --record) zk_record=yes ;;
    *) case " ${zk_forms[*]} " in *" $argument "*) form=${argument#--} ;; *) zk_usage >&2; exit 2 ;; esac ;;
    esac
  done
  [ -z "$breaks$zk_record" ] || [ "$breaks$zk_record" = yes ] || zk_die "--break is never recorded"
  runs=${ZK_RUNS:-runs}/experiments/$zk_name/$form${breaks:+-broken} out=$runs/results
  rm -rf "$runs"
  mkdir -p "$runs" "$out"
  : >"$runs/measured.jsonl"
  zk_begun=$SECONDS
  zk_probe cmd python3 || zk_packages python
  zk_mpi_environment
}

# of_form CPU GPU TINY: the one for this form (forms beside these: gpu's). tiny is what tests run: seconds.
of_form() { case $form in cpu*) echo "$1" ;; tiny) echo "$3" ;; *) echo "$2" ;; esac; }

# zk_program [TOOL...]: sets $zerokl, and $tools, the folder that has these programs of tests/tools; makes them if ZK_BUILD names no build.
zk_program() {
  if [ -z "${ZK_BUILD:-}" ]; then
    zk_packages build ${1:+test}
    ZK_TARGETS="zerokl $*" zk_build "-DZK_BUILD_TESTS=$([ $# = 0 ] && echo OFF || echo ON)"
  fi
  zerokl=${ZK_BUILD:-$ZK_ROOT/build}/zerokl tools=${ZK_BUILD:-$ZK_ROOT/build}/tests
  local program
  for program in "$zerokl" "${@/#/$tools/}"; do [ -x "$program" ] || zk_die "there is no $program"; done
}

zk_num_gpus() {
  if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c . || true
  else nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true; fi
}

# zk_needs_gpus N: not run where there are fewer.
zk_needs_gpus() {
  local found
  found=$(zk_num_gpus)
  [ "$found" -ge "$1" ] || zk_skip "it wants $1 GPU$([ "$1" = 1 ] || echo s), and there are $found here" "run it on a machine with $1 Hopper GPU$([ "$1" = 1 ] || echo s)"
}
# zk_needs_openblas: what numerics vendor computes with on a CPU; installed where it can be, else not run.
zk_has_openblas() { python3 -c 'import ctypes; ctypes.CDLL("libopenblas.so.0")' 2>/dev/null; }
zk_needs_openblas() {
  zk_has_openblas || (zk_packages blas) || true
  zk_has_openblas || zk_skip "numerics: vendor wants OpenBLAS, and it is not here" "install it: apt-get install libopenblas0"
}
# zk_needs_model FOLDER WAY: not run where a model's folder is not there.
zk_needs_model() { [ -s "$1/config.json" ] || zk_skip "there is no model in $1" "$2"; }

zk_json() {  # a number or true/false as it is, else a string; a hash is one, of whatever digits
  if [[ ! $1 =~ ^[0-9a-f]{16}$ && $1 =~ ^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$ ]] || [ "$1" = true ] || [ "$1" = false ]; then printf '%s' "$1"
  else printf '"%s"' "$(sed 's/[\\"]/\\&/g' <<<"$1")"; fi
}
# zk_value NAME VALUE: one measured thing, which expected.json may check. The last one counts.
zk_value() { printf '{"value": "%s", "is": %s}\n' "$1" "$(zk_json "$2")" >>"$runs/measured.jsonl"; }
# zk_row KEY VALUE...: a row of the README's table; keys are its columns. zk_row table=NAME KEY VALUE...: of another table.
zk_row() {
  local table=rows text=''
  case $1 in table=*) table=${1#table=}; shift ;; esac
  while [ $# -gt 1 ]; do
    text+="${text:+, }\"$1\": $(zk_json "$2")"
    shift 2
  done
  printf '{"row": "%s", "has": {%s}}\n' "$table" "$text" >>"$runs/measured.jsonl"
}

# zk_finish: writes the results, compares them with expected.json, prints both, and leaves with the verdict.
zk_finish() { zk_end; }
# zk_skip REASON WAY: leaves as not run, which no table shows as passed.
zk_skip() { zk_end --skipped "$1" --get "$2"; }

zk_end() {
  local code=0
  python3 "$zk_lib/finish.py" "$zk_name" "$form" "$runs/measured.jsonl" "$out" --seconds $((SECONDS - zk_begun)) ${zerokl:+--zerokl "$zerokl"} \
    ${zk_record:+--record} "$@" || code=$?
  exit $code
}

# ---- several runs at a time

# zk_places NUM [GPU...]: so many commands may go on at a time, in all or on each of these GPUs.
zk_places() {
  local num=$1
  shift
  [ "$num" -ge 1 ] || zk_die "no place for a run: ZK_CORES and ZK_JOBS are 1 at least"
  [ $# -gt 0 ] || set -- ''
  mkfifo "$runs/places"
  exec {zk_free}<>"$runs/places"
  for ((; num > 0; num--)); do printf '%s\n' "$@"; done >&"$zk_free"
}
# zk_at_place COMMAND...: waits for a place, and lets the command run there, with its GPU, while the script goes on.
zk_at_place() {
  local place
  read -r place <&"$zk_free"
  {
    [ -z "$place" ] || export CUDA_VISIBLE_DEVICES=$place
    ("$@") || touch "$runs/failed"
    echo "$place" >&"$zk_free"
  } &
}
# zk_wait: until all of them are done. Leaves with exit code 2 if one failed.
zk_wait() {
  wait
  [ ! -e "$runs/failed" ] || exit 2
}

# ---- what several experiments read from runs

# metric RUN KEY: one value a line, of the steps after line 0
metric() { tail -n +2 "$1/metrics.jsonl" | sed -n "s|.*\"$2\": \"\{0,1\}\([^\",}]*\).*|\1|p"; }
total() { metric "$1" "$2" | awk '{ n += $1 } END { printf "%d", n }'; }
# chain RUN: weights/hash and state/hash after every step, and the digest of every trajectory file; chain_hash RUN: of all that, 16 digits
chain() {
  sed -n 's|.*"weights/hash": "\([0-9a-f]*\)", "state/hash": "\([0-9a-f]*\)".*|\1 \2|p' "$1/metrics.jsonl"
  [ ! -d "$1/trajectories" ] || (cd "$1/trajectories" && find . -name '*.h5' | sort | xargs -r sha256sum)
}
chain_hash() { chain "$1" | sha256sum | cut -c 1-16; }
# weights_chain RUN: the same without files' digests, which depend on the builds of HDF5 and zlib: for comparisons between machines
weights_chain() { chain "$1" | grep -v '\.h5$' | sha256sum | cut -c 1-16; }
last_hash() { metric "$1" weights/hash | tail -1; }
# quietly LOG COMMAND...: its talk into a file, which is shown if it fails
quietly() {
  local log=$1 code=0
  shift
  "$@" >"$log" 2>&1 || code=$?
  [ $code = 0 ] || { tail -20 "$log" >&2; echo "error: exit code $code of: $*" >&2; exit 2; }
}
