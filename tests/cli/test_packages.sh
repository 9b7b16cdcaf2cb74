#!/usr/bin/env bash
# experiments/lib/packages.sh on machines it has never seen: stand-ins for apt-get, sudo, id and the programs that it looks for.
set -euo pipefail
root=$ZK_SOURCE
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*"; cat "$dir/said"; exit 1; }

# The machine: a PATH of one folder, with the plain tools.
bin=$dir/bin
mkdir "$bin"
for tool in bash cat grep sort sed head env dirname nproc cut tr mkdir; do ln -s "$(command -v $tool)" "$bin/$tool"; done
stand_in() { printf '#!/bin/bash\n%s\n' "$2" >"$bin/$1"; chmod +x "$bin/$1"; }
stand_in_all() { for tool in cc c++ make cmake ninja pkg-config mpicc mpirun h5cc h5dump; do stand_in "$tool" 'exit 0'; done; }
# Runs zk_packages with that PATH; leaves what it said in $dir/said and returns its exit code.
packages() { PATH=$bin bash -c ". '$root/experiments/lib/packages.sh'; zk_packages $*; echo reached" >"$dir/said" 2>&1; }
said() { grep -qF -- "$1" "$dir/said" || fail "did not say: $1"; }

stand_in_all # everything is here: nothing is asked of anyone
stand_in id 'echo 1000'
packages build test || fail "all there, exit $?"
said reached
[ "$(wc -l <"$dir/said")" = 1 ] || fail "talks although nothing is missing"

rm "$bin/cmake" "$bin/h5cc" # no apt-get
if packages build; then fail "went on without cmake"; fi
said "not installed: cmake libhdf5-dev"
said "there is no apt-get here; install your system's packages for: cmake libhdf5-dev"

stand_in apt-get "echo \"\$@\" >>'$dir/apt'" # apt-get, but neither root nor sudo
if packages build; then fail "went on without root"; fi
said "as root run: apt-get install -y cmake libhdf5-dev"
[ ! -e "$dir/apt" ] || fail "called apt-get although not root"

# shellcheck disable=SC2016
stand_in sudo 'echo "$@" >>'"'$dir/sudo'"'; exec "$@"' # sudo; apt-get installs nothing
if packages build; then fail "believed apt-get"; fi
said "still not found after installing: cmake libhdf5-dev"
grep -q -- '--no-install-recommends cmake libhdf5-dev' "$dir/apt" || fail "apt-get was asked for something else"
[ "$(wc -l <"$dir/sudo")" = 2 ] || fail "sudo was not used for both calls"

stand_in apt-get "for t in cmake h5cc; do printf '#!/bin/bash\n' >'$bin/'\$t; done; PATH=/bin:/usr/bin chmod +x '$bin/cmake' '$bin/h5cc'" # it does
packages build || fail "did not go on after installing"
said reached

rm "$bin/cmake" "$dir/sudo" # root does not need sudo
stand_in id 'echo 0'
packages build || fail "as root"
[ ! -e "$dir/sudo" ] || fail "used sudo as root"

rm "$bin/cmake"
# shellcheck disable=SC2016
stand_in apt-get '[ "$1" = update ] || exit 100' # no network
if packages build; then fail "went on without cmake"; fi
said "apt-get could not install: cmake; install them by hand"
echo "packages.sh: all as expected"
