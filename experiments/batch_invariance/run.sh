#!/usr/bin/env bash
# Rows computed alone against the same rows in batches, operation by operation, over the number of rows and the length of their sums: how many elements
# differ in our numerics, in a library's, and, on a GPU with PyTorch, in PyTorch's. --break: ours is left to the library too.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/experiment.sh"
zk_experiment batch_invariance "$@"
case $form in
gpu) zk_needs_gpus 1; device=cuda ours=bf16 ;;
*) device=cpu ours=f32; zk_needs_openblas ;;
esac
zk_program row_alone

compare() { # NUMERICS FILE
  # shellcheck disable=SC2046
  "$tools/row_alone" $device "$1" $([ "$form" = tiny ] && echo quick) >"$2" || exit 2
}
compare "$([ -n "$breaks" ] && echo vendor || echo $ours)" "$runs/ours.jsonl"
compare vendor "$runs/vendor.jsonl"
if [ "$form" = gpu ]; then
  python3 $here/pytorch.py >"$runs/pytorch.jsonl" || zk_say "PyTorch is not here: its rows are not run"
fi
python3 $here/collect.py "$runs" >>"$runs/measured.jsonl"
zk_finish
