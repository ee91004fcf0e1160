#!/bin/bash
#SBATCH --hold --time=0-1
echo "found on PATH"
