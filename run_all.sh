#!/usr/bin/env bash
# Set up and run the compendium.
#   ./run_all.sh [PROFILE] [options]   execute the notebooks (default profile: demo)
#   ./run_all.sh test [pytest options] run the tests
#   ./run_all.sh --help                all options, with examples
# Needs Python 3.10 or newer and a package registry; makes or reuses .venv beside this file. In an active conda or
# virtual environment that has aesens, it uses that one.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv

fail() { echo "error: $*" >&2; exit 1; }

suitable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

find_python() {
  local name
  # The first ones are those that every package of the lock has wheels for.
  for name in ${AESENS_PYTHON:-} python3.11 python3.12 python3.13 python3.10 python3 python; do
    if command -v "$name" >/dev/null && suitable "$name"; then command -v "$name"; return; fi
  done
  fail "no Python 3.10 or newer with venv found; install one, or name it: AESENS_PYTHON=/path/to/python $0"
}

fingerprint() { cat "$root/requirements.lock" "$root/scripts/torch-version.txt" "$root/pyproject.toml" | cksum; }

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
  pip() { "$venv/bin/python" -I -m pip --disable-pip-version-check "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "pip $1 failed; see $log"; }; }
  : >"$log"
  echo "  1/3 torch $torch"
  pip install --constraint "$root/requirements.lock" "torch==$torch"
  echo "  2/3 requirements.lock"
  pip install --no-deps -r "$root/requirements.lock"
  echo "  3/3 aesens"
  pip install --no-deps --no-build-isolation --editable "$root"
  fingerprint >"$venv/.ready"
}

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [ -n "$active" ] && [ -x "$active/bin/python" ] && "$active/bin/python" -c 'import aesens, papermill' 2>/dev/null; then
  python=$active/bin/python
else
  setup
  python=$venv/bin/python
fi

cd "$root"
if [ "${1:-}" = test ]; then
  shift
  exec "$python" -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder "$@"
fi
exec "$python" -m aesens run "$@"
