#!/usr/bin/env bash
# label: slow; cost: 270
# Runs move between devices: the emulated GPU (zerokl_simt, whose device memory cannot be read through its pointers) gives the CPU's bits in
# every command, alone and shared by workers, and goes on where the CPU stopped.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
SIMT=$ZK_BUILD/zerokl_simt
[ -x "$SIMT" ] || { echo "devices: no emulated GPU in this build"; exit 0; }
hashes() { sed -n 's/.*\("weights\/hash".*\)}/\1/p' "$1/metrics.jsonl"; }
# alike A B WHAT: the same hashes after every step
alike() { [ "$(hashes "$1")" = "$(hashes "$2")" ] && [ -n "$(hashes "$1")" ] || fail "$3: $1 has $(hashes "$1"), $2 has $(hashes "$2")"; }

tiny_config warm.yaml warm 2
small="sft.batch=8 eval.every=0 checkpoint.every=1"
# shellcheck disable=SC2086
{
  expect 0 "$ZK" sft warm.yaml $small run.dir=cpu device=cpu
  expect 0 "$SIMT" sft warm.yaml $small run.dir=gpu device=cuda
  alike cpu gpu "sft on two devices"
  for phase in forward head backward reduce optimizer; do
    [ "$(cat cpu/metrics.jsonl gpu/metrics.jsonl | grep -Ec "\"time/$phase\": [0-9.]*[1-9]")" = 4 ] || fail "time/$phase is not told of every step"
  done
  [ "$(grep -c '"perf/mfu": ' gpu/metrics.jsonl)" = 2 ] && ! grep -q perf/mfu cpu/metrics.jsonl || fail "MFU: of every step on a GPU, and of none on a CPU"
  expect 0 "$ZK" sft warm.yaml $small run.dir=both device=cpu run.steps=1
  expect 0 "$SIMT" sft warm.yaml $small run.dir=both device=cuda
  alike cpu both "begun on a CPU, continued on a GPU"
  expect 0 "$ZK" sft warm.yaml $small run.dir=cpu device=cpu run.steps=3
  expect 0 "$ZK" sft warm.yaml $small run.dir=gpu device=cpu run.steps=3
  alike cpu gpu "begun on a GPU, continued on a CPU"
}

# Sampled on a GPU, by one worker and by two that share it; audited on either device.
tiny_config tiny.yaml tiny 2
rl="model.path=warm/checkpoints/step_000016 optimizer.lr=0.01 eval.every=0
  checkpoint.every=1"
expect 0 "$ZK" sft warm.yaml run.steps=16 run.dir=warm device=cpu
for numerics in f32 bf16; do
  # shellcheck disable=SC2086
  {
    expect 0 "$SIMT" train tiny.yaml $rl numerics=$numerics device=cuda run.dir=$numerics
    expect 0 workers 2 "$SIMT" train tiny.yaml $rl numerics=$numerics device=cuda:0 run.dir=$numerics-two
  }
  alike $numerics $numerics-two "two workers on one GPU"
  same $numerics/trajectories/step_000002.h5 $numerics-two/trajectories/step_000002.h5
  [ "$(hashes $numerics | sort -u | wc -l)" = 3 ] || fail "$numerics: some update changed nothing"
  expect 0 "$SIMT" verify $numerics --device cuda
  [ "$(grep -c '"mismatch/tokens": 0,' $numerics/metrics.jsonl)" = 2 ] || fail "$numerics: tokens differ"
  code=0
  ZK_FAULT=trainer:linear "$SIMT" verify $numerics --device cuda >out 2>err || code=$?
  [ $code = 1 ] || fail "a fault of one operation went unnoticed ($numerics, $code)"
done

# The trainer's passes and the reference model's come from recorded graphs (answers of one length make them alike); with ZK_GRAPHS=0 none does. The same bits.
alike_passes="rollout.ignore_eos=true algorithm.kl.coef=0.05"
num_recorded() { grep -c 'a pass is recorded' err || true; }
# shellcheck disable=SC2086
{
  ZK_LOG=debug expect 0 "$SIMT" train tiny.yaml $rl $alike_passes device=cuda run.dir=recorded
  [ "$(num_recorded)" -gt 3 ] || fail "only $(num_recorded) passes are recorded"
  ZK_GRAPHS=0 ZK_LOG=debug expect 0 "$SIMT" train tiny.yaml $rl $alike_passes device=cuda run.dir=queued
  [ "$(num_recorded)" = 0 ] || fail "ZK_GRAPHS=0, and $(num_recorded) passes are recorded"
}
alike recorded queued "recorded graphs, and none"
[ "$(hashes queued | sort -u | wc -l)" = 3 ] || fail "queued: some update changed nothing"

expect 0 "$ZK" verify f32 --device cpu
expect 0 "$ZK" verify bf16 --device cpu --sample 3
expect 0 "$ZK" verify bf16 --device cpu

# ---- devices that fail
FAULTY=$ZK_BUILD/zerokl_faulty
# shellcheck disable=SC2086
{
  # Tensor cores that fail bf16 alone: refused before anything is written; f32 goes through.
  ZK_FAULT=check:linear:bf16 expect 1 "$FAULTY" train tiny.yaml $rl numerics=bf16 device=cpu run.dir=none
  tells 'use numerics: f32, or another device'
  [ ! -e none/config.yaml ] || fail "a device that fails the contract has begun a run"
  rm -rf none
  ZK_FAULT=check:linear:bf16 expect 0 "$FAULTY" train tiny.yaml $rl numerics=f32 device=cpu run.dir=other-f32
  # One that breaks in the middle of a run, of one worker and of two: one message with the operation; the same command goes on.
  for program in "$FAULTY" "$SIMT"; do
    device=cpu && [ "$program" = "$FAULTY" ] || device=cuda:0
    rm -rf broken && cp -r f32 broken
    for command in "$program" "workers 2 $program"; do
      ZK_FAULT=trainer:adamw:break expect 2 $command train tiny.yaml $rl run.steps=4 device=$device run.dir=broken
      [ "$(grep -c 'error: ' err)" = 1 ] || fail "not one message"
      tells adamw
    done
    expect 0 "$program" train tiny.yaml $rl run.steps=4 device=$device run.dir=broken
  done
}
# A driver that is older than the toolkit of the build.
if "$ZK" --version | grep 'CUDA: toolkit' >/dev/null; then
  ln -s "$ZK_BUILD/tests/libold_driver.so" libcuda.so.1
  LD_LIBRARY_PATH=. expect 2 "$ZK" train tiny.yaml device=cuda run.dir=none
  tells 'older than this build'
  tells 'device: cpu'
fi

# ---- devices that are not there
expect 2 workers 2 "$SIMT" train tiny.yaml device=cuda run.dir=none
tells '2 workers on this host and 1 GPU'
expect 2 "$SIMT" train tiny.yaml device=cuda:3 run.dir=none
tells 'device: cuda:3: this host has 1 GPU'
[ ! -e none ] || fail "a refused device left a run directory"
echo "devices: all as it should be"
