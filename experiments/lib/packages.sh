# Sourced by scripts that must work on a bare machine: finds what is missing, installs it, builds, and starts ranks.
#   . experiments/lib/packages.sh; zk_packages build; zk_build; zk_mpirun 2 build/zerokl train CONFIG.yaml
# shellcheck shell=bash

ZK_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

zk_say() { printf '==> %s\n' "$*" >&2; }
zk_die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# zk_help ARGUMENT...: where --help or -h is among a script's arguments, prints the comment that the script begins with and ends it.
zk_help() {
  local argument
  for argument; do
    case $argument in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[1]}"; exit 0 ;; esac
  done
}

# One row a package: set, Debian and Ubuntu name, probe. A probe that succeeds means "here already", wherever it came from.
#   cmd NAME: a program; pc NAME: a pkg-config module; sh COMMAND: anything
zk_package_table() {
  cat <<'TABLE'
build  build-essential   sh   echo '#include <stdio.h>' | cc -E -o /dev/null -
build  g++               cmd  c++
build  make              cmd  make
build  cmake             cmd  cmake
build  ninja-build       cmd  ninja
build  pkg-config        cmd  pkg-config
build  libopenmpi-dev    cmd  mpicc
build  openmpi-bin       cmd  mpirun
build  libhdf5-dev       cmd  h5cc
build  libyaml-dev       pc   yaml-0.1
build  libjansson-dev    pc   jansson
build  libpcre2-dev      pc   libpcre2-8
build  libutf8proc-dev   pc   libutf8proc
build  libxxhash-dev     pc   libxxhash
build  libssl-dev        pc   libcrypto
test   libcmocka-dev     pc   cmocka
test   hdf5-tools        cmd  h5dump
fuzz   clang             cmd  clang
blas   libopenblas-dev   pc   openblas
plot   librsvg2-bin      cmd  rsvg-convert
python python3           cmd  python3
python python3-venv      sh   python3 -c 'import venv, ensurepip'
TABLE
}

zk_probe() {  # kind, argument
  case $1 in
    cmd) command -v "$2" >/dev/null 2>&1 ;;
    pc) pkg-config --exists "$2" 2>/dev/null ;;
    sh) bash -c "$2" >/dev/null 2>&1 ;;
  esac
}

zk_missing() {  # sets...: prints the packages of these sets that are not here, one a line
  local set package kind argument
  zk_package_table | while read -r set package kind argument; do
    case " $* " in *" $set "*) zk_probe "$kind" "$argument" || echo "$package" ;; esac
  done
}

# zk_packages SET...: makes sure that the packages of these sets are installed, saying which were not. Leaves the script with
# exit code 2 and one clear instruction when it cannot install them.
zk_packages() {
  local -a missing prefix=()
  mapfile -t missing < <(zk_missing "$@")
  [ ${#missing[@]} -eq 0 ] && return 0
  zk_say "not installed: ${missing[*]}"
  command -v apt-get >/dev/null 2>&1 ||
    zk_die "there is no apt-get here; install your system's packages for: ${missing[*]} (these are Debian's names), then run this again"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || zk_die "not root, and there is no sudo; as root run: apt-get install -y ${missing[*]}"
    prefix=(sudo)
  fi
  zk_say "installing them with ${prefix[*]:+sudo }apt-get"
  # An old package index may name versions that are gone: refresh it first. A broken third-party source must not stop us.
  "${prefix[@]}" apt-get update -qq || zk_say "apt-get update failed; trying with the index that is there"
  "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
    zk_die "apt-get could not install: ${missing[*]}; install them by hand, then run this again"
  mapfile -t missing < <(zk_missing "$@")
  [ ${#missing[@]} -eq 0 ] || zk_die "still not found after installing: ${missing[*]}"
}

# Cores this process may use: ZK_CORES, or a container's or taskset's share, not the machine's. (nproc alone prints OMP_NUM_THREADS where that is set.)
zk_cores() { echo "${ZK_CORES:-$(env -u OMP_NUM_THREADS nproc)}"; }

# zk_build [cmake options...]: configures (preset release) and builds build/zerokl, and whatever else; with ZK_TARGETS these targets alone.
zk_build() {
  local version
  version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9]*\.[0-9]*\).*/\1/p')
  [ "$(printf '3.22\n%s\n' "$version" | sort -V | head -1)" = 3.22 ] || zk_die "cmake $version is too old; 3.22 or newer is needed"
  zk_say "building (build/zerokl)"
  local log=$ZK_ROOT/build/build.log
  mkdir -p "$ZK_ROOT/build"
  (cd "$ZK_ROOT" && cmake --preset release "$@" && cmake --build build -j "$(zk_cores)" ${ZK_TARGETS:+--target $ZK_TARGETS}) >"$log" 2>&1 || {
    grep -nE 'CMake Error|error:|FAILED' -A 6 "$log" | head -60 >&2
    zk_die "the build failed; all of its output is in $log"
  }
}

# What mpirun wants: leave to run as root, no ptrace-based copies (containers forbid them), waiting threads that sleep.
zk_mpi_environment() {
  if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
  export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}
  export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
}

# zk_mpirun N COMMAND...: N ranks on this machine, not bound to single cores (ranks have threads).
zk_mpirun() {
  local ranks=$1 oversubscribe=()
  shift
  zk_mpi_environment
  [ "$ranks" -le "$(zk_cores)" ] || oversubscribe=(--oversubscribe)
  mpirun -n "$ranks" --bind-to none "${oversubscribe[@]}" "$@"
}

# zk_ctest_options ARGUMENT...: leaves the script with exit code 2 unless these are options of ctest that choose or show tests. ctest itself ignores
# what it does not know, and would run all tests.
zk_ctest_options() {
  local option
  while [ $# -gt 0 ]; do
    option=$1
    shift
    case $option in
      -R | -E | -L | -LE | -I | -j | --timeout | --repeat)
        [ $# -gt 0 ] || zk_die "$option wants a value"
        shift ;;
      -V | -VV | -N | --rerun-failed | --stop-on-failure | --schedule-random | --print-labels) ;;
      -*) zk_die "unknown option $option; of ctest's there are -R, -E, -L, -LE, -I, -j, --timeout and --repeat with a value, -V, -VV, -N, --rerun-failed, --stop-on-failure, --schedule-random, --print-labels" ;;
      *) zk_die "\"$option\" is no option: to run the tests with it in their names, -R $option" ;;
    esac
  done
}

# zk_ctest BUILD [ctest options...]: runs the tests of a build folder, then prints "N passed, N failed". True only if all passed.
zk_ctest() {
  local build=$1 status=0 total failed skipped
  shift
  local junit=$ZK_ROOT/$build/junit.xml
  rm -f "$junit"
  # One more at a time than there are cores: a test that starts workers or kills them waits for a good part of its time.
  ctest --test-dir "$build" --output-on-failure --output-junit "$junit" -j "$(($(zk_cores) + 1))" "$@" || status=$?
  [ -s "$junit" ] || zk_die "ctest left no summary (exit code $status)"
  # ctest's own summary: <testsuite name=... tests="9" failures="1" disabled="0" skipped="0" ...>
  attribute() { sed -n "s/^[[:space:]]*$1=\"\([0-9]*\)\".*/\1/p" "$junit" | head -1; }
  total=$(attribute tests) failed=$(attribute failures) skipped=$(($(attribute skipped) + $(attribute disabled)))
  [ "$skipped" -eq 0 ] || echo "$skipped skipped"
  echo "$((total - failed - skipped)) passed, $failed failed"
  [ "$status" -eq 0 ] && [ "$failed" -eq 0 ] && [ "$((total - failed - skipped))" -gt 0 ]
}
