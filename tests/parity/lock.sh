#!/usr/bin/env bash
# Write requirements.lock anew from packages.in and aesens's own requirements (needs uv).
# Left out: torch, which run.sh installs first, as run_all.sh does; tensorflow, which is tensorflow-cpu here; wandb,
# which only laion-clap's training scripts use; backports-strenum, which is for older Pythons. msclap, in the version of
# the study, is added as it is: it pins transformers, librosa, numba and torchvision below the versions that aesens is
# locked to, and needs torchaudio for reading files; its network uses none of it.
set -euo pipefail
cd "$(dirname "$0")"
torch_version=$(cat ../../scripts/torch-version.txt)
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
printf 'torch==%s\n' "$torch_version" > "$folder/torch.in"
printf "%s; sys_platform == 'none'\n" tensorflow wandb backports-strenum > "$folder/override.txt"
compile() {
  uv pip compile --quiet --python-version 3.11 --python-platform linux --extra test --no-header --no-annotate \
    --override "$folder/override.txt" "$@" ../../pyproject.toml packages.in "$folder/torch.in"
}
skip=$(compile | sed -nE 's/^((nvidia|cuda)-[a-z0-9-]+|torch|triton)==.*/--no-emit-package \1/p' | sort -u)
{
  echo "# Everything run.sh installs beside torch==$torch_version and openl3. Written by lock.sh; do not edit."
  # shellcheck disable=SC2086
  compile $skip | grep -v '^#'
  echo "msclap==1.3.3"
} > requirements.lock.new
mv requirements.lock.new requirements.lock
