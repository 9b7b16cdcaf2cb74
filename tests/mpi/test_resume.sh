# cost: 70
# Killed at any moment and started again, a run ends with the bits of one that was not.
. "$(dirname "$0")/common.sh"
reference
kill_at=$ZK_BUILD/tests/libkill_at.so

n=0
# In the middle of a trajectory file, before and after it is published, in the middle of a checkpoint's files, before and after the
# checkpoint is published, in the middle of a line of metrics or of the manifest.
for moment in write:step_000003.h5:1 rename:step_000003.h5 renamed:step_000004.h5 write:optimizer.h5:2 rename:model.safetensors write:state.json:1 \
  rename:checkpoints/step_000002 renamed:checkpoints/step_000004 write:metrics.jsonl:3 write:manifest.jsonl:4 rename:checkpoints/step_000000; do
  n=$((n + 1))
  run=run$n
  code=0
  LD_PRELOAD=${LD_PRELOAD:+$LD_PRELOAD:}$kill_at ZK_KILL_AT=$moment zerokl train tiny.yaml run.dir=$run 2>log || code=$?
  [ $code -eq 137 ] || { cat log >&2; fail "$moment: exit code $code, not killed"; }
  zerokl train tiny.yaml run.dir=$run 2>log || { cat log >&2; fail "$moment: cannot resume"; }
  same_chain $run "killed at $moment"
  [ -f $run/checkpoints/step_000004/DONE ] || fail "$moment: no checkpoint of step 4"
done

# One rank of three dies in mid-step; mpirun ends the others, and two ranks go on.
code=0
LD_PRELOAD=${LD_PRELOAD:+$LD_PRELOAD:}$kill_at ZK_KILL_RANK=0 ZK_KILL_AT=rename:step_000004.h5 workers 3 "$ZK_BUILD/zerokl" train tiny.yaml run.dir=dead 2>log || code=$?
[ $code -ne 0 ] || fail "a rank died and mpirun says all is well"
workers 2 "$ZK_BUILD/zerokl" train tiny.yaml run.dir=dead 2>log || { cat log >&2; fail "cannot resume on two ranks"; }
same_chain dead "a rank killed"

# At random moments of a step.
for round in 1 2 3; do
  "$ZK_BUILD/zerokl" train tiny.yaml run.dir=random$round 2>/dev/null & pid=$!
  sleep 0.$((round * 3 + RANDOM % 3))
  kill -9 $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  zerokl train tiny.yaml run.dir=random$round 2>log || { cat log >&2; fail "cannot resume after a kill at random"; }
  same_chain random$round "killed at random"
done

# Another config does not continue this run; nothing is harmed by trying.
before=$(find reference -type f ! -name lock | sort | xargs sha256sum)
code=0
zerokl train tiny.yaml run.dir=reference optimizer.lr=0.02 2>log || code=$?
[ $code -eq 2 ] || fail "another config was accepted"
grep -q 'optimizer.lr' log || { cat log >&2; fail "the message does not name the key"; }
zerokl train tiny.yaml run.dir=reference run.resume=never 2>log && fail "run.resume=never resumed"
[ "$before" = "$(find reference -type f ! -name lock | sort | xargs sha256sum)" ] || fail "a refused start changed files"
# Going on: more steps with a constant schedule are the same run.
zerokl train tiny.yaml run.dir=reference run.steps=7 2>log || { cat log >&2; fail "more steps"; }
zerokl train tiny.yaml run.dir=longer run.steps=7 2>/dev/null
same_chain longer "resumed for two more steps"
# The checkpoint that it went on from is removed in time; those after it are whole all the same.
zerokl train tiny.yaml run.dir=longer run.steps=12 2>log || { cat log >&2; fail "five more steps"; }
[ ! -e longer/checkpoints/step_000007 ] || fail "the checkpoint of step 7 was kept"
cmp longer/checkpoints/step_000000/tokenizer.json longer/checkpoints/step_000012/tokenizer.json || fail "a checkpoint after a resume has another tokenizer, or none"
echo "all kills: the same bits"
