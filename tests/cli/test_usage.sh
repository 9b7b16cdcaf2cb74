#!/usr/bin/env bash
# --help of the scripts that people start prints how to use them, and what they do not know they refuse: neither installs, builds nor runs anything.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# A machine that lacks what they want, and cannot install it: going on ends in "not installed".
mkdir bin
for tool in bash cat dirname sed sort tr; do ln -s "$(command -v $tool)" bin/$tool; done
bare() { PATH=$ZK_TMP/bin bash "$@"; }
scripts=("$ZK_SOURCE"/tests/{run,sanitize,gpu,fuzz/run}.sh "$ZK_SOURCE"/experiments/run_all.sh "$ZK_SOURCE"/experiments/{quickstart,smollm2}/run.sh
  "$ZK_SOURCE"/experiments/{calculator,scaling,qwen3-8b,bench}/run.sh "$ZK_SOURCE"/experiments/smollm2/{setup,gpu}.sh)
for script in "${scripts[@]}"; do
  for option in --help -h; do
    expect 0 bare "$script" $option
    [ -s err ] && fail "$script $option talks"
    grep -q '[.:]' out && ! grep -q '^#\|^set ' out || fail "$script $option is not its usage"
  done
done
expect 0 bare "$ZK_SOURCE/tests/run.sh" -R tokenizer --help
says 'tests/run.sh -R tokenizer'
expect 0 bare "$ZK_SOURCE/experiments/world_size/run.sh" --help
says 'Usage: experiments/world_size/run.sh [FORM] [--break] [--record]'

# refused MESSAGE SCRIPT ARGUMENT...
refused() {
  expect 2 bare "$ZK_SOURCE/$2" "${@:3}"
  grep -q 'not installed' err && fail "$2 ${*:3} is noticed too late"
  tells "$1"
}
for script in tests/run.sh tests/sanitize.sh; do
  refused '"tokenizer" is no option: to run the tests with it in their names, -R tokenizer' $script tokenizer
  refused 'unknown option --quick' $script --quick
  refused '-R wants a value' $script -V -R
done
refused 'no test "nothing"' tests/gpu.sh nothing
refused '"soon" is no number of seconds' tests/fuzz/run.sh soon
refused 'experiments/run_all.sh --cpu|--gpu|--gpus|--long' experiments/run_all.sh --cpus
refused 'Usage: experiments/world_size/run.sh' experiments/world_size/run.sh --gpu
refused 'Usage: experiments/quickstart/run.sh' experiments/quickstart/run.sh --gpu

# What they do know is passed: here it ends for want of everything.
expect 2 bare "$ZK_SOURCE/tests/run.sh" -L cli -R 'a|b' -V -j 3
tells 'not installed'
echo ok
