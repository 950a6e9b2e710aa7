#!/usr/bin/env bash
# The paper profile on a SLURM cluster: a Dask scheduler, one worker a GPU, and the run itself, in one job.
#   sbatch scripts/slurm.sh [PROFILE] [options of run_all.sh]
# Set up first where there is a network (./run_all.sh --help, aesens weights fetch); AESENS_CACHE must be a folder that
# all nodes share. A job that ends too early is simply sent again: it goes on with what is missing.
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
python=$PWD/.venv/bin/python
scheduler=$AESENS_CACHE/scheduler-$SLURM_JOB_ID.json
trap 'kill $(jobs -p) 2>/dev/null; rm -f "$scheduler"' EXIT

"$python" -m distributed.cli.dask_scheduler --scheduler-file "$scheduler" --no-dashboard &
until [ -f "$scheduler" ]; do sleep 1; done
# --nthreads 1: one network on a GPU; a worker uses its other cores to prepare the audio.
srun "$python" -m distributed.cli.dask_worker --scheduler-file "$scheduler" --nthreads 1 --no-dashboard &
./run_all.sh "${1:-paper}" "${@:2}" --device cuda --scheduler "$scheduler"
