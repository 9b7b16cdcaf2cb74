#!/usr/bin/env bash
# Every experiment of one form, one after another, and a table of what came out. Exit code 0: every one that ran passed, and some did; what
# could not be run for want of a model, a GPU or a package is shown as not run, with the way to get it.
#   experiments/run_all.sh --cpu|--gpu|--gpus|--long [--record] [NAME...]     NAME: of these folders alone, so that --gpu can be made in pieces
# lib/all.txt is the list, with each one's limit in seconds. Output of each: runs/experiments/logs/NAME-FORM.log. ZK_BUILD, ZK_RUNS as in run.sh.
. "$(dirname "${BASH_SOURCE[0]}")/lib/packages.sh"
zk_help "$@"
cd "$ZK_ROOT" || exit 2
form='' names=() options=()
for argument; do
  case $argument in
  --record) options+=("$argument") ;;
  --cpu | --gpu | --gpus | --long) form=${argument#--} ;;
  -*) form=''; break ;;
  *) names+=("$argument") ;;
  esac
done
[ -n "$form" ] || { sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
for name in "${names[@]}"; do
  grep -q "^$name ${form}[ _]" experiments/lib/all.txt || zk_die "experiments/lib/all.txt has no $name --$form"
done

if [ -z "${ZK_BUILD:-}" ]; then # outside of the experiments' limits
  zk_packages build
  zk_build -DZK_BUILD_TESTS=OFF
fi
logs=${ZK_RUNS:-runs}/experiments/logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0 table='' begun=$SECONDS
while read -r name of limit; do
  [ "${of%%_*}" = "$form" ] && case " ${names[*]:-$name} " in *" $name "*) true ;; *) false ;; esac || continue
  log=$logs/$name-$of.log since=$SECONDS code=0
  zk_say "$name --$of (at most $limit s; $log)"
  timeout --kill-after=20 "$limit" "experiments/$name/run.sh" "--$of" "${options[@]}" >"$log" 2>&1 </dev/null || code=$?
  case $code in
  0) verdict=passed passed=$((passed + 1)) ;;
  77) verdict='not run' skipped=$((skipped + 1)) ;;
  124 | 137) verdict="FAILED: more than $limit s" failed=$((failed + 1)) ;;
  *) verdict=FAILED failed=$((failed + 1)) ;;
  esac
  table+=$(printf '%-34s %-10s %5d s  %s' "$name --$of" "$verdict" $((SECONDS - since)) "$(tail -1 "$log")")$'\n'
  [ "$verdict" = passed ] || tail -3 "$log" >&2
done < <(grep -v '^#' experiments/lib/all.txt)
printf '%s' "$table"
echo "$passed passed, $failed failed, $skipped not run, in $((SECONDS - begun)) s"
[ $failed = 0 ] && [ $passed -gt 0 ]
