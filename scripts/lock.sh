#!/usr/bin/env bash
# Write requirements.lock anew from pyproject.toml (needs uv). torch stays out of the lock: which of its builds
# (CPU or CUDA) fits is pip's choice on the machine, so run_all.sh installs it first, by version alone.
set -euo pipefail
cd "$(dirname "$0")/.."
torch_version=$(cat scripts/torch-version.txt)
requirements=$(mktemp --suffix=.in); trap 'rm -f "$requirements"' EXIT
printf 'torch==%s\nhatchling>=1.25\neditables>=0.5\n' "$torch_version" > "$requirements"
compile() { uv pip compile --quiet --universal --python-version 3.11 --extra test --extra cluster --no-header --no-annotate "$@" pyproject.toml "$requirements"; }
skip=$(compile | sed -nE 's/^((nvidia|cuda)-[a-z0-9-]+|torch|triton)==.*/--no-emit-package \1/p' | sort -u)
{
  echo "# Everything run_all.sh installs beside torch==$torch_version. Written by scripts/lock.sh; do not edit."
  # shellcheck disable=SC2086
  compile $skip | grep -v '^#'
} > requirements.lock.new
mv requirements.lock.new requirements.lock
