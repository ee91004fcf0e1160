#!/bin/sh
#SBATCH --nodes=2 --ntasks-per-node=2 --cpus-per-task=1
#SBATCH --mem-per-cpu=50 --exclusive=user --distribution=cyclic
#SBATCH --gres=gpu:1
#SBATCH --licenses=scratch:1
#SBATCH --nice=50 --no-requeue --exclude=n4
srun --mpi=none hostname
srun -n 1 --exact sh -c 'echo "one of $SLURM_NTASKS"'
