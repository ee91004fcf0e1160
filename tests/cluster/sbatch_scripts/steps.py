#!/usr/bin/env python3
#SBATCH --job-name=steps --time=5
#SBATCH --dependency=singleton
"""A script need not be a shell's."""
import os
import sys

print(os.environ["SLURM_JOB_NAME"], sys.argv[1:])
