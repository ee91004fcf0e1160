#!/bin/bash
#PBS -N from-pbs
#PBS -t 1-3
#SLURM --time=7
echo "$SLURM_ARRAY_TASK_ID"
