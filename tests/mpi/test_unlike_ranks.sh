#!/usr/bin/env bash
# label: slow; cost: 30
# Workers that see other configs, models, data or builds, or lack a file, are refused before anything is written: one line that names the odd one out.
. "$(dirname "$0")/common.sh"
zerokl sft warm.yaml run.dir=warm 2>warm.log || { cat warm.log >&2; fail "the warm-up"; }

# A worker starts in a folder of its own: what a host of its own would have there.
cat >on_own_host.sh <<'SH'
#!/bin/sh
exec env -C "hosts/$OMPI_COMM_WORLD_RANK" "$@"
SH
chmod +x on_own_host.sh
# hosts: four hosts that are alike
hosts() {
  rm -rf hosts
  for r in 0 1 2 3; do
    mkdir -p hosts/$r
    cp -r data.jsonl tiny.yaml warm hosts/$r
  done
}
# refused TEXT...: by exit code 2 and one line that says all of these; no host has begun a run
refused() {
  local code=0 text
  workers 4 ./on_own_host.sh "$ZK_BUILD/zerokl" train tiny.yaml run.steps=1 2>log || code=$?
  [ $code -eq 2 ] || { cat log >&2; fail "exit code $code: $*"; }
  [ "$(grep -c 'error: ' log)" = 1 ] || { cat log >&2; fail "not one line of error: $*"; }
  for text; do grep 'error: ' log | grep -F -- "$text" >/dev/null || { cat log >&2; fail "the error does not say: $text"; }; done
  [ -z "$(find hosts -path '*/runs/tiny/config.yaml')" ] || fail "a refused start has begun a run: $*"
}

hosts
workers 4 ./on_own_host.sh "$ZK_BUILD/zerokl" train tiny.yaml run.steps=1 2>log || { cat log >&2; fail "four hosts that are alike are refused"; }

hosts
sed -i 's/lr: 0.001/lr: 0.002/' hosts/2/tiny.yaml
refused 'the config: workers differ' 'rank 2 on' 'lr: 0.002' '3 of 4 have lr: 0.001'
hosts
sed -i 's/lr: 0.001/lr: 0.002/' hosts/0/tiny.yaml # rank 0 can be the odd one
refused 'the config: workers differ' 'rank 0 on' 'lr: 0.002' '3 of 4 have lr: 0.001'
hosts
sed -i 's/every: 2/every: 3/' hosts/1/tiny.yaml # a schedule's key: the others would wait for its checkpoint
refused 'the config: workers differ' 'rank 1 on' 'every: 3'

hosts
cp warm/checkpoints/step_000000/model.safetensors hosts/3/warm/checkpoints/step_000060/
refused "the model's weights: workers differ: rank 3 on" 'hash ' 'same files'
hosts
sed -i '1s/u"/v"/; 2s/v"/u"/' hosts/1/data.jsonl
sed -i '1s/prompt": "./prompt": "Z/' hosts/1/data.jsonl
refused "the task's data: workers differ: rank 1 on"
hosts
rm hosts/2/warm/checkpoints/step_000060/model.safetensors
refused 'rank 2 on' 'warm/checkpoints/step_000060'
hosts
rm hosts/1/tiny.yaml
refused 'rank 1 on' 'tiny.yaml'

# Another build: the one that takes faults.
code=0
mpirun --oversubscribe --bind-to none -n 2 "$ZK_BUILD/zerokl" train tiny.yaml run.dir=mixed : -n 1 "$ZK_BUILD/zerokl_faulty" train tiny.yaml run.dir=mixed 2>log || code=$?
[ $code -eq 2 ] || { cat log >&2; fail "two builds: exit code $code"; }
grep -F 'zerokl itself: workers differ: rank 2 on' log | grep -F 'with faults' >/dev/null || { cat log >&2; fail "two builds: no clear message"; }
[ ! -e mixed ] || fail "two builds have begun a run"

# GPUs: more workers than there are, and a GPU of another kind. On an emulated GPU, where this build has it.
if [ -x "$ZK_BUILD/zerokl_simt" ]; then
  code=0
  workers 3 "$ZK_BUILD/zerokl_simt" train tiny.yaml run.dir=crowd device=cuda 2>log || code=$?
  [ $code -eq 2 ] || { cat log >&2; fail "more workers than GPUs: exit code $code"; }
  grep -E 'error: .*3 workers on this host and [0-9]+ GPU' log >/dev/null || { cat log >&2; fail "more workers than GPUs: no clear message"; }
  code=0
  mpirun --oversubscribe --bind-to none -n 1 "$ZK_BUILD/zerokl_simt" train tiny.yaml run.dir=crowd device=cuda:0 : \
    -n 1 -x ZK_SIMT_GPU='NVIDIA H100 PCIe' "$ZK_BUILD/zerokl_simt" train tiny.yaml run.dir=crowd device=cuda:0 2>log || code=$?
  [ $code -eq 2 ] || { cat log >&2; fail "GPUs of two kinds: exit code $code"; }
  grep -F 'the device: workers differ: rank 1 on ' log | grep -F 'has NVIDIA H100 PCIe, 1 of 2 have emulated on this CPU' >/dev/null ||
    { cat log >&2; fail "GPUs of two kinds: no clear message"; }
  [ ! -e crowd/config.yaml ] || fail "unlike GPUs have begun a run"
fi
echo "unlike ranks: refused, the odd one named"
