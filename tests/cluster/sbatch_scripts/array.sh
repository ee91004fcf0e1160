#!/bin/bash
# Preprocess one shard per array element.
#SBATCH --job-name=shards
#SBATCH --array=0-15:4%2

# Logs go by array and element.
#SBATCH --output=logs/%x-%A_%a.out   # made by the caller
#SBATCH --time=00:05:00

## SBATCH --partition=nosuch is switched off
##SBATCH --qos=nosuch
set -euo pipefail
#SBATCH --account=too-late
shard=$(printf 'shard-%03d' "$SLURM_ARRAY_TASK_ID")
echo "processing $shard of $SLURM_ARRAY_TASK_COUNT"
