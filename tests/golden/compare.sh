# What tests of golden files share: comparing two folders of them, and one line that must differ. Source it behind lib.sh.
# shellcheck shell=bash
GOLDEN=$ZK_SOURCE/tests/fixtures/golden

# golden_diff FILE FILE: prints what differs but for comments; true when nothing does.
golden_diff() { diff <(grep -v '^#' "$1") <(grep -v '^#' "$2"); }

# golden_same FOLDER FOLDER: every file of either is in both, and alike.
golden_same() {
  local file
  for file in $(cd "$1" && ls ./*.txt) $(cd "$2" && ls ./*.txt); do
    [ -s "$1/$file" ] && [ -s "$2/$file" ] || { echo "$file is missing or empty"; return 1; }
    golden_diff "$1/$file" "$2/$file" || { echo "$file differs"; return 1; }
  done
}
