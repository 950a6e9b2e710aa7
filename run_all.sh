#!/usr/bin/env bash
# Set up and run the compendium.
#   ./run_all.sh [PROFILE] [options]   execute the notebooks (default profile: demo)
#   ./run_all.sh test [pytest options] run the tests
#   ./run_all.sh --help                all options, with examples
# Needs Python 3.11 or newer and a package registry; makes or reuses .venv beside this file. In an active conda or
# virtual environment that has aesens, it uses that one.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv
lock=$root/requirements.lock
# shellcheck source=scripts/setup.sh
. "$root/scripts/setup.sh"

some_python() {
  # The first ones are those that every package of the lock has wheels for.
  find_python "sys.version_info >= (3, 11)" ${AESENS_PYTHON:-} python3.11 python3.12 python3.13 python3 python ||
    fail "no Python 3.11 or newer with venv found; install one, or name it: AESENS_PYTHON=/path/to/python $0"
}

if [ "${1:-}" != test ]; then
  # Help and wrong options are answered before anything is set up.
  some=$(some_python)
  "$some" -I "$root/scripts/options.py" "$@" && exit || { status=$?; [ $status = 100 ] || exit $status; }
fi

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [ -n "$active" ] && [ -x "$active/bin/python" ] && "$active/bin/python" -c 'import aesens, papermill' 2>/dev/null; then
  python=$active/bin/python
else
  setup "$(cat "$lock" "$root/scripts/torch-version.txt" "$root/pyproject.toml" | cksum)" some_python :
  python=$venv/bin/python
fi

called=$PWD
cd "$root"
if [ "${1:-}" = test ]; then
  shift
  # Two processes, each of them on one core (tests/conftest.py); -n 0 puts everything into this one.
  exec "$python" -m pytest --numprocesses 2 --dist worksteal "$@"
fi
# Paths among the options mean the folder where this was called.
AESENS_FROM=$called exec "$python" -m aesens run "$@"
