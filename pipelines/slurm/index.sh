#!/bin/bash
# Index a large folder as a SLURM array; each job reads its share of the folders.
#
#   sbatch --array=0-7 pipelines/slurm/index.sh SOURCE COHORT [more options of medssl index]
#   sbatch --dependency=afterok:JOB pipelines/slurm/index.sh SOURCE COHORT [the same options]
#
# The second job, without an array, joins the parts and reads only series that lie in several.
# A job that was cut off goes on where it was when it is submitted, or requeued, again.
#
#SBATCH --job-name=medssl-index
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --requeue

set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: sbatch [--array=0-7] $0 SOURCE COHORT [options of medssl index]" >&2
    exit 2
fi
source_folder=$1
cohort=$2
shift 2

part=()
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
    if [[ "${SLURM_ARRAY_TASK_MIN:-0}" -ne 0 ]]; then
        echo "the array must begin at 0, such as --array=0-7" >&2
        exit 2
    fi
    part=(--num-parts "$SLURM_ARRAY_TASK_COUNT" --part "$SLURM_ARRAY_TASK_ID")
fi

exec medssl index "$source_folder" --out "$cohort" --resume \
    --workers "${SLURM_CPUS_PER_TASK:-4}" "${part[@]}" "$@"
