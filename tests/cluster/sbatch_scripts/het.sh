#!/bin/bash
#SBATCH --job-name=pair -n1
#SBATCH hetjob
#SBATCH -n2
srun --het-group=0,1 hostname
