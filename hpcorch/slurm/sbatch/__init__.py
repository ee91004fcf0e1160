"""What is written for sbatch: options, the batch script, quoting, and the command line of a user's own sbatch."""
