# shellcheck shell=bash
# Sourced by run_all.sh and tests/parity/run.sh: make or reuse a virtual environment from a lock.
# The caller sets root (the clone), venv (the environment) and lock (its requirements).

fail() { echo "error: $*" >&2; exit 1; }

# find_python CONDITION NAME...: the first of the commands that is a Python with venv and fulfils the condition.
find_python() {
  local condition=$1 name
  shift
  for name in "$@"; do
    if command -v "$name" >/dev/null && "$name" -c "import sys, venv, ensurepip; sys.exit(not ($condition))" 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# pip ARGUMENTS: of the environment, into its log; isolated from the user's own packages unless isolated= is set.
pip() {
  "$venv/bin/python" ${isolated--I} -m pip --disable-pip-version-check "$@" >>"$venv.log" 2>&1 ||
    { tail -n 20 "$venv.log" >&2; fail "pip $1 failed; see $venv.log"; }
}

works() { "$venv/bin/python" -c '' 2>/dev/null; }

# setup FINGERPRINT FIND MORE: nothing if the environment was made for this fingerprint; else made with the Python that
# FIND prints, from torch and the lock, then by the commands of MORE, then with aesens itself.
setup() {
  local fingerprint=$1 find=$2 more=$3 python torch
  if [ -f "$venv/.ready" ] && [ "$(cat "$venv/.ready")" = "$fingerprint" ] && works; then
    return
  fi
  python=$("$find")
  torch=$(cat "$root/scripts/torch-version.txt")
  echo "Setting up $venv with $("$python" --version) (a few minutes, once; log: $venv.log)"
  rm -f "$venv/.ready"
  # A half-made environment, or one of a Python that is gone, is made anew.
  works || { rm -rf "$venv"; "$python" -m venv "$venv"; }
  : >"$venv.log"
  echo "  torch $torch"
  pip install --constraint "$lock" "torch==$torch"
  echo "  ${lock#"$root/"}"
  pip install --no-deps -r "$lock"
  "$more"
  echo "  aesens"
  pip install --no-deps --no-build-isolation --editable "$root"
  echo "$fingerprint" >"$venv/.ready"
}
