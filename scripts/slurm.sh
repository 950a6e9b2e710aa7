#!/usr/bin/env bash
# The embeddings of a profile on a SLURM cluster, in one job: a Dask scheduler, and one worker a GPU.
#   sbatch scripts/slurm.sh [PROFILE] [options of run_all.sh]
# The job ends with chapter 1, so that no GPU waits while the others are computed. Those need cores and memory; with the
# same options, and told that the networks ran elsewhere, they find the embeddings that were made on the GPUs:
#   sbatch --dependency=afterok:JOB --cpus-per-task=16 --mem=32G \
#     --wrap "AESENS_SCHEDULER=slurm ./run_all.sh [PROFILE] [options] --device cuda"
# Set up first where there is a network (./run_all.sh paper --dry-run, .venv/bin/aesens weights fetch); AESENS_CACHE must
# be a folder that all nodes share. A job that ends too early is simply sent again: it goes on with what is missing.
#SBATCH --job-name=aesens
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=4G
#SBATCH --time=04:00:00
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?this script is for sbatch}"
: "${AESENS_CACHE:?set AESENS_CACHE to a folder that all nodes share}"
# The environment that run_all.sh takes: an active one, else its own.
python=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}/bin/python
"$python" -c 'import aesens, distributed' 2>/dev/null || python=$PWD/.venv/bin/python
scheduler=$AESENS_CACHE/scheduler-$SLURM_JOB_ID.json
trap 'kill $(jobs -p) 2>/dev/null; rm -f "$scheduler"' EXIT

export DASK_CONFIG=${DASK_CONFIG:-$PWD/scripts/dask.yaml}
"$python" -m distributed.cli.dask_scheduler --scheduler-file "$scheduler" --no-dashboard &
while [ ! -f "$scheduler" ]; do
  kill -0 $! || { echo "error: the Dask scheduler did not start" >&2; exit 1; }
  sleep 1
done
# One thread: one network on a GPU; a worker uses its other cores to prepare the audio. SLURM itself limits its memory.
# srun has to be told the cores again: it does not take them from sbatch.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  "$python" -m distributed.cli.dask_worker --scheduler-file "$scheduler" --nthreads 1 --memory-limit 0 --no-dashboard &
./run_all.sh "${1:-paper}" "${@:2}" --device cuda --scheduler "$scheduler" --only 01
