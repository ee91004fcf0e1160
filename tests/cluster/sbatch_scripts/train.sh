#!/bin/bash -l
#SBATCH -J train
#SBATCH -N 1 -n 1 -c 2
#SBATCH --mem=500M --time=10
#SBATCH --signal=B:USR1@60 --requeue --open-mode=append

command -v module >/dev/null && module load cuda/12.4 gcc
[ -f "$HOME/miniconda3/etc/profile.d/conda.sh" ] && source "$HOME/miniconda3/etc/profile.d/conda.sh" && conda activate train
trap 'echo "asked to stop"; exit 0' USR1
lr=${1:?learning rate}
shift
printf 'lr=%s note=<%s>\n' "$lr" "$@"
