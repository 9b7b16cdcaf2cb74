# label: slow; cost: 150
# Every algorithm of the table: the same bits on 1, 2 and 3 ranks, and an audit that samples and updates again finds every value; none computes what another does.
. "$(dirname "$0")/common.sh"
zerokl sft warm.yaml run.dir=warm 2>log || { cat log >&2; fail "the warm-up"; }
small="run.steps=2 rollout.max_new_tokens=24 checkpoint.every=1 checkpoint.keep=0"

# every ALGORITHM KEYS...: on 1, 2 and 3 ranks, and an audit on 2, which samples and updates again
every() {
  local name=$1
  shift
  for n in 1 2 3; do
    workers $n "$ZK_BUILD/zerokl" train tiny.yaml run.dir="$name$n" $small "$@" 2>log || { cat log >&2; fail "$name on $n ranks"; }
    diff <(chain "${name}1") <(chain "$name$n") >/dev/null || fail "$name: $n ranks give other bits"
  done
  [ "$(sed -n 's|.*"mismatch/tokens": \([0-9]*\).*|\1|p' "${name}1/metrics.jsonl" | sort -u)" = 0 ] || fail "$name: mismatches"
  # On policy, which all but PPO are here, no ratio is anything but 1.
  [ "$name" = ppo ] || [ "$(sed -n 's|.*"policy/ratio_max": \([0-9.]*\).*|\1|p' "${name}1/metrics.jsonl" | sort -u)" = 1.0 ] || fail "$name: a ratio that is not 1"
  workers 2 "$ZK_BUILD/zerokl" verify "${name}1" --replay >report 2>log || { cat report log >&2; fail "verify $name"; }
}

names=$(zerokl train --help-config | sed -n '/^What algorithm.name gives/,$p' | sed -n '2,$s|^\([a-z_]*\)$|\1|p')
[ "$(echo "$names" | wc -w)" -ge 10 ] || fail "the table of algorithms is not in the help: $names"
for name in $names; do every "$name" algorithm.name="$name"; done
every bonus algorithm.entropy_coef=0.01 # what the loss makes of entropies too

# Importance correction finds nothing to correct where sampler and trainer agree: the weights of the algorithm without it.
hashes() { chain "$1" | sed -n 1,3p; }
zerokl train tiny.yaml run.dir=tis $small algorithm.name=ppo algorithm.importance.mode=truncate algorithm.importance.level=sequence 2>log || { cat log >&2; fail "TIS"; }
diff <(hashes ppo1) <(hashes tis) || fail "importance weights that are not 1"
zerokl verify tis >report 2>log || { cat report log >&2; fail "verify TIS"; }

# Dynamic sampling: the limit changes no bit; where no group's rewards differ the run stops at it, clearly, and a step with a prompt that it cannot have is found.
grep -q '"sampling/prompts_tried": \([7-9]\|[1-9][0-9]\)' dapo1/metrics.jsonl || fail "dynamic sampling found nothing to drop"
zerokl train tiny.yaml run.dir=limit $small algorithm.name=dapo algorithm.dynamic_limit=32 rollout.max_batch=3 2>log || { cat log >&2; fail "another limit"; }
diff <(chain dapo1) <(chain limit) >/dev/null || fail "dapo: another limit gives other bits"
code=0
zerokl train tiny.yaml run.dir=flat $small algorithm.name=dapo rollout.temperature=0 algorithm.dynamic_limit=3 2>log || code=$?
[ $code -eq 2 ] || fail "a step without differing rewards: exit code $code"
grep -q 'step 1: of 18 prompts only 0 have samples whose rewards differ.*algorithm.dynamic_limit' log || { cat log >&2; fail "no clear message"; }
"$ZK_BUILD/tests/tamper" flip dapo1 trajectories/step_000002.h5 prompt/id 2 29
"$ZK_BUILD/tests/tamper" reseal dapo1
zerokl verify dapo1 >report 2>log && fail "a prompt of no step"
grep -q 'which cannot be' report || { cat report >&2; fail "the audit does not name the prompt"; }

# Negative control: the algorithms' weights are not all the same, and a run of several updates goes on after a kill as if nothing had been.
[ "$(for name in $names bonus; do chain "${name}1" | sed -n 3p; done | sort -u | wc -l)" -ge 8 ] || fail "different algorithms, the same weights"
zerokl train tiny.yaml run.dir=resumed $small algorithm.name=ppo run.steps=1 2>log || { cat log >&2; fail "ppo, one step"; }
zerokl train tiny.yaml run.dir=resumed $small algorithm.name=ppo 2>log || { cat log >&2; fail "ppo, resumed"; }
diff <(chain ppo1) <(chain resumed) >/dev/null || fail "ppo: a resumed run has other bits"
zerokl train tiny.yaml run.dir=resumed $small algorithm.name=grpo run.steps=3 2>log && fail "another algorithm goes on in a run"
grep -q 'algorithm' log || { cat log >&2; fail "no clear message for another algorithm"; }
echo "every algorithm: the same bits"
