# Lines of metrics of the RL steps, then of the supervised ones: a row each. Exits 0 if five RL steps have no mismatch and each moved the weights, and the
# supervised steps' MFU is what it must be.
function field(key,  found) {
  if (!match($0, "\"" key "\": \"?[^\",}]*")) return ""
  found = substr($0, RSTART, RLENGTH)
  sub(/.*: "?/, "", found)
  return found
}
field("step") == 0 || field("step") == "" { hash = field("weights/hash"); next }
{
  training = sprintf("training %.0f tok/s/GPU, MFU %.3f; peak %.1f GiB", field("perf/train_tokens_per_s") / workers, field("perf/mfu"),
                     field("perf/memory_peak_bytes") / 1073741824)
}
field("mismatch/tokens") != "" {
  steps++
  wrong += field("mismatch/tokens") > 0 || field("weights/hash") == hash
  hash = field("weights/hash")
  printf "RL step %d: mismatch %d of %d, %.2f s; sampling %.0f tok/s/GPU, %s\n", field("step"), field("mismatch/tokens"), field("tokens/generated"),
    field("time/step"), field("perf/rollout_tokens_per_s") / workers, training
  next
}
{
  if (field("perf/mfu") > best) best = field("perf/mfu")
  printf "4,096 tokens, step %d: %d tokens in %.2f s; %s\n", field("step"), field("tokens/trained"), field("time/train"), training
}
END {
  bad = wrong || steps < 5 || best < 0.45
  printf "%s: %d RL steps, %d of them wrong; MFU %.3f (must 0.45, goal 0.58)\n", bad ? "NOT as it should be" : "as it should be", steps, wrong, best
  exit bad
}
