#!/usr/bin/env bash
# report: one page that names no other place, with every metric, run and completion in it, for runs of every kind and age; what comes from data
# stays text; mistakes are told. Where Chromium is, the page runs in it without an error and draws the same again.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
tiny_run 4
has() { grep -qF -- "$2" "$1" || fail "$1 does not say: $2"; }
hasnt() { ! grep -qF -- "$2" "$1" || fail "$1 says: $2"; }
figures() { grep -c '<figure ' "$1" || true; }

# Nothing that a page could load, but the names of XML's own namespaces.
closed() {
  if sed 's|http://www.w3.org/2000/svg||g' "$1" | grep -nE 'https?:|src=|@import|url\([^#]' >out; then fail "$1 names another place"; fi
}

# One run: the page, its pictures, every number of the metrics.
expect 0 "$ZK" report runs/tiny
says runs/tiny/report/index.html
page=runs/tiny/report/index.html
closed $page
has $page 'Held-out accuracy'; has $page 'mismatch/tokens'; has $page 'Where a step&#39;s time goes'; has $page '<h4>Prompt '; has $page 'class="p0"'
for key in $(sed -n 3p runs/tiny/metrics.jsonl | grep -o '"[a-z]*/[^"]*": [0-9-]' | cut -d'"' -f2); do
  id=$(tr -c 'a-zA-Z0-9_\n' - <<<"$key")
  has $page "id=\"chart-$id\""
  [ -s "runs/tiny/report/$id.svg" ] || fail "no $id.svg"
done
if command -v rsvg-convert >/dev/null; then
  [ "$(head -c 8 runs/tiny/report/reward-mean.png | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "reward-mean.png is none"
fi
expect 0 "$ZK" report runs/tiny --no-png -o again # the same input, the same bytes
[ ! -s err ] || fail "talks about PNG although there are to be none"
diff -r -x '*.png' runs/tiny/report again >out || fail "another report of the same run"
expect 0 "$ZK" verify runs/tiny # and the archive is none the worse for it

# Curves are smoothed but for those in which every step counts.
awk 'BEGIN { for (i = 0; i < 40; i++) printf "{\"step\": %d, \"policy/lr\": %g, \"policy/loss\": %g}\n", i, i == 20, i == 20 }' >spike.jsonl
mkdir spike && cp runs/tiny/config.yaml spike/ && cp spike.jsonl spike/metrics.jsonl
expect 0 "$ZK" report spike --no-png
line_of() { sed -n 's|.*class="line[^"]*"[^>]* d="\([^"]*\)".*|\1|p' "spike/report/$1.svg" | head -1; }
[ -n "$(line_of policy-loss)" ] || fail "no line is found"
cmp -s <(line_of policy-lr) <(sed -n 's|.*class="raw[^"]*"[^>]* d="\([^"]*\)".*|\1|p' spike/report/policy-lr.svg | head -1) || fail "the learning rate is smoothed"
cmp -s <(line_of policy-lr) <(line_of policy-loss) && fail "the loss is not smoothed"

# Without the converter: told once, and all but the PNG files.
mkdir bin
expect 0 env PATH="$ZK_TMP/bin" "$ZK" report runs/tiny -o bare
tells 'rsvg-convert is not installed'
[ "$(grep -c rsvg err)" = 1 ] || fail "told more than once"
[ -s bare/reward-mean.svg ] && [ ! -e bare/reward-mean.png ] || fail "pictures without a converter"
cmp again/index.html bare/index.html || fail "the page depends on the converter"

# Several runs, of other kinds and tasks, overlaid.
tiny_config other.yaml other 1
expect 0 "$ZK" train other.yaml task.name=arithmetic task.num_digits=1 task.min_length=1 task.max_length=8 eval.every=0
expect 0 "$ZK" report runs/tiny runs/warm runs/other --no-png --log policy/grad_norm
page=report/index.html
closed $page
has $page '>warm<'; has $page 'What their configs have different'; has $page '>task.name<'; has $page 'arithmetic'; has $page 'Time: other'; has $page '"log":1'
has $page 'no trajectory files' # of sft
expect 0 "$ZK" report runs/tiny runs/tiny/ --no-png -o twice # of one name: called by their folders
has twice/index.html '>runs/tiny/<'; has twice/index.html 'These runs have the same config'

# What an environment replied is dimmed, and told.
expect 0 "$ZK" train tiny.yaml run.dir=turns run.steps=1 model.path=runs/warm/checkpoints/step_000016 command.run="sh $ZK_SOURCE/experiments/calculator/calculator.sh" command.turns=2 \
  'rollout.stop=["a","b","c","d","e","f","g","h","i","j","k","l","m","n","o","p"]'
expect 0 "$ZK" report turns --no-png
has turns/report/index.html 'title="a reply of the environment">'; has turns/report/index.html 'class="masked">dimmed<'
hasnt runs/tiny/report/index.html 'class="masked"'

# Runs of every age: nothing yet, step 0 only, a line in the making, a damaged trajectory, thousands of steps.
mkdir -p new long/trajectories
cp runs/tiny/config.yaml new/
expect 0 "$ZK" report new --no-png
has new/report/index.html 'There are no metrics yet'
head -1 runs/tiny/metrics.jsonl >new/metrics.jsonl
expect 0 "$ZK" report new --no-png
has new/report/index.html 'id="chart-eval-accuracy"'
head -c 700 runs/tiny/metrics.jsonl >new/metrics.jsonl
expect 0 "$ZK" report new --no-png
cp runs/tiny/config.yaml long/
head -c 1000 runs/tiny/trajectories/step_000002.h5 >long/trajectories/step_000002.h5
awk 'BEGIN { for (i = 0; i < 5000; i++) printf "{\"step\": %d, \"reward/mean\": %g, \"odd/</script><b>&\\\"x\": %d, \"a b\": 1, \"a-b\": 2, \"time\": 3, \"?\": 4, \"time/step\": 1.5}\n", i, i / 5000, i % 7 }' >long/metrics.jsonl
expect 0 "$ZK" report long --no-png
tells step_000002.h5
page=long/report/index.html
has $page 'not a whole HDF5 file'; has $page 'odd/&lt;/script&gt;&lt;b&gt;&amp;'; hasnt $page 'odd/</script>'
has $page 'id="chart-a-b"'; has $page 'id="chart-a-b-2"'; has $page 'id="chart-time"'; has $page 'id="chart-metric"'
[ "$(stat -c %s $page)" -lt 600000 ] || fail "a page of $(stat -c %s $page) bytes for 5000 steps of 7 metrics"
# A config of another build: its curves all the same.
sed -i 's/^seed:.*/seed: 7\nnothing_known: 1/' new/config.yaml
expect 0 "$ZK" report new runs/tiny --no-png
tells 'nothing_known'

# Mistakes.
expect 2 "$ZK" report
expect 2 "$ZK" report runs/nothing
tells 'runs/nothing: no such run directory'
expect 2 "$ZK" report runs/tiny/trajectories
tells 'not a run directory'
expect 2 "$ZK" report runs/tiny tiny.yaml
expect 2 "$ZK" report runs/tiny --log reward/men
tells 'reward/men'
expect 2 "$ZK" report runs/tiny --smoothing 1
expect 2 "$ZK" report runs/tiny --steps -1
echo '{"step": 0}{' >new/metrics.jsonl
expect 2 "$ZK" report new
tells 'metrics.jsonl:1'

# In a browser, wide and narrow, light and dark: the script runs through, letters and lines are large and strong enough, nothing leaves the window.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || { echo "in a browser: skipped, there is no Chromium"; exit 0; }
look() { # PAGE WIDTH DARK [browser's option]
  local page=$1 width=$2 dark=$3
  shift 3
  sed 's|^<script>$|<script>addEventListener("error", e => document.body.dataset.error = e.message);|' "$page" >probe.html
  { printf '<script>\n'; cat "$ZK_SOURCE/tests/tools/report_probe.js"; printf '</script>\n'; } >>probe.html
  timeout 60 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$ZK_TMP/browser" --window-size="$width,900" "$@" --dump-dom "file://$PWD/probe.html" >dom 2>/dev/null ||
    fail "$browser cannot load $page"
  hasnt dom 'data-error'
  [ "${pale:-}" ] || has dom 'data-faults=""'
  has dom "data-charts=\"$(figures "$page")\""
  has dom "data-dark=\"$dark\""
}
look runs/tiny/report/index.html 1400 false
look runs/tiny/report/index.html 500 true --force-dark-mode
look report/index.html 500 false
look report/index.html 1400 true --force-dark-mode
look long/report/index.html 1400 false
sed 's/#57606a/#b0b6bd/g' long/report/index.html >pale.html # and letters that are too pale are seen
pale=1 look pale.html 1400 false
has dom 'text hardly seen'
