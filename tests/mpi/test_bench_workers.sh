# cost: 30
# `zerokl bench` under mpirun: a table and JSON from one worker, a row of the ordered reduction; a suite that is not the workers' is refused.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
for n in 2 3; do
  expect 0 workers $n "$ZK" bench workers --json rows.json
  [ "$(grep -c '^ordered reduction ' "$ZK_TMP/out")" = 1 ] || fail "$n workers: not one row"
  says "$n workers, 4 MiB"
  grep -q "\"$n workers, 4 MiB\"" rows.json || fail "$n workers: no JSON"
done
expect 2 workers 2 "$ZK" bench lmhead
tells 'no such suite'
expect 2 "$ZK" bench workers
echo "bench workers: ok"
